"""Writing a volume on the CT's own grid."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path, ending
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.geometry import is_orthogonal
from ICHWeakSegLib.ct.volume import CT, NiftiForms

# Direction cosines rounded to four digits are no shear.
_ROUNDING = 1e-3
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_volume(
    path: str | os.PathLike[str], array: np.ndarray, ct: CT, dtype: np.typing.DTypeLike | None = None
) -> None:
    """Write an array on the grid of `ct`, with its true affine, sheared or not.

    Unevenly spaced slices are written with their usual spacing, as the formats know no other.

    Args:
        path: `.nii.gz`, `.nii`, `.nrrd` or `.mha` (the latter for orthogonal grids only).
        array: shape (K, J, I) of `ct.hu`.
        ct: the CT that the array belongs to.
        dtype: type in the file; None keeps the array's, with bool as uint8 and long types shortened.

    Raises:
        InputError: unknown ending, a sheared grid for `.mha`, or a path that cannot be written.
        ValueError: the array does not have the shape of the CT.
    """
    array = np.asarray(array)
    if array.shape != ct.hu.shape:
        raise ValueError(f"the array has shape {array.shape}, the CT {ct.hu.shape}")
    path = Path(path)
    writers = {".nii.gz": _nifti, ".nii": _nifti, ".nrrd": _nrrd, ".seg.nrrd": _nrrd, ".mha": _metaimage}
    writer = writers.get(ending(path).lower())
    if writer is None:
        raise InputError(f"{path} has an ending that is not supported; use .nii.gz, .nii, .nrrd or .mha.")
    if writer is _metaimage and not is_orthogonal(ct.ijk_to_ras, _ROUNDING):
        raise InputError(f"{path} cannot hold the sheared grid of a tilted gantry; write .nii.gz or .nrrd.")
    array = array.astype(_file_type(array.dtype) if dtype is None else dtype, copy=False)
    with atomic_path(path) as partial:
        forms = _own_forms(ct) if writer is _nifti else None
        if forms is not None:
            _nifti_like(partial, array, forms)
        else:
            writer(partial, array, np.asarray(ct.ijk_to_ras, float))


def writing_warnings(path: str | os.PathLike[str], ct: CT) -> list[str]:
    """Sentences on what other programs cannot tell from a NIfTI file of this CT's grid; else none."""
    if not ending(Path(path)).lower().startswith(".nii"):
        return []
    name, said = Path(path).name, []
    forms = _own_forms(ct)
    if not (forms and forms.qform_code) and not is_orthogonal(ct.ijk_to_ras, _ROUNDING):
        said.append(
            f"{name} holds the sheared grid of a tilted gantry, which Slicer and other ITK programs cannot "
            "open in NIfTI: write .seg.nrrd or .nrrd for them."
        )
    if ct.slice_positions_mm is not None:
        said.append(
            f"{name} cannot hold uneven slice spacing: a volume computed from its header is wrong; "
            "the volumes given here count each slice with its own reach."
        )
    return said


def _file_type(dtype: np.dtype) -> np.dtype:
    short = {
        "bool": "uint8",
        "int64": "int32",
        "uint64": "uint32",
        "float64": "float32",
        "float16": "float32",
    }
    return np.dtype(short.get(dtype.name, dtype))


def _own_forms(ct: CT) -> NiftiForms | None:
    """The forms of the CT's file, where the CT still lies on that file's grid."""
    forms = ct.nifti_forms
    if forms is None:
        return None
    coded = [forms.sform] * bool(forms.sform_code) + [forms.qform] * bool(forms.qform_code)
    return forms if any(np.allclose(one, ct.ijk_to_ras, atol=1e-4) for one in coded) else None


def _nifti_like(path: Path, array: np.ndarray, forms: NiftiForms) -> None:
    """Write with the CT's own pair of forms, so that every viewer puts mask and CT in one place."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.T.shape)
    header.set_xyzt_units("mm")
    header.set_qform(forms.qform, code=forms.qform_code, strip_shears=True)
    header.set_sform(forms.sform, code=forms.sform_code)
    nibabel.save(nibabel.Nifti1Image(array.T, None, header), path)


def _nifti(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    import nibabel

    image = nibabel.Nifti1Image(array.T, ijk_to_ras, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(ijk_to_ras, code="scanner")
    if is_orthogonal(ijk_to_ras):
        image.set_qform(ijk_to_ras, code="scanner")
    else:
        # A qform cannot shear: readers that prefer it would put the slices in the wrong place.
        image.set_qform(ijk_to_ras, code="unknown", strip_shears=True)
    nibabel.save(image, path)


def _nrrd(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    import nrrd

    lps = _RAS_TO_LPS @ ijk_to_ras
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "kinds": ["domain", "domain", "domain"],
        "encoding": "gzip",
    }
    nrrd.write(str(path), array, header, compression_level=6, index_order="C")


def _metaimage(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    import SimpleITK as sitk

    lps = _RAS_TO_LPS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise InputError(
            f"{path.parent} could not be written to; check its space and permissions."
        ) from error
