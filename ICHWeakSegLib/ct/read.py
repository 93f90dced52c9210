"""Reading a head CT from whatever path the user gives."""

from __future__ import annotations

import os
from pathlib import Path

from ICHWeakSegLib.ct.check import check_ct
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.geometry import geometry_warnings
from ICHWeakSegLib.ct.volume import CT

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
FORMATS = "a DICOM folder, .zip or .dcm, .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd"


def read_ct(path: str | os.PathLike[str], series: str | None = None) -> CT:
    """Read a head CT in HU with its geometry and check that it is one.

    Args:
        path: DICOM folder (searched with its subfolders), zip archive or multi-frame DICOM file; NIfTI
            (`.nii`, `.nii.gz`), NRRD (`.nrrd`, `.nhdr`) or MetaImage (`.mha`, `.mhd`) file.
        series: SeriesInstanceUID to read from DICOM; None chooses the soft-tissue axial head series.

    Returns:
        The CT on its own grid; `warnings` says what was unusual.

    Raises:
        InputError: the path cannot be read, or is no head CT; its text is one sentence for the user.
    """
    path = Path(path).expanduser()
    try:
        ct = _read(path, series)
    except PermissionError as error:
        raise InputError(f"{error.filename or path} may not be read; check its permissions.") from error
    except FileNotFoundError as error:
        raise InputError(f"{error.filename or path} does not exist; check the path.") from error
    except MemoryError as error:
        raise InputError(
            f"{path} does not fit into memory; close other programs or crop the volume."
        ) from error
    return checked(ct)


def checked(ct: CT) -> CT:
    """A CT as a reader gave it, with warnings about its geometry.

    Raises:
        InputError: it is no head CT.
    """
    ct.warnings.extend(geometry_warnings(ct))
    check_ct(ct)
    return ct


def _read(path: Path, series: str | None) -> CT:
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    name = path.name.lower()
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file; copy or export it again.")
    # Each reader is imported when it is needed: Slicer lacks some of the packages behind them.
    if path.is_file() and name.endswith((".nii", ".nii.gz")):
        from ICHWeakSegLib.ct.nifti import read_nifti as reader
    elif path.is_file() and name.endswith((".nrrd", ".nhdr")):
        from ICHWeakSegLib.ct.nrrd import read_nrrd as reader
    elif path.is_file() and name.endswith((".mha", ".mhd")):
        from ICHWeakSegLib.ct.metaimage import read_metaimage as reader
    elif path.is_dir() or name.endswith((".zip", ".dcm", ".dicom", ".ima")) or _is_dicom(path):
        from ICHWeakSegLib.ct.dicom import read_dicom

        return read_dicom(path, series)
    else:
        raise InputError(f"{path} has a format that is not supported; give {FORMATS}.")
    if series is not None:
        raise InputError(f"{path} is no DICOM: leave out the series, which selects within DICOM only.")
    return reader(path)


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or (not path.suffix and head[:2] in (b"\x08\x00", b"\x02\x00"))
