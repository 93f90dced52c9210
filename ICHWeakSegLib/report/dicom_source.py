"""A CT from DICOM together with the headers of its slices: derived objects must name each slice they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Objects that are derived from a CT must have these, so the CT must, too.
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
# The standard wants them to be there, but they may be empty.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_SEXES = ("M", "F", "O")
# What all slices of one derived object share, and how a person calls it.
_SHARED = {"StudyInstanceUID": "studies", "FrameOfReferenceUID": "frames of reference"}
_UTF_8 = "ISO_IR 192"


@dataclass(frozen=True)
class DicomSource:
    """A CT and where each of its slices lies in DICOM.

    Attributes:
        ct: as `read_ct` gives it.
        headers: one a slice k, without pixels; or the one of an enhanced multi-frame file. Their text is UTF-8.
        frames: index of the frame of each slice k in that one file; empty for single-frame files.
        blanked: keywords of what the CT has about patient and study in a form that nobody may write: left empty.
    """

    ct: CT
    headers: tuple[Dataset, ...]
    frames: tuple[int, ...] = ()
    blanked: tuple[str, ...] = ()

    def header_of(self, k: int) -> tuple[Dataset, int | None]:
        """Header of slice k, and its frame's number from 1; None for a single-frame file."""
        return (self.headers[0], self.frames[k] + 1) if self.frames else (self.headers[k], None)


def read_source(path: str | Path, series: str | None = None) -> DicomSource:
    """Read a head CT and the headers behind its slices.

    Args:
        path: DICOM folder, zip archive or multi-frame file.
        series: SeriesInstanceUID, where there are several.

    Raises:
        InputError: as `read_ct`; or it is no DICOM, or lacks what derived objects need, or its slices are of
            several studies or frames of reference, or share one SOPInstanceUID.
    """
    from ICHWeakSegLib.ct.dicom.choice import choose_stack
    from ICHWeakSegLib.ct.dicom.files import dicom_files
    from ICHWeakSegLib.ct.dicom.frames import quiet_pydicom
    from ICHWeakSegLib.ct.dicom.reading import ct_stacks
    from ICHWeakSegLib.ct.read import read_ct

    path = Path(path).expanduser()
    ct = read_ct(path, series)
    if ct.info.get("format") != "DICOM":
        raise InputError(
            f"{path} is no DICOM: give the folder of the DICOM series that the mask was made from."
        )
    with quiet_pydicom(), dicom_files(path) as files:
        # The same choice as `read_ct` made, by the same rules.
        stack, _ = choose_stack(ct_stacks(files, str(path)), str(path), series)
        frames = stack.frames
        one_file = frames[0].frame_count > 1
        if one_file and len({frame.sop_instance for frame in frames}) > 1:
            raise InputError(
                f"{path} has its slices in several multi-frame files: DICOM SEG needs a series in one file or in "
                "single slices."
            )
        read = [_header(frame.file) for frame in (frames[:1] if one_file else frames)]
    if len(frames) != len(ct.hu):
        raise InputError(f"{path} changed while it was read: repeat.")
    headers, blanked = tuple(header for header, _ in read), tuple(read[0][1])
    _check_shared(headers, path)
    if not one_file:
        _give_thickness(headers, ct)
    return DicomSource(ct, headers, tuple(frame.index for frame in frames) if one_file else (), blanked)


def _check_shared(headers: tuple[Dataset, ...], path: Path) -> None:
    """Refuse slices that one derived object cannot name together or cannot tell apart."""
    for keyword, words in _SHARED.items():
        count = len({str(header.get(keyword)) for header in headers})
        if count > 1:
            raise InputError(
                f"The slices of {path} are of {count} {words} ({keyword}), which no DICOM SEG can hold: export "
                "the series again from one study."
            )
    count = len({str(header.SOPInstanceUID) for header in headers})
    if count < len(headers):
        raise InputError(
            f"The {len(headers)} slices of {path} have only {count} different SOPInstanceUID, so that nothing can "
            "name a slice: export the series again with its identifiers."
        )


def _give_thickness(headers: tuple[Dataset, ...], ct: CT) -> None:
    """The distance of the slices in mm, along their normal, as thickness where a header has none."""
    steps = ct.ijk_to_ras[:3, :3]
    normal = np.cross(steps[:, 0], steps[:, 1])
    distance = abs(float(normal @ steps[:, 2]) / float(np.linalg.norm(normal)))
    for header in headers:
        known = header.get("SliceThickness")
        if not isinstance(known, float) or not 0 < known < np.inf:
            # A decimal string (DS) holds 16 characters.
            header.SliceThickness = f"{distance:.6g}"


def _header(file) -> tuple[Dataset, list[str]]:
    """A header that can be copied from, text as UTF-8, and the keywords of what had to be left empty."""
    import pydicom

    with file.open() as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    dropped = _decode(header)
    meta = getattr(header, "file_meta", None)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not header.get(keyword) and meta is not None and meta.get(f"MediaStorage{keyword}"):
            setattr(header, keyword, meta.get(f"MediaStorage{keyword}"))
    missing = [keyword for keyword in _NEEDED if not header.get(keyword)]
    if missing:
        raise InputError(
            f"{file.name} has no {' and no '.join(missing)}, which objects derived from it must name: export the "
            "series again with its identifiers."
        )
    blanked = [
        keyword
        for keyword in _MAY_BE_EMPTY
        if keyword in dropped or not _usable(keyword, header.get(keyword))
    ]
    for keyword in _MAY_BE_EMPTY:
        if keyword in blanked or keyword not in header:
            setattr(header, keyword, "")
    return header, blanked


def _decode(header: Dataset) -> list[str]:
    """Make text of whatever character set, of a misspelt one too, UTF-8; drop what cannot be read at all.

    Returns:
        Keywords of what was dropped.
    """
    from pydicom.datadict import keyword_for_tag

    dropped = []
    for element in list(header.keys()):
        try:
            _ = header[element]
        except Exception:
            # pydicom meets malformed values with errors of nearly every type.
            dropped.append(keyword_for_tag(element))
            del header[element]
    header.decode()
    header.SpecificCharacterSet = _UTF_8
    return dropped


def _usable(keyword: str, value: object) -> bool:
    """Whether a derived object may hold this value of `_MAY_BE_EMPTY`."""
    from pydicom.multival import MultiValue
    from pydicom.valuerep import DA, TM

    if not value:
        return True
    if isinstance(value, MultiValue):
        return False
    if keyword == "PatientSex":
        return value in _SEXES
    if keyword.endswith(("Date", "Time")):
        try:
            (DA if keyword.endswith("Date") else TM)(str(value))
        except ValueError:
            return False
    return True
