"""A sheared stack made orthogonal: each slice shifted in its own plane."""

from __future__ import annotations

import numpy as np

from ICHWeakSegLib.ct.axes import AxialAxes

# A shift this close to whole pixels is whole: no interpolation blurs the slice.
_WHOLE = 1e-3


class SliceShifts:
    """The orthogonal canvas that holds all slices of a sheared stack; attributes as in `AxialGrid`."""

    def __init__(self, axes: AxialAxes):
        self._axes = axes
        shifts = axes.shifts
        shifts = shifts - shifts.min(axis=0)
        near = np.abs(shifts - np.rint(shifts)) < _WHOLE
        self._shifts = np.where(near, np.rint(shifts), shifts)
        count, height, width = axes.shape
        more = np.ceil(self._shifts.max(axis=0)).astype(int)
        self.shape = (count, height + int(more[0]), width + int(more[1]))
        self.positions_mm, self.native_slice, self.slice_ml = (
            axes.positions_mm,
            axes.native_slice,
            axes.slice_ml,
        )
        self.ijk_to_ras = axes.ijk_to_ras.copy()
        self.ijk_to_ras[:3, 3] -= self._shifts[0, 0] * axes.row + self._shifts[0, 1] * axes.column

    def slice_from_native(self, array: np.ndarray, s: int, order: int = 0, fill: float = 0) -> np.ndarray:
        """One slice of a (K, J, I) array on the canvas, shape (H, W)."""
        plane = self._axes.view(array)[s]
        canvas = np.full(self.shape[1:], fill, array.dtype)
        starts = []
        for axis, shift in enumerate(self._shifts[s]):
            whole, part = _split(shift, order)
            starts.append(whole)
            if part:
                plane = _blend(plane, axis, 1 - part, fill)
        rows, columns = plane.shape
        canvas[starts[0] : starts[0] + rows, starts[1] : starts[1] + columns] = as_type(plane, array.dtype)
        return canvas

    def to_native(self, array: np.ndarray, order: int = 0, fill: float = 0) -> np.ndarray:
        """(S, H, W) on the canvas back to (K, J, I)."""
        _, height, width = self._axes.shape
        out = np.empty(self._axes.shape, array.dtype)
        for s, shifts in enumerate(self._shifts):
            plane = array[s]
            for axis, (shift, size) in enumerate(zip(shifts, (height, width), strict=True)):
                whole, part = _split(shift, order)
                cut = [slice(None), slice(None)]
                cut[axis] = slice(whole, whole + size + bool(part))
                plane = plane[tuple(cut)]
                if part:
                    upper = [slice(None), slice(None)]
                    upper[axis] = slice(1, None)
                    lower = [slice(None), slice(None)]
                    lower[axis] = slice(None, -1)
                    plane = (1 - part) * plane[tuple(lower)].astype(np.float32) + part * plane[tuple(upper)]
            out[s] = as_type(plane, array.dtype)
        return self._axes.to_native(out)


def as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Back to the type of the source: whole numbers rounded, masks at one half."""
    if values.dtype == dtype:
        return values
    if np.dtype(dtype).kind == "b":
        return values >= 0.5
    return np.rint(values).astype(dtype) if np.dtype(dtype).kind in "iu" else values.astype(dtype)


def _split(shift: float, order: int) -> tuple[int, float]:
    if order == 0:
        return int(np.floor(shift + 0.5)), 0.0
    whole = int(np.floor(shift))
    return whole, float(shift - whole)


def _blend(plane: np.ndarray, axis: int, weight: float, fill: float) -> np.ndarray:
    """Shift by `1 - weight` pixels along `axis`; one pixel longer, `fill` beyond the ends."""
    margin = [(0, 0), (0, 0)]
    margin[axis] = (1, 1)
    padded = np.pad(plane.astype(np.float32), margin, constant_values=fill)
    ahead, behind = ([slice(None), slice(None)] for _ in range(2))
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    return weight * padded[tuple(ahead)] + (1 - weight) * padded[tuple(behind)]
