"""Lesion by lesion: which were found, and which of those found are false."""

from __future__ import annotations

import numpy as np

from ICHWeakSegLib.refine.components import bounding_box, label


def lesion_rows(found: np.ndarray, truth: np.ndarray, slice_ml: np.ndarray) -> list[dict[str, float | str]]:
    """Every lesion of both masks; a lesion is a 26-connected component.

    A true lesion is hit when one voxel of it was found, a found one when one voxel of it is true; a found
    lesion that is not hit is false.

    Args:
        found, truth: bool, shape (S, H, W).
        slice_ml: volume of a voxel of each slice in mL, shape (S,).

    Returns:
        Rows of `kind` (`true` or `found`), `lesion` (from 1), `volume_ml`, `hit` (0 or 1) and `covered` (share
        of its voxels that the other mask holds).
    """
    return [*_of("true", truth, found, slice_ml), *_of("found", found, truth, slice_ml)]


def _of(kind: str, mask: np.ndarray, other: np.ndarray, slice_ml: np.ndarray) -> list[dict[str, float | str]]:
    box = bounding_box(mask)
    if box is None:
        return []
    labels, count = label(mask[box])
    voxels, volume = np.zeros(count + 1), np.zeros(count + 1)
    for plane, voxel_ml in zip(labels, np.asarray(slice_ml)[box[0]], strict=True):
        in_plane = np.bincount(plane.ravel(), minlength=count + 1)
        voxels += in_plane
        volume += in_plane * voxel_ml
    shared = np.bincount(labels[other[box]].ravel(), minlength=count + 1)
    return [
        {
            "kind": kind,
            "lesion": number,
            "volume_ml": float(volume[number]),
            "hit": int(shared[number] > 0),
            "covered": float(shared[number] / voxels[number]),
        }
        for number in range(1, count + 1)
    ]
