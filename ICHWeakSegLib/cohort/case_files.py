"""What lies in the folder of a finished case."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.cohort.flags import flags_of
from ICHWeakSegLib.cohort.folders import RESULT_FILE, write_json
from ICHWeakSegLib.cohort.lesions import lesion_rows
from ICHWeakSegLib.cohort.thumbnail import write_thumbnail
from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.output import write_preview, write_result_mask, write_slice_scores

if TYPE_CHECKING:
    from ICHWeakSegLib.cohort.work import Task
    from ICHWeakSegLib.ct.brain_mask import BrainMask
    from ICHWeakSegLib.segment import Result

SEGMENTATION, SLICES, LESIONS = "segmentation.seg.nrrd", "slices.csv", "lesions.csv"
PREVIEW, THUMBNAIL = "preview.png", "thumbnail.jpg"


def write_case_files(folder: Path, result: Result, brain: BrainMask, task: Task) -> None:
    """Write the segmentation, tables, pictures and, last, `result.json`.

    Nothing in them depends on when, where and by how many workers they were made.
    """
    grid = result.grid
    mask = grid.from_native(result.mask)
    counts = np.array([np.count_nonzero(plane) for plane in mask])
    probabilities = [row["probability"] for row in result.slice_scores]
    masks = result.masks if result.subtype_names else result.mask
    write_result_mask(folder / SEGMENTATION, masks, result.ct, result.provenance)
    write_slice_scores(folder / SLICES, result.slice_scores)
    lesions = lesion_rows(result, brain)
    write_rows(folder / LESIONS, lesions, ["lesion", "volume_ml"])
    write_preview(
        folder / PREVIEW,
        grid.hu,
        mask,
        (float(np.median(np.diff(grid.positions_mm))), *grid.spacing_mm),
        probabilities=probabilities,
        slice_ml=(grid.slice_ml * counts).tolist(),
        total_ml=result.volume_ml,
        model=f"{result.provenance['model']} {result.provenance['version']}",
        case=task["id"],
        provenance=result.provenance,
    )
    # The slice that says most: the most blood, else the highest probability.
    shown = int(counts.argmax()) if counts.any() else int(np.argmax(probabilities))
    write_thumbnail(folder / THUMBNAIL, grid.slice_hu(shown), mask[shown], grid.spacing_mm)
    write_json(folder / RESULT_FILE, _facts(result, counts, probabilities, lesions, task))


def _facts(
    result: Result,
    counts: np.ndarray,
    probabilities: Sequence[float],
    lesions: list[dict[str, Any]],
    task: Task,
) -> dict[str, Any]:
    """The result in plain values."""
    subtypes = {name: round(result.ct.volume_ml(mask), 3) for name, mask in result.masks.items()}
    return {
        "case": task["id"],
        "patient": task.get("patient", ""),
        "study": task.get("study", ""),
        "volume_ml": round(result.volume_ml, 3),
        **({"subtypes_ml": subtypes} if result.subtype_names else {}),
        "lesions": lesions,
        "slices": len(counts),
        "positive_slices": np.flatnonzero(result.positive).tolist(),
        "slices_with_blood": np.flatnonzero(counts).tolist(),
        "highest_probability": round(max(probabilities), 4),
        "flags": flags_of(result),
        "warnings": result.warnings,
        "columns": task["columns"],
        "input": task.get("fingerprint", ""),
        "provenance": result.provenance,
        "notice": "For research use only.",
    }


def write_rows(path: Path, rows: Sequence[dict[str, Any]], otherwise: Sequence[str]) -> None:
    """Write a CSV whose columns are those of any row; `otherwise` where there is no row."""
    columns = list(dict.fromkeys(key for row in rows for key in row)) or list(otherwise)
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_text(row.get(column)) for column in columns] for row in rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
