"""A probability with an interval, from the held-out cases of a model: inductive Venn-Abers predictors.

Vovk & Petej, Venn-Abers predictors, UAI 2014 (arXiv 1211.0025): an isotonic regression of the outcomes on the
model's probabilities is fitted twice, with the new case labelled 0 and labelled 1. The merged probability
p1 / (1 - p0 + p1) is the one that loses least by the log loss. Where the cases are exchangeable, one of p0 and p1
is calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Fewer say too little for an interval.
LEAST = 20


@dataclass(frozen=True)
class VennAbers:
    """What the held-out cases make of a model's probability.

    Attributes:
        low, high: the interval, p0 and p1.
        merged: one probability of the two, p1 / (1 - p0 + p1).
        cases: held-out cases it rests on.
    """

    low: float
    high: float
    merged: float
    cases: int


def venn_abers(
    probability: float, held_out: Sequence[float], outcomes: Sequence[int], least: int = LEAST
) -> VennAbers | None:
    """The interval of a new case.

    Args:
        probability: the model's for the new case, 0-1.
        held_out: the model's for cases it was not trained on, shape (N,).
        outcomes: of those, 0 or 1, shape (N,).
        least: so many cases are needed.

    Returns:
        None where there are fewer cases, or only one outcome among them.

    Example:
        >>> venn_abers(0.8, [0.1] * 20 + [0.9] * 20, [0] * 20 + [1] * 20).high
        1.0
    """
    scores, labels = np.asarray(held_out, float), np.asarray(outcomes, float)
    if scores.shape != labels.shape:
        raise ValueError(f"{scores.shape} probabilities and {labels.shape} outcomes do not go together.")
    if len(scores) < least or len(np.unique(labels)) < 2:
        return None
    low, high = (_fitted(probability, scores, labels, label) for label in (0.0, 1.0))
    return VennAbers(low, high, high / (1 - low + high), len(scores))


def _fitted(probability: float, scores: np.ndarray, labels: np.ndarray, label: float) -> float:
    """Isotonic fit at the new case once it has this label.

    By the min-max formula (Barlow et al. 1972): the highest, over all places where a run may begin, of the lowest
    mean over all places where it may end.
    """
    _, where = np.unique(np.append(scores, probability), return_inverse=True)
    # Equal scores share one value.
    sums = np.append(0, np.cumsum(np.bincount(where, np.append(labels, label))))
    counts = np.append(0, np.cumsum(np.bincount(where)))
    new = where[-1]
    begins, ends = slice(0, new + 1), slice(new + 1, None)
    means = (sums[ends] - sums[begins, None]) / (counts[ends] - counts[begins, None])
    return float(means.min(axis=1).max())
