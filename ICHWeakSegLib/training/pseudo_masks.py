"""Pseudo-masks of cropped training cases, by the sequence network of the same fold.

Source: Ramananda & Sundaresan, Medical Physics 2025, doi 10.1002/mp.17689.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.localize.methods import RESNET_METHODS
from ICHWeakSegLib.localize.resnet_cam import CAM_THRESHOLD
from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier
from ICHWeakSegLib.refine.kmeans import KMeansOptions, refine_kmeans
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.earlier_run import earlier_part
from ICHWeakSegLib.training.sequence_run import read_run

# The published square of 4 pixels is one of 512 pixels a side, here taken as 0.45 mm each.
PUBLISHED_PIXEL_MM = 0.45
_BATCH = 8


class PseudoMasks:
    """Gives training cases their pseudo-masks, each fold's by the network of that fold.

    Args:
        run: output folder of `ichweakseg train sequence`.
        method: `grad-cam` or `cam`.

    Example:
        >>> drawn = PseudoMasks(Path("RUN"))("fold-0", crops)
    """

    def __init__(self, run: Path, method: str = "grad-cam") -> None:
        self.run, self.method = Path(run), method

    def __call__(self, part: str, cases: list[Cropped]) -> list[Cropped]:
        """The cases with `blood` by the network in `run/part`.

        Raises:
            InputError: there is no such finished network, or it was trained on a patient who is not in `cases`.
        """
        place = earlier_part(self.run, part, cases, "train sequence")
        kept = read_run(place)
        return pseudo_masked(cases, kept.network, kept.preprocessing, self.method)


def pseudo_masked(
    cases: list[Cropped],
    network: SequenceClassifier,
    preprocessing: Preprocessing,
    method: str = "grad-cam",
    threshold: float = CAM_THRESHOLD,
    options: KMeansOptions | None = None,
) -> list[Cropped]:
    """The cases with the published pseudo-masks as `blood`: map, threshold, K-means, dilation.

    Args:
        cases: cropped with `preprocessing`; slices whose label is not positive get an empty mask.
        network: a trained sequence classifier.
        preprocessing: of its input.
        method: `grad-cam` or `cam`.
        threshold: of the map.
        options: of the clustering; by default the published ones, the dilation in mm rather than in pixels.
    """
    if options is None and preprocessing.pixel_mm:
        usual = KMeansOptions()
        side = max(1, round(usual.dilation * PUBLISHED_PIXEL_MM / preprocessing.pixel_mm))
        options = replace(usual, dilation=side)
    return [_drawn(case, network, preprocessing, method, threshold, options) for case in cases]


def _drawn(
    case: Cropped,
    network: SequenceClassifier,
    preprocessing: Preprocessing,
    method: str,
    threshold: float,
    options: KMeansOptions | None,
) -> Cropped:
    blood = np.zeros(case.hu.shape, bool)
    positive = np.flatnonzero((case.labels[:, 0] == 1) & case.brain.any(axis=(1, 2)))
    for first in range(0, len(positive), _BATCH):
        some = positive[first : first + _BATCH]
        hu, brain = case.hu[some].astype(np.float32), case.brain[some]
        images = np.stack([preprocessing.images(*pair) for pair in zip(hu, brain, strict=True)])
        maps = RESNET_METHODS[method](network, torch.from_numpy(images), torch.from_numpy(brain))
        blood[some] = refine_kmeans(hu, maps.float().numpy(), brain, threshold, options)
    return replace(case, blood=blood)
