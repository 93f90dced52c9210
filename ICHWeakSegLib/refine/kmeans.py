"""Pseudo-masks without supervision: brightness clusters inside the map, as the sequence model's authors do.

Source: Ramananda & Sundaresan, Medical Physics 2025, doi 10.1002/mp.17689 (first form: arXiv 2309.16627).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from .threshold import Planes

# Lloyd's algorithm on one number a pixel settles within about twenty steps.
_STEPS = 50


@dataclass(frozen=True)
class KMeansOptions:
    """Parameters of `refine_kmeans`; the defaults are published.

    Attributes:
        level_hu, width_hu: window of the channel that is clustered.
        clusters: number of clusters, background included.
        brightest_hu: a cluster whose mean is not below this is bone or calcification; 140 of 255 grey values
            of the window.
        dilation: side in pixels of the square that the mask is dilated with.
        dilations: how often.
    """

    level_hu: float = 80.0
    width_hu: float = 200.0
    clusters: int = 4
    brightest_hu: float = 89.8
    dilation: int = 4
    dilations: int = 2

    def __post_init__(self) -> None:
        if self.width_hu <= 0 or self.clusters < 2 or self.dilation < 1 or self.dilations < 0:
            raise ValueError(
                "width_hu must be above 0, clusters at least 2, dilation at least 1, dilations at least 0."
            )


def refine_kmeans(
    hu: Planes,
    maps: Planes,
    brain: Planes,
    threshold: float = 0.7,
    options: KMeansOptions | None = None,
    labels: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Pseudo-masks, plane by plane.

    The region (map > threshold, inside the brain) times the windowed channel is clustered by brightness over
    all pixels of the plane; everything outside the region is 0. The brightest cluster whose mean lies below
    `brightest_hu` is the mask, dilated within the brain. The background's cluster is never the mask: where all
    others are too bright, the plane stays empty. Starting values are spread evenly between the darkest and
    the brightest pixel, so that the result is the same each time.

    Args:
        hu: HU, S planes of shape (H, W).
        maps: 0-1, same shape; a plane of zeros gives an empty mask.
        brain: bool, same shape.
        threshold: of the map, 0-1.
        options: see `KMeansOptions`.
        labels: image-level label of each plane; 0 gives an empty mask. All count as 1 by default.

    Returns:
        bool mask (S, H, W).
    """
    how = options or KMeansOptions()
    known = np.ones(len(maps)) if labels is None else np.asarray(labels)
    return np.stack(
        [
            _plane(values, plane > threshold, inside, how) if label else np.zeros(inside.shape, bool)
            for values, plane, inside, label in zip(hu, maps, brain, known, strict=True)
        ]
    )


def _plane(hu: np.ndarray, above: np.ndarray, brain: np.ndarray, how: KMeansOptions) -> np.ndarray:
    region = above & brain
    empty = np.zeros(brain.shape, bool)
    if not region.any():
        return empty
    low, high = how.level_hu - how.width_hu / 2, how.level_hu + how.width_hu / 2
    # HU above the window's foot: the channel of 0-1 times its width, so that means stay HU.
    grey = np.where(region, np.clip(hu, low, high) - low, 0.0)
    numbers = _clusters(grey.ravel(), how.clusters).reshape(grey.shape)
    background = _number_of_darkest(grey, numbers)
    means = {
        number: float(grey[numbers == number].mean()) + low
        for number in np.unique(numbers)
        if number != background
    }
    dark_enough = [number for number, mean in means.items() if mean < how.brightest_hu]
    if not dark_enough:
        return empty
    return _dilated(numbers == max(dark_enough, key=means.get), how) & brain


def _clusters(values: np.ndarray, count: int) -> np.ndarray:
    """Cluster number of each value."""
    starts = np.linspace(values.min(), values.max(), count)[:, None]
    with warnings.catch_warnings():
        # Fewer kinds of brightness than clusters: some stay empty.
        warnings.filterwarnings("ignore", message="One of the clusters is empty")
        return kmeans2(values[:, None].astype(np.float64), starts, iter=_STEPS, minit="matrix")[1]


def _number_of_darkest(grey: np.ndarray, numbers: np.ndarray) -> int:
    return int(numbers.ravel()[np.argmin(grey)])


def _dilated(mask: np.ndarray, how: KMeansOptions) -> np.ndarray:
    square = np.ones((how.dilation, how.dilation), bool)
    for turn in range(how.dilations):
        # An even square has no middle: every other turn leans the other way.
        lean = -1 if turn % 2 and how.dilation % 2 == 0 else 0
        mask = ndimage.binary_dilation(mask, square, origin=lean)
    return mask
