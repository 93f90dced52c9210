"""A clinical score: its parts, its total or what is missing, and what was published about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ICHWeakSegLib.ct.errors import InputError

APPLIES_TO = "Applies to spontaneous intraparenchymal hemorrhage, scored on admission."
NOTICE = "For research use only; not for decisions about a patient."
MOST_ML = 500.0


@dataclass(frozen=True)
class Part:
    """One input of a score.

    Attributes:
        name: argument of the score's function.
        words: what it is, for people.
        given: the input; None where it is missing.
        points: for it; None where it is missing.
        possible: every number of points that the part can give, ascending.
        rule: which inputs give how many points.
    """

    name: str
    words: str
    given: float | int | bool | str | None
    points: int | None
    possible: tuple[int, ...]
    rule: str


@dataclass(frozen=True)
class Score:
    """A clinical score.

    Attributes:
        name: of the score.
        parts: with their inputs and points.
        total: None while an input is missing.
        lowest, highest: totals that are possible with the inputs given; both `total` where nothing is missing.
        missing: names of the inputs that are missing.
        outcome: what was published for this total, as a sentence; None without a total.
        outcome_percent: the published share of patients; None without a total.
        source: the publication.
        applies_to: for whom the score was made.
        notice: research use.
    """

    name: str
    parts: tuple[Part, ...]
    total: int | None
    lowest: int
    highest: int
    missing: tuple[str, ...]
    outcome: str | None
    outcome_percent: int | None
    source: str
    applies_to: str = APPLIES_TO
    notice: str = NOTICE

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "total": self.total,
            "lowest": self.lowest,
            "highest": self.highest,
            "missing": list(self.missing),
            "parts": [
                {
                    "name": part.name,
                    "words": part.words,
                    "given": part.given,
                    "points": part.points,
                    "rule": part.rule,
                }
                for part in self.parts
            ],
            "outcome": self.outcome,
            "outcome_percent": self.outcome_percent,
            "source": self.source,
            "applies_to": self.applies_to,
            "notice": self.notice,
        }

    def text(self) -> str:
        """Several lines for people: total, inputs, published figure, limits."""
        most = sum(part.possible[-1] for part in self.parts)
        if self.total is None:
            head = (
                f"{self.name}: no total, missing {', '.join(self._words(self.missing))}; "
                f"{self.lowest} to {self.highest} of {most} are possible."
            )
        else:
            head = f"{self.name}: {self.total} of {most}. {self.outcome}"
        lines = [
            f"  {part.words}: {_shown(part.given)}"
            + ("" if part.points is None else f", {part.points} point{'s' * (part.points != 1)}")
            for part in self.parts
        ]
        return "\n".join([head, *lines, f"  {self.applies_to} {self.notice}", f"  Source: {self.source}"])

    def _words(self, names: Sequence[str]) -> list[str]:
        words = {part.name: part.words for part in self.parts}
        return [words[name] for name in names]


def add_up(parts: Sequence[Part]) -> tuple[int | None, int, int, tuple[str, ...]]:
    """Total (None while a part is missing), lowest and highest possible total, names of what is missing."""
    missing = tuple(part.name for part in parts if part.points is None)
    lowest = sum(part.possible[0] if part.points is None else part.points for part in parts)
    highest = sum(part.possible[-1] if part.points is None else part.points for part in parts)
    return (None if missing else lowest), lowest, highest, missing


def check_gcs(gcs: int | None) -> int | None:
    """A Glasgow Coma Scale sum, 3 to 15.

    Raises:
        InputError: anything else.
    """
    if gcs is None:
        return None
    if isinstance(gcs, bool) or not isinstance(gcs, (int, float)) or gcs != gcs or gcs not in range(3, 16):
        raise InputError(f"The Glasgow Coma Scale is a whole number from 3 to 15, not {gcs}.")
    return int(gcs)


def check_age(age: float | None) -> float | None:
    """An age in years, 0 to 120.

    Raises:
        InputError: anything else.
    """
    return _number(age, 0, 120, "The age is a number of years from 0 to 120")


def check_volume(volume_ml: float | None) -> float | None:
    """A volume of blood in mL, 0 to 500.

    Raises:
        InputError: anything else.
    """
    return _number(volume_ml, 0, MOST_ML, f"The volume is a number of mL from 0 to {MOST_ML:g}")


def check_yes_no(value: bool | None, what: str) -> bool | None:
    """Yes or no.

    Raises:
        InputError: neither True nor False nor None.
    """
    # Not by equality: 1 and 0 may be a code for something else.
    if value is None or isinstance(value, bool):
        return value
    raise InputError(f"{what} is yes or no, not {value}.")


def _number(value: float | None, low: float, high: float, rule: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{rule}, not {value}.")
    if not low <= value <= high:
        raise InputError(f"{rule}, not {value:g}.")
    return value


def _shown(given: float | int | bool | str | None) -> str:
    if given is None:
        return "missing"
    if isinstance(given, bool):
        return "yes" if given else "no"
    return f"{given:g}" if isinstance(given, (int, float)) else given
