"""Small made-up cohorts: cropped cases for training, and the three layouts of files that sites have."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
from dicom_series import dataset, geometry, put_pixels
from heads import head_ct, world

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.training.cache import Cropped

# A head of about 150 mm in 32 pixels.
SMALL = Preprocessing(
    32, ((40, 80), (80, 200), (55, 50)), pixel_mm=6.0, blank_outside_brain=True, slice_mm=5.0, brain_hu=33.0
)
# A Swin that learns within seconds.
TINY = {"img_size": 32, "embed_dim": 16, "depths": (1, 1, 1), "num_heads": (2, 2, 2), "window_size": 4}
TINY_OPTIONS = [
    *("--override", "img_size=32", "--override", "embed_dim=16", "--override", "depths=[1,1,1]"),
    *("--override", "num_heads=[2,2,2]", "--override", "window_size=4", "--override", "drop_path_rate=0"),
    *("--pixel-mm", "6", "--device", "cpu", "--threads", "1"),
]


def cropped_cases(patients: int, slices: int = 8, seed: int = 0, size: int = 32) -> list[Cropped]:
    """Discs of brain; every other patient has bright blobs on half of the slices, labelled any and IPH."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    brain = row**2 + column**2 < (0.45 * size) ** 2
    cases = []
    for number in range(patients):
        hu = np.where(brain, 33 + 4 * rng.standard_normal((slices, size, size)), -100)
        labels = np.zeros((slices, 6), np.float32)
        for plane in range(slices // 2) if number % 2 else ():
            y, x = rng.uniform(-0.2 * size, 0.2 * size, 2)
            hu[plane][(row - y) ** 2 + (column - x) ** 2 < (0.14 * size) ** 2] += 35
            labels[plane, [0, 2]] = 1
        masks = np.broadcast_to(brain, hu.shape).copy()
        cases.append(Cropped(f"case-{number}", f"p{number}", np.rint(hu).astype(np.int16), masks, labels))
    return cases


def bleeding_ct(bleeds: bool, slices: int = 10, axes: str = "LPS", seed: int = 0):
    """A head and which of its slices, counted from inferior, show blood."""
    ct = head_ct((slices, 56, 60), spacing=(4.0, 4.0, 8.0), axes=axes)
    points = world(ct.hu.shape, ct.ijk_to_ras)
    noise = np.random.default_rng(seed).normal(0, 2, ct.hu.shape)
    ct.hu[:] = np.where(ct.hu == 35, np.rint(35 + noise), ct.hu)
    if not bleeds:
        return ct, np.zeros(slices, int)
    ct.hu[np.linalg.norm(points - (20, 10, 12), axis=-1) < 15] = 75
    inferior_first = np.argsort(points[:, 0, 0, 2])
    return ct, (ct.hu == 75).any(axis=(1, 2))[inferior_first].astype(int)


def write_table(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_volumes(folder: Path, patients: int = 6, **made: object) -> Path:
    """Volumes as NIfTI with `labels.csv`; odd patients bleed."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(patients):
        ct, labels = bleeding_ct(bool(number % 2), seed=number, **made)
        name = f"head {number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(ct.hu.transpose(2, 1, 0), ct.ijk_to_ras), folder / name)
        rows += [[name, index, label, f"p{number}"] for index, label in enumerate(labels)]
    write_table(folder / "labels.csv", ["volume", "slice", "any", "patient"], rows)
    return folder


def write_slice_pairs(
    folder: Path, cts: dict[str, np.ndarray], ending: str = "png", bone: bool = True
) -> Path:
    """`brain/` and `bone/` windowed as CT-ICH's, from HU (S, H, W) per patient; slices count from 1."""
    from PIL import Image

    for name, low, width in (("brain", -20, 120), ("bone", -900, 3200)):
        if name == "bone" and not bone:
            continue
        (folder / name).mkdir(parents=True, exist_ok=True)
        for patient, volume in cts.items():
            for number, hu in enumerate(volume, start=1):
                grey = np.clip((hu - low) * 255.0 / width, 0, 255)
                path = folder / name / f"{int(patient):03d}_{number:02d}.{ending}"
                Image.fromarray(np.rint(grey).astype(np.uint8)).save(path)
    return folder


def write_rsna(folder: Path, number: int, ct, labels: np.ndarray, patient: str | None = None) -> list[list]:
    """One series as `ID_xxx.dcm`, named in no order; returns its rows of the long-form CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    spacing, orientation, positions = geometry(ct)
    names = np.random.default_rng(number).permutation(len(positions))
    by_height = np.argsort(np.argsort(positions[:, 2]))
    rows = []
    for k, position in enumerate(positions):
        name = f"ID_{number:03d}{names[k]:06x}"
        data = dataset(
            Modality="CT",
            SOPInstanceUID=name,
            PatientID=f"ID_patient{number}" if patient is None else patient,
            SeriesInstanceUID=f"ID_series{number}",
            PixelSpacing=spacing,
            ImageOrientationPatient=orientation,
            ImagePositionPatient=[round(float(value), 5) for value in position],
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
        put_pixels(data, ct.hu[k].astype(np.int32) + 1024)
        data.save_as(folder / f"{name}.dcm")
        any_ = int(labels[by_height[k]])
        kinds = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
        rows += [[f"{name}_{kind}", any_ if kind == "intraparenchymal" else 0] for kind in kinds]
        rows.append([f"{name}_any", any_])
    return rows
