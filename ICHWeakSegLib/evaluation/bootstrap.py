"""Intervals by drawing patients again, never slices: slices of one patient are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """A measured figure with its interval.

    Attributes:
        value: on all rows.
        low, high: 95 % percentile interval; NaN where no draw gave a value.
        n: rows it was measured on.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        if np.isnan(self.low):
            return f"{self.value:.3f} (n={self.n})"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}; n={self.n})"


class Bootstrap:
    """Draws of patients with replacement; the same patients, count and seed give the same draws.

    Args:
        patients: of each row.
        draws: how many.
        seed: of the draws.

    Example:
        >>> Bootstrap(["a", "a", "b"]).mean([1.0, 0.0, 1.0]).low
    """

    def __init__(self, patients: Sequence[str], draws: int = DRAWS, seed: int = 0) -> None:
        names, self._row = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        rng = np.random.default_rng(seed)
        count = len(names)
        drawn = rng.integers(0, count, (draws, count)) if count else np.zeros((draws, 0), int)
        self._times = np.stack([np.bincount(draw, minlength=count) for draw in drawn])

    def weights(self) -> np.ndarray:
        """How often each row occurs in each draw, shape (draws, rows)."""
        return self._times[:, self._row]

    def figure(self, measure: Callable[[np.ndarray], float]) -> Figure:
        """A figure of weighted rows.

        Args:
            measure: from weights (rows,), whole numbers that say how often each row counts, to the figure; NaN
                where it is undefined.
        """
        rows = len(self._row)
        value = measure(np.ones(rows))
        return Figure(value, *_limits([measure(part) for part in self.weights()]), rows)

    def mean(self, values: Sequence[float]) -> Figure:
        """The mean of values, those that are NaN left out."""
        values = np.asarray(values, float)
        known = ~np.isnan(values)
        if not known.any():
            return Figure(float("nan"), float("nan"), float("nan"), 0)
        weights = self.weights()[:, known]
        total = weights.sum(axis=1)
        with np.errstate(invalid="ignore"):
            means = weights @ values[known] / total
        return Figure(float(values[known].mean()), *_limits(means), int(known.sum()))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    values = np.asarray(values, float)
    if np.isnan(values).all():
        return float("nan"), float("nan")
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)
