"""What `segment` found, in plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ICHWeakSegLib.segment import Result


def result_facts(result: Result) -> dict[str, Any]:
    """Volumes in mL, slices (0-based, from inferior), warnings and provenance of a result: plain JSON values."""
    subtypes = {name: round(result.ct.volume_ml(mask), 3) for name, mask in result.masks.items()}
    return {
        "volume_ml": round(result.volume_ml, 3),
        **({"subtypes_ml": subtypes} if result.subtype_names else {}),
        "slices": len(result.slice_scores),
        "positive_slices": np.flatnonzero(result.positive).tolist(),
        "slices_with_blood": np.flatnonzero(blood_voxels(result.grid.from_native(result.mask))).tolist(),
        "highest_probability": round(max(row["probability"] for row in result.slice_scores), 4),
        "warnings": result.warnings,
        "provenance": result.provenance,
        "notice": "For research use only.",
    }


def blood_voxels(mask: np.ndarray) -> np.ndarray:
    """Voxels with blood on each slice, shape (S,), of a mask (S, H, W)."""
    return np.array([np.count_nonzero(plane) for plane in mask])
