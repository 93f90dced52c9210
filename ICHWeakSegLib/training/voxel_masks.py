"""Voxel masks of a cohort (drawn by people, or pseudo-masks) as the `blood` of its cropped cases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import NetworkInput, Preprocessing
from ICHWeakSegLib.ct.truth import read_truth
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import Case

ENDINGS = (".seg.nrrd", ".nrrd", ".nii.gz", ".nii", ".mha", ".mhd")


def find_mask(folder: Path, name: str) -> Path | None:
    """The mask of a case: `<case name without its ending>` and one of `ENDINGS`; None if there is none."""
    stem = name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            stem = name[: -len(ending)]
            break
    return next((folder / (stem + e) for e in ENDINGS if (folder / (stem + e)).is_file()), None)


def crop_mask(case: Case, path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """The mask of a case as `Cropped.blood`: bool (slabs, size, size), true where half a pixel is blood.

    Raises:
        InputError: the CT or the mask cannot be used.
    """
    ct = case.read()
    grid = AxialGrid(ct)
    source = NetworkInput(grid, BrainMask(grid), preprocessing)
    axial = grid.from_native(read_truth(path, ct))
    slabs = [axial[group.start : group.stop].mean(axis=0, dtype=np.float32) for group in source.groups]
    return np.stack([source.frame.crop(slab) >= 0.5 for slab in slabs])


def masked_cases(
    cases: list[Case],
    crops: list[Cropped],
    masks: Path,
    preprocessing: Preprocessing,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Cropped]:
    """The crops with their masks as `blood`.

    A case without a file has an empty mask where all its labels are negative; else it stays as it is, labelled
    only. On slices labelled negative a mask is emptied: the label knows better than a pseudo-mask.

    Args:
        cases: of the cohort.
        crops: of the same cases, in the same order.
        masks: folder of mask files, see `find_mask`.
        preprocessing: that the crops were made with.
        folder: keeps the cropped masks for the next run.
        progress: called with cases done and their number.

    Raises:
        InputError: no folder, no mask for any case, or one that cannot be used.
    """
    masks = Path(masks)
    if not masks.is_dir():
        raise InputError(f"There is no folder of masks {masks}.")
    found = {case.name: find_mask(masks, case.name) for case in cases}
    if not any(found.values()):
        raise InputError(
            f"{masks} holds no mask of any case: name them as the CTs, e.g. {cases[0].name}{ENDINGS[0]}."
        )
    done = []
    for number, (case, crop) in enumerate(zip(cases, crops, strict=True)):
        path = found[case.name]
        if path:
            blood = _kept_or_cropped(case, path, preprocessing, folder)
            if blood.shape != crop.hu.shape:
                raise InputError(f"The mask {path} has another number of slices than its CT {case.name}.")
            crop = replace(crop, blood=blood & (crop.labels[:, 0] != 0)[:, None, None])
        elif (crop.labels[:, 0] == 0).all():
            crop = replace(crop, blood=np.broadcast_to(False, crop.hu.shape))
        done.append(crop)
        if progress:
            progress(number + 1, len(cases))
    return done


def _kept_or_cropped(case: Case, path: Path, preprocessing: Preprocessing, folder: Path) -> np.ndarray:
    state = path.stat()
    facts = [asdict(preprocessing), case.name, str(path.resolve()), state.st_size, state.st_mtime_ns]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(folder) / "masks"
    kept = folder / f"{key}.npz"
    if kept.exists():
        with np.load(kept) as file:
            return np.unpackbits(file["blood"], axis=-1, count=int(file["size"])).astype(bool)
    blood = crop_mask(case, path, preprocessing)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{key}.part.npz"
    np.savez(partial, blood=np.packbits(blood, axis=-1), size=blood.shape[-1])
    partial.replace(kept)
    return blood
