"""Resize and crop of a slice to the network's square, with the exact way back.

Both ways are separable linear maps between pixel centres, so that a slice is `rows @ slice @ columns.T`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Axis:
    """One axis of a frame: network pixel p lies at native pixel `start + step * p` (centres, 0-based)."""

    native: int
    size: int
    start: float
    step: float

    @cached_property
    def forward(self) -> np.ndarray:
        """(size, native) weights of an antialiased linear resize; rows sum to less than 1 past the edge."""
        reach = max(1.0, abs(self.step))
        centre = self.start + self.step * np.arange(self.size)
        distance = np.abs(np.arange(self.native)[None, :] - centre[:, None]) / reach
        weight = np.maximum(0.0, 1.0 - distance)
        whole = np.arange(-int(reach) - 1, int(reach) + 2)
        fraction = centre - np.rint(centre)
        total = np.maximum(0.0, 1.0 - np.abs(whole[None, :] - fraction[:, None]) / reach).sum(axis=1)
        return (weight / total[:, None]).astype(np.float32)

    @cached_property
    def back(self) -> np.ndarray:
        """(native, size) weights of linear interpolation at native pixel centres; zero outside the frame."""
        place = (np.arange(self.native) - self.start) / self.step
        inside = (place >= -0.5) & (place <= self.size - 0.5)
        # Half a pixel at the rim belongs to the frame: it takes the rim's value.
        place = np.clip(place, 0, self.size - 1)
        weight = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(self.size)[None, :]))
        return (weight * inside[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Frame:
    """Where the network's square lies on a slice of shape (H, W)."""

    rows: Axis
    columns: Axis

    def crop(self, image: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Slice (..., H, W) to network square (..., size, size), float32; `fill` beyond the slice's edge."""
        moved = self.rows.forward @ (image.astype(np.float32) - fill) @ self.columns.forward.T
        return moved + np.float32(fill)

    def paste(self, square: np.ndarray) -> np.ndarray:
        """Network square (..., size, size) to slice (..., H, W), float32, linear; 0 outside the square."""
        return self.rows.back @ square.astype(np.float32) @ self.columns.back.T


def resize_crop(shape: tuple[int, int], resize: int, size: int) -> Frame:
    """Resize the shorter way to `resize` pixels, then cut the central `size` x `size` (HGI-SAM: 422, 384)."""
    scale = resize / min(shape)
    axes = []
    for native in shape:
        resized = int(native * scale + 1e-6)
        step = native / resized
        offset = round((resized - size) / 2)
        axes.append(Axis(native, size, (offset + 0.5) * step - 0.5, step))
    return Frame(*axes)


def centred(
    shape: tuple[int, int],
    spacing_mm: tuple[float, float],
    centre: tuple[float, float],
    size: int,
    pixel_mm: float,
) -> Frame:
    """A square of `size` pixels of `pixel_mm` around `centre` (row, column in native pixels)."""
    axes = []
    for native, spacing, middle in zip(shape, spacing_mm, centre, strict=True):
        step = pixel_mm / spacing
        axes.append(Axis(native, size, middle - step * (size - 1) / 2, step))
    return Frame(*axes)
