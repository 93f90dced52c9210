"""What to measure on: cases from a CSV or from a folder laid out as cohorts for training are."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.read import VOLUME_ENDINGS
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.evaluation.boxes import Box, read_boxes
from ICHWeakSegLib.training.cases import CLASSES, Case, read_cohort

SUBTYPES = CLASSES[1:]
_ALIASES = {
    "any": ("any",),
    "EDH": ("edh", "epidural"),
    "IPH": ("iph", "intraparenchymal"),
    "IVH": ("ivh", "intraventricular"),
    "SAH": ("sah", "subarachnoid"),
    "SDH": ("sdh", "subdural"),
}
_SUBTYPE_OF = {alias: name for name in SUBTYPES for alias in _ALIASES[name]}
_MASK_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha")
_CT_ENDINGS = (*VOLUME_ENDINGS, ".zip", ".dcm")


@dataclass
class EvalCase:
    """One CT with whatever is known about it.

    Attributes:
        name: unique.
        patient: intervals and tests draw patients, not CTs.
        read: gives the CT.
        labels: (S, 6) in the order of `CLASSES`, axial slices from inferior to superior, NaN unknown; None
            where only the mask or the case as a whole tells.
        blood: whether the case shows blood at all; None where labels or mask tell.
        subtypes: of the case, where its slices do not tell.
        mask: file with the true mask.
        boxes: by axial slice.
        numbers: what the source calls the axial slices; None: 0, 1, ...
        files: decide whether a stored measurement still holds.
    """

    name: str
    patient: str
    read: Callable[[], CT]
    labels: np.ndarray | None = None
    blood: bool | None = None
    subtypes: tuple[str, ...] = ()
    mask: Path | None = None
    boxes: dict[int, list[Box]] = field(default_factory=dict)
    numbers: list[int] | None = None
    files: tuple[Path, ...] = ()

    def fingerprint(self) -> str:
        """Changes when the CT, the mask, a label or a box does."""
        facts: list[object] = [self.name, self.patient, self.blood, self.subtypes, sorted(self.boxes.items())]
        facts += [None if self.labels is None else self.labels.tolist(), self.numbers]
        for path in (*self.files, *([self.mask] if self.mask else [])):
            stat = path.stat()
            facts.append((path.name, stat.st_size, stat.st_mtime_ns))
        return hashlib.sha256(repr(facts).encode()).hexdigest()


def read_cases(
    source: str | Path, labels: str | Path | None = None, boxes: str | Path | None = None
) -> list[EvalCase]:
    """List the cases of a CSV or a folder.

    - CSV: a row a case, or a row a slice where it has the columns `slice` and `any`. Columns, in any order:
      `ct` (path), and if known `case`, `patient`, `mask` (path), `labels` (path of a CSV `slice,any,...`),
      `boxes` (path of a CSV `slice,x0,y0,x1,y1`), `subtype` (EDH, epidural, ...; several with `;`), `any` (0 or
      1: of the case, or of the slice). Paths are relative to the CSV. Slices count from 0, the most inferior.
    - folder: as `training.cases.read_cohort`; `boxes.csv` and, for volumes, a folder `masks` with files
      named as the CTs are used where they are there.

    Args:
        labels, boxes: of a folder, where they lie elsewhere.

    Raises:
        InputError: a file is missing or contradicts the layout.
    """
    source = Path(source).expanduser()
    if source.is_dir():
        cases = _folder(source, labels, boxes)
    elif source.is_file() and source.suffix.lower() == ".csv":
        if labels or boxes:
            raise InputError(
                f"{source} names labels and boxes in its columns: leave out --labels and --boxes."
            )
        cases = _table(source)
    else:
        raise InputError(f"{source} is neither a CSV of cases nor a folder: check the path.")
    return cases


def _folder(folder: Path, labels: str | Path | None, boxes: str | Path | None) -> list[EvalCase]:
    # Boxes that lie beside the only label table must not make it look like one of two.
    table = labels or label_table(folder)
    cohort = read_cohort(folder, table)
    drawn = Path(boxes) if boxes else folder / "boxes.csv"
    if boxes and not drawn.is_file():
        raise InputError(f"There are no boxes {drawn}: check the path.")
    found = _keyed_boxes(drawn) if drawn.is_file() else {}
    return [_of_cohort(case, folder, found) for case in cohort]


def label_table(folder: Path) -> Path | None:
    """The only CSV of a cohort's folder besides `boxes.csv`; None where `read_cohort` has to decide."""
    tables = [path for path in sorted(folder.glob("*.csv")) if path.name != "boxes.csv"]
    return tables[0] if len(tables) == 1 else None


