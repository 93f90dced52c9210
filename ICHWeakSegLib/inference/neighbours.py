"""Slice probabilities joined with those of the neighbouring slices: blood seldom lies on one slice alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def smooth_over_slices(
    probabilities: np.ndarray, weights: Sequence[float], known: np.ndarray | None = None
) -> np.ndarray:
    """Weighted mean of each slice's probability (weight 1) and its neighbours'.

    Args:
        probabilities: of slices in their order, shape (S,).
        weights: of the neighbours at a distance of 1, 2, ... slices; empty: nothing is changed.
        known: bool, shape (S,): slices that take part; the others keep their value. Default: all.

    Returns:
        float32, shape (S,). At the ends of the volume only the neighbours that are there count.

    Example:
        >>> smooth_over_slices(np.array([0.0, 1.0, 0.0]), [0.5])
        array([0.33333334, 0.5       , 0.33333334], dtype=float32)
    """
    values = np.asarray(probabilities, np.float64)
    here = np.ones(len(values), bool) if known is None else np.asarray(known, bool)
    kernel = np.concatenate([np.asarray(weights, float)[::-1], [1.0], np.asarray(weights, float)])
    # Full length and cut by hand: `same` would take the longer of the two for short volumes.
    reach = len(weights)
    end = reach + len(values)
    total = np.convolve(np.where(here, values, 0.0), kernel)[reach:end]
    share = np.convolve(here.astype(float), kernel)[reach:end]
    return np.where(here, total / np.where(share > 0, share, 1), values).astype(np.float32)
