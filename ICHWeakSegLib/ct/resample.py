"""Linear resampling to a grid along R, A and S, for volumes that are far from axial."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.axes import slice_coordinates
from ICHWeakSegLib.ct.shear import as_type
from ICHWeakSegLib.ct.volume import CT

# Thicker slices than this would be too coarse a grid; most head CT is read at 5 mm.
THICKEST_MM = 5.0


class Resampling:
    """An RAS-aligned axial grid around the volume; attributes as in `AxialGrid`.

    In-plane steps are the finest native one, slices as thick as the coarsest native step, at most 5 mm.
    """

    def __init__(self, ct: CT):
        self._native_shape = ct.hu.shape
        self._native = np.asarray(ct.ijk_to_ras, float)
        self._coordinates = slice_coordinates(ct)
        fine = float(ct.spacing.min())
        thick = max(fine, min(float(ct.spacing.max()), THICKEST_MM))
        self.spacing = (fine, fine, thick)
        _, rows, columns = self._native_shape
        ends = np.array(np.meshgrid([0, columns - 1], [0, rows - 1], self._coordinates[[0, -1]])).reshape(
            3, -1
        )
        corners = self._native[:3, :3] @ ends + self._native[:3, 3:]
        low, high = corners.min(axis=1), corners.max(axis=1)
        counts = np.floor((high - low) / self.spacing + 0.5).astype(int) + 1
        start = (low + high) / 2 - (counts - 1) * self.spacing / 2
        stop = (low + high) / 2 + (counts - 1) * self.spacing / 2
        self.shape = tuple(int(count) for count in counts[::-1])
        self.ijk_to_ras = np.diag([-fine, -fine, thick, 1.0])
        self.ijk_to_ras[:3, 3] = stop[0], stop[1], start[2]
        self.positions_mm = start[2] + thick * np.arange(self.shape[0])
        self.native_slice = None
        self.slice_ml = np.full(self.shape[0], fine * fine * thick / 1000.0)

    def slice_from_native(self, array: np.ndarray, s: int, order: int = 0, fill: float = 0) -> np.ndarray:
        """One axial slice sampled from a (K, J, I) array, shape (H, W)."""
        to_native = np.linalg.inv(self._native) @ self.ijk_to_ras
        i, j, k = _plane(to_native, self.shape[1:], s)
        return _sample(array, (self._slice_index(k), j, i), order, fill)

    def to_native(self, array: np.ndarray, order: int = 0, fill: float = 0) -> np.ndarray:
        """Sample a (S, H, W) array at the centres of the native voxels, shape (K, J, I)."""
        to_axial = np.linalg.inv(self.ijk_to_ras) @ self._native
        out = np.empty(self._native_shape, array.dtype)
        for k, place in enumerate(self._coordinates):
            column, row, s = _plane(to_axial, self._native_shape[1:], place)
            out[k] = _sample(array, (s, row, column), order, fill)
        return out

    def _slice_index(self, place: np.ndarray) -> np.ndarray:
        """From units of the nominal k step to the index of the slice, straight on beyond the ends."""
        index = np.interp(place, self._coordinates, np.arange(len(self._coordinates)))
        last = self._coordinates[-1]
        return index + np.minimum(place, 0) + np.maximum(place - last, 0)


def _plane(affine: np.ndarray, shape: tuple[int, ...], third: float) -> np.ndarray:
    """Where the pixels (column, row) of one plane land under `affine`, shape (3, rows, columns)."""
    row, column = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    steps = affine[:3, :3]
    return (
        steps[:, 0, None, None] * column
        + steps[:, 1, None, None] * row
        + (steps[:, 2] * third + affine[:3, 3])[:, None, None]
    )


def _sample(array: np.ndarray, where: tuple[np.ndarray, ...], order: int, fill: float) -> np.ndarray:
    """Values at fractional indices; up to half a voxel beyond the border the border value holds."""
    inside = np.ones(where[0].shape, bool)
    for index, size in zip(where, array.shape, strict=True):
        inside &= (index >= -0.5 - 1e-6) & (index <= size - 0.5 + 1e-6)
    source = array.view(np.uint8) if array.dtype.kind == "b" else array
    output = np.float32 if order else source.dtype
    values = ndimage.map_coordinates(source, np.stack(where), output=output, order=order, mode="nearest")
    values = as_type(values, array.dtype) if array.dtype.kind != "b" else values >= 0.5
    values[~inside] = fill
    return values
