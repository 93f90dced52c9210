"""Masks from a probability map by two thresholds: lesions need a sure core, their outline may be less sure.

Source: hysteresis thresholding, Canny 1986, doi 10.1109/TPAMI.1986.4767851, here in 3D over neighbouring slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.refine.components import remove_specks, touching
from ICHWeakSegLib.refine.threshold import Planes, refine_threshold


@dataclass(frozen=True)
class HysteresisOptions:
    """Parameters of `refine_hysteresis`.

    Attributes:
        peak: what a lesion must reach in one voxel at least; never below the threshold of its outline.
        smallest_ml: smallest lesion.
    """

    peak: float = 0.7
    smallest_ml: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.peak <= 1 or self.smallest_ml < 0:
            raise ValueError("peak must lie between 0 and 1, smallest_ml must not be negative.")


def refine_hysteresis(
    maps: Planes,
    brain: Planes,
    slice_ml: np.ndarray,
    threshold: float,
    options: HysteresisOptions | None = None,
) -> np.ndarray:
    """Lesions (26-connected above `threshold`) that reach the peak somewhere; holes in a plane are filled.

    Args:
        maps: probability of blood, S planes of shape (H, W).
        brain: bool, same shape.
        slice_ml: volume of a voxel of each slice in mL, shape (S,).
        threshold: of the outline, 0-1.
        options: see `HysteresisOptions`.

    Returns:
        bool mask (S, H, W).
    """
    how = options or HysteresisOptions()
    mask = refine_threshold(maps, brain, threshold)
    mask = touching(mask, refine_threshold(maps, brain, max(how.peak, threshold)))
    for s, inside in enumerate(brain):
        if mask[s].any():
            mask[s] = ndimage.binary_fill_holes(mask[s]) & inside
    return remove_specks(mask, np.asarray(slice_ml, float), how.smallest_ml)
