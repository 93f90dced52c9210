"""Cropped slices as a torch dataset: augmentation, windows, balanced sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset, WeightedRandomSampler
from torchvision.transforms import InterpolationMode, v2

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.training.cache import Cropped


@dataclass(frozen=True)
class Augmentation:
    """How strongly training slices are varied; the HGI-SAM paper gives flips, 45 degrees, 10 % and noise."""

    rotation_deg: float = 45.0
    scale: float = 0.10
    shift: float = 0.05
    noise_hu: float = 3.0
    hu_offset: float = 3.0
    hu_gain: float = 0.08


class SliceDataset(Dataset):
    """Slices of cropped cases.

    Items are `(image (C, size, size) float32, labels (6,) float32, blood (size, size) float32)`. `blood` is 1
    where blood was painted, 0 where there is none (painted slices and slices labelled negative), and -1
    where nobody knows (real slices labelled positive).

    Args:
        cases: cropped cases; slices whose brain mask is empty are left out, since they never reach a network.
        preprocessing: of the model to be trained.
        augmentation: None for validation.
    """

    def __init__(
        self, cases: list[Cropped], preprocessing: Preprocessing, augmentation: Augmentation | None = None
    ) -> None:
        self.cases, self.preprocessing, self.augmentation = cases, preprocessing, augmentation
        self.index = [
            (number, plane)
            for number, case in enumerate(cases)
            for plane in range(len(case.hu))
            if case.brain[plane].any() and not np.isnan(case.labels[plane, 0])
        ]
        self.labels = np.array([cases[n].labels[p] for n, p in self.index], np.float32).reshape(-1, 6)
        self.transform = _transform(augmentation) if augmentation else None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        number, plane = self.index[item]
        case = self.cases[number]
        hu, brain = case.hu[plane].astype(np.float32), case.brain[plane]
        blood = self._blood(case, plane)
        if self.transform:
            parts = self.transform(torch.from_numpy(np.stack([hu, brain, blood]))).numpy()
            hu, brain, blood = self._vary(parts[0]), parts[1] > 0.5, parts[2]
        image = self.preprocessing.images(hu, brain)
        return torch.from_numpy(image), torch.from_numpy(case.labels[plane]), torch.from_numpy(blood)

    def _blood(self, case: Cropped, plane: int) -> np.ndarray:
        if case.blood is not None:
            return case.blood[plane].astype(np.float32)
        known = 0.0 if case.labels[plane, 0] == 0 else -1.0
        return np.full(case.hu.shape[1:], known, np.float32)

    def _vary(self, hu: np.ndarray) -> np.ndarray:
        """Scanner differences: another gain around brain HU, another offset, more noise."""
        how = self.augmentation
        gain, offset, noise = torch.rand(3).tolist()
        middle = self.preprocessing.brain_hu or 33.0
        hu = (hu - middle) * (1 + (2 * gain - 1) * how.hu_gain) + middle + (2 * offset - 1) * how.hu_offset
        if noise < 0.5:
            hu = hu + torch.randn(hu.shape).numpy() * (2 * noise * how.noise_hu)
        return hu


def _transform(how: Augmentation) -> v2.Transform:
    """Geometric variation of (3, size, size): HU, brain mask, blood; what comes in from outside is air."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(
                how.rotation_deg,
                translate=(how.shift, how.shift),
                scale=(1 - how.scale, 1 + how.scale),
                interpolation=InterpolationMode.BILINEAR,
                fill=[-1000.0, 0.0, 0.0],
            ),
        ]
    )


def balanced_sampler(
    real: np.ndarray, painted: np.ndarray, painted_share: float, samples: int | None = None, seed: int = 0
) -> WeightedRandomSampler:
    """Draw positives and negatives equally often.

    Args:
        real: label `any` (0/1) of the real slices.
        painted: the same of the painted ones, which follow the real ones in the dataset.
        painted_share: share of painted slices among what is drawn (0 where there are none).
        samples: slices an epoch; by default twice the real minority class, as HGI-SAM.
    """
    weights = np.zeros(len(real) + len(painted))
    for value in (0, 1):
        mine, theirs = real == value, painted == value
        if not mine.any():
            raise ValueError(f"There is no {'positive' if value else 'negative'} slice to train on.")
        share = painted_share if theirs.any() else 0.0
        weights[: len(real)][mine] = (1 - share) / 2 / mine.sum()
        weights[len(real) :][theirs] = share / 2 / max(1, theirs.sum())
    minority = int(min((real == 0).sum(), (real == 1).sum()))
    generator = torch.Generator().manual_seed(seed)
    return WeightedRandomSampler(weights, samples or 2 * minority, generator=generator)
