"""How well a mask fits the truth: MONAI's metrics with one rule for empty masks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    get_confusion_matrix,
)

from ICHWeakSegLib.refine.components import bounding_box

NAMES = ("dice", "iou", "hd95_mm", "relative_volume", "volume_error_ml", "sensitivity", "precision")
EMPTY_RULE = (
    "Empty masks: where truth and result are both empty, Dice and IoU are 1; where one is, they are 0. "
    "HD95 is undefined unless both hold blood, relative volume difference and voxel sensitivity are undefined "
    "without true blood, precision without found blood; undefined values are left out, and n says how many "
    "were left. The absolute volume error is always defined."
)


def overlap(
    found: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], found_ml: float, truth_ml: float
) -> dict[str, float]:
    """Metrics of a mask, of a slice or a volume.

    Args:
        found, truth: bool, shape (H, W) or (S, H, W).
        spacing_mm: of the array's axes in their order.
        found_ml, truth_ml: volumes; of a slice, those of its voxels.

    Returns:
        By name: `dice`, `iou`, `hd95_mm` (symmetric 95th percentile of the surface distances), `relative_volume`
        ((found - truth) / truth), `volume_error_ml` (absolute), `sensitivity` and `precision` of voxels. NaN
        where undefined, see `EMPTY_RULE`.

    Raises:
        ValueError: the shapes differ.
    """
    if found.shape != truth.shape:
        raise ValueError(f"the mask has shape {found.shape}, the truth {truth.shape}")
    box = bounding_box(found | truth) or (slice(0, 1),) * found.ndim
    one, other = (torch.from_numpy(np.ascontiguousarray(part[box]))[None, None] for part in (found, truth))
    one, other = one.float(), other.float()
    counts = get_confusion_matrix(one, other)
    both = bool(one.any()) and bool(other.any())
    distance = float("nan")
    if both:
        with warnings.catch_warnings():
            # MONAI's call of itself, none of the user's business.
            warnings.simplefilter("ignore", FutureWarning)
            distance = compute_hausdorff_distance(
                one, other, include_background=True, percentile=95, spacing=[float(mm) for mm in spacing_mm]
            ).item()
    nan = float("nan")
    return {
        "dice": compute_dice(one, other, ignore_empty=False).item(),
        "iou": compute_iou(one, other, ignore_empty=False).item(),
        "hd95_mm": distance,
        "relative_volume": (found_ml - truth_ml) / truth_ml if truth.any() else nan,
        "volume_error_ml": abs(found_ml - truth_ml),
        "sensitivity": _rate("sensitivity", counts) if truth.any() else nan,
        "precision": _rate("precision", counts) if found.any() else nan,
    }


def _rate(name: str, counts: torch.Tensor) -> float:
    return compute_confusion_matrix_metric(name, counts).item()
