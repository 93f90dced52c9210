"""Admission fields of one patient from a JSON object or a row of a CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.clinical import FIELDS, MISSING, Clinical
from ICHWeakSegLib.prognosis.cohort_table import COLUMNS
from ICHWeakSegLib.prognosis.leakage import known_later, plain
from ICHWeakSegLib.prognosis.score_facts import NAMES, ScoreFacts

_MOST_BYTES = 50_000_000


@dataclass(frozen=True)
class Admission:
    """What is known of a patient on admission.

    Attributes:
        clinical: the fields.
        facts: further inputs of the scores.
        leaked: fields known only later that the model learned from, name to text.
        warnings: sentences for the user.
    """

    clinical: Clinical
    facts: ScoreFacts
    leaked: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_admission(
    path: str | Path | None,
    given: Mapping[str, Any] | None = None,
    case: str | None = None,
    leaks: Sequence[str] = (),
) -> Admission:
    """Fields of a file, those given beside it first.

    Args:
        path: `.json` with one object, or `.csv` with the columns of a cohort; None without a file.
        given: fields that take the place of the file's, None where not given.
        case: which row of a CSV with several, by its column `case`.
        leaks: fields known only after admission that the model learned from; others of that kind are not used.

    Raises:
        InputError: the file cannot be read, has no such row or a field that there is not, or a value is wrong.
    """
    row: dict[str, Any] = {}
    where = ""
    if path is not None:
        path = Path(path).expanduser()
        row, where = _read(path, case)
    elif case is not None:
        raise InputError("--case chooses a row of the CSV of --clinical: give one, or leave it out.")
    known = [*(known.name for known in FIELDS), *NAMES]
    over = {name: value for name, value in (given or {}).items() if value is not None}
    # The file's other fields, in the file's own words; what was typed has no file to name.
    file_part = {name: value for name, value in row.items() if name not in over}
    clinical = Clinical(
        **{
            **{name: value for name, value in _values(Clinical.from_fields(file_part, where)).items()},
            **_values(Clinical.from_fields(over)),
        }
    )
    facts = ScoreFacts.from_fields({name: {**row, **over}.get(name) for name in NAMES}, where)
    leaked = {
        name: str(row[name]) for name in leaks if str(row.get(name) or "").strip().lower() not in MISSING
    }
    unused = [name for name in row if name not in (*known, *COLUMNS, *leaks)]
    warnings = [f"{path}: {', '.join(unused)} is not known and was not used."] if unused else []
    return Admission(clinical, facts, leaked, tuple(warnings))


def _values(clinical: Clinical) -> dict[str, Any]:
    return {name: value for name, value in clinical.to_dict().items() if value not in (None, "")}


def _read(path: Path, case: str | None) -> tuple[dict[str, Any], str]:
    """The fields by plain name, and where they stand."""
    if not path.is_file():
        raise InputError(f"There is no file {path}: give a JSON or CSV of admission fields.")
    ending = path.suffix.lower()
    if ending not in (".json", ".csv") or path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path} is no .json or .csv of admission fields: give one.")
    if ending == ".csv":
        return _csv_row(path, case)
    if case is not None:
        raise InputError(f"--case chooses a row of a CSV, and {path} is a JSON: leave it out.")
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as problem:
        raise InputError(f"{path} cannot be read as JSON ({problem}): correct it.") from problem
    if not isinstance(found, dict):
        raise InputError(f'{path} must hold one JSON object such as {{"age": 71, "gcs": 9}}.')
    row = {plain(str(name)): value for name, value in found.items()}
    for name in row:
        # In a cohort's CSV other columns are usual; in a file written for this they are a mistake.
        if name not in COLUMNS and known_later(name) is None:
            names = ", ".join([*(known.name for known in FIELDS), *NAMES])
            raise InputError(f"{path}: there is no field {name}; the fields are {names}.")
    return row, str(path)


def _csv_row(path: Path, case: str | None) -> tuple[dict[str, Any], str]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [
                (reader.line_num, {plain(k): (v or "").strip() for k, v in row.items() if k is not None})
                for row in reader
                if any((value or "").strip() for key, value in row.items() if key is not None)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(
            f"{path} cannot be read as a CSV in UTF-8 ({problem}): save it as such."
        ) from problem
    if case is not None:
        rows = [(line, row) for line, row in rows if row.get("case") == case]
    if len(rows) != 1:
        found = f"no row of the case {case}" if case is not None and not rows else f"{len(rows)} rows"
        raise InputError(f"{path} has {found}: name one with --case.")
    line, row = rows[0]
    return row, f"{path}, line {line}"
