"""Writing the probabilities of all slices as a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from ICHWeakSegLib.ct.atomic import atomic_path


def write_slice_scores(path: str | Path, rows: Iterable[Mapping[str, float]]) -> Path:
    """Write a CSV with one line a slice, from inferior to superior.

    Args:
        path: target, `.csv`.
        rows: mappings with `slice` (index from inferior), `probability` (0-1) and, where the model has
            classes, one entry a class; all rows have the same keys. Rows may come in any order.

    Raises:
        ValueError: rows of different keys, or without `slice` and `probability`.
    """
    table = sorted((dict(row) for row in rows), key=lambda row: row.get("slice", 0))
    first = table[0] if table else {"slice": 0, "probability": 0}
    columns = ["slice", "probability", *(key for key in first if key not in ("slice", "probability"))]
    for row in table:
        if set(row) != set(columns):
            raise ValueError(f"A row of scores has {sorted(row)}, expected {columns}.")
    path = Path(path)
    with (
        atomic_path(path) as temporary,
        Path(temporary).open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        for row in table:
            writer.writerow([int(row["slice"]), *(f"{float(row[column]):.6f}" for column in columns[1:])])
    return path
