"""Smooth functions on regular grids: cubic B-spline resampling and random fields."""

from __future__ import annotations

import numpy as np
from scipy import sparse

# Sum of squared cubic B-spline weights, averaged over positions: variance kept per axis.
_SPLINE_VARIANCE = 0.479365


def spline_matrix(positions: np.ndarray, count: int) -> np.ndarray:
    """Cubic B-spline weights that read a line of `count` samples at fractional `positions`.

    Args:
        positions: sample positions in index units, shape (P,); beyond the ends the edge value holds.
        count: number of samples on the line.

    Returns:
        Weights, float32, shape (P, count), rows sum to 1 (slightly smoothing, never overshooting).
    """
    near = np.clip(np.asarray(positions, np.float32), 0, count - 1)
    x = np.abs(near[:, None] - np.arange(count, dtype=np.float32)[None])
    weights = np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.clip(2 - x, 0, None) ** 3 / 6)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def linear_matrix(positions: np.ndarray, count: int) -> np.ndarray:
    """Linear interpolation weights, shape (P, count); beyond the ends the edge value holds."""
    near = np.clip(np.asarray(positions, np.float32), 0, count - 1)
    return np.clip(1 - np.abs(near[:, None] - np.arange(count, dtype=np.float32)[None]), 0, 1)


def resample(
    volume: np.ndarray, along_z: np.ndarray, along_row: np.ndarray, along_col: np.ndarray
) -> np.ndarray:
    """Apply one matrix of weights per axis to a (Z, R, C) volume."""
    out = np.asarray(volume, np.float32)
    for weights in (along_z, along_row, along_col):
        # A few weights per sample: a sparse product; then the next axis comes to the front.
        first = sparse.csr_matrix(weights) @ out.reshape(out.shape[0], -1)
        out = np.ascontiguousarray(np.moveaxis(first.reshape(-1, *out.shape[1:]), 0, 2))
    return out


def smooth_noise(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    scale_mm: float | tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """A smooth random field of about zero mean and unit sd.

    Args:
        shape: grid, (Z, R, C).
        spacing_mm: grid spacing, (Z, R, C).
        scale_mm: distance between independent knots, one number or one per axis.
        rng: source of randomness.

    Returns:
        float32 array of the given shape.
    """
    scales = np.broadcast_to(np.asarray(scale_mm, float), 3)
    knots, matrices = [], []
    for count, step, scale in zip(shape, spacing_mm, scales, strict=True):
        length = int(np.ceil((count - 1) * step / scale)) + 4
        at = 1 + rng.random() + np.arange(count) * step / scale
        knots.append(length)
        matrices.append(spline_matrix(at, length))
    coarse = rng.standard_normal(knots).astype(np.float32)
    return resample(coarse, *matrices) / _SPLINE_VARIANCE**1.5