def _keyed_boxes(path: Path) -> dict[str, dict[int, list[Box]]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        columns = [name.strip().lower() for name in next(csv.reader(file), [])]
    key = next((name for name in ("case", "volume", "patient") if name in columns), None)
    if key is None:
        raise InputError(f"{path} does not say whose boxes they are: add a column patient, volume or case.")
    by_key: dict[str, dict[int, list[Box]]] = {}
    for (owner, number), boxes in read_boxes(path, key).items():
        by_key.setdefault(_plain(owner), {})[number] = boxes
    return by_key


def _plain(name: str) -> str:
    # 7 and 007 are one patient.
    return str(int(name)) if name.isdecimal() else name


def _of_cohort(case: Case, folder: Path, boxes: dict[str, dict[int, list[Box]]]) -> EvalCase:
    # What the three layouts read from tells their files and how they call their slices.
    kind, arguments = case.read.func.__name__, case.read.args
    numbers, files, mask = None, (), None
    if kind == "read_slice_pairs":
        numbers = list(arguments[2])
        files = (folder / "brain",)
    elif kind == "read_files":
        files = tuple(arguments[0])
    else:
        files = (arguments[0],)
        mask = _beside(folder / "masks", case.name)
    owners = (case.name, case.patient) if kind != "read_slice_pairs" else (case.patient,)
    mine = next((boxes[_plain(owner)] for owner in owners if _plain(owner) in boxes), {})
    return EvalCase(
        case.name,
        case.patient,
        case.read,
        case.labels,
        mask=mask,
        boxes=_by_index(mine, numbers, len(case.labels), case.name),
        numbers=numbers,
        files=files,
    )


def _beside(folder: Path, name: str) -> Path | None:
    bare = re.sub("|".join(re.escape(ending) + "$" for ending in _CT_ENDINGS), "", name)
    return next((path for ending in _MASK_ENDINGS if (path := folder / (bare + ending)).is_file()), None)


def _by_index(
    boxes: dict[int, list[Box]], numbers: list[int] | None, count: int | None, name: str
) -> dict[int, list[Box]]:
    """Boxes by axial slice instead of by the source's number."""
    index = {number: place for place, number in enumerate(numbers)} if numbers else None
    found = {}
    for number, drawn in boxes.items():
        place = index.get(number) if index is not None else number
        if place is None or place < 0 or (count is not None and place >= count):
            raise InputError(f"A box lies on slice {number} of {name}, which has no such slice.")
        found[place] = drawn
    return found


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line numbers; blank ones are left out."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [
                (line, {k.strip().lower(): (v or "").strip() for k, v in row.items() if k is not None})
                for line, row in enumerate(csv.DictReader(file), start=2)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"{path} cannot be read as a CSV in UTF-8 ({problem}).") from problem
    rows = [(line, row) for line, row in rows if any(row.values())]
    if not rows:
        raise InputError(f"{path} has no rows.")
    return rows


def _table(path: Path) -> list[EvalCase]:
    rows = _read_rows(path)
    columns = set(rows[0][1])
    if "ct" not in columns:
        raise InputError(
            f"{path} needs a column ct with the path of each CT; it has {', '.join(sorted(columns))}."
        )
    groups: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line, row in rows:
        if not row["ct"]:
            raise InputError(f"{path}, line {line}: the path of the CT is missing.")
        groups.setdefault(row.get("case") or row["ct"], []).append((line, row))
    by_slice = {"slice", "any"} <= columns
    cases = []
    for name, group in groups.items():
        if len(group) > 1 and not by_slice:
            raise InputError(f"{path}, line {group[1][0]}: the case {name} is named twice.")
        cases.append(_row(path, name, group, by_slice))
    return cases


