"""Parts of axial slices, and the volume on the CT's own grid that they make up."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.axial import AxialGrid

# Part of an axial slice: its index, rows and columns, and the values there.
Patch = tuple[int, tuple[slice, slice], np.ndarray]
WHOLE = (slice(None), slice(None))


def on_native_grid(grid: AxialGrid, patches: Iterable[Patch], dtype: np.dtype, order: int = 1) -> np.ndarray:
    """Parts of axial slices on the CT's own grid, shape (K, J, I); zero elsewhere.

    Where the axial slices had to be resampled, values are linear between voxels (`order` 0: the nearest one's),
    and a bool one is True from one half on.
    """
    whole = _zeros(grid.native_shape if grid.is_view else grid.shape, dtype)
    axial = grid.from_native(whole) if grid.is_view else whole
    for s, box, values in patches:
        axial[s][box] = values
    return whole if grid.is_view else np.ascontiguousarray(grid.to_native(axial, order=order))


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that take memory only where something else is written to them.

    NumPy's own do so too, but on Linux in pages of 2 MB: a small bleed on many thin slices would fill them all.
    """
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype).reshape(shape)
