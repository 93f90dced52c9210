"""Detection of blood, slice by slice and patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ICHWeakSegLib.evaluation.bootstrap import DRAWS, Bootstrap, Figure

NAMES = ("AUC", "AUPRC", "sensitivity", "specificity", "accuracy", "F1")


def detection(
    labels: Sequence[float],
    scores: Sequence[float],
    positive: Sequence[bool],
    patients: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Figure]:
    """Figures of `NAMES` with intervals over patients.

    Args:
        labels: 1 blood, 0 none; rows that are NaN are left out.
        scores: probabilities of blood, for AUC and AUPRC (average precision).
        positive: what the operating point says, for the others.
        patients: of each row.
    """
    labels = np.asarray(labels, float)
    known = ~np.isnan(labels)
    labels, scores = labels[known] > 0, np.asarray(scores, float)[known]
    positive = np.asarray(positive, bool)[known]
    resampled = Bootstrap(np.asarray(patients, dtype=str)[known], draws, seed)
    ranked = {"AUC": roc_auc_score, "AUPRC": average_precision_score}
    figures = {
        name: resampled.figure(partial(_ranked, measure, labels, scores)) for name, measure in ranked.items()
    }
    return figures | {
        name: resampled.figure(partial(_counted, name, labels, positive))
        for name in NAMES
        if name not in ranked
    }


def _ranked(measure, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    drawn = weights > 0
    if len(set(labels[drawn])) < 2:
        return float("nan")
    return float(measure(labels[drawn], scores[drawn], sample_weight=weights[drawn]))


def _counted(name: str, labels: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    true, false = weights @ (labels & positive), weights @ (~labels & positive)
    missed, spared = weights @ (labels & ~positive), weights @ (~labels & ~positive)
    above, below = {
        "sensitivity": (true, true + missed),
        "specificity": (spared, spared + false),
        "accuracy": (true + spared, weights.sum()),
        "F1": (2 * true, 2 * true + false + missed),
    }[name]
    return float(above / below) if below else float("nan")
