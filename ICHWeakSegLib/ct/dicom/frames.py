"""The header of every image frame, classic or enhanced, in one shape."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ICHWeakSegLib.ct.dicom.files import DicomFile, looks_like_dicom
from ICHWeakSegLib.ct.errors import InputError

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NOT_SLICES = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SCREEN SAVE", "SCREENSAVE", "DOSE", "DOSE_INFO"}
# An agent field that says there was none.
_NO_AGENT = {"NONE", "NO", "N", "0", "NO CONTRAST", "WITHOUT", "W/O", "NON CONTRAST", "NATIVE", "N/A", "-"}
# What rescaled values may be: HU, unspecified, or not said.
_HU_UNITS = {"", "HU", "US"}
_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "SeriesDescription",
    "PatientID",
    "Manufacturer",
    "BodyPartExamined",
    "ProtocolName",
    "StudyDescription",
    "ConvolutionKernel",
    "SliceThickness",
    "GantryDetectorTilt",
    "ContrastBolusAgent",
    "AcquisitionNumber",
    "InstanceNumber",
    "TemporalPositionIdentifier",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "WindowCenter",
    "WindowWidth",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True, eq=False)
class Frame:
    """What is needed of one 2D image; positions and orientation in LPS mm as DICOM has them."""

    file: DicomFile
    index: int
    frame_count: int
    sop_class: str
    sop_instance: str
    modality: str
    image_type: tuple[str, ...]
    series_uid: str
    study: str
    frame_of_reference: str
    patient: str
    description: str
    hints: str
    manufacturer: str
    kernel: str
    thickness: float | None
    tilt: float | None
    contrast: bool
    acquisition: str
    instance: int
    temporal: str
    rows: int
    columns: int
    spacing: tuple[float, float] | None
    position: np.ndarray | None
    orientation: np.ndarray | None
    slope: float
    intercept: float
    no_rescale: frozenset[str]
    bad_rescale: str
    unit: str
    padding: tuple[int, int] | None
    samples: int
    photometric: str
    window: tuple[float, float] | None
    syntax: str

    @property
    def identity(self) -> str:
        """What tells the image from others: its SOP instance, or its file where it has none."""
        return f"{self.sop_instance or self.file.name}/{self.index}"

    @property
    def series(self) -> tuple[str, str, str]:
        """Patient, study and series UID; the folder stands in for a series UID that is missing."""
        return self.patient, self.study, self.series_uid or self.file.folder

    @property
    def reject(self) -> str:
        """Why the frame can be no CT slice, in a few words; empty if it can."""
        if self.modality != "CT":
            return self.modality or "no modality"
        if self.sop_class.startswith(_SECONDARY_CAPTURE):
            return "CT secondary capture"
        if self.sop_class and self.sop_class not in CT_CLASSES:
            return "CT object without slices"
        if _NOT_SLICES & {value.upper() for value in self.image_type}:
            return "CT localizer"
        if self.unit not in _HU_UNITS:
            return f"CT map in {self.unit}, not in HU"
        return ""


@contextmanager
def quiet_pydicom():
    """Odd values in headers are common and are judged here, not reported line by line by pydicom."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def read_frames(file: DicomFile) -> list[Frame] | None:
    """Headers of all frames of a file; None if it is no DICOM, [] if a DICOM object without an image.

    Raises:
        InputError: a CT image whose header is cut off or damaged.
    """
    with file.open() as stream:
        if not looks_like_dicom(stream):
            return None
        try:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            # Reading stops in front of the pixels, which a header that is cut off never reaches.
            ended = _syntax(header) != DeflatedExplicitVRLittleEndian and not stream.read(1)
            frames = _frames_of(header, file)
        except Exception:
            # pydicom meets damaged headers with errors of nearly every type.
            stream.seek(0)
            if _says_ct(stream):
                raise _damaged(file) from None
            return None
    if _sop_class(header) in CT_CLASSES and (ended or not frames):
        raise _damaged(file)
    return frames


