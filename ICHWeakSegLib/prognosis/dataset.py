"""Cases of a cohort for training: cropped and cached once, varied and stripped of modalities at each draw."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.ct.read import read_ct
from ICHWeakSegLib.ct.truth import read_truth
from ICHWeakSegLib.networks.segmenter import segmenter_channels
from ICHWeakSegLib.prognosis.admission_text import admission_text
from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.identity import case_identity, file_hash
from ICHWeakSegLib.prognosis.scan import crop_mask, read_scan
from ICHWeakSegLib.training.dataset import Augmentation

if TYPE_CHECKING:
    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.prognosis.cohort_table import PrognosisCase

AIR_HU = -1000.0


@dataclass(frozen=True)
class ModalityDropout:
    """How often a training case loses what may be missing in use.

    Attributes:
        text, image: probability that the whole modality is left out; never both at once.
        field: probability of each admission field.
    """

    text: float = 0.15
    image: float = 0.15
    field: float = 0.3


@dataclass
class PrognosisCrop:
    """One case as the network sees it; N slabs with brain.

    Attributes:
        name, patient: of the case.
        hu: int16 (N, size, size).
        brain: bool, same shape.
        pixel_ml: float32 (N,), mL of one pixel of each slab.
        clinical: admission fields.
        blood: bool, shape of `hu`; None where nobody drew it.
        leaked: fields known only later that were let in.
        outcome: 1 poor, 0 good, None not known.
        identity: hashes of case, patient and CT.
    """

    name: str
    patient: str
    hu: np.ndarray
    brain: np.ndarray
    pixel_ml: np.ndarray
    clinical: Clinical
    blood: np.ndarray | None = None
    leaked: Mapping[str, str] = field(default_factory=dict)
    outcome: float | None = None
    identity: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> np.ndarray:
        """The outcome as `split_patients` wants it, (1, 1), so that poor ones are spread over the folds."""
        return np.array([[np.nan if self.outcome is None else self.outcome]], np.float32)


class PrognosisBatch(NamedTuple):
    """B cases, padded to the longest of S slabs.

    Attributes:
        images: (B, S, windows, H, W) in 0-1.
        valid: bool (B, S); all false where the image was left out.
        brain: bool (B, S, H, W).
        blood: (B, S, H, W), 0-1.
        drawn: bool (B,), whether `blood` is known.
        pixel_ml: (B, S).
        texts: empty: none.
        outcome: (B,), NaN where not known.
        bands: (B, 2), GCS and age, NaN where not known.
    """

    images: Tensor
    valid: Tensor
    brain: Tensor
    blood: Tensor
    drawn: Tensor
    pixel_ml: Tensor
    texts: list[str]
    outcome: Tensor
    bands: Tensor


def cached_crops(
    cases: Sequence[PrognosisCase],
    preprocessing: Preprocessing,
    folder: Path,
    pseudo: Model | None = None,
    masks: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[PrognosisCrop]:
    """Crop all cases, or take them from `folder` where an earlier run left them (known by the CT's content).

    Args:
        cases: of the cohort, outcomes 0, 1 or None.
        preprocessing: of the network.
        folder: of the cache.
        pseudo: model whose mask stands for that of a case without one.
        masks: false: the cohort's masks are not looked at.
        progress: called with cases done and their number.

    Raises:
        InputError: a CT or a mask cannot be used; names the case.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    for number, case in enumerate(cases):
        try:
            done.append(_cached(case, preprocessing, folder, pseudo, masks))
        except InputError as problem:
            raise InputError(f"Case {case.name}: {problem}") from problem
        if progress:
            progress(number + 1, len(cases))
    return done


def _cached(
    case: PrognosisCase, preprocessing: Preprocessing, folder: Path, pseudo: Model | None, masks: bool
) -> PrognosisCrop:
    identity = case_identity(case)
    mask = case.mask if masks else None
    drawn_by = file_hash(mask) if mask else pseudo.provenance()["sha256"] if pseudo else ""
    facts = [asdict(preprocessing), identity["ct"], drawn_by]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]
    path = folder / f"scan-{key}.npz"
    if not path.exists():
        ct = read_ct(case.ct)
        scan = read_scan(ct, preprocessing)
        arrays = {"hu": scan.hu, "brain": np.packbits(scan.brain, axis=-1), "pixel_ml": scan.pixel_ml}
        blood = None
        if mask:
            blood = read_truth(mask, ct)
        elif pseudo:
            from ICHWeakSegLib.segment import segment

            blood = segment(ct, pseudo, device="cpu").mask
        if blood is not None:
            arrays["blood"] = np.packbits(crop_mask(scan, blood), axis=-1)
        partial = folder / f"scan-{key}.part.npz"
        np.savez(partial, **arrays)
        partial.replace(path)
    with np.load(path) as kept:
        hu, size = kept["hu"], preprocessing.size
        bits = {name: kept[name] for name in ("brain", "blood") if name in kept}
        planes = {name: np.unpackbits(b, axis=-1, count=size).astype(bool) for name, b in bits.items()}
        return PrognosisCrop(
            case.name,
            case.patient,
            hu,
            planes["brain"],
            kept["pixel_ml"],
            case.clinical,
            planes.get("blood"),
            dict(case.leaked),
            case.outcome,
            identity,
        )


