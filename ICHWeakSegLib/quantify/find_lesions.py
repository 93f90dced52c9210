"""Lesions: 26-connected components of all blood together, the largest first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.refine.components import bounding_box, label


def find_lesions(ct: CT, masks: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[int], np.ndarray]:
    """Label the lesions of all masks together.

    Args:
        ct: the CT.
        masks: nonzero is blood, shape (K, J, I).

    Returns:
        Labels, shape (K, J, I), or (0, 0, 0) without blood; the labels from the largest lesion to the smallest; mL
        by label, 0 for label 0.
    """
    blood = np.zeros(ct.hu.shape, bool)
    for mask in masks.values():
        blood |= np.asarray(mask) != 0
    box = bounding_box(blood)
    if box is None:
        return np.zeros((0, 0, 0), np.uint16), [], np.zeros(1)
    part, count = label(blood[box])
    del blood
    volumes = np.zeros(count + 1)
    for plane, voxel_ml in zip(part, ct.slice_voxel_ml()[box[0]], strict=True):
        volumes += np.bincount(plane.ravel(), minlength=count + 1) * voxel_ml
    volumes[0] = 0
    # Pages that nothing is written to take no memory.
    labels = np.zeros(ct.hu.shape, part.dtype)
    labels[box] = part
    order = sorted(range(1, count + 1), key=lambda number: (-volumes[number], number))
    return labels, order, volumes
