"""Is this array a 3D volume on a usable grid?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.errors import InputError

FEWEST_SLICES = 3


def require_3d(shape: Sequence[int], where: str | Path) -> None:
    """Refuse anything but a 3D shape; trailing axes of size 1 are let through.

    Raises:
        InputError: not three-dimensional.
    """
    shape = [int(size) for size in shape]
    if len(shape) < 3:
        raise InputError(f"{where} is a {len(shape)}D image, not a volume; give the whole CT series.")
    if any(size != 1 for size in shape[3:]):
        raise InputError(
            f"{where} is {len(shape)}D ({' x '.join(map(str, shape))}); give one 3D CT volume, "
            "not a time series or a vector image."
        )


def check_grid(shape: Sequence[int], ijk_to_ras: np.ndarray, where: str | Path) -> None:
    """Refuse empty and flat volumes and unusable affines; `shape` in any order.

    Raises:
        InputError: zero-size axis, fewer than 3 slices along an axis, not finite, zero spacing or singular.
    """
    size = " x ".join(str(int(n)) for n in shape)
    if min(shape) < 1:
        raise InputError(f"{where} is empty ({size} voxels); export it again.")
    if min(shape) < FEWEST_SLICES:
        flat = "one slice" if min(shape) == 1 else f"{min(shape)} slices"
        raise InputError(f"{where} has only {flat} ({size} voxels); give the whole head CT.")
    matrix = np.asarray(ijk_to_ras, float)
    if not np.isfinite(matrix).all():
        raise InputError(f"{where} has a position or orientation that is not a number; export it again.")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if lengths.min() < 1e-3:
        raise InputError(f"{where} has a voxel spacing of zero; correct its header or export it again.")
    if abs(np.linalg.det(matrix[:3, :3] / lengths)) < 0.1:
        raise InputError(f"{where} has axes that do not span space (singular affine); correct its header.")
    if lengths.max() > 50:
        raise InputError(
            f"{where} has a voxel spacing of {lengths.max():.0f} mm, which is no CT; "
            "correct its header (unit mm)."
        )