def _sop_class(header: Dataset) -> str:
    meta = getattr(header, "file_meta", Dataset())
    return str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def _syntax(header: Dataset) -> str:
    return str(getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID") or "")


def _says_ct(stream: BinaryIO) -> bool:
    """Whether a file that cannot be parsed names the class of CT images near its start."""
    start = stream.read(1024)
    return any(uid.encode() + end in start for uid in CT_CLASSES for end in (b"\0", b"\x02", b"\x08"))


def _damaged(file: DicomFile) -> InputError:
    return InputError(
        f"{file.name} is a CT image whose header is cut off or damaged; copy or export it again, or take the "
        "file away if it is not needed."
    )


def _frames_of(header: Dataset, file: DicomFile) -> list[Frame]:
    if not header.get("Rows") or not header.get("Columns"):
        return []
    count = int(header.get("NumberOfFrames") or 1)
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if not count > 1:
        own = _first(per_frame)
        return [_frame(header, own, shared, file, 0, 1)]
    groups = [per_frame[n] if n < len(per_frame) else Dataset() for n in range(count)]
    return [_frame(header, own, shared, file, n, count) for n, own in enumerate(groups)]


def _frame(header: Dataset, own: Dataset, shared: Dataset, file: DicomFile, index: int, count: int) -> Frame:
    def get(name: str, macro: str = ""):
        """An attribute from the frame's own group, the shared group or the top level, in that order."""
        for group in (own, shared):
            value = _first(group.get(macro)).get(name) if macro else None
            if value is not None:
                return value
        return header.get(name)

    meta = getattr(header, "file_meta", Dataset())
    spacing = _floats(get("PixelSpacing", "PixelMeasuresSequence"), 2)
    thickness = _floats(get("SliceThickness", "PixelMeasuresSequence"), 1)
    tilt = _floats(get("GantryDetectorTilt", "CTGeometrySequence"), 1)
    rescale = {
        name: get(name, "PixelValueTransformationSequence") for name in ("RescaleSlope", "RescaleIntercept")
    }
    slope, intercept = (_floats(value, 1) for value in rescale.values())
    level, width = (
        _floats(_leading(get(name, "FrameVOILUTSequence")), 1) for name in ("WindowCenter", "WindowWidth")
    )
    kinds = _values(get("FrameType", "CTImageFrameTypeSequence")) or _values(header.get("ImageType"))
    return Frame(
        file=file,
        index=index,
        frame_count=count,
        sop_class=_sop_class(header),
        sop_instance=str(header.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID") or ""),
        modality=_text(header.get("Modality")).upper(),
        image_type=tuple(_values(header.get("ImageType"))) + tuple(kinds),
        series_uid=_text(header.get("SeriesInstanceUID")),
        study=_text(header.get("StudyInstanceUID")),
        frame_of_reference=_text(header.get("FrameOfReferenceUID")),
        patient=_text(header.get("PatientID")),
        description=_text(header.get("SeriesDescription")),
        hints=" ".join(
            _text(header.get(name)) for name in ("BodyPartExamined", "ProtocolName", "StudyDescription")
        ).strip(),
        manufacturer=_text(header.get("Manufacturer")),
        kernel="/".join(_values(get("ConvolutionKernel", "CTReconstructionSequence"))),
        thickness=thickness[0] if thickness else None,
        tilt=tilt[0] if tilt else None,
        contrast=_text(header.get("ContrastBolusAgent")).upper() not in {"", *_NO_AGENT},
        acquisition=_text(
            get("FrameAcquisitionNumber", "FrameContentSequence") or header.get("AcquisitionNumber")
        ),
        instance=int(_floats(header.get("InstanceNumber"), 1)[0])
        if _floats(header.get("InstanceNumber"), 1)
        else 0,
        temporal=_text(
            get("TemporalPositionIndex", "FrameContentSequence") or header.get("TemporalPositionIdentifier")
        ),
        rows=int(header.Rows),
        columns=int(header.Columns),
        spacing=tuple(spacing) if spacing else None,
        position=_vector(get("ImagePositionPatient", "PlanePositionSequence"), 3),
        orientation=_vector(get("ImageOrientationPatient", "PlaneOrientationSequence"), 6),
        slope=slope[0] if slope else 1.0,
        intercept=intercept[0] if intercept else 0.0,
        no_rescale=frozenset(name for name, value in rescale.items() if not _given(value)),
        bad_rescale=", ".join(
            f"{name} '{_shown(value)}'"
            for name, value in rescale.items()
            if _given(value) and (not _floats(value, 1) or (name == "RescaleSlope" and not float(value)))
        ),
        unit=_text(get("RescaleType", "PixelValueTransformationSequence")).upper(),
        padding=_padding(header),
        samples=int(header.get("SamplesPerPixel") or 1),
        photometric=_text(header.get("PhotometricInterpretation")).upper(),
        window=(level[0], width[0]) if level and width else None,
        syntax=_syntax(header),
    )


def _padding(header: Dataset) -> tuple[int, int] | None:
    low, high = (_stored(header, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    if low is None:
        return None
    return (low, low) if high is None else (min(low, high), max(low, high))


def _stored(header: Dataset, name: str) -> int | None:
    value = header.get(name)
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little") if len(value) >= 2 else None
    value = _floats(value, 1)
    if not value:
        return None
    # The value representation of padding is ambiguous: writers leave the sign out or put it in wrongly.
    number = int(value[0])
    if header.get("PixelRepresentation") == 1:
        return number - 65536 if number > 32767 else number
    return number + 65536 if number < 0 else number


def _first(sequence) -> Dataset:
    return sequence[0] if sequence else Dataset()


def _leading(value):
    return value[0] if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) and len(value) else value


def _values(value) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
        return [str(item) for item in value]
    return [str(value)]


def _text(value) -> str:
    return "" if value is None else str(value).strip()


def _given(value) -> bool:
    return bool(_shown(value))


def _shown(value) -> str:
    """The text of a value that pydicom may have left as bytes."""
    text = value.decode("latin-1") if isinstance(value, bytes) else "\\".join(_values(value))
    return text.strip(" \0")


def _floats(value, count: int) -> list[float]:
    """`count` finite numbers, or [] where the value is missing or malformed."""
    try:
        numbers = [float(item) for item in _values(value)]
    except ValueError:
        return []
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else []


def _vector(value, count: int) -> np.ndarray | None:
    numbers = _floats(value, count)
    return np.array(numbers) if numbers else None
