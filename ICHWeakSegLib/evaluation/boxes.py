"""Localization against boxes: pointing game and energy in box, with two rivals that need no network.

Pointing game: Zhang et al., Top-down neural attention by excitation backprop, IJCV 2018. Energy in box: Wang et
al., Score-CAM, CVPR Workshops 2020 (energy-based pointing game).
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.errors import InputError

# x0, y0, x1, y1: columns and rows of the axial slice, both ends included.
Box = tuple[float, float, float, float]
# What the eye calls a spot is wider than a pixel of noise.
SPOT_MM = 3.0
RIVALS = ("random point", "brightest spot")


def read_boxes(path: str | Path, key: str = "patient") -> dict[tuple[str, int], list[Box]]:
    """Boxes by `key` and slice number.

    Args:
        path: CSV with the columns `slice`, `x0`, `y0`, `x1`, `y1` and `key`; pixels of the axial slice, rows to
            posterior, columns to the patient's left. Without a column `key` all boxes have the key "".

    Raises:
        InputError: the file cannot be read, or a row is not a box.
    """
    found: dict[tuple[str, int], list[Box]] = defaultdict(list)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [
                {k.strip().lower(): (v or "").strip() for k, v in row.items() if k}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"The boxes {path} cannot be read as CSV ({problem}): check the path.") from problem
    for line, row in enumerate(rows, start=2):
        if not any(row.values()):
            continue
        try:
            x0, y0, x1, y1 = (float(row[name]) for name in ("x0", "y0", "x1", "y1"))
            number = int(row["slice"])
        except (KeyError, ValueError) as problem:
            raise InputError(
                f"{path}, line {line}: a box needs numbers in the columns slice, x0, y0, x1, y1 ({problem})."
            ) from problem
        if not (x0 <= x1 and y0 <= y1):
            raise InputError(f"{path}, line {line}: the box ends before it begins (x0 <= x1, y0 <= y1).")
        found[row.get(key, ""), number].append((x0, y0, x1, y1))
    return dict(found)


def inside(boxes: Iterable[Box], shape: tuple[int, int]) -> np.ndarray:
    """Pixels in any of the boxes, bool, shape (H, W)."""
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        mask[max(0, round(y0)) : round(y1) + 1, max(0, round(x0)) : round(x1) + 1] = True
    return mask


def pointing(plane: np.ndarray, target: np.ndarray) -> float:
    """1 where the highest point of a map (H, W) lies in `target`; 0 for a map of zeros."""
    return float(target.flat[int(plane.argmax())]) if plane.any() else 0.0


def energy(plane: np.ndarray, target: np.ndarray) -> float:
    """Share of the sum of a map (H, W), not negative, that lies in `target`; 0 for a map of zeros."""
    total = float(plane.sum(dtype=np.float64))
    return float(plane[target].sum(dtype=np.float64)) / total if total > 0 else 0.0


def rivals(
    hu: np.ndarray, brain: np.ndarray, target: np.ndarray, row_mm: float, brain_hu: float
) -> dict[str, tuple[float, float]]:
    """Pointing game and energy in box of what needs no network.

    `random point`: the expectation of a point drawn from the brain, which is also the energy of an even map.
    `brightest spot`: the brain's HU (-20 to 100), smoothed by 3 mm; its energy is that above the brain's median.

    Args:
        hu, brain, target: of a slice, shape (H, W).
        row_mm: size of a pixel.
        brain_hu: median of the case's brain.

    Returns:
        By rival: pointing game and energy, both 0 where the slice shows no brain.
    """
    if not brain.any():
        return dict.fromkeys(RIVALS, (0.0, 0.0))
    share = float(target[brain].mean())
    clipped = np.where(brain, np.clip(hu, -20, 100), 0).astype(np.float32)
    bright = ndimage.gaussian_filter(clipped, SPOT_MM / row_mm)
    above = np.where(brain, np.maximum(bright - brain_hu, 0), 0)
    return {
        "random point": (share, share),
        "brightest spot": (pointing(bright, target), energy(above, target)),
    }
