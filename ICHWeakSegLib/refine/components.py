"""Connected lesions in a stack of slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.bounding_box import bounding_box

# A lesion is a 26-connected component.
NEIGHBOURS = np.ones((3, 3, 3), bool)


def remove_specks(mask: np.ndarray, slice_ml: np.ndarray, smallest_ml: float) -> np.ndarray:
    """Drop lesions (26-connected components) below a volume.

    Args:
        mask: bool, shape (S, H, W).
        slice_ml: volume of a voxel of each slice in mL, shape (S,).
        smallest_ml: smallest volume that stays.

    Returns:
        bool mask (S, H, W); `mask` itself where nothing is to be dropped.
    """
    box = bounding_box(mask)
    if box is None or smallest_ml <= 0:
        return mask
    labels, count = label(mask[box])
    volume = np.zeros(count + 1)
    for plane, voxel_ml in zip(labels, np.asarray(slice_ml)[box[0]], strict=True):
        volume += np.bincount(plane.ravel(), minlength=count + 1) * voxel_ml
    keep = volume >= smallest_ml
    keep[0] = False
    return in_place_of(mask, box, keep[labels])


def touching(mask: np.ndarray, seeds: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The components of `mask`, shape (S, H, W), that hold a voxel of `seeds`, S planes of shape (H, W)."""
    box = bounding_box(mask)
    if box is None:
        return mask
    labels, count = label(mask[box])
    keep = np.zeros(count + 1, bool)
    for plane, seed in zip(labels, seeds[box[0]], strict=True):
        keep[plane[seed[box[1:]]]] = True
    keep[0] = False
    return in_place_of(mask, box, keep[labels])


def count_lesions(mask: np.ndarray) -> int:
    """Number of lesions (26-connected components) of a mask (S, H, W)."""
    box = bounding_box(mask)
    return 0 if box is None else label(mask[box])[1]


def label(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the lesions of a mask (S, H, W) from 1 on, and count them; in two bytes a voxel where that does."""
    try:
        labels = np.empty(mask.shape, np.uint16)
        return labels, int(ndimage.label(mask, NEIGHBOURS, output=labels))
    except RuntimeError:  # more than 65535 of them
        labels, count = ndimage.label(mask, NEIGHBOURS)
        return labels, int(count)


def in_place_of(mask: np.ndarray, box: tuple[slice, ...], part: np.ndarray) -> np.ndarray:
    """A mask of the shape of `mask` that holds `part` in the box and nothing elsewhere."""
    whole = np.zeros(mask.shape, bool)
    whole[box] = part
    return whole
