"""Net benefit of acting on a forecast (Vickers & Elkin, Med Decis Making 2006;26:565-574)."""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.arange(0.01, 1.0, 0.01)
# Where net benefit is written down as a figure.
NAMED = (0.25, 0.5, 0.75)


def net_benefit(
    outcomes: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> np.ndarray:
    """Net benefit at each threshold, shape (T,): share of true positives - share of false positives x t / (1 - t).

    Args:
        outcomes: 0 or 1, shape (N,).
        probabilities: a case is acted upon where it is at or above the threshold, shape (N,).
        weights: of the rows, shape (N,).
        thresholds: 0 to below 1, shape (T,).
    """
    thresholds = np.asarray(thresholds, float)
    acted = probabilities[None] >= thresholds[:, None]
    total = weights.sum()
    true = acted @ (weights * (outcomes == 1)) / total
    false = acted @ (weights * (outcomes == 0)) / total
    return true - false * thresholds / (1 - thresholds)


def treat_all(outcomes: np.ndarray, weights: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Net benefit of acting on everybody, shape (T,); that of acting on nobody is 0."""
    return net_benefit(outcomes, np.ones(len(outcomes)), weights, thresholds)
