"""A CT from DICOM together with the headers of its slices: derived objects must name each slice they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class DicomSource:
    """A CT and where each of its slices lies in DICOM.

    Attributes:
        ct: as `read_ct` gives it.
        headers: one a slice k, without pixels; or the one of an enhanced multi-frame file.
        frames: index of the frame of each slice k in that one file; empty for single-frame files.
    """

    ct: CT
    headers: tuple[Dataset, ...]
    frames: tuple[int, ...] = ()

    def header_of(self, k: int) -> tuple[Dataset, int | None]:
        """Header of slice k, and its frame's number from 1; None for a single-frame file."""
        return (self.headers[0], self.frames[k] + 1) if self.frames else (self.headers[k], None)


def read_source(path: str | Path, series: str | None = None) -> DicomSource:
    """Read a head CT and the headers behind its slices.

    Args:
        path: DICOM folder, zip archive or multi-frame file.
        series: SeriesInstanceUID, where there are several.

    Raises:
        InputError: as `read_ct`; or it is no DICOM, or lacks what derived objects need.
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
        headers = tuple(_header(frame.file) for frame in (frames[:1] if one_file else frames))
    if len(frames) != len(ct.hu):
        raise InputError(f"{path} changed while it was read: repeat.")
    return DicomSource(ct, headers, tuple(frame.index for frame in frames) if one_file else ())


def _header(file) -> Dataset:
    import pydicom

    with file.open() as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
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
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    return header
