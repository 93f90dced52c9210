"""Pixels of frames as HU: decoding, rescale and padding."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import UID

from ICHWeakSegLib.ct.dicom.files import DicomFile
from ICHWeakSegLib.ct.dicom.frames import Frame
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.hu import AIR_HU

# Padding that would be tissue is believed only if it fills a corner of the image.
_SURELY_AIR_HU = -500
# Scanners with an extended scale end at 30,710 HU; what lies beyond is a negative value read without its sign.
_MOST_HU = 32767


def iter_hu(frames: Sequence[Frame]) -> Iterator[tuple[int, np.ndarray]]:
    """Slices in HU with their place in `frames`, file by file, one in memory at a time.

    Raises:
        InputError: pixel data that are truncated, damaged, compressed in a way that cannot be decoded, or
            beyond what HU can be.
    """
    order = sorted(range(len(frames)), key=lambda n: (frames[n].file.name, frames[n].index))
    for file, members in groupby(order, key=lambda n: frames[n].file):
        places = list(members)
        decoded = iter(_decode(file, [frames[n] for n in places]))
        for place in places:
            frame = frames[place]
            try:
                stored = next(decoded)
            except StopIteration:
                raise InputError(f"{file.name} is truncated: frame {frame.index + 1} is missing.") from None
            if stored.shape != (frame.rows, frame.columns):
                raise InputError(f"{file.name} holds pixels that do not fit its header; export it again.")
            hu = _to_hu(stored, frame)
            if hu.max() > _MOST_HU:
                raise InputError(
                    f"{file.name} has values of up to {hu.max():.0f} HU: its header denies the sign of its stored "
                    "values or holds a wrong rescale; export the original CT series again."
                )
            yield place, hu


def _decode(file: DicomFile, frames: list[Frame]) -> Iterator[np.ndarray]:
    """Stored values per frame."""
    done = 0
    try:
        for stored in _decode_pydicom(file, frames):
            yield stored
            done += 1
    except Exception as error:
        compressed = bool(frames[0].syntax) and _is_compressed(frames[0].syntax)
        if not compressed:
            raise InputError(
                f"{file.name} is truncated or damaged (pixel data); copy or export it again."
            ) from error
        yield from _decode_itk(file, frames[done:], error)


def _is_compressed(syntax: str) -> bool:
    try:
        return UID(syntax).is_compressed
    except ValueError:
        return True


def _decode_pydicom(file: DicomFile, frames: list[Frame]) -> Iterator[np.ndarray]:
    with file.open() as stream:
        if (
            frames[0].frame_count > 1
            and hasattr(pydicom, "pixels")
            and hasattr(pydicom.pixels, "iter_pixels")
        ):
            yield from pydicom.pixels.iter_pixels(stream, indices=[frame.index for frame in frames])
            return
        data = pydicom.dcmread(stream, force=True)
        if not getattr(data.file_meta, "TransferSyntaxUID", None):
            data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        pixels = data.pixel_array
        pixels = pixels.reshape(-1, *pixels.shape[-2:])
        for frame in frames:
            yield pixels[frame.index]


def _decode_itk(file: DicomFile, frames: list[Frame], cause: Exception) -> Iterator[np.ndarray]:
    """ITK (GDCM) decodes lossless JPEG and JPEG-LS by itself."""
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        _write_without_rescale(file, path, cause)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        try:
            array = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError:
            syntax = UID(frames[0].syntax)
            raise InputError(
                f"{file.name} is compressed as {syntax.name}, which cannot be decoded here; "
                "install pylibjpeg with its plugins, or export the series uncompressed."
            ) from cause
    array = array.reshape(-1, *array.shape[-2:])
    for frame in frames:
        if frame.index < len(array):
            yield array[frame.index]


def _write_without_rescale(file: DicomFile, path: Path, cause: Exception) -> None:
    """A copy that ITK gives stored values of: it knows one rescale for all frames, each may have its own."""
    try:
        with file.open() as stream:
            data = pydicom.dcmread(stream, force=True)
        groups = [*(data.get("SharedFunctionalGroupsSequence") or [])]
        groups += data.get("PerFrameFunctionalGroupsSequence") or []
        macros = [macro for group in groups for macro in group.get("PixelValueTransformationSequence") or []]
        for holder in [data, *macros]:
            for name, neutral in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
                if name in holder:
                    setattr(holder, name, neutral)
        data.save_as(path)
    except Exception:
        # pydicom meets damaged files with errors of nearly every type.
        raise InputError(
            f"{file.name} is truncated or damaged (pixel data); copy or export it again."
        ) from cause


def _to_hu(stored: np.ndarray, frame: Frame) -> np.ndarray:
    slope, intercept = frame.slope, frame.intercept
    if slope == 1.0 and intercept.is_integer():
        hu = stored if intercept == 0 else stored.astype(np.int32) + int(intercept)
    else:
        hu = stored * slope + intercept
    padded = _padded(hu, frame)
    if padded is not None:
        hu = np.where(padded, hu.dtype.type(AIR_HU) if hu.dtype.kind != "u" else np.int32(AIR_HU), hu)
    return hu


def _padded(hu: np.ndarray, frame: Frame) -> np.ndarray | None:
    if frame.padding is None:
        return None
    low, high = sorted(value * frame.slope + frame.intercept for value in frame.padding)
    padded = (hu >= low - 1e-3) & (hu <= high + 1e-3)
    if high > _SURELY_AIR_HU and not padded[[0, 0, -1, -1], [0, -1, 0, -1]].any():
        return None
    return padded
