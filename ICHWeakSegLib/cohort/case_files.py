"""What lies in the folder of a finished case."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.cohort.flags import flags_of
from ICHWeakSegLib.cohort.folders import RESULT_FILE, write_json
from ICHWeakSegLib.cohort.thumbnail import write_thumbnail
from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.output import (
    blood_voxels,
    result_facts,
    write_result_mask,
    write_result_preview,
    write_slice_scores,
)
from ICHWeakSegLib.quantify import measure

if TYPE_CHECKING:
    from ICHWeakSegLib.cohort.work import Task
    from ICHWeakSegLib.segment import Result

SEGMENTATION, SLICES, LESIONS = "segmentation.seg.nrrd", "slices.csv", "lesions.csv"
PREVIEW, THUMBNAIL = "preview.png", "thumbnail.jpg"


def write_case_files(folder: Path, result: Result, task: Task) -> None:
    """Write the segmentation, tables, pictures and, last, `result.json`.

    Nothing in them depends on when, where and by how many workers they were made.
    """
    grid = result.grid
    mask = grid.from_native(result.mask)
    counts = blood_voxels(mask)
    masks = result.masks if result.subtype_names else result.mask
    write_result_mask(folder / SEGMENTATION, masks, result.ct, result.provenance)
    write_slice_scores(folder / SLICES, result.slice_scores)
    lesions = measure(result.ct, result.masks, brain=result.head.brain).rows()
    write_rows(folder / LESIONS, lesions, ["lesion", "volume_ml"])
    write_result_preview(folder / PREVIEW, result, task["id"])
    # The slice that says most: the most blood, else the highest probability.
    best = counts if counts.any() else [row["probability"] for row in result.slice_scores]
    shown = int(np.argmax(best))
    write_thumbnail(folder / THUMBNAIL, grid.slice_hu(shown), mask[shown], grid.spacing_mm)
    facts = {
        "case": task["id"],
        "patient": task.get("patient", ""),
        "study": task.get("study", ""),
        **result_facts(result),
        "lesions": lesions,
        "flags": flags_of(result),
        "columns": task["columns"],
        "input": task.get("fingerprint", ""),
    }
    write_json(folder / RESULT_FILE, facts)


def write_rows(path: Path, rows: Sequence[dict[str, Any]], otherwise: Sequence[str]) -> None:
    """Write a CSV whose columns are those of any row; `otherwise` where there is no row."""
    columns = list(dict.fromkeys(key for row in rows for key in row)) or list(otherwise)
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_text(row.get(column)) for column in columns] for row in rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
