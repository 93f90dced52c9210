"""From an outcome scale to good (0) or poor (1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ICHWeakSegLib.ct.errors import InputError

# Lowest and highest value of a scale.
RANGES = {"mrs": (0, 6), "gos": (1, 5), "label": (0, 1)}
WORDS = {"mrs": "modified Rankin Scale", "gos": "Glasgow Outcome Scale", "label": "outcome"}
# mRS 4-6: the poor outcome of MISTIE III (Hanley et al., Lancet 2019;393:1021-1032) and ATACH-2 (Qureshi et al.,
# N Engl J Med 2016;375:1033-1043). GOS 1-3: the FUNC score calls 4 and 5 independent (Rost et al., Stroke 2008).
DEFAULT_CUTS = {"mrs": 4, "gos": 3, "label": 1}


@dataclass(frozen=True)
class OutcomeRule:
    """When an outcome is poor.

    Attributes:
        scale: `mrs` (modified Rankin Scale 0-6, 6 dead), `gos` (Glasgow Outcome Scale 1-5, 1 dead) or `label`
            (0 good, 1 poor).
        cut: mRS from here on, or GOS up to here, is poor; None for the scale's default (4; 3).

    Raises:
        InputError: no such scale, or a cut that makes all outcomes alike.

    Example:
        >>> OutcomeRule("mrs").poor(4)
        1
    """

    scale: str = "mrs"
    cut: int | None = None

    def __post_init__(self) -> None:
        if self.scale not in RANGES:
            raise InputError(f"The outcome scale is one of {', '.join(RANGES)}, not {self.scale!r}.")
        if self.cut is None:
            object.__setattr__(self, "cut", DEFAULT_CUTS[self.scale])
        low, high = RANGES[self.scale]
        lowest, highest = (low, high - 1) if self.scale == "gos" else (low + 1, high)
        if isinstance(self.cut, bool) or self.cut not in range(lowest, highest + 1):
            raise InputError(
                f"The cut of {WORDS[self.scale]} ({self.scale}) is a whole number from {lowest} to {highest}, "
                f"not {self.cut}."
            )

    def poor(self, value: float | None) -> int | None:
        """1 for a poor outcome, 0 for a good one, None where it is not known.

        Raises:
            InputError: a value that the scale does not have.
        """
        if value is None:
            return None
        check_outcome(self.scale, value)
        return int(value <= self.cut) if self.scale == "gos" else int(value >= self.cut)

    @property
    def words(self) -> str:
        """The poor outcome in words, such as `modified Rankin Scale 4 to 6`."""
        low, high = RANGES[self.scale]
        if self.scale == "label":
            return "poor outcome as labelled in the cohort"
        first, last = (low, self.cut) if self.scale == "gos" else (self.cut, high)
        return f"{WORDS[self.scale]} {first}" + (f" to {last}" if last > first else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"scale": self.scale, "cut": self.cut}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OutcomeRule:
        """From `to_dict`.

        Raises:
            InputError: as the constructor.
        """
        return cls(str(data.get("scale")), data.get("cut"))


def check_outcome(scale: str, value: float, where: str = "") -> float:
    """A value of a scale.

    Raises:
        InputError: not a whole number of the scale; names where and the range.
    """
    low, high = RANGES[scale]
    if value not in range(low, high + 1):
        start = f"{where}, column {'outcome' if scale == 'label' else scale}: the" if where else "The"
        raise InputError(f"{start} {WORDS[scale]} is a whole number from {low} to {high}, not {value:g}.")
    return float(value)
