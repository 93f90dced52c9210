"""Runs of contiguous slices as a torch dataset."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import TensorDataset

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier, run_starts
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.dataset import Augmentation, SliceDataset


class RunDataset(SliceDataset):
    """Runs of slices of cropped cases.

    Items are `(images (T, C, size, size), labels (T,), mask (T,))` with T = `length`: label `any` (NaN where it
    is unknown) and False where a volume was shorter and zeros fill it up. All slices of a run are turned,
    shifted and scaled alike, so that neighbours still fit. Volumes longer than `length` are cut into runs that
    overlap by half.

    Args:
        cases: cropped cases, planes from inferior to superior; planes without brain are left out of the
            sequence. Runs without a known label are left out.
        preprocessing: of the model to be trained.
        augmentation: None for validation.
        length: slices in a run.
    """

    def __init__(
        self,
        cases: list[Cropped],
        preprocessing: Preprocessing,
        augmentation: Augmentation | None = None,
        length: int = 32,
    ) -> None:
        super().__init__(cases, preprocessing, augmentation)
        self.length = length
        self.runs: list[tuple[int, np.ndarray]] = []
        for number, case in enumerate(cases):
            planes = np.flatnonzero(case.brain.any(axis=(1, 2)))
            for start in run_starts(len(planes), length, length // 2):
                part = planes[start : start + length]
                if not np.isnan(case.labels[part, 0]).all():
                    self.runs.append((number, part))

    @property
    def positive(self) -> np.ndarray:
        """Whether blood is known on a slice of the run: float (runs,), 0 or 1."""
        return np.array([np.nanmax(self.cases[n].labels[part, 0]) for n, part in self.runs], np.float32)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        number, planes = self.runs[item]
        case, count = self.cases[number], len(planes)
        hu, brain = np.asarray(case.hu[planes], np.float32), case.brain[planes]
        if self.transform:
            # One draw for the whole stack.
            parts = np.stack([hu, brain, np.zeros_like(hu)], axis=1)
            parts = self.transform(torch.from_numpy(parts)).numpy()
            hu, brain = self._vary(parts[:, 0]), parts[:, 1] > 0.5
        size, channels = self.preprocessing.size, len(self.preprocessing.windows)
        images = np.zeros((self.length, channels, size, size), np.float32)
        for step in range(count):
            images[step] = self.preprocessing.images(hu[step], brain[step])
        labels = np.full(self.length, np.nan, np.float32)
        labels[:count] = case.labels[planes, 0]
        return torch.from_numpy(images), torch.from_numpy(labels), torch.arange(self.length) < count


@torch.no_grad()
def features_of_runs(network: SequenceClassifier, runs: RunDataset, draws: int) -> TensorDataset:
    """What the ResNet makes of runs, `draws` times each: items `(features (T, F), labels (T,), mask (T,))`.

    A ResNet that does not change need not run again in every epoch. The items of the first draw come first.
    """
    network.eval()
    device = network.slice_head.weight.device
    parts = []
    for _ in range(draws):
        for item in range(len(runs)):
            images, labels, mask = runs[item]
            features = torch.zeros(len(mask), network.resnet.num_features)
            features[mask] = network.features(images[mask].to(device)).float().cpu()
            parts.append((features, labels, mask))
    if not parts:
        return TensorDataset(torch.zeros(0))
    return TensorDataset(*(torch.stack(part) for part in zip(*parts, strict=True)))
