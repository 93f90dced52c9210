"""Cohorts for training: head CTs with image-level labels, in the three layouts that sites have."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.training.slice_pairs import read_slice_pairs

CLASSES = ("any", "EDH", "IPH", "IVH", "SAH", "SDH")
_COLUMNS = {
    "any": ("any",),
    "EDH": ("edh", "epidural"),
    "IPH": ("iph", "intraparenchymal"),
    "IVH": ("ivh", "intraventricular"),
    "SAH": ("sah", "subarachnoid"),
    "SDH": ("sdh", "subdural"),
}


@dataclass
class Case:
    """One CT with its labels.

    Attributes:
        name: unique name within the cohort.
        patient: splits never part cases of one patient.
        labels: float32 (S, 6) in the order of `CLASSES`, axial slices from inferior to superior; NaN unknown.
        read: gives the CT.
    """

    name: str
    patient: str
    labels: np.ndarray
    read: Callable[[], CT]


def read_cohort(data: str | Path, labels: str | Path | None = None) -> list[Case]:
    """Find out which of the three layouts `data` has and list its cases.

    - slice pairs: a folder with `brain/PPP_SS.jpg`, `bone/` and a CSV `patient,slice,any,...`
      (default `slices.csv` in the folder);
    - volumes: a folder of volumes and a CSV `volume,slice,any,...[,patient]`, `slice` counted from 0 at the
      most inferior axial slice, every slice of a volume named once;
    - RSNA 2019: a folder of DICOM files and its long-form CSV `ID,Label` (`ID_xxx_epidural,0`).

    Raises:
        InputError: no such file, no known layout, or rows that contradict the layout.
    """
    data = Path(data)
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}.")
    table = Path(labels) if labels else _only_csv(data)
    rows = _read_rows(table)
    columns = set(rows[0])
    if {"id", "label"} <= columns:
        return _rsna(data, rows, table)
    if {"volume", "slice", "any"} <= columns:
        return _volumes(data, rows, table)
    if {"patient", "slice", "any"} <= columns and "volume" not in columns:
        if not (data / "brain").is_dir():
            raise InputError(f"{data} has no folder 'brain' with the slice images that {table} names.")
        return _slice_pairs(data, rows, table)
    raise InputError(
        f"{table} fits no known layout: it needs the columns patient, slice, any (slice pairs), "
        "volume, slice, any (volumes) or ID, Label (RSNA 2019); it has "
        f"{', '.join(sorted(columns - {''})) or 'none'}."
    )


def _only_csv(folder: Path) -> Path:
    if (folder / "slices.csv").exists():
        return folder / "slices.csv"
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        count = len(tables) or "no"
        raise InputError(f"{folder} holds {count} CSV files: say which one has the labels (--labels).")
    return tables[0]


def _read_rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise InputError(f"There is no label file {table}.")
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            # A row longer than the header has its rest under None.
            rows = [
                {k.strip().lower(): (v or "").strip() for k, v in row.items() if k is not None}
                for row in csv.DictReader(file)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The label file {table} is no CSV text in UTF-8: save it as such.") from error
    if not rows:
        raise InputError(f"The label file {table} has no rows.")
    return rows


def _labels(row: dict[str, str], table: Path, line: int) -> list[float]:
    values = []
    for name in CLASSES:
        column = next((column for column in _COLUMNS[name] if column in row), None)
        text = row[column] if column else ""
        if text not in ("", "0", "1", "0.0", "1.0"):
            raise InputError(f"{table}, line {line}, column {column}: a label is 0 or 1, not {text!r}.")
        values.append(float(text) if text else np.nan)
    if np.isnan(values[0]):
        raise InputError(f"{table}, line {line}: the label 'any' is missing.")
    return values


def _number(row: dict[str, str], column: str, table: Path, line: int) -> int:
    try:
        value = float(row[column])
        if value < 0 or value != int(value):
            raise ValueError
        return int(value)
    except (ValueError, OverflowError):
        raise InputError(
            f"{table}, line {line}, column {column}: {row[column]!r} is no whole number."
        ) from None


def _slice_pairs(data: Path, rows: list[dict[str, str]], table: Path) -> list[Case]:
    by_patient: dict[str, dict[int, list[float]]] = defaultdict(dict)
    spelled: dict[int, str] = {}
    for line, row in enumerate(rows, start=2):
        number = _number(row, "slice", table, line)
        # 7 and 007 are one patient.
        patient = spelled.setdefault(_number(row, "patient", table, line), row["patient"])
        if number in by_patient[patient]:
            raise InputError(f"{table}, line {line}: slice {number} of patient {patient} is named twice.")
        by_patient[patient][number] = _labels(row, table, line)
    cases = []
    for patient, slices in by_patient.items():
        order = sorted(slices)
        labels = np.array([slices[number] for number in order], np.float32)
        cases.append(
            Case(f"patient-{patient}", patient, labels, partial(read_slice_pairs, data, patient, order))
        )
    return cases


def _volumes(data: Path, rows: list[dict[str, str]], table: Path) -> list[Case]:
    by_volume: dict[str, dict[int, list[float]]] = defaultdict(dict)
    patients: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        volume, number = row["volume"], _number(row, "slice", table, line)
        if not volume:
            raise InputError(f"{table}, line {line}: the name of the volume is missing.")
        if number in by_volume[volume]:
            raise InputError(f"{table}, line {line}: slice {number} of {volume} is named twice.")
        by_volume[volume][number] = _labels(row, table, line)
        patient = row.get("patient") or volume
        if patients.setdefault(volume, patient) != patient:
            raise InputError(
                f"{table}, line {line}: {volume} belongs to patient {patient}, before to {patients[volume]}."
            )
    cases = []
    for volume, slices in by_volume.items():
        if not (data / volume).exists():
            raise InputError(f"{table} names the volume {volume}, which is not in {data}.")
        if sorted(slices) != list(range(len(slices))):
            raise InputError(
                f"{table}: the slices of {volume} must be numbered 0 to {len(slices) - 1}, each once."
            )
        labels = np.array([slices[number] for number in range(len(slices))], np.float32)
        # With its folders: volumes of two patients may share the last part of their names.
        cases.append(
            Case(Path(volume).as_posix(), patients[volume], labels, partial(_read_volume, data / volume))
        )
    return cases


def _read_volume(path: Path) -> CT:
    from ICHWeakSegLib.ct import read_ct

    return read_ct(path)


def _rsna(data: Path, rows: list[dict[str, str]], table: Path) -> list[Case]:
    from ICHWeakSegLib.ct.dicom import read_files, scan_slices

    classes = {column: name for name in CLASSES for column in _COLUMNS[name]}
    labels: dict[str, dict[str, float]] = defaultdict(dict)
    for line, row in enumerate(rows, start=2):
        image, _, kind = row["id"].rpartition("_")
        if kind.lower() not in classes or row["label"] not in ("0", "1"):
            raise InputError(
                f"{table}, line {line}: expected ID_xxx_<any|epidural|...> and 0 or 1, "
                f"not {row['id']!r} and {row['label']!r}."
            )
        name, value = classes[kind.lower()], float(row["label"])
        # The published table itself repeats some rows.
        if labels[image].setdefault(name, value) != value:
            raise InputError(f"{table}, line {line}: {row['id']} is named twice with different labels.")
    cases = []
    for series, slices in scan_slices(data).items():
        # All slices, so that no gap opens where one has no label: that one is unknown.
        values = [[labels.get(item.path.stem, {}).get(name, np.nan) for name in CLASSES] for item in slices]
        if np.isnan(values).all():
            continue
        files = [item.path for item in slices]
        patient = slices[0].patient or series
        cases.append(Case(series, patient, np.array(values, np.float32), partial(read_files, files)))
    if not cases:
        raise InputError(f"No DICOM file in {data} is named in {table}.")
    return cases


def split_patients(
    cases: Iterable[Case], folds: int, seed: int = 0, advice: str = "use fewer parts"
) -> list[set[str]]:
    """Patients of each fold; positive patients are spread evenly.

    Args:
        cases: of the cohort; anything with `patient` and `labels`.
        folds: how many parts.
        seed: of the order.
        advice: what the error tells the user to do.

    Raises:
        InputError: fewer patients than folds.
    """
    positive: dict[str, bool] = defaultdict(bool)
    for case in cases:
        positive[case.patient] |= bool((case.labels[:, 0] == 1).any())
    if len(positive) < folds:
        count = "1 patient" if len(positive) == 1 else f"{len(positive)} patients"
        raise InputError(f"{count} cannot be split into {folds} parts: {advice}.")
    rng = np.random.default_rng(seed)
    parts: list[set[str]] = [set() for _ in range(folds)]
    place = 0
    for state in (True, False):
        names = sorted(name for name, value in positive.items() if value is state)
        for name in rng.permutation(names):
            parts[place % folds].add(str(name))
            place += 1
    return parts
