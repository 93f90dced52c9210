"""Masks from a probability map by two thresholds: lesions need a sure core, their outline may be less sure.

Source: hysteresis thresholding, Canny 1986, doi 10.1109/TPAMI.1986.4767851, here in 3D over neighbouring slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.refine.components import bounding_box, in_place_of, label, remove_specks, touching
from ICHWeakSegLib.refine.threshold import Planes, refine_threshold

# Pixels from the brain's border on within which the skull's partial volume reaches.
_EDGE = 4


@dataclass(frozen=True)
class HysteresisOptions:
    """Parameters of `refine_hysteresis`.

    Attributes:
        peak: what a lesion must reach in one voxel at least; never below the threshold of its outline.
        smallest_ml: smallest lesion.
        calcified_hu: voxels brighter than this are seldom blood.
        calcified_share: a small lesion with more than this share of them is calcification (choroid plexus, pineal
            gland, basal ganglia), not blood.
        calcified_ml: larger lesions are never taken for calcification, nor are those at the brain's edge, where
            partial volume of the skull makes blood bright.
    """

    peak: float = 0.7
    smallest_ml: float = 0.1
    calcified_hu: float = 90.0
    calcified_share: float = 0.05
    calcified_ml: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.peak <= 1 and 0 <= self.calcified_share <= 1) or self.smallest_ml < 0:
            raise ValueError(
                "peak and calcified_share must lie between 0 and 1, smallest_ml must not be negative."
            )


def refine_hysteresis(
    hu: Planes,
    maps: Planes,
    brain: Planes,
    slice_ml: np.ndarray,
    threshold: float,
    options: HysteresisOptions | None = None,
) -> np.ndarray:
    """Lesions (26-connected above `threshold`) that reach the peak somewhere and are not calcified.

    Holes in a plane are filled.

    Args:
        hu: HU, S planes of shape (H, W).
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
    mask = _without_calcified(mask, hu, brain, np.asarray(slice_ml, float), how)
    return remove_specks(mask, np.asarray(slice_ml, float), how.smallest_ml)


def _without_calcified(
    mask: np.ndarray, hu: Planes, brain: Planes, slice_ml: np.ndarray, how: HysteresisOptions
) -> np.ndarray:
    box = bounding_box(mask)
    if box is None:
        return mask
    labels, count = label(mask[box])
    voxels, dense, edge, volume = np.zeros((4, count + 1))
    planes = zip(labels, hu[box[0]], brain[box[0]], slice_ml[box[0]], strict=True)
    for plane, values, inside, voxel_ml in planes:
        counts = np.bincount(plane.ravel(), minlength=count + 1)
        voxels += counts
        volume += counts * voxel_ml
        bright = np.asarray(values)[box[1:]] > how.calcified_hu
        dense += np.bincount(plane[bright], minlength=count + 1)
        rim = ~ndimage.binary_erosion(inside, iterations=_EDGE)[box[1:]]
        edge += np.bincount(plane[rim], minlength=count + 1)
    calcified = (dense > how.calcified_share * voxels) & (edge == 0) & (volume < how.calcified_ml)
    keep = ~calcified
    keep[0] = False
    return in_place_of(mask, box, keep[labels])
