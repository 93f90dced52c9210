"""The tables of a batch: results, lesions, failures, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ICHWeakSegLib.cohort.case_files import write_rows

RESULTS, LESIONS, FAILED, SKIPPED = "results.csv", "lesions.csv", "failed.csv", "skipped.csv"
IDENTIFIERS = "identifiers.csv"
_RESULT_COLUMNS = ("case", "patient", "study", "volume_ml", "lesions", "slices", "positive_slices")


def result_row(result: Mapping[str, Any]) -> dict[str, Any]:
    """One row of `results.csv` of a case's `result.json`."""
    made = result["provenance"]
    row = {
        "case": result["case"],
        "patient": result["patient"],
        "study": result["study"],
        "volume_ml": result["volume_ml"],
        **{f"{name.lower()}_ml": volume for name, volume in result.get("subtypes_ml", {}).items()},
        "lesions": len(result["lesions"]),
        "slices": result["slices"],
        "positive_slices": len(result["positive_slices"]),
        "slices_with_blood": len(result["slices_with_blood"]),
        "highest_probability": result["highest_probability"],
        "slice_threshold": made["slice_threshold"],
        "flags": "; ".join(result["flags"]),
        "warnings": " ".join(result["warnings"]),
        "model": made["model"],
        "version": made["version"],
        "sha256": made["sha256"][:12],
        "device": made["device"],
    }
    # A caller's column may be called as one of ours.
    carried = {
        name if name not in row else f"input_{name}": value for name, value in result["columns"].items()
    }
    return {**row, **carried}


def write_tables(
    output: Path, results: Sequence[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]
) -> None:
    """Write `results.csv`, `lesions.csv` and `failed.csv`, each in the order of the cases' names."""
    write_rows(output / RESULTS, [result_row(result) for result in results], _RESULT_COLUMNS)
    lesions = [{"case": result["case"], **row} for result in results for row in result["lesions"]]
    write_rows(output / LESIONS, lesions, ["case", "lesion", "volume_ml"])
    rows = [
        {"case": part["case"], "sentence": part["sentence"], **part.get("columns", {})} for part in failures
    ]
    write_rows(output / FAILED, rows, ["case", "sentence"])


def write_skipped(output: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write what was left out and why."""
    write_rows(output / SKIPPED, list(rows), ["files", "reason", "copy_of", "place"])
