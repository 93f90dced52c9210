"""Cases read, masked and cropped once, and kept on disk for every epoch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import NetworkInput, Preprocessing
from ICHWeakSegLib.training.cases import Case


@dataclass
class Cropped:
    """One case as a network sees it.

    Attributes:
        name, patient: of the case.
        hu: int16 (S, size, size), one plane a slab.
        brain: bool, same shape.
        labels: float32 (S, 6).
        blood: bool, shape of `hu`, where blood was painted; None for real slices, whose blood nobody drew.
        per_slab: axial slices in a slab.
        guess: float (S, size, size) in 0-1, how likely an earlier network finds blood on slices with blood (see
            `training.teacher`), 0 everywhere on a slice that it has no guess for; None without a teacher.
    """

    name: str
    patient: str
    hu: np.ndarray
    brain: np.ndarray
    labels: np.ndarray
    blood: np.ndarray | None = None
    per_slab: int = 1
    guess: np.ndarray | None = None


def crop_case(case: Case, preprocessing: Preprocessing) -> Cropped:
    """Read one case and crop it.

    Raises:
        InputError: the CT cannot be used, or it has another number of slices than labels.
    """
    ct = case.read()
    grid = AxialGrid(ct)
    count = len(grid.positions_mm)
    if count != len(case.labels):
        raise InputError(f"{case.name} has {count} axial slices and {len(case.labels)} labels.")
    source = NetworkInput(grid, BrainMask(grid), preprocessing)
    planes = [source.crop(index) for index in range(len(source))]
    per_slab = len(source.groups[0])
    return Cropped(
        case.name,
        case.patient,
        np.stack([np.rint(hu) for hu, _ in planes]).astype(np.int16),
        np.stack([mask for _, mask in planes]),
        slab_labels(case.labels, per_slab),
        per_slab=per_slab,
    )


def slab_labels(labels: np.ndarray, per_slab: int) -> np.ndarray:
    """Labels of slabs of so many slices: blood if one of them has; unknown if none is known."""
    groups = [labels[low : low + per_slab] for low in range(0, len(labels), per_slab)]
    return np.stack([np.fmax.reduce(group) for group in groups])


def cached_cases(
    cases: list[Case],
    preprocessing: Preprocessing,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Cropped]:
    """Crop all cases, or take them from `folder` where an earlier run with the same settings left them."""
    key = hashlib.sha256(json.dumps(asdict(preprocessing), sort_keys=True).encode()).hexdigest()[:12]
    folder = Path(folder) / f"crops-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    for number, case in enumerate(cases):
        name = hashlib.sha256(case.name.encode()).hexdigest()[:16]
        path = folder / f"{name}.npz"
        item = _kept(path, case)
        if item is None:
            item = crop_case(case, preprocessing)
            partial = folder / f"{name}.part.npz"
            np.savez(partial, hu=item.hu, brain=item.brain, labels=item.labels, per_slab=item.per_slab)
            partial.replace(path)
        done.append(item)
        if progress:
            progress(number + 1, len(cases))
    return done


def _kept(path: Path, case: Case) -> Cropped | None:
    """The case as an earlier run left it; None if it did not, or the count of labels has changed."""
    if not path.exists():
        return None
    with np.load(path) as file:
        hu, brain, labels = file["hu"], file["brain"], file["labels"]
        per_slab = int(file["per_slab"]) if "per_slab" in file else int(len(case.labels) == len(hu))
    if not per_slab:
        # Kept by a version that did not write how many slices a slab has.
        return None
    # Labels are corrected more often than images: the table counts, not what was kept.
    labels = slab_labels(case.labels, per_slab)
    if len(labels) != len(hu):
        return None
    return Cropped(case.name, case.patient, hu, brain, labels, per_slab=per_slab)
