"""Writing a mask as a plain label map: `.nii.gz`, `.nii` or `.nrrd`.

The provenance is inside the file: NRRD has header fields `ICHWeakSeg_<key>`; NIfTI has a comment extension
with the same fields as JSON, and model and version in `descrip`. No second file is written beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.output.provenance import PREFIX, provenance_fields

_DESCRIP_BYTES = 79


def write_label_map(
    path: str | Path, mask: np.ndarray, ct: CT, provenance: Mapping[str, object] | None = None
) -> Path:
    """Write a mask as 0 and 1 (uint8) on the CT's grid.

    Args:
        path: target, `.nii.gz`, `.nii` or `.nrrd`.
        mask: shape (K, J, I), nonzero is hemorrhage.
        ct: the CT that the mask belongs to.
        provenance: which model and method made it; see the module's text.

    Raises:
        ValueError: the mask's shape is not the CT's.
        InputError: the path cannot be written.
    """
    from ICHWeakSegLib.ct.write import write_volume

    if np.shape(mask) != ct.hu.shape:
        raise ValueError(f"The mask has shape {np.shape(mask)}, the CT {ct.hu.shape}.")
    path = Path(path)
    fields = provenance_fields(provenance or {})
    with atomic_path(path) as temporary:
        write_volume(temporary, as_zero_one(mask), ct)
        if fields:
            add = _add_to_nrrd if path.name.lower().endswith(".nrrd") else _add_to_nifti
            add(temporary, fields)
    return path


def as_zero_one(mask: np.ndarray) -> np.ndarray:
    """A mask as uint8 of 0 and 1; the array itself, or a view of it, where it is that already."""
    mask = np.asarray(mask)
    if mask.dtype == bool:
        return mask.view(np.uint8)
    if mask.dtype == np.uint8 and mask.max(initial=0) <= 1:
        return mask
    return (mask != 0).view(np.uint8)


def _add_to_nrrd(path: Path, fields: Mapping[str, str]) -> None:
    import nrrd

    array, header = nrrd.read(str(path))
    nrrd.write(str(path), array, {**header, **fields}, compression_level=6)


def _add_to_nifti(path: Path, fields: Mapping[str, str]) -> None:
    import nibabel

    image = nibabel.load(path)
    # All of it in memory before the file is written again.
    array = np.asarray(image.dataobj).copy()
    image.header["descrip"] = " ".join(
        ["ICHWeakSeg", *(fields[PREFIX + key] for key in ("model", "version") if PREFIX + key in fields)]
    )[:_DESCRIP_BYTES].encode("ascii")
    image.header.extensions.append(
        nibabel.nifti1.Nifti1Extension("comment", json.dumps(fields).encode("ascii"))
    )
    nibabel.save(nibabel.Nifti1Image(array, None, image.header), path)
