"""Painted bleeds and look-alikes in whole volumes without blood, slices in their order, with exact masks."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ICHWeakSegLib.phantom import DECOYS, SUBTYPES, paint_decoy, paint_lesion
from ICHWeakSegLib.phantom.anatomy import Anatomy, find_anatomy
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import CLASSES
from ICHWeakSegLib.training.painting import CLEAR_MM2, SHORT
from ICHWeakSegLib.training.resumable import write_whole

VOLUME_ML = (0.5, 60.0)
# Every so many copies one is painted with look-alikes only.
BARE_EVERY = 5
DECOY_SHARE, SECOND_BLEED_SHARE = 0.5, 0.35
_FACTS = "painted.json"


def painted_volumes(
    cases: list[Cropped],
    copies: int,
    spacing_mm: tuple[float, float, float],
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Cropped]:
    """Paint every case that has no blood at all `copies` times, or take what an earlier run left in `folder`.

    Four of five copies hold one or two bleeds of any subtype, half of these with a look-alike; the fifth holds a
    look-alike and no blood. A copy whose bleeds found no room holds none.

    Args:
        cases: cropped cases; those with a slice that is positive or unknown are left alone.
        copies: of each; none for 0.
        spacing_mm: (slab, row, column).
        folder: keeps the copies in `painted-volumes-COPIES-SEED`.
        seed: the copies of a case depend on it and on the case alone, not on the other cases.
        progress: told how many cases are done, and of how many.

    Returns:
        A `Cropped` for each copy, named `CASE/painted-N`, of the case's patient: `hu` and `blood` (S, size,
        size), read from disk as they are needed, and `labels` (S, 6) of `any` and the subtypes: 0 for slices
        without painted blood, NaN where less than `CLEAR_MM2` of it was painted.
    """
    if copies < 1:
        return []
    place = Path(folder) / f"painted-volumes-{copies}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    empty = [case for case in cases if case.brain.any() and not (case.labels[:, 0] != 0).any()]
    done: list[Cropped] = []
    for number, case in enumerate(empty):
        name = hashlib.sha256(case.name.encode()).hexdigest()[:16]
        facts = {
            "case": case.name,
            "spacing_mm": list(map(float, spacing_mm)),
            "pixels": zlib.crc32(case.brain.tobytes(), zlib.crc32(case.hu.tobytes())),
        }
        if not _is_kept(place / name, facts):
            rng = np.random.default_rng([seed, int(name[:8], 16)])
            _keep(place / name, facts, paint_copies(case, copies, spacing_mm, rng))
        done += _kept(place / name, case)
        if progress:
            progress(number + 1, len(empty))
    return done


def paint_copies(
    case: Cropped, copies: int, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> list[Cropped]:
    """The copies of one case, in memory; see `painted_volumes`."""
    anatomy = find_anatomy(case.hu.astype(np.float32), case.brain & (case.hu < 130), spacing_mm)
    return [
        _paint_copy(case, number, spacing_mm, anatomy, rng, bare=number % BARE_EVERY == BARE_EVERY - 1)
        for number in range(copies)
    ]


def _paint_copy(
    case: Cropped,
    number: int,
    spacing_mm: tuple[float, float, float],
    anatomy: Anatomy,
    rng: np.random.Generator,
    bare: bool,
) -> Cropped:
    hu = case.hu.astype(np.float32)
    if bare or rng.random() < DECOY_SHARE:
        hu = paint_decoy(hu, case.brain, spacing_mm, str(rng.choice(DECOYS)), rng, anatomy=anatomy)
    blood = np.zeros(hu.shape, bool)
    labels = np.zeros((len(hu), len(CLASSES)), np.float32)
    wanted = 0 if bare else 1 + (rng.random() < SECOND_BLEED_SHARE)
    for _ in range(wanted):
        subtype = str(rng.choice(SUBTYPES))
        volume = float(np.exp(rng.uniform(*np.log(VOLUME_ML))))
        try:
            painted = paint_lesion(hu, case.brain, spacing_mm, subtype, volume, rng, anatomy=anatomy)
        except ValueError:
            continue  # no room for this bleed in this head
        hu, blood = painted.hu, blood | painted.mask
        _mark(labels[:, CLASSES.index(SHORT[subtype])], painted.mask, spacing_mm)
    _mark(labels[:, 0], blood, spacing_mm)
    return Cropped(
        _copy_name(case, number), case.patient, np.rint(hu).astype(np.int16), case.brain, labels, blood
    )


def _mark(column: np.ndarray, blood: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    """Set labels (S,) of slices with blood: 1 where it is clear, unknown where there is too little."""
    area = blood.sum(axis=(1, 2)) * spacing_mm[1] * spacing_mm[2]
    column[(area > 0) & (area < CLEAR_MM2) & (column != 1)] = np.nan
    column[area >= CLEAR_MM2] = 1


def _copy_name(case: Cropped, number: int) -> str:
    return f"{case.name}/painted-{number}"


def _is_kept(folder: Path, facts: dict[str, object]) -> bool:
    path = folder / _FACTS
    return path.exists() and json.loads(path.read_text(encoding="utf-8")) == facts


def _keep(folder: Path, facts: dict[str, object], painted: list[Cropped]) -> None:
    """Leave the copies in a folder that is there whole or not at all."""
    partial = folder.with_name(folder.name + ".part")
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    for key in ("hu", "blood", "labels"):
        np.save(partial / f"{key}.npy", np.stack([getattr(item, key) for item in painted]))
    write_whole(partial / _FACTS, json.dumps(facts))
    partial.replace(folder)


def _kept(folder: Path, case: Cropped) -> list[Cropped]:
    # Twenty copies of a cohort would fill the memory: they stay on disk until a slice is asked for.
    hu, blood = (np.load(folder / f"{key}.npy", mmap_mode="r") for key in ("hu", "blood"))
    labels = np.load(folder / "labels.npy")
    return [
        Cropped(_copy_name(case, n), case.patient, hu[n], case.brain, labels[n], blood[n], case.per_slab)
        for n in range(len(hu))
    ]
