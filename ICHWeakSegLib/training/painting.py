"""Painted bleeds and look-alikes in real slices without blood, as extra image-level labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ICHWeakSegLib.phantom import DECOYS, SUBTYPES, paint_decoy, paint_lesion
from ICHWeakSegLib.phantom.anatomy import find_anatomy
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import CLASSES

SHORT = {
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}
# Slices with less painted blood than this say neither yes nor no and are left out.
CLEAR_MM2 = 25.0
VOLUME_ML = (1.0, 60.0)


def paint_case(
    case: Cropped, copies: int, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Cropped:
    """Slices of a case without blood, painted `copies` times with a bleed, a quarter as often with a decoy.

    Returns:
        A case of the same patient that holds painted slices only, with their labels.
    """
    anatomy = find_anatomy(case.hu.astype(np.float32), case.brain & (case.hu < 130), spacing_mm)
    hu, brain, labels, blood = [], [], [], []
    for copy in range(copies):
        subtype = str(rng.choice(SUBTYPES))
        volume = float(np.exp(rng.uniform(*np.log(VOLUME_ML))))
        base = case.hu.astype(np.float32)
        if rng.random() < 0.3:
            base = paint_decoy(base, case.brain, spacing_mm, str(rng.choice(DECOYS)), rng, anatomy=anatomy)
        try:
            painted = paint_lesion(base, case.brain, spacing_mm, subtype, volume, rng, anatomy=anatomy)
        except ValueError:
            continue  # no room for this bleed in this head
        area = painted.mask.sum(axis=(1, 2)) * spacing_mm[1] * spacing_mm[2]
        label = np.zeros(len(CLASSES), np.float32)
        label[[0, CLASSES.index(SHORT[subtype])]] = 1
        for index in np.flatnonzero(area >= CLEAR_MM2):
            hu.append(np.rint(painted.hu[index]))
            brain.append(case.brain[index])
            labels.append(label)
            blood.append(painted.mask[index])
        if copy % 4 == 0:
            decoy = paint_decoy(
                case.hu.astype(np.float32),
                case.brain,
                spacing_mm,
                str(rng.choice(DECOYS)),
                rng,
                anatomy=anatomy,
            )
            for index in np.flatnonzero(np.abs(decoy - case.hu).max(axis=(1, 2)) > 8):
                hu.append(np.rint(decoy[index]))
                brain.append(case.brain[index])
                labels.append(np.zeros(len(CLASSES), np.float32))
                blood.append(np.zeros(case.hu.shape[1:], bool))
    shape = (0, *case.hu.shape[1:])
    return Cropped(
        case.name,
        case.patient,
        np.stack(hu).astype(np.int16) if hu else np.zeros(shape, np.int16),
        np.stack(brain) if brain else np.zeros(shape, bool),
        np.stack(labels) if labels else np.zeros((0, len(CLASSES)), np.float32),
        np.stack(blood) if blood else np.zeros(shape, bool),
    )


def painted_cases(
    cases: list[Cropped],
    copies: int,
    spacing_mm: tuple[float, float, float],
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Cropped]:
    """Paint every case that has no blood at all, or take the slices from `folder`."""
    folder = Path(folder) / f"painted-{copies}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    empty = [case for case in cases if case.brain.any() and not (case.labels[:, 0] != 0).any()]
    done = []
    for number, case in enumerate(empty):
        path = folder / f"{number:05d}.npz"
        item = _kept(path, case, spacing_mm)
        if item is None:
            item = paint_case(case, copies, spacing_mm, np.random.default_rng([seed, number]))
            partial = folder / f"{number:05d}.part.npz"
            np.savez_compressed(
                partial,
                hu=item.hu,
                brain=item.brain,
                labels=item.labels,
                blood=item.blood,
                case=case.name,
                spacing_mm=spacing_mm,
            )
            partial.replace(path)
        done.append(item)
        if progress:
            progress(number + 1, len(empty))
    return done


def _kept(path: Path, case: Cropped, spacing_mm: tuple[float, float, float]) -> Cropped | None:
    """What an earlier run painted into this case; None if it did not, or into another case or pixel size."""
    if not path.exists():
        return None
    with np.load(path) as file:
        if "case" in file and (
            str(file["case"]) != case.name or not np.allclose(file["spacing_mm"], spacing_mm)
        ):
            return None
        parts = [file[key] for key in ("hu", "brain", "labels", "blood")]
    return Cropped(case.name, case.patient, *parts) if parts[0].shape[1:] == case.hu.shape[1:] else None
