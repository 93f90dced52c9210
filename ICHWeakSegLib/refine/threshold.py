"""Masks from the map alone: a fixed threshold, or Otsu's."""

from __future__ import annotations

import numpy as np


def refine_threshold(maps: np.ndarray, brain: np.ndarray, threshold: float) -> np.ndarray:
    """Map >= threshold inside the brain, as HGI-SAM does.

    Args:
        maps: 0-1, shape (S, H, W); a slice of zeros gives an empty mask.
        brain: bool, same shape.
        threshold: 0-1.
    """
    return (maps >= max(threshold, np.finfo(np.float32).tiny)) & brain


def refine_otsu(maps: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Otsu's threshold (SimpleITK) of each slice's map inside the brain; shapes as `refine_threshold`."""
    import SimpleITK as sitk

    mask = np.zeros(maps.shape, bool)
    for plane, inside, out in zip(maps, brain, mask, strict=True):
        values = plane[inside]
        if values.size and values.max() > values.min():
            image = sitk.GetImageFromArray(values[None].astype(np.float32))
            cut = sitk.OtsuThresholdImageFilter()
            cut.Execute(image)
            out |= inside & (plane > cut.GetThreshold())
    return mask
