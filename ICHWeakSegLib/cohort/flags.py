"""What somebody who checks a cohort should look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.ct.geometry import TILT_WARNING_DEG, tilt_deg

if TYPE_CHECKING:
    from ICHWeakSegLib.segment import Result

THICK_MM = 6.0
# The odds of a case's highest slice lie within this factor of the threshold's odds.
CLOSE_ODDS = 2.0
FLAGS = {
    "failed": "no result",
    "uncertain": "highest slice probability close to the threshold (odds within a factor of 2)",
    "no blood": "nothing was segmented",
    "tilt": f"gantry tilt above {TILT_WARNING_DEG:g} degrees",
    "thick slices": f"slices more than {THICK_MM:g} mm apart",
    "uneven slices": "slice distances differ",
    "warnings": "the run has said something about this case",
}


def flags_of(result: Result) -> list[str]:
    """The flags of a result, in the order of `FLAGS`."""
    highest = max(row["probability"] for row in result.slice_scores)
    steps = np.diff(result.grid.positions_mm)
    raised = {
        "uncertain": close(highest, float(result.provenance["slice_threshold"])),
        "no blood": not result.mask.any(),
        "tilt": tilt_deg(result.ct.ijk_to_ras) > TILT_WARNING_DEG,
        "thick slices": len(steps) > 0 and float(np.median(steps)) > THICK_MM,
        "uneven slices": result.ct.slice_positions_mm is not None,
        "warnings": bool(result.warnings),
    }
    return [flag for flag in FLAGS if raised.get(flag)]


def close(probability: float, threshold: float) -> bool:
    """Whether a probability is close to a threshold, by their odds."""
    low, high = 1e-9, 1 - 1e-9
    odds = [part / (1 - part) for part in np.clip([probability, threshold], low, high)]
    return bool(1 / CLOSE_ODDS <= odds[0] / odds[1] <= CLOSE_ODDS)
