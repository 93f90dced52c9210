"""A cohort from a table: a CSV with a row a case."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

from ICHWeakSegLib.cohort.case import Case, Found, Skipped
from ICHWeakSegLib.cohort.volumes import fingerprint
from ICHWeakSegLib.ct.errors import InputError

OWN_COLUMNS = ("ct", "case", "patient", "series")
# Names of folders on every system, also on Windows.
_ID = re.compile(r"[^\x00-\x1f/\\:*?\"<>|.\s][^\x00-\x1f/\\:*?\"<>|]{0,99}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)


def read_table(path: Path) -> Found:
    """The cases of a CSV.

    Columns: `ct`, a path, relative to the CSV or absolute; and if wanted `case` (the id that outputs are named
    by), `patient`, `series` (DICOM series UID). Further columns are carried on to the results.

    Raises:
        InputError: there is no column `ct`, a row names no CT, or an id can be no folder's name.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [(name or "").strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(
            f"The table {path} cannot be read ({problem}); save it as CSV in UTF-8."
        ) from problem
    if "ct" not in columns:
        have = ", ".join(columns) or "none"
        raise InputError(f"The table {path} needs a column ct with the paths of the CTs; it has {have}.")
    found, seen = Found(), {}
    for line, row in rows:
        values = {name: (row.get(name) or "").strip() for name in columns if name}
        if not any(values.values()):
            continue
        if not values["ct"]:
            raise InputError(f"Line {line} of {path} names no CT: fill in its column ct.")
        name = values.get("case", "")
        # A dot or blank at the end is lost on Windows.
        if name and (not _ID.fullmatch(name) or _RESERVED.fullmatch(name) or name[-1] in ". "):
            raise InputError(
                f"The case {name!r} in line {line} of {path} cannot be the name of a folder: use letters, digits, "
                "- and _."
            )
        source = Path(os.path.abspath(path.parent / Path(values["ct"]).expanduser()))
        series = values.get("series") or None
        key = f"{source}#{series or ''}"
        if key in seen:
            found.skipped.append(
                Skipped(source, f"line {line} of the table repeats a CT of an earlier line", 1, seen[key])
            )
            continue
        further = {name: value for name, value in values.items() if name not in OWN_COLUMNS}
        content = fingerprint(source) if source.is_file() else ""
        case = Case(
            f"table:{name or key}", source, (), series, name, values.get("patient", ""), "", further, content
        )
        seen[key] = case
        found.cases.append(case)
    return found