class PrognosisDataset(Dataset):
    """Cases; items are what `collate` takes.

    Args:
        cases: cropped.
        template: of the text.
        augmentation: None: as they are.
        dropout: of modalities; None: all that is there.
    """

    def __init__(
        self,
        cases: Sequence[PrognosisCrop],
        template: Mapping[str, Any],
        augmentation: Augmentation | None = None,
        dropout: ModalityDropout | None = None,
        brain_hu: float = 33.0,
    ) -> None:
        self.cases, self.template = list(cases), template
        self.augmentation, self.dropout, self.brain_hu = augmentation, dropout, brain_hu

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, item: int) -> dict[str, Any]:
        case = self.cases[item]
        clinical, leaked, image = case.clinical, dict(case.leaked), True
        if self.dropout is not None:
            clinical, leaked, image = drop(clinical, leaked, self.dropout)
        blood = np.zeros(case.hu.shape, bool) if case.blood is None else case.blood
        planes = (
            torch.from_numpy(np.asarray(part)) for part in (case.hu.astype(np.float32), case.brain, blood)
        )
        hu, brain, blood = planes
        pixel_ml = torch.from_numpy(case.pixel_ml.copy())
        blood = blood.float()
        if image and self.augmentation is not None:
            hu, brain, blood, zoom = vary(hu, brain, blood, self.augmentation, self.brain_hu)
            pixel_ml = pixel_ml / zoom**2
        return {
            "hu": hu,
            "brain": brain,
            "blood": blood,
            "drawn": case.blood is not None,
            "pixel_ml": pixel_ml,
            "image": image,
            "text": admission_text(clinical, self.template, leaked),
            "outcome": math.nan if case.outcome is None else float(case.outcome),
            "bands": [_or_nan(case.clinical.gcs), _or_nan(case.clinical.age)],
        }


def drop(
    clinical: Clinical, leaked: dict[str, str], how: ModalityDropout
) -> tuple[Clinical, dict[str, str], bool]:
    """Leave modalities out at random: what remains of the fields, of the leaked ones, and whether of the image.

    The numbers come from torch's global generator: always as many, whatever they decide.
    """
    names = [one.name for one in fields(Clinical)]
    draws = torch.rand(2 + len(names) + len(leaked)).tolist()
    whole, parts = draws[0], draws[2:]
    text, image = whole >= how.text, not how.text <= whole < how.text + how.image
    blank = {name: "" if name == "history" else None for name in names}
    lost = {name for name, value in zip(names, parts, strict=False) if not text or value < how.field}
    later = {
        name: value
        for (name, value), chance in zip(leaked.items(), parts[len(names) :], strict=True)
        if text and chance >= how.field
    }
    return replace(clinical, **{name: blank[name] for name in lost}), later, image


def vary(
    hu: Tensor, brain: Tensor, blood: Tensor, how: Augmentation, brain_hu: float
) -> tuple[Tensor, Tensor, Tensor, float]:
    """One head turned, flipped, moved and scanned a little differently; all its slices alike.

    Args:
        hu, brain, blood: (N, H, W).
        how: how strongly.
        brain_hu: the HU that a gain leaves as they are.

    Returns:
        The three, `blood` soft at its rim, and how much larger the head is now (1: as before).
    """
    turn, size, shift_x, shift_y, gain, offset = (2 * torch.rand(6) - 1).tolist()
    flip, noisy, noise = torch.rand(3).tolist()
    seed = int(torch.randint(2**62, ()))
    turn, zoom = math.radians(how.rotation_deg) * turn, 1 + how.scale * size
    sign = -1.0 if flip < 0.5 else 1.0
    cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom
    rows = [[cos * sign, -sin, 2 * how.shift * shift_x], [sin * sign, cos, 2 * how.shift * shift_y]]
    planes = torch.cat([hu.float() - AIR_HU, brain.float(), blood.float()])[None]
    grid = functional.affine_grid(torch.tensor([rows]), list(planes.shape), align_corners=False)
    hu, brain, blood = functional.grid_sample(planes, grid, align_corners=False)[0].chunk(3)
    hu = (hu + AIR_HU - brain_hu) * (1 + gain * how.hu_gain) + brain_hu + offset * how.hu_offset
    if noisy < 0.5 and how.noise_hu:
        own = torch.Generator().manual_seed(seed)
        hu = hu + noise * how.noise_hu * torch.randn(hu.shape, generator=own)
    return hu, brain > 0.5, blood, zoom


class Collate:
    """Items of `PrognosisDataset` become a `PrognosisBatch`."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> PrognosisBatch:
        size, windows = self.preprocessing.size, len(self.preprocessing.windows)
        longest = max(len(item["hu"]) for item in items)
        shape = (len(items), longest)
        images = torch.zeros(*shape, windows, size, size)
        brain = torch.zeros(*shape, size, size, dtype=torch.bool)
        blood = torch.zeros(*shape, size, size)
        valid = torch.zeros(*shape, dtype=torch.bool)
        pixel_ml = torch.zeros(*shape)
        for row, item in enumerate(items):
            count = len(item["hu"])
            images[row, :count] = segmenter_channels(item["hu"][:, None], item["brain"], self.preprocessing)
            brain[row, :count], blood[row, :count] = item["brain"], item["blood"]
            pixel_ml[row, :count] = item["pixel_ml"]
            valid[row, :count] = item["image"]
        return PrognosisBatch(
            images,
            valid,
            brain,
            blood,
            torch.tensor([item["drawn"] and item["image"] for item in items]),
            pixel_ml,
            [item["text"] for item in items],
            torch.tensor([item["outcome"] for item in items], dtype=torch.float32),
            torch.tensor([item["bands"] for item in items], dtype=torch.float32),
        )


class CaseSampler(Sampler[list[int]]):
    """Batches of cases, each case once an epoch, in an order of its own generator."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch = count, batch
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.count, generator=self.generator).tolist()
        for low in range(0, self.count, self.batch):
            yield order[low : low + self.batch]


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
