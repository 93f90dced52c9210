"""Axis permutation and flips that bring a volume nearest to axial; numpy views only."""

from __future__ import annotations

import numpy as np

from ICHWeakSegLib.ct.geometry import angle_deg, nearest_axes, slice_normal
from ICHWeakSegLib.ct.volume import CT


def slice_coordinates(ct: CT) -> np.ndarray:
    """Place of every native slice in units of the k step, shape (K,); 0, 1, 2 ... where they are even."""
    count = ct.hu.shape[0]
    if ct.slice_positions_mm is None:
        return np.arange(count, dtype=float)
    positions = np.asarray(ct.slice_positions_mm, float)
    step = abs(ct.ijk_to_ras[:3, 2] @ slice_normal(ct.ijk_to_ras))
    return np.abs(positions - positions[0]) / step


class AxialAxes:
    """Views with axes (slice to superior, row to posterior, column to left).

    Attributes:
        shape: (S, H, W).
        column, row, step: vectors of one column, row and nominal slice in RAS mm.
        origins: RAS of the first voxel of each slice, shape (S, 3), uneven spacing included.
        normal: unit normal of the slices towards superior.
        positions_mm, slice_ml, native_slice, ijk_to_ras: as in `AxialGrid`.
        shifts: how far each slice lies off the normal through slice 0, in rows and columns, shape (S, 2).
    """

    def __init__(self, ct: CT):
        axes, signs = nearest_axes(ct.ijk_to_ras)
        matrix = np.asarray(ct.ijk_to_ras, float)
        self._transpose = tuple(2 - axes[world] for world in (2, 1, 0))
        # Slices run to S, rows against A, columns against R.
        senses = (signs[2], -signs[1], -signs[0])
        self._flips = tuple(slice(None, None, sense) for sense in senses)
        self._axial_axis = axes[2]
        self.shape = tuple(ct.hu.shape[axis] for axis in self._transpose)
        counts = ct.hu.shape[::-1]
        self.step, self.row, self.column = (
            sense * matrix[:3, axes[world]] for sense, world in zip(senses, (2, 1, 0), strict=True)
        )
        coordinates = [np.arange(count, dtype=float) for count in counts]
        coordinates[2] = slice_coordinates(ct)
        corner = matrix[:3, 3].copy()
        for sense, world in zip(senses[1:], (1, 0), strict=True):
            if sense < 0:
                corner += coordinates[axes[world]][-1] * matrix[:3, axes[world]]
        along = coordinates[axes[2]][:: senses[0]]
        self.origins = corner + np.outer(along, matrix[:3, axes[2]])
        normal = np.cross(self.row, self.column)
        normal /= np.linalg.norm(normal)
        self.normal = normal if normal @ self.step > 0 else -normal
        self.tilt = angle_deg(self.step, self.normal)
        self.positions_mm = self.origins @ self.normal
        # Uneven native slices that become rows or columns would make an uneven picture.
        self.evenly_spaced_in_plane = ct.slice_positions_mm is None or axes[2] == 2
        self.in_plane_orthogonal = abs(self.row @ self.column) < 0.01 * np.linalg.norm(
            self.row
        ) * np.linalg.norm(self.column)
        self.native_slice = np.arange(self.shape[0])[:: senses[0]] if axes[2] == 2 else None
        self.slice_ml = (
            ct.slice_voxel_ml()[self.native_slice]
            if self.native_slice is not None
            else np.full(self.shape[0], ct.voxel_ml)
        )

    @property
    def shifts(self) -> np.ndarray:
        """Sideways travel of the slices against slice 0 in rows and columns, shape (S, 2)."""
        travel = self.origins - self.origins[0]
        return np.stack(
            [travel @ self.row / (self.row @ self.row), travel @ self.column / (self.column @ self.column)], 1
        )

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """Affine from (column, row, slice) to RAS mm."""
        affine = np.eye(4)
        step = (self.positions_mm[-1] - self.positions_mm[0]) / max(1, self.shape[0] - 1)
        affine[:3, 0], affine[:3, 1], affine[:3, 2] = self.column, self.row, self.normal * step
        affine[:3, 3] = self.origins[0]
        return affine

    def view(self, array: np.ndarray) -> np.ndarray:
        """(K, J, I) as (S, H, W), no copy."""
        return array.transpose(self._transpose)[self._flips]

    def slice_from_native(self, array: np.ndarray, s: int, order: int = 0, fill: float = 0) -> np.ndarray:
        """One axial slice, no copy; `order` and `fill` are not needed here."""
        return self.view(array)[s]

    def to_native(self, array: np.ndarray, order: int = 0, fill: float = 0) -> np.ndarray:
        """(S, H, W) as (K, J, I), no copy; `order` and `fill` are not needed here."""
        return array[self._flips].transpose(np.argsort(self._transpose))
