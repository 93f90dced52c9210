"""The mask of a classifier's map and that of a segmentation network, put together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.ct.patches import WHOLE, Patch
from ICHWeakSegLib.inference.slice_predictions import Step

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.models import Model

NETWORK_STAGE = "segmentation network"


def network_mask(
    model: Model, source: NetworkInput, slices: list[int], step: Step, notice
) -> Iterator[Patch]:
    """What the package's segmentation network calls blood on these axial slices."""
    from ICHWeakSegLib.inference.segmenter_maps import segmenter_probabilities

    part = model.card.segmenter
    slabs = sorted({source.group_of(s) for s in slices})
    passes = segmenter_probabilities(model.segmenter, source, slabs, notice=notice)
    for done, (slab, square) in enumerate(passes):
        step(NETWORK_STAGE, done, len(slabs))
        plane = source.frame.paste(square) >= part.threshold
        for s in source.groups[slab]:
            yield s, WHOLE, plane & source.brain[s]


def joined(
    mode: str, by_map: Iterable[Patch], by_network: Iterable[Patch], shape: tuple[int, int]
) -> Iterator[Patch]:
    """Masks of axial slices by mode.

    Args:
        mode: `network`, `either` (union) or `both` (intersection).
        by_map, by_network: the two masks, in any order.
        shape: (H, W) of an axial slice.
    """
    planes: list[dict[int, np.ndarray]] = []
    for patches in (() if mode == "network" else by_map, by_network):
        found: dict[int, np.ndarray] = {}
        for s, box, values in patches:
            found.setdefault(s, np.zeros(shape, bool))[box] |= values
        planes.append(found)
    one, other = planes
    nothing = np.zeros(shape, bool)
    slices = one.keys() & other.keys() if mode == "both" else one.keys() | other.keys()
    for s in sorted(slices):
        first, second = one.get(s, nothing), other.get(s, nothing)
        yield s, WHOLE, first & second if mode == "both" else first | second
