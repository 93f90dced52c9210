"""Head CT as folders of windowed slice pairs (JPEG or PNG), the form of the CT-ICH release."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT

BRAIN_WINDOW = (40.0, 120.0)
BONE_WINDOW = (700.0, 3200.0)


def read_slice_pairs(
    folder: str | Path,
    patient: int | str,
    slices: list[int],
    pixel_mm: float = 0.45 * 512 / 650,
    slice_mm: float = 5.0,
) -> CT:
    """Read one patient's slices `brain/PPP_SS.jpg` and `bone/PPP_SS.jpg` as a CT.

    Args:
        folder: holds `brain/` (level 40, width 120) and, where there is one, `bone/` (700, 3200).
        patient, slices: number of the patient and its slice numbers, from inferior to superior.
        pixel_mm, slice_mm: spacing, which such images do not record.

    Returns:
        CT of int16 HU, shape (len(slices), rows, columns). The HU are approximate: 8 bit, JPEG.

    Raises:
        InputError: an image is missing, cannot be read, or differs in size from the others.
    """
    stack = []
    for number in slices:
        name = f"{int(patient):03d}_{number:02d}"
        brain = _grey(Path(folder) / "brain", name)
        hu = brain / 255.0 * BRAIN_WINDOW[1] + BRAIN_WINDOW[0] - BRAIN_WINDOW[1] / 2
        bone = _grey(Path(folder) / "bone", name, required=False)
        if bone is not None:
            if bone.shape != brain.shape:
                raise InputError(f"Slice {name} in {folder} has images of different sizes in brain and bone.")
            outside = bone / 255.0 * BONE_WINDOW[1] + BONE_WINDOW[0] - BONE_WINDOW[1] / 2
            # The narrow window is exact where it is not saturated; beyond, the wide one continues it.
            hu = np.where(
                brain <= 2, np.minimum(outside, hu), np.where(brain >= 253, np.maximum(outside, hu), hu)
            )
        stack.append(np.rint(hu).astype(np.int16))
        if stack[-1].shape != stack[0].shape:
            raise InputError(f"Slice {name} in {folder} differs in size from the patient's first slice.")
    rows, columns = stack[0].shape
    affine = np.diag([-pixel_mm, -pixel_mm, slice_mm, 1.0])
    affine[:2, 3] = (columns - 1) * pixel_mm / 2, (rows - 1) * pixel_mm / 2
    return CT(np.stack(stack), affine, source=f"{folder} patient {patient}")


def _grey(folder: Path, name: str, required: bool = True) -> np.ndarray | None:
    from PIL import Image

    for ending in (".jpg", ".jpeg", ".png"):
        path = folder / (name + ending)
        if path.exists():
            try:
                with Image.open(path) as image:
                    return np.asarray(image.convert("L"), dtype=np.float32)
            except OSError as error:
                raise InputError(f"The image {path} cannot be read: copy or export it again.") from error
    if required:
        raise InputError(f"There is no image {name}.jpg or .png in {folder}.")
    return None
