"""Writing the result in the format that the file's ending asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.output.label_map import write_label_map
from ICHWeakSegLib.output.seg_nrrd import write_seg_nrrd

# The longest first: .seg.nrrd also ends in .nrrd.
MASK_ENDINGS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd")


def mask_ending(path: str | Path) -> str:
    """The ending of a result's path.

    Raises:
        InputError: no mask can be written to such a file; lists the endings.
    """
    name = Path(path).name.lower()
    for ending in MASK_ENDINGS:
        if name.endswith(ending) and name != ending:
            return ending
    raise InputError(
        f"The result cannot be written to {path}: the name must end in {', '.join(MASK_ENDINGS)}."
    )


def check_output_path(path: str | Path) -> Path:
    """Refuse, before the long work, a target that cannot be written. Makes no folder and no file.

    Raises:
        InputError: the ending is unknown, the path is a folder, or its folder cannot be written to.
    """
    path = Path(path).expanduser()
    mask_ending(path)
    return check_place(path)


def check_place(path: str | Path) -> Path:
    """Refuse a target whose folder cannot be written to; its ending is not looked at. Makes nothing.

    Raises:
        InputError: the path is a folder, or its folder cannot be written to.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError(f"The result cannot be written to {path}: that is a folder.")
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"The result cannot be written to {path}: {folder} is not a folder.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"The result cannot be written to {path}: {folder} is write-protected.")
    return path


def write_result_mask(
    path: str | Path,
    mask: np.ndarray | Mapping[str, np.ndarray],
    ct: CT,
    provenance: Mapping[str, object] | None = None,
) -> Path:
    """Write a mask, or masks by class, on the CT's grid; missing folders are made.

    Args:
        path: `.seg.nrrd` (Slicer segmentation), or `.nii.gz`, `.nii`, `.nrrd` (label map of 0 and 1; masks
            by class are put together).
        mask: shape (K, J, I), nonzero is hemorrhage; or several by class name.
        ct: the CT that the mask belongs to.
        provenance: which model and method made it.

    Raises:
        InputError: as `check_output_path`, or the format cannot hold the CT's grid.
    """
    path = check_output_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if mask_ending(path) == ".seg.nrrd":
            return write_seg_nrrd(path, mask, ct, provenance)
        if isinstance(mask, Mapping):
            mask = np.logical_or.reduce([np.asarray(one) != 0 for one in mask.values()])
        return write_label_map(path, mask, ct, provenance)
    except OSError as problem:
        raise InputError(f"{path} cannot be written: {problem.strerror or problem}.") from problem
