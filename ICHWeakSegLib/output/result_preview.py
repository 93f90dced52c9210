"""The picture of what `segment` found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.output.facts import blood_voxels
from ICHWeakSegLib.output.preview import write_preview

if TYPE_CHECKING:
    from ICHWeakSegLib.segment import Result


def write_result_preview(path: str | Path, result: Result, case: str) -> Path:
    """Montage of a result as the networks saw the CT: axial, radiological view.

    Args:
        path: target, `.png`.
        result: of `segment`.
        case: what was segmented, for the title; no patient's identity.
    """
    grid = result.grid
    mask = grid.from_native(result.mask)
    return write_preview(
        path,
        grid.hu,
        mask,
        (float(np.median(np.diff(grid.positions_mm))), *grid.spacing_mm),
        probabilities=[row["probability"] for row in result.slice_scores],
        slice_ml=(grid.slice_ml * blood_voxels(mask)).tolist(),
        total_ml=result.volume_ml,
        model=f"{result.provenance['model']} {result.provenance['version']}",
        case=case,
        provenance=result.provenance,
    )
