"""Slices for training a segmenter: with drawn blood or with image-level labels alone, mixed in each batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.networks.segmenter import neighbours
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.dataset import Augmentation

AIR_HU = -1000.0
# Less drawn blood than this on a slice of a volume says neither yes nor no.
LEAST_PIXELS = 12


class Batch(NamedTuple):
    """Slices of a batch.

    Attributes:
        hu: (B, 1 + 2 context, H, W), HU of the slice in the middle and its neighbours.
        brain: (B, H, W), 1 in the slice's brain.
        blood: (B, H, W), 1 where blood is drawn, a probability where a teacher guesses; 0 as well where nobody
            knows.
        label: (B,), 1 for blood on the slice.
        drawn: bool (B,), whether `blood` is the whole truth about the slice.
    """

    hu: Tensor
    brain: Tensor
    blood: Tensor
    label: Tensor
    drawn: Tensor


@dataclass(frozen=True)
class Mix:
    """Slices of each kind in one batch.

    `drawn` slices come with their blood voxel by voxel (painted, masks, pseudo-masks), `labelled` ones with
    an image-level label alone. A labelled slice without blood is known voxel by voxel, too.
    """

    drawn_positive: int = 6
    drawn_negative: int = 2
    labelled_positive: int = 4
    labelled_negative: int = 4

    @property
    def batch(self) -> int:
        return sum(asdict(self).values())


class CroppedPlanes:
    """A training case as `Planes`, which networks read like a `NetworkInput`."""

    def __init__(self, case: Cropped) -> None:
        self.case = case

    def __len__(self) -> int:
        return len(self.case.hu)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.case.hu[index].astype(np.float32), self.case.brain[index]


class SegmenterDataset(Dataset):
    """Slices of whole cropped cases; items are `Batch`es without their first axis.

    Left out: slices without brain, without a label, and those that contradict themselves (a positive slice
    of a drawn case with less than `LEAST_PIXELS` of blood; a negative one with blood).

    Args:
        cases: whole volumes, slices in order from inferior; `blood` is None where nobody drew it.
        context: neighbouring slices on each side.

    Attributes:
        index: (case, slice) of each item.
        pools: items by the names of `Mix`.
    """

    def __init__(self, cases: list[Cropped], context: int) -> None:
        self.cases, self.context = cases, context
        self.index: list[tuple[int, int]] = []
        self.pools: dict[str, list[int]] = {name: [] for name in asdict(Mix())}
        for number, case in enumerate(cases):
            for plane in range(len(case.hu)):
                pool = _pool(case, plane)
                if pool:
                    self.pools[pool].append(len(self.index))
                    self.index.append((number, plane))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> Batch:
        number, plane = self.index[item]
        case = self.cases[number]
        label = case.labels[plane, 0]
        blood = _known_blood(case, plane)
        return Batch(
            torch.from_numpy(case.hu[neighbours(len(case.hu), plane, self.context)]),
            torch.from_numpy(np.array(case.brain[plane])),
            torch.zeros(case.hu.shape[1:]) if blood is None else torch.from_numpy(blood),
            torch.tensor(float(label)),
            torch.tensor(blood is not None or label == 0),
        )


def _known_blood(case: Cropped, plane: int) -> np.ndarray | None:
    """Blood of a slice, float32, drawn or guessed; None where nobody knows."""
    # Copies: volumes may lie on disk, read-only.
    if case.blood is not None:
        return case.blood[plane].astype(np.float32)
    if case.guess is not None and case.guess[plane].any():
        return case.guess[plane].astype(np.float32)
    return None


def _pool(case: Cropped, plane: int) -> str | None:
    label = case.labels[plane, 0]
    if np.isnan(label) or not case.brain[plane].any():
        return None
    kind = "positive" if label == 1 else "negative"
    if case.blood is None:
        return f"labelled_{kind}"
    pixels = np.count_nonzero(case.blood[plane])
    fits = pixels >= LEAST_PIXELS if label == 1 else pixels == 0
    return f"drawn_{kind}" if fits else None


class MixSampler(Sampler[list[int]]):
    """Batches that hold each kind of slice as often as the mix says, drawn with replacement.

    Args:
        pools: items by kind.
        mix: slices of each kind.
        steps: batches an epoch.
        seed: of the generator.

    Raises:
        InputError: the mix asks for a kind of which there is none.
    """

    def __init__(self, pools: dict[str, list[int]], mix: Mix, steps: int, seed: int = 0) -> None:
        for name, count in asdict(mix).items():
            if count < 0:
                raise InputError(f"A batch cannot hold {count} {name.replace('_', ' ')} slices.")
            if count and not pools[name]:
                known, sign = name.split("_")
                missing = "drawn blood" if known == "drawn" else "an image-level label alone"
                raise InputError(
                    f"There is no {sign} slice with {missing} to train on: add such cases, or set the mix's "
                    f"{name} to 0."
                )
        if not mix.batch:
            raise InputError("The mix holds no slice at all.")
        self.pools, self.mix, self.steps = pools, mix, steps
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(self.steps):
            batch = []
            for name, count in asdict(self.mix).items():
                pool = self.pools[name]
                if count:
                    places = torch.randint(len(pool), (count,), generator=self.generator)
                    batch += [pool[place] for place in places.tolist()]
            yield batch


def augment(batch: Batch, how: Augmentation, brain_hu: float) -> Batch:
    """Vary a batch on its own device: flips, rotation, scale, shift, HU gain and offset, noise.

    All slices of an item move alike. The numbers come from torch's global CPU generator, so that a seed gives
    the same on the CPU whenever it runs.

    Args:
        batch: as loaded.
        how: how strongly; `shift` is a share of the image's side, half of the slices get noise.
        brain_hu: the HU that a gain leaves as they are.

    Returns:
        float32 tensors; `brain` is 0 or 1, `blood` is soft at its rim.
    """
    count, device = len(batch.hu), batch.hu.device
    angle, size, shift_x, shift_y, gain, offset = (2 * torch.rand(6, count) - 1).unbind()
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    noise = torch.rand(count) * how.noise_hu * (torch.rand(count) < 0.5)
    seed = int(torch.randint(2**62, ()))

    angle, size = angle * math.radians(how.rotation_deg), 1 + size * how.scale
    cos, sin = angle.cos() / size, angle.sin() / size
    # affine_grid counts a half side as 1.
    rows = [[cos * flip, -sin, 2 * how.shift * shift_x], [sin * flip, cos, 2 * how.shift * shift_y]]
    theta = torch.stack([torch.stack(row, -1) for row in rows], 1).to(device)
    hu = batch.hu.float() - AIR_HU
    planes = torch.cat([hu, batch.brain[:, None].float(), batch.blood[:, None].float()], 1)
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    planes = functional.grid_sample(planes, grid, align_corners=False)

    def spread(values: Tensor) -> Tensor:
        return values.to(device)[:, None, None, None]

    hu = (planes[:, :-2] + AIR_HU - brain_hu) * spread(1 + gain * how.hu_gain)
    hu = hu + brain_hu + spread(offset * how.hu_offset)
    if how.noise_hu:
        random = torch.Generator(device).manual_seed(seed)
        hu = hu + spread(noise) * torch.randn(hu.shape, generator=random, device=device)
    return batch._replace(hu=hu, brain=(planes[:, -2] > 0.5).float(), blood=planes[:, -1])
