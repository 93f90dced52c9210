"""Measurements as a DICOM structured report (TID 1500), tied to the segments of a DICOM SEG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.output.segments import BRAIN, CATEGORY, HEMORRHAGE, segment_style
from ICHWeakSegLib.report.dicom_seg import (
    NAME,
    SR_SERIES_NUMBER,
    algorithm_name,
    algorithm_version,
    code,
    software_of,
)

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from highdicom.sr import ComprehensiveSR, Measurement
    from pydicom.dataset import Dataset

    from ICHWeakSegLib.quantify import Lesion, Quantities
    from ICHWeakSegLib.report.dicom_source import DicomSource

VOLUME = ("SCT", "118565006", "Volume")
ATTENUATION = ("DCM", "112031", "Attenuation Coefficient")
MEAN = ("SCT", "373098007", "Mean")
MILLILITER = ("UCUM", "mL", "milliliter")
HOUNSFIELD = ("UCUM", "[hnsf'U]", "Hounsfield unit")
CT_OF_HEAD = ("SCT", "303653007", "Computed tomography of head")


def write_dicom_sr(
    path: str | Path,
    source: DicomSource,
    segmentation: Segmentation,
    masks: Mapping[str, np.ndarray],
    quantities: Quantities,
    provenance: Mapping[str, object] | None = None,
) -> ComprehensiveSR:
    """Write volume (mL) and mean HU of every segment and of every lesion.

    A segment is a volumetric region (TID 1411) that refers to the DICOM SEG. A lesion, a part of one or several
    segments, is a measurement group (TID 1501) that refers to the CT slice in the middle of its extent.

    Args:
        path: target.
        source: the CT.
        segmentation: what `write_dicom_seg` returned for these masks.
        masks: by class name, as they were written there.
        quantities: of these masks, by `quantify.measure`.
        provenance: which model made the masks.

    Returns:
        What was written.

    Raises:
        InputError: the file cannot be written.
    """
    from highdicom.sr import ComprehensiveSR
    from pydicom.uid import generate_uid

    from ICHWeakSegLib.ct.dicom.frames import quiet_pydicom

    facts = dict(provenance or {})
    slices = _lesion_slices(source, quantities)
    used = {id(header): header for header, _ in slices}
    with quiet_pydicom():
        made = ComprehensiveSR(
            evidence=[segmentation, *(used or {0: source.headers[0]}).values()],
            content=_report(source, segmentation, masks, quantities, slices, facts),
            series_instance_uid=generate_uid(),
            series_number=SR_SERIES_NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=algorithm_name(facts),
            software_versions=software_of(facts),
            is_complete=True,
            series_description="ICHWeakSeg measurements, research use only",
        )
        with atomic_path(path) as temporary:
            made.save_as(temporary)
    return made


def _report(source, segmentation, masks, quantities, slices, facts: Mapping[str, object]):
    from highdicom.sr import (
        AlgorithmIdentification,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    observer = ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            uid=generate_uid(), name=NAME, manufacturer_name=NAME, model_name=algorithm_name(facts)
        ),
    )
    algorithm = AlgorithmIdentification(algorithm_name(facts), algorithm_version(facts))
    groups = [
        _segment_group(source, segmentation, number, name, mask, algorithm)
        for number, (name, mask) in enumerate(masks.items(), start=1)
    ]
    groups += [
        _lesion_group(lesion, place, algorithm)
        for lesion, place in zip(quantities.lesions, slices, strict=True)
    ]
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=code(CT_OF_HEAD),
        imaging_measurements=groups,
    )


def _segment_group(source, segmentation, number: int, name: str, mask: np.ndarray, algorithm):
    from highdicom.sr import (
        FindingSite,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.uid import generate_uid

    style = segment_style(name)
    inside = source.ct.hu[np.asarray(mask) != 0]
    mean = float(inside.mean(dtype=np.float64)) if inside.size else None
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(generate_uid(), style.name),
        referenced_segment=ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            number,
            source_series=SourceSeriesForSegmentation(source.headers[0].SeriesInstanceUID),
        ),
        finding_category=code(CATEGORY),
        finding_type=code(HEMORRHAGE),
        finding_sites=[FindingSite(code(style.region))],
        algorithm_id=algorithm,
        measurements=_measurements(source.ct.volume_ml(mask), mean),
    )


def _lesion_group(lesion: Lesion, place: tuple[Dataset, int | None], algorithm):
    from highdicom.sr import (
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )
    from pydicom.uid import generate_uid

    header, frame = place
    region = segment_style(lesion.subtype).region if lesion.subtype else BRAIN
    words = f"Lesion {lesion.number}" + (f", {lesion.subtype}" if lesion.subtype else "")
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(generate_uid(), words),
        finding_category=code(CATEGORY),
        finding_type=code(HEMORRHAGE),
        finding_sites=[FindingSite(code(region))],
        algorithm_id=algorithm,
        measurements=_measurements(lesion.volume_ml, lesion.mean_hu),
        source_images=[
            SourceImageForMeasurementGroup.from_source_image(header, None if frame is None else [frame])
        ],
    )


def _measurements(volume_ml: float, mean_hu: float | None) -> list[Measurement]:
    from highdicom.sr import Measurement

    found = [Measurement(name=code(VOLUME), value=round(volume_ml, 4), unit=code(MILLILITER))]
    if mean_hu is not None:
        found.append(
            Measurement(
                name=code(ATTENUATION), value=round(mean_hu, 2), unit=code(HOUNSFIELD), derivation=code(MEAN)
            )
        )
    return found


def _lesion_slices(source: DicomSource, quantities: Quantities) -> list[tuple[Dataset, int | None]]:
    """Header and frame number of the CT slice in the middle of each lesion."""
    grid = AxialGrid(source.ct)
    found = []
    for lesion in quantities.lesions:
        middle = (lesion.first_slice + lesion.last_slice) // 2
        if grid.native_slice is not None:
            k = int(grid.native_slice[middle])
        else:
            # Slices that are not axial: the one nearest to the centroid.
            centroid = [lesion.centroid_r_mm, lesion.centroid_a_mm, lesion.centroid_s_mm, 1.0]
            k = round(float((np.linalg.inv(source.ct.ijk_to_ras) @ centroid)[2]))
        found.append(source.header_of(min(max(k, 0), len(source.ct.hu) - 1)))
    return found
