"""Synthetic CTs written as DICOM by pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def dataset(sop_class=CTImageStorage, **tags) -> FileDataset:
    """An empty data set with the identifiers that every object has."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID = "Secret^Name", "SECRET-ID"
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def put_pixels(data: Dataset, stored: np.ndarray, signed: bool = True) -> None:
    """16-bit pixels of one image or of several frames."""
    data.SamplesPerPixel, data.PhotometricInterpretation = (
        1,
        data.get("PhotometricInterpretation", "MONOCHROME2"),
    )
    data.Rows, data.Columns = stored.shape[-2:]
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, int(signed)
    data.PixelData = np.ascontiguousarray(stored.astype("<i2" if signed else "<u2")).tobytes()


def geometry(ct) -> tuple[list[float], list[float], np.ndarray]:
    """PixelSpacing, ImageOrientationPatient and the positions of all slices, (K, 3) LPS."""
    lps = RAS_TO_LPS @ ct.ijk_to_ras
    steps = lps[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    directions = steps / lengths
    count = ct.hu.shape[0]
    along = np.arange(count, dtype=float)
    if ct.slice_positions_mm is not None:
        normal = np.cross(directions[:, 0], directions[:, 1])
        along = (ct.slice_positions_mm - ct.slice_positions_mm[0]) / abs(steps[:, 2] @ normal)
    positions = lps[:3, 3] + np.outer(along, steps[:, 2])
    spacing = [round(float(lengths[1]), 6), round(float(lengths[0]), 6)]
    return spacing, [*directions[:, 0].round(8), *directions[:, 1].round(8)], positions


def write_series(
    folder: Path, ct, skip=(), slope=1.0, intercept=-1024.0, shuffle=True, first=1, uid=None, **tags
) -> str:
    """One file per slice, in shuffled file names; returns the series UID. `tags` go into every file."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    spacing, orientation, positions = geometry(ct)
    names = np.random.default_rng(0).permutation(len(positions)) if shuffle else range(len(positions))
    for k, (name, position) in enumerate(zip(names, positions, strict=True)):
        if k in skip:
            continue
        data = dataset(
            Modality="CT",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            SeriesInstanceUID=uid,
            SeriesDescription="Head 5mm",
            Manufacturer="Maker",
            ConvolutionKernel="H31s",
            InstanceNumber=first + k,
            SliceThickness=5,
            PixelSpacing=spacing,
            ImageOrientationPatient=orientation,
            ImagePositionPatient=[round(float(value), 5) for value in position],
        )
        for tag, value in tags.items():
            setattr(data, tag, value)
        factor = slope[k] if np.ndim(slope) else slope
        data.RescaleSlope, data.RescaleIntercept = float(factor), float(intercept)
        put_pixels(data, np.rint((ct.hu[k] - intercept) / factor))
        data.save_as(folder / f"{uid[-6:]}-{first}-{name:04d}.dcm")
    return uid


def write_enhanced(path: Path, ct, order=None) -> None:
    """One enhanced multi-frame CT; `order` shuffles the frames within the file."""
    spacing, orientation, positions = geometry(ct)
    order = list(range(len(positions))) if order is None else list(order)
    data = dataset(
        EnhancedCTImageStorage,
        Modality="CT",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        SeriesInstanceUID=generate_uid(),
        SeriesDescription="Head",
        NumberOfFrames=len(order),
    )
    shared, measures, turned, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = spacing, 5
    turned.ImageOrientationPatient = orientation
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([turned])
    shared.PixelValueTransformationSequence = Sequence([rescale])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k in order:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [round(float(value), 5) for value in positions[k]]
        group.PlanePositionSequence = Sequence([place])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    put_pixels(data, ct.hu[order].astype(np.int32) + 1024)
    data.save_as(path)


def write_scout(folder: Path, uid: str | None = None) -> None:
    """A localizer of another size, in its own series unless `uid` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    data = dataset(
        Modality="CT",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        SeriesInstanceUID=uid or generate_uid(),
        SeriesDescription="Scout",
        PixelSpacing=[1, 1],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        ImagePositionPatient=[0, 0, 0],
        RescaleSlope=1,
        RescaleIntercept=0,
    )
    put_pixels(data, np.zeros((32, 64)))
    data.save_as(folder / "scout.dcm")
