"""Masks from the map alone: a fixed threshold, or Otsu's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# A stack (S, H, W), or its planes one by one; thin slices that share a map repeat the same plane.
Planes = np.ndarray | Sequence[np.ndarray]


def refine_threshold(maps: Planes, brain: Planes, threshold: float) -> np.ndarray:
    """Map >= threshold inside the brain, as HGI-SAM does.

    Args:
        maps: 0-1, S planes of shape (H, W); a plane of zeros gives an empty mask, whatever the threshold.
        brain: bool, same shape.
        threshold: 0-1.

    Returns:
        bool mask (S, H, W).
    """
    return np.stack(
        [(plane >= threshold) & (plane > 0) & inside for plane, inside in zip(maps, brain, strict=True)]
    )


def refine_otsu(maps: Planes, brain: Planes) -> np.ndarray:
    """Otsu's threshold (SimpleITK) of each plane's map inside the brain; arguments as `refine_threshold`."""
    import SimpleITK as sitk

    masks = []
    for plane, inside in zip(maps, brain, strict=True):
        values = plane[inside]
        if values.size and values.max() > values.min():
            cut = sitk.OtsuThresholdImageFilter()
            cut.Execute(sitk.GetImageFromArray(values[None].astype(np.float32)))
            masks.append(inside & (plane > cut.GetThreshold()))
        else:
            masks.append(np.zeros(inside.shape, bool))
    return np.stack(masks)
