"""A true mask, brought onto the voxels of its CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT

# Rounding of headers, in voxels at the far corner.
TOLERANCE = 0.1
FORMATS = ".nii.gz, .nii, .seg.nrrd, .nrrd or .mha"
# Of an image's values even a part has more.
MOST_LABELS, THINNED = 64, 4
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_truth(path: str | Path, ct: CT) -> np.ndarray:
    """The mask of blood in a file, whatever is not 0, bool, shape (K, J, I) of `ct`.

    The file's grid must be the CT's, or a part of it, or the same voxels in another order: Slicer crops
    segmentations, and other tools flip axes.

    Raises:
        InputError: the file cannot be read, or its voxels are not the CT's.
    """
    path = Path(path)
    mask, to_ras = _read(path)
    places = np.argwhere(mask)[:, ::-1]
    step = np.linalg.inv(ct.ijk_to_ras) @ to_ras
    whole = np.rint(step)
    # The far corner shows what a step that is a little too long adds up to.
    corner = np.abs(step - whole)[:3, :3] @ np.array(mask.shape[::-1]) + np.abs(step - whole)[:3, 3]
    if abs(round(np.linalg.det(whole[:3, :3]))) != 1 or (corner > TOLERANCE).any():
        raise InputError(
            f"The mask {path} lies on another grid than its CT {ct.source}: resample it onto the CT's voxels."
        )
    truth = np.zeros(ct.hu.shape, bool)
    i, j, k = (places @ whole[:3, :3].T + whole[:3, 3]).astype(int).T
    sizes = truth.shape[::-1]
    if any((index < 0).any() or (index >= size).any() for index, size in zip((i, j, k), sizes, strict=True)):
        raise InputError(f"The mask {path} reaches beyond its CT {ct.source}: give the mask of this CT.")
    truth[k, j, i] = True
    return truth


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Bool (K, J, I) and the affine to RAS."""
    name = path.name.lower()
    if not path.is_file():
        raise InputError(f"There is no mask {path}: check the path.")
    if name.endswith(".seg.nrrd"):
        return _read_segmentation(path)
    if name.endswith((".nii", ".nii.gz")):
        from ICHWeakSegLib.ct.nifti import read_nifti as reader
    elif name.endswith((".nrrd", ".nhdr")):
        from ICHWeakSegLib.ct.nrrd import read_nrrd as reader
    elif name.endswith((".mha", ".mhd")):
        from ICHWeakSegLib.ct.metaimage import read_metaimage as reader
    else:
        raise InputError(f"The mask {path} has a format that is not supported; give {FORMATS}.")
    volume = reader(path)
    if not _labels(volume.hu):
        raise InputError(
            f"The mask {path} is an image with HU or fractions: give a mask of whole numbers, 0 outside."
        )
    return volume.hu != 0, volume.ijk_to_ras


def _labels(values: np.ndarray) -> bool:
    """Whether these can be the labels of a mask rather than an image."""
    few = values[:, ::THINNED, ::THINNED]
    if values.min() < 0 or len(np.unique(few)) > MOST_LABELS:
        return False
    return values.dtype.kind in "iub" or bool(np.array_equal(few, np.rint(few)))


def _read_segmentation(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import slicerio

    try:
        found = slicerio.read_segmentation(str(path))
    except Exception as problem:  # pynrrd and slicerio raise many kinds for a damaged file
        raise InputError(f"The mask {path} cannot be read ({problem}): export it again.") from problem
    voxels = np.asarray(found["voxels"]) != 0
    # Layers come first where segments overlap.
    mask = voxels.any(axis=0) if voxels.ndim == 4 else voxels
    return mask.transpose(2, 1, 0), _LPS_TO_RAS @ np.asarray(found["ijkToLPS"], float)
