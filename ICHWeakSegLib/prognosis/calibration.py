"""Whether probabilities mean what they say: Brier score, calibration intercept, slope and curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

NAN = float("nan")
# Logits of 0 and 1 are infinite; published scores do say 0 % and 100 %.
CLIP = 0.005


def brier(outcomes: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """Mean squared difference of outcome and probability (Brier 1950); lower is better."""
    total = weights.sum()
    return float(weights @ (probabilities - outcomes) ** 2 / total) if total else NAN


def scaled_brier(outcomes: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> float:
    """1 - Brier / Brier of the prevalence for all (Steyerberg et al., Epidemiology 2010;21:128-138); 1 is best."""
    total = weights.sum()
    if not total:
        return NAN
    share = float(weights @ outcomes / total)
    return 1 - brier(outcomes, probabilities, weights) / (share * (1 - share)) if 0 < share < 1 else NAN


def calibration_line(
    outcomes: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Intercept and slope of calibration (Van Calster et al., BMC Med 2019;17:230).

    The intercept is that of a logistic model with the logit of the probability as offset (0 is ideal: as many poor
    outcomes as forecast); the slope is the logit's coefficient (1 is ideal, below 1 too extreme). Probabilities
    are clipped to 0.005-0.995.

    Returns:
        NaN for both where an outcome is missing or the slope has no end (the outcomes are parted without error).
    """
    rows = weights > 0
    outcomes, weights = outcomes[rows], weights[rows]
    if len(set(outcomes)) < 2:
        return NAN, NAN
    clipped = np.clip(probabilities[rows], CLIP, 1 - CLIP)
    logits = np.log(clipped / (1 - clipped))
    ones = np.ones((len(logits), 1))
    intercept = _logistic(ones, logits, outcomes, weights)
    if np.ptp(logits) < 1e-9:
        return float(intercept[0]), NAN
    line = _logistic(np.column_stack([ones, logits]), np.zeros(len(logits)), outcomes, weights)
    return float(intercept[0]), float(line[1])


def _logistic(x: np.ndarray, offset: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Coefficients by Newton's method; NaN where it does not settle."""
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ beta + offset, -40, 40)))
        curvature = (x * (weights * p * (1 - p))[:, None]).T @ x
        try:
            step = np.linalg.solve(curvature, x.T @ (weights * (y - p)))
        except np.linalg.LinAlgError:
            return np.full(x.shape[1], NAN)
        # Far steps from a flat start overshoot.
        beta = beta + np.clip(step, -3, 3)
        if np.abs(step).max() < 1e-8:
            return beta
        if np.abs(beta).max() > 200:
            break
    return np.full(x.shape[1], NAN)


@dataclass(frozen=True)
class CalibrationPoint:
    """A group of cases with like probabilities.

    Attributes:
        forecast: their mean probability.
        observed: their share of poor outcomes.
        low, high: 95 % interval of the share (Wilson).
        cases: how many.
    """

    forecast: float
    observed: float
    low: float
    high: float
    cases: int


def calibration_curve(
    outcomes: np.ndarray, probabilities: np.ndarray, most: int = 8, least: int = 5
) -> list[CalibrationPoint]:
    """Groups of about equal size, ascending: at most `most`, of about `least` cases or more; ties together."""
    groups = max(1, min(most, len(outcomes) // least))
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, groups + 1)))
    place = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, max(0, len(edges) - 2))
    points = []
    for group in np.unique(place):
        rows = place == group
        low, high = binomtest(int(outcomes[rows].sum()), int(rows.sum())).proportion_ci(method="wilson")
        points.append(
            CalibrationPoint(
                float(probabilities[rows].mean()), float(outcomes[rows].mean()), low, high, int(rows.sum())
            )
        )
    return points
