"""Connected lesions in a stack of slices."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# A lesion is a 26-connected component.
NEIGHBOURS = np.ones((3, 3, 3), bool)


def remove_specks(mask: np.ndarray, slice_ml: np.ndarray, smallest_ml: float) -> np.ndarray:
    """Drop lesions (26-connected components) below a volume.

    Args:
        mask: bool, shape (S, H, W).
        slice_ml: volume of a voxel of each slice in mL, shape (S,).
        smallest_ml: smallest volume that stays.
    """
    labels, count = ndimage.label(mask, NEIGHBOURS)
    if not count or smallest_ml <= 0:
        return mask
    volume = np.zeros(count + 1)
    for plane, voxel_ml in zip(labels, slice_ml, strict=True):
        volume += np.bincount(plane.ravel(), minlength=count + 1) * voxel_ml
    keep = volume >= smallest_ml
    keep[0] = False
    return keep[labels]


def touching(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The components of `mask`, shape (S, H, W), that hold a voxel of `seeds`."""
    labels, count = ndimage.label(mask, NEIGHBOURS)
    keep = np.zeros(count + 1, bool)
    keep[np.unique(labels[seeds & mask])] = True
    keep[0] = False
    return keep[labels]


def count_lesions(mask: np.ndarray) -> int:
    """Number of lesions (26-connected components) of a mask (S, H, W)."""
    return int(ndimage.label(mask, NEIGHBOURS)[1])
