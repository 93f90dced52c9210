"""Reading a CT from NIfTI; the sform of a sheared grid survives."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.hu import HUVolume
from ICHWeakSegLib.ct.shape import check_grid, require_3d
from ICHWeakSegLib.ct.volume import CT

_MM = {1: 1000.0, 3: 0.001}
_BROKEN = (EOFError, OSError, ValueError, zlib.error)


def read_nifti(path: Path) -> CT:
    """Read `.nii` or `.nii.gz`, slice by slice.

    Raises:
        InputError: truncated or damaged, not 3D, coloured, NaN or without a usable affine.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.wrapstruct import WrapStructError

    warnings: list[str] = []
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        try:
            kind = nibabel.Nifti1Image
            if _header_size(file) == 540:
                kind = nibabel.Nifti2Image
            image = kind.from_file_map({"image": nibabel.FileHolder(fileobj=file)})
            affine = _affine(image.header, path, warnings)
        except (*_BROKEN, ImageFileError, nibabel.spatialimages.HeaderDataError, WrapStructError) as error:
            raise InputError(
                f"{path} is not a readable NIfTI file ({_first_line(error)}); export it again."
            ) from error
        require_3d(image.shape, path)
        if image.get_data_dtype().names or image.get_data_dtype().kind == "c":
            raise InputError(f"{path} is a colour or complex image, not a CT; give a CT in HU.")
        shape = image.shape[:3]
        check_grid(shape, affine, path)
        volume = HUVolume(shape[::-1], str(path))
        try:
            for k in range(shape[2]):
                trailing = (0,) * (len(image.shape) - 3)
                volume.put(k, np.asarray(image.dataobj[(slice(None), slice(None), k, *trailing)]).T)
            _verify_end(file)
        except InputError:
            raise
        except _BROKEN as error:
            raise InputError(
                f"{path} is truncated or damaged ({_first_line(error)}); copy or export it again."
            ) from error
    return CT(volume.hu, affine, warnings=warnings, source=str(path), info={"format": "NIfTI"})


def _header_size(file: BinaryIO) -> int:
    head = file.read(4)
    file.seek(0)
    if len(head) < 4:
        raise EOFError("no header")
    return 540 if 540 in (int.from_bytes(head, "little"), int.from_bytes(head, "big")) else 348


def _verify_end(file: BinaryIO) -> None:
    # The check sum of a gzip file is compared only when its end is read.
    if isinstance(file, (gzip.GzipFile, bz2.BZ2File)):
        while file.read(1 << 20):
            pass


def _affine(header, path: Path, warnings: list[str]) -> np.ndarray:
    sform, sform_code = header.get_sform(coded=True)
    usable = bool(sform_code) and np.isfinite(sform).all() and abs(np.linalg.det(sform[:3, :3])) > 1e-9
    # A qform may be damaged where the sform is whole: it is computed only when it is needed.
    if usable or (sform_code and not header["qform_code"]):
        affine = sform
    elif header["qform_code"]:
        affine = header.get_qform()
    else:
        affine = header.get_base_affine()
        warnings.append(f"{path.name} does not say how the patient lies: check left and right of the result.")
    # The lower three bits code the unit of length.
    scale = _MM.get(int(header["xyzt_units"]) % 8, 1.0)
    return np.diag([scale, scale, scale, 1.0]) @ np.asarray(affine, float)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
