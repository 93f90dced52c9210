"""How well probabilities part poor from good outcomes; rows weighted, so that patients can be drawn again."""

from __future__ import annotations

import numpy as np

NAN = float("nan")


class Auc:
    """Area under the ROC curve for many weightings of the same rows, ties counted half.

    Args:
        outcomes: 0 or 1, shape (N,).
        probabilities: shape (N,).

    Example:
        >>> Auc([0, 1], [0.2, 0.7])(np.ones(2))
        1.0
    """

    def __init__(self, outcomes, probabilities) -> None:
        outcomes, scores = np.asarray(outcomes), np.asarray(probabilities, float)
        self._poor, self._good = np.flatnonzero(outcomes == 1), np.flatnonzero(outcomes == 0)
        poor, good = scores[self._poor][:, None], scores[self._good][None]
        self._wins = (poor > good) + 0.5 * (poor == good)

    def __call__(self, weights: np.ndarray) -> float:
        """The area with the rows weighted, shape (N,); NaN where an outcome is missing."""
        poor, good = weights[self._poor], weights[self._good]
        total = poor.sum() * good.sum()
        return float(poor @ self._wins @ good / total) if total else NAN


def auprc(outcomes: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Area under the precision-recall curve as average precision; NaN where an outcome is missing."""
    from sklearn.metrics import average_precision_score

    rows = weights > 0
    if len(set(outcomes[rows])) < 2:
        return NAN
    return float(average_precision_score(outcomes[rows], probabilities[rows], sample_weight=weights[rows]))
