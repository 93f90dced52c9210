"""Are two methods different? Wilcoxon signed-rank on paired patients, with Holm's correction."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same patients.

    Attributes:
        one, other: their names.
        difference: median of one - other over the patients.
        patients: how many have both values.
        p: two-sided, of this pair alone.
        holm: corrected for all pairs that were compared together.
    """

    one: str
    other: str
    difference: float
    patients: int
    p: float
    holm: float


def compare(values: Mapping[str, Mapping[str, float]]) -> list[Comparison]:
    """All pairs of methods.

    Args:
        values: by method and patient; NaN where a value is undefined.

    Returns:
        One comparison a pair that shares a patient; p is 1 where no patient differs.
    """
    pairs = []
    for one, other in itertools.combinations(values, 2):
        shared = sorted(values[one].keys() & values[other].keys())
        gaps = np.array([values[one][name] - values[other][name] for name in shared], float)
        gaps = gaps[~np.isnan(gaps)]
        if gaps.size:
            p = float(wilcoxon(gaps).pvalue) if gaps.any() else 1.0
            pairs.append((one, other, float(np.median(gaps)), len(gaps), p))
    corrected = holm([pair[-1] for pair in pairs])
    return [Comparison(*pair, after) for pair, after in zip(pairs, corrected, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Corrected p-values (Holm 1979): the k-th smallest of m times m - k + 1, never falling, at most 1."""
    order = np.argsort(p, kind="stable")
    corrected, highest = np.zeros(len(p)), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return corrected.tolist()
