"""Oracle gating: the true slice labels, not the classifier, decide which slices get a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.models import Model
from ICHWeakSegLib.refine.refine_maps import MapPlanes
from ICHWeakSegLib.segment import Result, SquareMaps, segment


@dataclass
class Gated:
    """A mask with oracle gating.

    Attributes:
        mask: uint8, shape (K, J, I).
        maps: localization maps, of the gated slices at least.
    """

    mask: np.ndarray
    maps: MapPlanes


def oracle(ct: CT, model: Model, gate: np.ndarray, result: Result, **options: Any) -> Gated:
    """Segment exactly the slices of `gate`.

    Args:
        ct: the CT.
        model: loaded.
        gate: bool, an entry an axial slice, shape (S,).
        result: with predicted gating; where that opened the same slices, nothing is run again.
        options: of `segment`, the same as for `result`.
    """
    if np.array_equal(gate, result.positive):
        return Gated(result.mask, result.square_maps)
    if not gate.any():
        return Gated(np.zeros_like(result.mask), SquareMaps(result.square_maps.source, {}))
    found = segment(ct, model, gate=gate, **options)
    return Gated(only(found.mask, gate, found), found.square_maps)


def only(mask: np.ndarray, gate: np.ndarray, result: Result) -> np.ndarray:
    """The mask without the slices outside the gate: a slab of thin slices is opened as a whole.

    Args:
        mask: uint8, shape (K, J, I).
        gate: bool, shape (S,).
        result: whose grid it is.
    """
    axial = np.asarray(result.grid.from_native(mask))
    if not axial[~gate].any():
        return mask
    return np.ascontiguousarray(result.grid.to_native(axial * gate[:, None, None].astype(axial.dtype)))
