"""Rows of measurements as CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ICHWeakSegLib.ct.atomic import atomic_path


def write_rows(path: str | Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> Path:
    """Write rows as CSV; without rows, the names of the columns alone.

    Args:
        path: target, `.csv`.
        rows: mappings with the columns as keys; None becomes an empty field.
        columns: in their order.

    Raises:
        ValueError: a row with other columns.
        InputError: the file cannot be written.
    """
    path = Path(path)
    with (
        atomic_path(path) as temporary,
        Path(temporary).open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
