"""One CSV a cohort: CT, optional mask, admission fields and outcome, a row a case."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.clinical import FIELDS, MISSING, Clinical
from ICHWeakSegLib.prognosis.leakage import is_simulated_truth, known_later, later_words, plain
from ICHWeakSegLib.prognosis.outcome import RANGES, OutcomeRule, check_outcome
from ICHWeakSegLib.prognosis.score_facts import NAMES, ScoreFacts

# Outcome column to scale.
OUTCOMES = {"outcome": "label", "mrs": "mrs", "gos": "gos"}
_NOTHING, _NO_FACTS = Clinical(), ScoreFacts()
COLUMNS = ("case", "ct", "patient", "mask", *(known.name for known in FIELDS), *NAMES, *OUTCOMES)


@dataclass(frozen=True)
class PrognosisCase:
    """One CT with what was known on admission and what became of the patient.

    Attributes:
        name: unique in the cohort.
        patient: splits and intervals never part cases of one patient.
        ct: file or DICOM folder.
        mask: file with the true mask of blood, or None.
        clinical: admission fields.
        leaked: fields known only later that `allow_leakage` let in, column to text.
        outcome: value on the cohort's scale, or 0 good and 1 poor by a rule; None where it is not known.
        facts: further inputs of the ICH and FUNC scores.
    """

    name: str
    patient: str
    ct: Path
    mask: Path | None = None
    clinical: Clinical = _NOTHING
    leaked: Mapping[str, str] = field(default_factory=dict)
    outcome: float | None = None
    facts: ScoreFacts = _NO_FACTS


@dataclass(frozen=True)
class PrognosisCohort:
    """The cases of a CSV.

    Attributes:
        cases: in the order of the rows.
        leaking: columns known only after admission that were let in.
        scale: of the outcomes: `mrs`, `gos` or `label` (0 good, 1 poor); None where the CSV has none.
        warnings: sentences for the user.
        source: the CSV.
    """

    cases: tuple[PrognosisCase, ...]
    leaking: tuple[str, ...] = ()
    scale: str | None = None
    warnings: tuple[str, ...] = ()
    source: str = ""


def read_prognosis_cohort(
    path: str | Path,
    allow_leakage: bool = False,
    scale: str | None = None,
    rule: OutcomeRule | None = None,
) -> PrognosisCohort:
    """Read a cohort.

    Columns, in any order: `case` and `ct`; if known `patient` (else the case), `mask`, `age` (years), `sex`, `gcs`
    (3-15), `onset_hours`, `history`; `mrs` (0-6), `gos` (1-5) or `outcome` (0 good, 1 poor); for the scores
    `ivh`, `infratentorial`, `location`, `cognitive_impairment`. Paths are relative to the CSV. A blank is not
    known.

    Args:
        path: the CSV, UTF-8.
        allow_leakage: let columns in that are known only after admission.
        scale: which outcome to take where the CSV has several.
        rule: makes 0 (good) or 1 (poor) of the outcomes on its scale; None leaves them as they are.

    Raises:
        InputError: file, column or value cannot be used (names file, line and column), or a column is known only
            after admission.
    """
    path = Path(path).expanduser()
    names, rows = _read(path)
    leaking, warnings = _check_columns(path, names, allow_leakage)
    scale = _scale(path, names, scale if rule is None else rule.scale)
    cases: dict[str, PrognosisCase] = {}
    first_line: dict[str, int] = {}
    for line, row in rows:
        case = _case(path, line, row, leaking, scale)
        if rule is not None and case.outcome is not None:
            case = replace(case, outcome=float(rule.poor(case.outcome)))
        if case.name in cases:
            raise InputError(
                f"{path}, line {line}, column case: {case.name} was named in line {first_line[case.name]}; "
                "give each case its own name."
            )
        cases[case.name], first_line[case.name] = case, line
        words = later_words(case.clinical.history)
        if words:
            warnings.append(
                f"{path}, line {line}, column history: {', '.join(words)} may have come after admission; "
                "check the text."
            )
    return PrognosisCohort(tuple(cases.values()), leaking, scale, tuple(warnings), str(path))


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Plain column names, and the rows with their line numbers."""
    if not path.is_file():
        raise InputError(f"There is no cohort {path}: give the CSV of the cases.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            lines, start = [], reader.line_num + 1
            for row in reader:
                if any(cell.strip() for cell in row):
                    lines.append((start, row))
                # A text in quotes may have line breaks: a row is named by its first line.
                start = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(
            f"{path} cannot be read as a CSV in UTF-8 ({problem}): save it as such."
        ) from problem
    names = [plain(name) for name in header]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise InputError(f"{path}, line 1: the column {twice} is there twice; keep one.")
    if not lines:
        raise InputError(f"{path} has no cases: add a row for each.")
    rows = []
    for line, cells in lines:
        if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
            raise InputError(
                f"{path}, line {line}: the row has {len(cells)} values for {len(names)} columns; put texts with "
                "commas in quotes."
            )
        padded = [*cells, *[""] * (len(names) - len(cells))]
        rows.append((line, {name: cell.strip() for name, cell in zip(names, padded, strict=False) if name}))
    return names, rows


def _check_columns(path: Path, names: list[str], allow_leakage: bool) -> tuple[tuple[str, ...], list[str]]:
    for needed in ("case", "ct"):
        if needed not in names:
            raise InputError(f"{path}, line 1: the column {needed} is missing; a cohort needs case and ct.")
    leaking, ignored = [], []
    for name in names:
        if not name or name in COLUMNS:
            continue
        if is_simulated_truth(name):
            raise InputError(
                f"{path}, column {name}: the true probability of a simulation is the answer itself; remove it."
            )
        kind = known_later(name)
        if kind is not None:
            if not allow_leakage:
                raise InputError(
                    f"{path}, column {name} ({kind}) is known only after admission; remove it, name it mrs, gos "
                    "or outcome if it is the outcome, or let it in with --allow-leakage, which marks the model."
                )
            leaking.append(name)
            continue
        # gcs_on_admission is most likely the field gcs.
        close = [part for part in ("gcs", "age", "sex") if part in name.split("_") and part not in names]
        close += difflib.get_close_matches(name, [known for known in COLUMNS if known not in names], 1, 0.8)
        if close:
            raise InputError(
                f"{path}, line 1: there is no column {name}; rename it to {close[0]}, or remove it."
            )
        ignored.append(name)
    warnings = (
        [f"{path}: the columns {', '.join(ignored)} are not known and were not used."] if ignored else []
    )
    return tuple(leaking), warnings


def _scale(path: Path, names: list[str], wanted: str | None) -> str | None:
    found = [scale for column, scale in OUTCOMES.items() if column in names]
    if wanted is not None:
        if wanted not in RANGES:
            raise InputError(f"The outcome is one of {', '.join(RANGES)}, not {wanted!r}.")
        if wanted not in found:
            raise InputError(
                f"{path} has no column {_column(wanted)} for the outcome {wanted}; it has "
                f"{', '.join(map(_column, found)) or 'none'}."
            )
        return wanted
    if len(found) > 1:
        raise InputError(
            f"{path} has several outcomes ({', '.join(map(_column, found))}): say which with --outcome."
        )
    return found[0] if found else None


def _column(scale: str) -> str:
    return next(column for column, of in OUTCOMES.items() if of == scale)


def _case(
    path: Path, line: int, row: dict[str, str], leaking: tuple[str, ...], scale: str | None
) -> PrognosisCase:
    where = f"{path}, line {line}"
    for column in ("case", "ct"):
        if not row[column]:
            raise InputError(f"{where}, column {column}: it is blank; fill it in.")
    return PrognosisCase(
        name=row["case"],
        patient=row.get("patient") or row["case"],
        ct=_existing(path, where, row, "ct"),
        mask=_existing(path, where, row, "mask"),
        clinical=Clinical.from_fields(row, where),
        leaked={name: row[name] for name in leaking if row[name].lower() not in MISSING},
        outcome=_outcome(row, scale, where),
        facts=ScoreFacts.from_fields(row, where),
    )


def _existing(path: Path, where: str, row: dict[str, str], column: str) -> Path | None:
    if not row.get(column):
        return None
    wanted = Path(row[column]).expanduser()
    wanted = wanted if wanted.is_absolute() else path.parent / wanted
    if not wanted.exists():
        raise InputError(f"{where}, column {column}: there is no {wanted}.")
    return wanted


def _outcome(row: dict[str, str], scale: str | None, where: str) -> float | None:
    if scale is None:
        return None
    column = _column(scale)
    if row[column].lower() in MISSING:
        return None
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if math.isnan(value):
        low, high = RANGES[scale]
        raise InputError(
            f"{where}, column {column}: it is a whole number from {low} to {high}, not {row[column]!r}."
        )
    return check_outcome(scale, value, where)
