"""A segmentation as DICOM SEG, so that a PACS can show it over its CT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.output.provenance import header_text
from ICHWeakSegLib.output.segments import CATEGORY, HEMORRHAGE, segment_style
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from pydicom.sr.coding import Code

    from ICHWeakSegLib.report.dicom_source import DicomSource

SERIES_NUMBER, SR_SERIES_NUMBER = 9001, 9002
NAME = "ICHWeakSeg"
# A long string (LO) holds no more.
_LONG = 64
_ALGORITHM_TEXT = 10_000


def write_dicom_seg(
    path: str | Path,
    source: DicomSource,
    masks: Mapping[str, np.ndarray],
    provenance: Mapping[str, object] | None = None,
) -> Segmentation:
    """Write masks as a binary DICOM Segmentation: one segment a class, one frame a slice with blood.

    Each frame keeps position and instance of the CT slice that it covers, so that a tilted gantry and uneven
    slices stay as they are. The patient's and study's identity are those of the CT, as the standard wants.

    Args:
        path: target.
        source: the CT.
        masks: by class name, nonzero is hemorrhage, shape (K, J, I) of the CT. A class without a voxel is a
            segment without a frame; without any voxel at all every slice has an empty frame.
        provenance: which model made them; without one the algorithm is called unknown.

    Returns:
        What was written.

    Raises:
        InputError: no mask, a mask of another shape, or the file cannot be written.
    """
    from highdicom.seg import Segmentation
    from pydicom.uid import generate_uid

    from ICHWeakSegLib.ct.dicom.frames import quiet_pydicom

    facts = dict(provenance or {})
    # Odd values in the CT's own header are no matter for what is written.
    with quiet_pydicom():
        made = Segmentation(
            source_images=list(source.headers),
            pixel_array=_frames(source, masks),
            segmentation_type="BINARY",
            segment_descriptions=[
                _segment(number, name, facts) for number, name in enumerate(masks, start=1)
            ],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=algorithm_name(facts),
            software_versions=software_of(facts),
            device_serial_number=str(facts.get("sha256") or "none")[:16],
            content_label="ICH",
            content_description="Intracranial hemorrhage, for research use only",
            series_description="ICHWeakSeg segmentation, research use only",
        )
        with atomic_path(path) as temporary:
            made.save_as(temporary)
    return made


def code(triple: tuple[str, str, str]) -> Code:
    """A (scheme, value, meaning) of `output.segments` as pydicom has it."""
    from pydicom.sr.coding import Code

    scheme, value, meaning = triple
    return Code(value, scheme, meaning)


def algorithm_name(provenance: Mapping[str, object]) -> str:
    """Name of the model, for people."""
    model = header_text(provenance.get("model") or "unknown")
    return f"{NAME} {model}"[:_LONG]


def software_of(provenance: Mapping[str, object]) -> str:
    """Software that made the masks; this one where it is not known."""
    return header_text(provenance.get("software") or f"{NAME} {__version__}")[:_LONG]


def algorithm_version(provenance: Mapping[str, object]) -> str:
    """Version of the model."""
    return header_text(provenance.get("version") or "unknown")[:_LONG]


def _frames(source: DicomSource, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Bits of shape (frames of the source, rows, columns, segments)."""
    if not masks:
        raise InputError("There is no mask to write as DICOM SEG: give at least one.")
    shape = source.ct.hu.shape
    for name, mask in masks.items():
        if np.shape(mask) != shape:
            raise InputError(
                f"The mask {name} has shape {np.shape(mask)}, the CT {shape}: give it on the CT's voxels."
            )
    stacked = np.stack([np.asarray(mask) != 0 for mask in masks.values()], axis=-1)
    if not source.frames:
        return stacked
    # The order of the file's frames, of which the CT may be a part.
    ordered = np.zeros((int(source.headers[0].NumberOfFrames), *stacked.shape[1:]), bool)
    ordered[list(source.frames)] = stacked
    return ordered


def _segment(number: int, name: str, provenance: Mapping[str, object]):
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.coding import Code

    style = segment_style(name)
    parameters = {
        key: header_text(value)
        for key, value in provenance.items()
        if key not in ("model", "version", "software") and value is not None
    }
    while sum(len(key) + len(text) + 2 for key, text in parameters.items()) > _ALGORITHM_TEXT:
        parameters.popitem()
    return SegmentDescription(
        segment_number=number,
        segment_label=style.name[:_LONG],
        segmented_property_category=code(CATEGORY),
        segmented_property_type=code(HEMORRHAGE),
        algorithm_type="AUTOMATIC" if provenance.get("model") else "SEMIAUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm_name(provenance),
            family=Code("123109", "DCM", "Artificial Intelligence"),
            version=algorithm_version(provenance),
            source=NAME,
            parameters=parameters or None,
        ),
        anatomic_regions=[code(style.region)],
        display_color=CIELabColor.from_rgb(*(round(255 * part) for part in style.color)),
    )