def _row(path: Path, name: str, group: list[tuple[int, dict[str, str]]], by_slice: bool) -> EvalCase:
    line, first = group[0]
    for later, row in group[1:]:
        for column in ("ct", "mask", "patient", "labels", "boxes"):
            if row.get(column, "") != first.get(column, ""):
                raise InputError(f"{path}, line {later}: {column} of {name} differs from line {line}.")
    ct, mask, table, drawn = (
        _existing(path, line, first, column) for column in ("ct", "mask", "labels", "boxes")
    )
    labels, blood = None, None
    if table is not None:
        labels = slice_labels([row for row in _read_rows(table) if _belongs(row[1], name, ct)], table, name)
    elif by_slice and any(row["slice"] for _, row in group):
        labels = slice_labels(group, path, name)
    elif first.get("any"):
        blood = _label(first, "any", path, line) == 1
    subtypes = _subtypes(first, path, line) if not by_slice else ()
    boxes = {}
    if drawn is not None:
        found = _owned_boxes(drawn, name, ct)
        boxes = _by_index(found, None, None if labels is None else len(labels), name)
    return EvalCase(
        name,
        _plain(first.get("patient") or name),
        partial(_read_ct, ct),
        labels,
        blood,
        subtypes,
        mask,
        boxes,
        files=(ct,),
    )


def _existing(path: Path, line: int, row: dict[str, str], column: str) -> Path | None:
    if not row.get(column):
        return None
    wanted = Path(row[column]).expanduser()
    wanted = wanted if wanted.is_absolute() else path.parent / wanted
    if not wanted.exists():
        raise InputError(f"{path}, line {line}, column {column}: there is no {wanted}.")
    return wanted


def _belongs(row: dict[str, str], name: str, ct: Path) -> bool:
    owner = next((row[column] for column in ("case", "volume") if column in row), None)
    return owner is None or owner in (name, ct.name)


def _owned_boxes(path: Path, name: str, ct: Path) -> dict[int, list[Box]]:
    columns = _read_rows(path)[0][1]
    key = next((column for column in ("case", "volume") if column in columns), "")
    return {
        number: boxes
        for (owner, number), boxes in read_boxes(path, key).items()
        if not key or owner in (name, ct.name)
    }


def slice_labels(rows: Iterable[tuple[int, dict[str, str]]], path: Path, name: str) -> np.ndarray:
    """Labels (S, 6) from rows with the columns `slice`, `any` and subtypes, each with its line number.

    Raises:
        InputError: a value is no label, or the slices are not 0 to S - 1, each once.
    """
    found: dict[int, list[float]] = {}
    for line, row in rows:
        text = row.get("slice", "")
        if not text.isdecimal():
            raise InputError(f"{path}, line {line}, column slice: {text!r} is no whole number.")
        if int(text) in found:
            raise InputError(f"{path}, line {line}: slice {text} of {name} is named twice.")
        found[int(text)] = [_label(row, kind, path, line) for kind in CLASSES]
    if not found:
        raise InputError(f"{path} has no labels of {name}.")
    if sorted(found) != list(range(len(found))):
        raise InputError(f"{path}: the slices of {name} must be numbered 0 to {len(found) - 1}, each once.")
    return np.array([found[number] for number in range(len(found))], np.float32)


def _label(row: dict[str, str], kind: str, path: Path, line: int) -> float:
    column = next((alias for alias in _ALIASES[kind] if alias in row), None)
    text = row[column] if column else ""
    if text not in ("", "0", "1", "0.0", "1.0"):
        raise InputError(f"{path}, line {line}, column {column}: a label is 0 or 1, not {text!r}.")
    return float(text) if text else float("nan")


def _subtypes(row: dict[str, str], path: Path, line: int) -> tuple[str, ...]:
    names = []
    for text in re.split(r"[;,+/ ]+", row.get("subtype", "")):
        if text and text.lower() not in ("none", "no"):
            if text.lower() not in _SUBTYPE_OF:
                raise InputError(
                    f"{path}, line {line}, column subtype: {text!r} is none of "
                    f"{', '.join(SUBTYPES)}, epidural, ..."
                )
            names.append(_SUBTYPE_OF[text.lower()])
    return tuple(name for name in SUBTYPES if name in names)


def _read_ct(path: Path) -> CT:
    from ICHWeakSegLib.ct import read_ct

    return read_ct(path)
