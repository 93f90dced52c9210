"""What an earlier run left in files: how a mask was made, slice scores, map, result."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.output.provenance import PREFIX

_TAG = "ICHWeakSeg."
# Rounding of headers, in mm at the far corner.
_TOLERANCE_MM = 0.1


def read_provenance(path: str | Path) -> dict[str, str]:
    """Model, version, sha256, thresholds, ... from a file of masks that this package wrote, as text.

    Slicer may have saved a `.seg.nrrd` again. Empty for other files.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(path)
    name = path.name.lower()
    try:
        if name.endswith(".nrrd"):
            return _nrrd_facts(path)
        if name.endswith((".nii", ".nii.gz")):
            return _nifti_facts(path)
    except OSError as problem:
        raise InputError(f"The mask {path} cannot be read ({problem.strerror}): check the path.") from problem
    return {}


def _nrrd_facts(path: Path) -> dict[str, str]:
    import nrrd

    try:
        header = nrrd.read_header(str(path))
    except nrrd.NRRDError as problem:
        raise InputError(f"The mask {path} cannot be read ({problem}): export it again.") from problem
    facts = _ours(header.items(), PREFIX)
    # Slicer drops fields of its own header that it does not know, and keeps the segments' tags.
    for key, value in header.items():
        if str(key).endswith("_Tags"):
            tags = (tag.split(":", 1) for tag in str(value).split("|") if ":" in tag)
            facts = _ours(tags, _TAG) | facts
    return facts


def _nifti_facts(path: Path) -> dict[str, str]:
    import nibabel

    for extension in nibabel.load(path).header.extensions:
        try:
            fields = json.loads(extension.get_content())
        except (ValueError, TypeError):
            # Other programs' comments.
            continue
        if isinstance(fields, dict):
            return _ours(fields.items(), PREFIX)
    return {}


def _ours(fields: Iterable[Iterable[object]], prefix: str) -> dict[str, str]:
    return {str(key).removeprefix(prefix): str(value) for key, value in fields if str(key).startswith(prefix)}


def read_slice_scores(path: str | Path) -> list[float]:
    """Probabilities of all axial slices from inferior to superior, from what `write_slice_scores` wrote.

    Raises:
        InputError: the file cannot be read or is no such table.
    """
    other = f"{path} is no table of slice scores: give what `ichweakseg segment --slice-scores` wrote."
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = {int(row["slice"]): float(row["probability"]) for row in csv.DictReader(stream)}
    except OSError as problem:
        raise InputError(f"{path} cannot be read ({problem.strerror}): check the path.") from problem
    except (KeyError, TypeError, ValueError) as problem:
        raise InputError(other) from problem
    if not rows:
        raise InputError(other)
    if sorted(rows) != list(range(len(rows))) or not all(0 <= value <= 1 for value in rows.values()):
        raise InputError(f"{path} lacks slices or has probabilities outside 0 to 1: write it again.")
    return [rows[s] for s in range(len(rows))]


def read_map(path: str | Path, ct: CT) -> np.ndarray:
    """A localization map, 0-1, float32, shape (K, J, I) of the CT.

    Raises:
        InputError: the file cannot be read, or it is not on the CT's grid.
    """
    path = Path(path)
    name = path.name.lower()
    if not path.is_file():
        raise InputError(f"There is no map {path}: check the path.")
    if name.endswith((".nii", ".nii.gz")):
        from ICHWeakSegLib.ct.nifti import read_nifti as reader
    elif name.endswith(".nrrd") and not name.endswith(".seg.nrrd"):
        from ICHWeakSegLib.ct.nrrd import read_nrrd as reader
    else:
        raise InputError(f"The map {path} has a format that is not supported; give .nii.gz, .nii or .nrrd.")
    read = reader(path)
    corner = np.array([*read.hu.shape[::-1], 1.0])
    off = np.abs((read.ijk_to_ras - ct.ijk_to_ras) @ corner).max() if read.hu.shape == ct.hu.shape else np.inf
    if off > _TOLERANCE_MM:
        raise InputError(
            f"The map {path} lies on another grid than its CT: give what `ichweakseg segment --map` wrote."
        )
    return np.clip(read.hu.astype(np.float32), 0, 1)


def read_result(path: str | Path) -> dict[str, Any]:
    """What `ichweakseg segment --json` printed, or a batch's `result.json`.

    Raises:
        InputError: the file cannot be read or is no such result.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(f"{path} cannot be read ({problem.strerror}): check the path.") from problem
    except ValueError as problem:
        raise InputError(f"{path} is no JSON: give what `ichweakseg segment --json` printed.") from problem
    if not isinstance(result, dict) or not isinstance(result.get("provenance"), dict):
        raise InputError(
            f"{path} is no result: give what `ichweakseg segment --json` printed, or a batch's result.json."
        )
    return result
