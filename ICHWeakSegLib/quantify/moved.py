"""A volume of one CT, brought onto the voxels of another through a rigid transform."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.axes import slice_coordinates
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.refine.components import bounding_box


def moved_mask(mask: np.ndarray, source: CT, target: CT, source_to_target: np.ndarray) -> np.ndarray:
    """A mask of one CT on another's grid: linear between voxels, True from one half on.

    Args:
        mask: nonzero is inside, shape (K, J, I) of `source`.
        source: the CT that the mask belongs to; tilted and uneven slices are honoured.
        target: the CT on whose voxels it is wanted.
        source_to_target: 4x4, RAS mm to RAS mm.

    Returns:
        uint8, shape (K, J, I) of `target`.
    """
    inside = np.asarray(mask) != 0
    out = np.zeros(target.hu.shape, np.uint8)
    box = bounding_box(inside)
    if box is None:
        return out
    # Within the mask's box, with a rim of nothing: the rest of the volume need not be sampled.
    rim = 1
    part = np.pad(inside[box], rim).astype(np.float32)
    start = np.array([place.start - rim for place in box])
    reach = _reach(box, source, target, source_to_target)
    if reach is None:
        return out
    to_source = np.linalg.inv(source_to_target) @ target.ijk_to_ras
    along = slice_coordinates(target)
    for k in range(reach[0].start, reach[0].stop):
        index = _native_index(source, to_source, along[k], reach[1], reach[2]) - start[:, None, None]
        values = ndimage.map_coordinates(part, index, order=1, prefilter=False)
        out[k][reach[1:]] = values >= 0.5
    return out


def moved_slice(
    array: np.ndarray, source: CT, ras_to_source: np.ndarray, plane_to_ras: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """A volume of one CT on a plane in space, linear, air (-1000) outside.

    Args:
        array: shape (K, J, I) of `source`.
        source: the CT that the array belongs to.
        ras_to_source: 4x4, from the plane's RAS mm to those of `source`.
        plane_to_ras: 4x4 from (column, row, 0) of the plane to RAS.
        shape: (rows, columns).

    Returns:
        float32, shape (rows, columns).
    """
    rows, columns = (slice(0, size) for size in shape)
    index = _native_index(source, ras_to_source @ plane_to_ras, 0.0, rows, columns)
    return ndimage.map_coordinates(
        array, index, output=np.float32, order=1, mode="constant", cval=-1000.0, prefilter=False
    )


def _native_index(source: CT, to_source: np.ndarray, place: float, rows: slice, columns: slice) -> np.ndarray:
    """Index (k, j, i) in `source` of a part of one plane, shape (3, rows, columns)."""
    row, column = np.meshgrid(
        np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop), indexing="ij"
    )
    matrix = np.linalg.inv(source.ijk_to_ras) @ to_source
    i, j, k = (
        matrix[:3, 0, None, None] * column
        + matrix[:3, 1, None, None] * row
        + (matrix[:3, 2] * place + matrix[:3, 3])[:, None, None]
    )
    coordinates = slice_coordinates(source)
    slot = np.interp(k, coordinates, np.arange(len(coordinates)))
    slot += np.minimum(k, 0) + np.maximum(k - coordinates[-1], 0)
    return np.stack([slot, j, i])


def _reach(
    box: tuple[slice, ...], source: CT, target: CT, source_to_target: np.ndarray
) -> tuple[slice, slice, slice] | None:
    """The box of the target's voxels that a box of the source's can reach."""
    along, places = slice_coordinates(source), slice_coordinates(target)
    ends = [(part.start - 1, part.stop) for part in box]
    last = len(along) - 1
    ks = [along[max(0, ends[0][0])] - (ends[0][0] < 0), along[min(last, ends[0][1])] + (ends[0][1] > last)]
    corners = np.array([[i, j, k, 1.0] for i in ends[2] for j in ends[1] for k in ks]).T
    index = np.linalg.inv(target.ijk_to_ras) @ source_to_target @ source.ijk_to_ras @ corners
    slots = np.interp(index[2], places, np.arange(len(places)), left=-1, right=len(places))
    parts = []
    for line, size in zip((slots, index[1], index[0]), target.hu.shape, strict=True):
        low, high = max(0, int(np.floor(line.min())) - 1), min(size, int(np.ceil(line.max())) + 2)
        if low >= high:
            return None
        parts.append(slice(low, high))
    return tuple(parts)
