"""Self-training: the maps of an earlier round on slices with blood are the soft masks of the next one.

Source: soft pseudo-labels with a student that sees more noise than its teacher, Xie et al. 2020, arXiv 1911.04252.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.inference.segmenter_maps import segmenter_passes
from ICHWeakSegLib.networks.segmenter import Segmenter
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.earlier_run import earlier_part
from ICHWeakSegLib.training.segmenter_dataset import CroppedPlanes
from ICHWeakSegLib.training.train_segmenter import read_segmenter

# A spot counts from OUTLINE on if it reaches CORE: the map's faint rest is no blood.
CORE, OUTLINE = 0.6, 0.2


class Teacher:
    """The networks of an earlier `train segmenter`, each for the same part of the next round.

    Args:
        run: its output folder.

    Attributes:
        digest: SHA-256 of all its networks.

    Raises:
        InputError: there is no trained network in `run`.

    Example:
        >>> teacher = Teacher(Path("RUN"))
        >>> taught = teacher("fold-0", crops)
        >>> weights = teacher.weights("fold-0")
    """

    def __init__(self, run: Path) -> None:
        self.run = Path(run)
        files = sorted(self.run.glob("*/network.safetensors"))
        if not files:
            raise InputError(
                f"{run} holds no trained network: give the output of a finished 'train segmenter'."
            )
        parts = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        self.digest = hashlib.sha256("".join(parts).encode()).hexdigest()

    def __call__(self, part: str, cases: list[Cropped]) -> list[Cropped]:
        """The cases with `guess` by the network of this part.

        Raises:
            InputError: there is no such network, or it was trained on a patient who is not in `cases`.
        """
        network, preprocessing = self._read(earlier_part(self.run, part, cases, "train segmenter"))
        return [taught(case, network, preprocessing) for case in cases]

    def weights(self, part: str) -> dict[str, torch.Tensor]:
        """The weights that the student of this part starts from."""
        return self._read(self.run / part)[0].state_dict()

    def _read(self, place: Path) -> tuple[Segmenter, Preprocessing]:
        try:
            network, facts = read_segmenter(place)
            return network, Preprocessing.from_json(facts["recipe"]["preprocessing"])
        except (OSError, KeyError, ValueError, RuntimeError) as problem:
            raise InputError(
                f"{place} holds no finished segmentation network: finish that training."
            ) from problem


def taught(case: Cropped, network: Segmenter, preprocessing: Preprocessing) -> Cropped:
    """The case with the network's probabilities on its slices with blood as `guess`.

    Spots that do not reach `CORE` are left out; a slice where none does has no guess.

    Args:
        case: cropped with `preprocessing`.
        network: in eval mode.
        preprocessing: of its input.
    """
    positive = np.flatnonzero((case.labels[:, 0] == 1) & case.brain.any(axis=(1, 2))).tolist()
    guess = np.zeros(case.hu.shape, np.float16)
    for slab, probability, _ in segmenter_passes(network, CroppedPlanes(case), positive, preprocessing):
        spots, count = ndimage.label(probability >= OUTLINE)
        sure = np.zeros(count + 1, bool)
        sure[np.unique(spots[probability >= CORE])] = True
        sure[0] = False
        guess[slab] = probability * sure[spots]
    return replace(case, guess=guess)
