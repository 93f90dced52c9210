"""A CT as the prognosis network sees it: cropped slabs with brain, and what a pixel of each is in mL."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.ct.network_input import NetworkInput, Preprocessing
from ICHWeakSegLib.ct.volume import CT


class Scan(NamedTuple):
    """Slabs with brain, from inferior; N of them.

    Attributes:
        hu: int16 (N, size, size).
        brain: bool, same shape.
        pixel_ml: float32 (N,), volume of one pixel of each slab in mL.
        slabs: their indices in `source`.
        source: the CT as a network sees it.
        grid: the axial CT.
        warnings: sentences about the CT.
    """

    hu: np.ndarray
    brain: np.ndarray
    pixel_ml: np.ndarray
    slabs: list[int]
    source: NetworkInput
    grid: AxialGrid
    warnings: list[str]


def read_scan(ct: CT, preprocessing: Preprocessing) -> Scan:
    """Crop a CT.

    Raises:
        InputError: no skull with brain inside was found.
    """
    head = Head.of(ct)
    source = NetworkInput(head.grid, head.brain, preprocessing)
    slabs = [slab for slab in range(len(source)) if source.slab_has_brain(slab)]
    planes = [source.crop(slab) for slab in slabs]
    return Scan(
        np.stack([np.rint(hu) for hu, _ in planes]).astype(np.int16),
        np.stack([brain for _, brain in planes]),
        np.array([pixel_ml(source, head.grid, slab) for slab in slabs], np.float32),
        slabs,
        source,
        head.grid,
        [*ct.warnings, *head.grid.warnings],
    )


def pixel_ml(source: NetworkInput, grid: AxialGrid, slab: int) -> float:
    """Volume of a pixel of the network's square on a slab, through all its slices, in mL."""
    group = source.groups[slab]
    # A pixel of the frame covers so many of the slice.
    native = source.frame.rows.step * source.frame.columns.step
    return float(np.sum(grid.slice_ml[group.start : group.stop]) * native)


def crop_mask(scan: Scan, mask: np.ndarray) -> np.ndarray:
    """A mask (K, J, I) on the CT's own grid as the network would see it: bool (N, size, size)."""
    axial = scan.grid.from_native(mask)
    planes = []
    for slab in scan.slabs:
        group = scan.source.groups[slab]
        share = axial[group.start : group.stop].mean(axis=0, dtype=np.float32)
        planes.append(scan.source.frame.crop(share) >= 0.5)
    return np.stack(planes)
