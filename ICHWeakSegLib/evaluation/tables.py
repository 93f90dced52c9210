"""The measurements as CSV, one file a level, and their provenance as JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.evaluation.run import Measured

FILES = {"slices.csv": "slices", "patients.csv": "case", "lesions.csv": "lesions"}
_FIRST = ("system", "model", "sha256", "case", "patient")
_LESION = ("gating", "kind", "lesion", "volume_ml", "hit", "covered")


def write_tables(folder: Path, measured: Sequence[Measured]) -> list[Path]:
    """Write `slices.csv`, `patients.csv` (a row a CT) and `lesions.csv`; blank is unknown or undefined."""
    written = []
    for name, level in FILES.items():
        rows = []
        for part in measured:
            for row in part.rows(level):
                card = part.system.package(row["patient"]).card
                sha256 = card.weights.sha256[:12] if card.weights else ""
                rows.append({"system": part.system.name, "model": card.name, "sha256": sha256, **row})
        columns = list(dict.fromkeys(key for row in rows for key in row)) or [*_FIRST, *_LESION]
        path = folder / name
        with (
            atomic_path(path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_text(row.get(column, "")) for column in columns] for row in rows)
        written.append(path)
    return written


def write_provenance(path: Path, facts: dict[str, Any]) -> None:
    """Write the provenance as JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False),
            encoding="utf-8",
            errors="backslashreplace",
        )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
