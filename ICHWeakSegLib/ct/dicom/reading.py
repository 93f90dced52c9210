"""A CT from a DICOM file, folder or archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.dicom.choice import cautions, choose_stack
from ICHWeakSegLib.ct.dicom.files import DicomFile, dicom_files
from ICHWeakSegLib.ct.dicom.frames import Frame, quiet_pydicom, read_frames
from ICHWeakSegLib.ct.dicom.geometry import stack_geometry
from ICHWeakSegLib.ct.dicom.pixels import iter_hu
from ICHWeakSegLib.ct.dicom.stacks import Stack, make_stacks
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.hu import HUVolume
from ICHWeakSegLib.ct.shape import check_grid
from ICHWeakSegLib.ct.volume import CT


def read_dicom(path: Path, series: str | None = None) -> CT:
    """Read one CT series.

    Args:
        path: folder tree, zip archive or enhanced multi-frame file.
        series: series UID, where there are several.

    Raises:
        InputError: no CT, several series that could be meant, or a series that cannot be read.
    """
    with quiet_pydicom(), dicom_files(path) as files:
        return _read(files, str(path), series)


def read_files(paths: Sequence[Path], source: str = "") -> CT:
    """Read one CT series from the files of its slices, in any order.

    Raises:
        InputError: as `read_dicom`.
    """
    with quiet_pydicom():
        files = [DicomFile(str(path), Path(path)) for path in paths]
        return _read(files, source or (str(Path(paths[0]).parent) if paths else "the list of files"), None)


def ct_stacks(files: Sequence[DicomFile], where: str) -> list[Stack]:
    """All stacks of CT slices among `files`.

    Raises:
        InputError: no CT slice at all; says what there is instead.
    """
    return _ct_stacks(files, where)[0]


def _ct_stacks(files: Sequence[DicomFile], where: str) -> tuple[list[Stack], list[tuple[Frame, str]]]:
    """The stacks, and the images that are in none with the reason in a few words."""
    rejected: Counter[str] = Counter()
    frames: list[Frame] = []
    left_out: list[tuple[Frame, str]] = []
    for file in files:
        found = read_frames(file)
        if found is None:
            rejected["not DICOM"] += 1
        elif not found:
            rejected["DICOM without image"] += 1
        for frame in found or []:
            if frame.reject:
                rejected[frame.reject] += 1
                left_out.append((frame, frame.reject))
            else:
                frames.append(frame)
    if not frames:
        what = ", ".join(f"{reason} ({count})" for reason, count in rejected.most_common())
        raise InputError(
            f"{where} has no CT slices but {what}; give a folder, archive or file with a head CT."
        )
    placed = [frame for frame in frames if not _unplaced(frame)]
    if not placed:
        raise InputError(
            f"{frames[0].file.name} does not say {_unplaced(frames[0])}, so that its slices cannot be put "
            "in space; export the series again as CT images."
        )
    for frame in frames:
        if missing := _unplaced(frame):
            left_out.append((frame, f"without {missing.partition('(')[2].rstrip(')')}"))
    return make_stacks(placed), left_out


def _unplaced(frame: Frame) -> str:
    if frame.position is None:
        return "where its slice lies (ImagePositionPatient)"
    if (
        frame.orientation is None
        or np.linalg.norm(np.cross(frame.orientation[:3], frame.orientation[3:])) < 0.5
    ):
        return "how its slice is turned (ImageOrientationPatient)"
    if frame.spacing is None or min(frame.spacing) <= 0:
        return "how large its pixels are (PixelSpacing)"
    return ""


def _read(files: Sequence[DicomFile], where: str, series: str | None) -> CT:
    stacks, left_out = _ct_stacks(files, where)
    if len(files) == 1 and stacks[0].frames[0].frame_count == 1:
        raise InputError(f"{where} is a single slice; give the folder that holds the whole series.")
    stack, among_rivals = choose_stack(stacks, where, series)
    _check_pixels(stack)
    _check_rescale(stack)
    frame = stack.frames[0]
    geometry = stack_geometry(stack)
    shape = (len(stack.frames), frame.rows, frame.columns)
    check_grid(shape, geometry.ijk_to_ras, where)
    volume = HUVolume(shape, where)
    for k, hu in iter_hu(stack.frames):
        volume.put(k, hu)
    warnings = cautions(stack) + geometry.warnings + _unused(stack, left_out, series)
    if among_rivals and series is None:
        warnings.insert(
            0,
            f"{len(stacks)} CT series were found; '{frame.description or stack.key}' with "
            f"{len(stack.frames)} slices was taken (series {stack.key}).",
        )
    return CT(volume.hu, geometry.ijk_to_ras, geometry.slice_positions_mm, warnings, where, _info(stack))


def _unused(stack: Stack, left_out: Sequence[tuple[Frame, str]], series: str | None) -> list[str]:
    """A sentence on the images of the series that are not in its volume."""
    own = stack.frames[0].series
    reasons = Counter(reason for frame, reason in left_out if frame.series == own)
    if stack.strays:
        reasons["of another size, pixel size or orientation"] += len(stack.strays)
    # Who asked for one stack of a series by its number knows of the others.
    if stack.siblings and series != stack.key:
        reasons["in another stack of the series"] += stack.siblings
    count = sum(reasons.values())
    if not count:
        return []
    which = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    images = "1 image of the series was" if count == 1 else f"{count} images of the series were"
    return [f"{images} not used ({which}): the head may be incomplete."]


def _check_pixels(stack: Stack) -> None:
    for frame in stack.frames:
        if frame.samples != 1 or frame.photometric not in ("MONOCHROME2", ""):
            raise InputError(
                f"{frame.file.name} is a {frame.photometric or 'colour'} image, not a CT slice in HU; "
                "give the original CT series."
            )


def _check_rescale(stack: Stack) -> None:
    """A rescale that is missing everywhere is 1 and 0; missing in some slices or malformed, HU are unknown."""
    for frame in stack.frames:
        if frame.bad_rescale:
            raise InputError(
                f"{frame.file.name} has the rescale {frame.bad_rescale}, which is no usable number, so that "
                "its HU are unknown; export the series again."
            )
    for name in ("RescaleSlope", "RescaleIntercept"):
        without = [frame for frame in stack.frames if name in frame.no_rescale]
        if without and len(without) < len(stack.frames):
            raise InputError(
                f"{without[0].file.name} has no {name} while other slices of the series have one, so that its "
                f"HU are unknown ({len(without)} of {len(stack.frames)} slices); export the series again."
            )


def _info(stack: Stack) -> dict[str, str]:
    """Facts of the series that name no patient."""
    frame = stack.frames[0]
    facts = {
        "format": "DICOM",
        "series_uid": frame.series_uid,
        "description": frame.description,
        "manufacturer": frame.manufacturer,
        "kernel": frame.kernel,
        "slice_thickness_mm": f"{frame.thickness:g}" if frame.thickness else "",
        "gantry_tilt_deg": f"{frame.tilt:g}" if frame.tilt is not None else "",
        "window_level": f"{frame.window[0]:g}" if frame.window else "",
        "window_width": f"{frame.window[1]:g}" if frame.window else "",
    }
    return {name: value for name, value in facts.items() if value}
