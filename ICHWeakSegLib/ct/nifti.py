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
from ICHWeakSegLib.ct.volume import CT, NiftiForms

_MM = {1: 1000.0, 3: 0.001}
# A hundredth: more than rounding, less than any other spacing.
_LENGTHS = 0.01
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
    with open(path, "rb") as file:
        # By content: some tools name a plain file .nii.gz.
        opener = gzip.open if file.read(2) == b"\x1f\x8b" else open
    with opener(path, "rb") as file:
        try:
            kind = nibabel.Nifti1Image
            if _header_size(file) == 540:
                kind = nibabel.Nifti2Image
            image = kind.from_file_map({"image": nibabel.FileHolder(fileobj=file)})
            affine, forms = _affine(image.header, path, warnings)
        except InputError:
            raise
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
    ct = CT(volume.hu, affine, warnings=warnings, source=str(path), info={"format": "NIfTI"})
    ct.nifti_forms = forms
    return ct


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


def _affine(header, path: Path, warnings: list[str]) -> tuple[np.ndarray, NiftiForms | None]:
    """The affine to RAS in mm, shape (4, 4), and the forms that the file itself carries."""
    from nibabel.spatialimages import HeaderDataError

    # The lower three bits code the unit of length.
    scale = _MM.get(int(header["xyzt_units"]) % 8, 1.0)
    to_mm = np.diag([scale, scale, scale, 1.0])
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    sform = to_mm @ np.asarray(header.get_sform(), float)
    usable = bool(sform_code) and np.isfinite(sform).all() and abs(np.linalg.det(sform[:3, :3])) > 1e-9
    agrees = _has_lengths(sform, np.abs(np.asarray(header["pixdim"][1:4], float)) * scale)
    if usable and not agrees and not qform_code:
        # An sform that is no grid at all has a sentence of its own.
        require_3d(header.get_data_shape(), path)
        check_grid(header.get_data_shape()[:3], sform, path)
        raise InputError(
            f"{path} has a voxel spacing in its sform that differs from its pixdim; "
            "export the CT again, as its volume would be a guess."
        )
    # A qform may be damaged where the sform is whole: it is needed only when the sform will not do.
    try:
        qform = to_mm @ np.asarray(header.get_qform(), float)
    except (ValueError, ArithmeticError, HeaderDataError):
        if not usable or not agrees:
            raise
        return sform, None
    forms = NiftiForms(qform, qform_code, sform, sform_code)
    if usable and qform_code and not agrees:
        warnings.append(
            f"{path.name} has a voxel spacing in its sform that differs from its pixdim: its qform was used."
        )
        return qform, forms
    if usable:
        if qform_code and not _same_place(sform, qform):
            warnings.append(
                f"{path.name} has an sform and a qform that differ: the sform was used, "
                "other programs may place the CT elsewhere."
            )
        return sform, forms
    if sform_code and not qform_code:
        return sform, None
    if qform_code:
        return qform, forms if np.isfinite(sform).all() else None
    warnings.append(f"{path.name} does not say how the patient lies: check left and right of the result.")
    return to_mm @ np.asarray(header.get_base_affine(), float), None


def _has_lengths(affine: np.ndarray, pixdim: np.ndarray) -> bool:
    """Do the columns have the lengths of `pixdim`, shape (3,) in mm, or does it hold none?"""
    if not np.isfinite(pixdim).all() or not pixdim.all():
        return True
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    close = np.isclose(lengths, pixdim, rtol=_LENGTHS)
    # For a tilted CT some tools give the distance of the slices, not the length of the step.
    area = np.linalg.norm(np.cross(columns[:, 0], columns[:, 1]))
    distance = abs(np.linalg.det(columns)) / area if area else 0.0
    close[2] |= bool(np.isclose(distance, pixdim[2], rtol=_LENGTHS))
    return bool(close.all())


def _same_place(one: np.ndarray, other: np.ndarray) -> bool:
    # Directions to a hundredth of a step, the origin to a tenth of a mm.
    step = np.linalg.norm(one[:3, :3], axis=0)
    turned = np.abs(one[:3, :3] - other[:3, :3]) / step
    return bool(turned.max() < 0.01 and np.abs(one[:3, 3] - other[:3, 3]).max() < 0.1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
