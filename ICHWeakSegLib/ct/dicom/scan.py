"""A cohort of DICOM slices: which files belong together and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ICHWeakSegLib.ct.dicom.files import dicom_files
from ICHWeakSegLib.ct.dicom.frames import quiet_pydicom
from ICHWeakSegLib.ct.dicom.reading import ct_stacks


@dataclass(frozen=True)
class SliceFile:
    """One slice of a series; `patient` serves to split cohorts and is never written out."""

    path: Path
    patient: str


def scan_slices(folder: Path) -> dict[str, list[SliceFile]]:
    """Every CT series under a folder of single-frame files, slices from inferior to superior.

    Series with several stacks appear once per stack, as UID#1, UID#2 ...

    Raises:
        InputError: no CT slices.
    """
    with quiet_pydicom(), dicom_files(Path(folder)) as files:
        stacks = ct_stacks(files, str(folder))
    series = {}
    for stack in stacks:
        frames = stack.frames if stack.normal[2] >= 0 else stack.frames[::-1]
        series[stack.key] = [SliceFile(frame.file.path, frame.patient) for frame in frames]
    return series
