"""What is known of a patient on admission, checked field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ICHWeakSegLib.ct.errors import InputError

MISSING = ("", "na", "n/a", "nan", "none", "null", "unknown", "missing", "?", "-")
_SEX = {"female": "female", "f": "female", "male": "male", "m": "male"}


@dataclass(frozen=True)
class Field:
    """One admission field.

    Attributes:
        name: column of the CSV, key of the JSON.
        words: what it is, for people.
        unit: of a number; empty without one.
        kind: `number`, `integer`, `choice` or `text`.
        low, high: smallest and largest value of a number, both allowed; of a text `high` is its greatest length.
        choices: allowed words.
    """

    name: str
    words: str
    unit: str
    kind: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """What the field may hold, as the end of a sentence."""
        if self.kind == "choice":
            return f"is one of {', '.join(self.choices)}"
        if self.kind == "text":
            return f"is a text of at most {self.high:.0f} characters"
        kind = "whole number" if self.kind == "integer" else "number"
        unit = f" of {self.unit}" if self.unit else ""
        return f"is a {kind}{unit} from {self.low:g} to {self.high:g}"


FIELDS = (
    Field("age", "age", "years", "number", 0, 120),
    Field("sex", "sex", "", "choice", choices=("female", "male")),
    Field("gcs", "Glasgow Coma Scale on admission", "points", "integer", 3, 15),
    Field("onset_hours", "time from onset to CT", "hours", "number", 0, 720),
    Field("history", "history before admission", "", "text", 0, 4000),
)
_BY_NAME = {field.name: field for field in FIELDS}


@dataclass(frozen=True)
class Clinical:
    """Admission fields of one patient; None (of `history` an empty text) where a field is not known.

    Attributes:
        age: years, 0 to 120.
        sex: `female` or `male`.
        gcs: Glasgow Coma Scale, 3 to 15.
        onset_hours: hours from onset to CT, 0 to 720.
        history: free text on what was known before and at admission.

    Raises:
        InputError: a value is out of its range; names the field.

    Example:
        >>> Clinical(age=71, gcs=9).known
        True
    """

    age: float | None = None
    sex: str | None = None
    gcs: int | None = None
    onset_hours: float | None = None
    history: str = ""

    def __post_init__(self) -> None:
        for field in FIELDS:
            value = read_field(field.name, getattr(self, field.name))
            object.__setattr__(
                self, field.name, ("" if field.kind == "text" else None) if value is None else value
            )

    @property
    def known(self) -> bool:
        """Whether any field is given."""
        return any(value not in (None, "") for value in self.to_dict().values())

    @classmethod
    def from_fields(cls, mapping: Mapping[str, Any], where: str = "") -> Clinical:
        """The fields of a CSV row or a JSON object.

        Args:
            mapping: field to text or number; a field left out, None, blank or `unknown` is not known. Other
                keys are not looked at.
            where: of the values, for errors, such as `cohort.csv, line 7`.

        Raises:
            InputError: a value is of a wrong kind or out of its range; names where, field, unit and range.
        """
        return cls(**{field.name: read_field(field.name, mapping.get(field.name), where) for field in FIELDS})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def read_field(name: str, value: Any, where: str = "") -> Any:
    """One field's value in its own type; None where it is not known.

    Raises:
        InputError: of a wrong kind or out of range.
    """
    field = _BY_NAME[name]
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return None
    if field.kind == "choice":
        found = _SEX.get(value.strip().lower()) if isinstance(value, str) else None
    elif field.kind == "text":
        found = " ".join(value.split()) if isinstance(value, str) else None
        found = found if found is not None and len(found) <= field.high else None
    else:
        found = _number(value, field)
    if found is None:
        start = f"{where}, column {name}: the {field.words}" if where else f"The {field.words}"
        shown = value if isinstance(value, str) and len(value) <= 60 else str(value)[:60]
        raise InputError(f"{start} {field.rule}, not {shown!r}.")
    return found


def _number(value: Any, field: Field) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        # Python reads 1_0 as 10, which no table means.
        number = math.nan if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):
        return None
    if not field.low <= number <= field.high:
        return None
    if field.kind == "integer":
        return int(number) if number == int(number) else None
    return number
