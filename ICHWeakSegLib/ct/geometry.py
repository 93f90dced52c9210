"""Facts about a voxel grid: which axis is which, tilt, obliqueness, and the sentences about them."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from ICHWeakSegLib.ct.volume import CT

OBLIQUE_WARNING_DEG = 5.0
TILT_WARNING_DEG = 0.5


def nearest_axes(ijk_to_ras: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Which voxel axis runs closest to R, A and S, and in which sense.

    Returns:
        axes: voxel axis (0 = i, 1 = j, 2 = k) along R, A and S.
        signs: +1 where its index grows towards R, A, S, else -1.
    """
    directions = unit_columns(ijk_to_ras)
    best = max(permutations(range(3)), key=lambda p: sum(abs(directions[row, p[row]]) for row in range(3)))
    signs = tuple(1 if directions[row, best[row]] >= 0 else -1 for row in range(3))
    return best, signs


def unit_columns(ijk_to_ras: np.ndarray) -> np.ndarray:
    """Directions of the i, j and k steps as unit columns, shape (3, 3)."""
    matrix = np.asarray(ijk_to_ras, float)[:3, :3]
    return matrix / np.linalg.norm(matrix, axis=0)


def slice_normal(ijk_to_ras: np.ndarray) -> np.ndarray:
    """Unit normal of the k slices in RAS, on the side to which k grows, shape (3,)."""
    directions = unit_columns(ijk_to_ras)
    normal = np.cross(directions[:, 0], directions[:, 1])
    normal /= np.linalg.norm(normal)
    return normal if normal @ directions[:, 2] >= 0 else -normal


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Angle between two lines in degrees, 0 to 90."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), abs(a @ b))))


def tilt_deg(ijk_to_ras: np.ndarray) -> float:
    """Shear of the slice stack in degrees: the angle between the k step and the slice normal."""
    return angle_deg(slice_normal(ijk_to_ras), unit_columns(ijk_to_ras)[:, 2])


def is_orthogonal(ijk_to_ras: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Whether the three voxel axes stand at right angles (cosines below `tolerance`)."""
    directions = unit_columns(ijk_to_ras)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() < tolerance)


def geometry_warnings(ct: CT) -> list[str]:
    """One sentence for each unusual feature of the grid: plane, gantry tilt, obliqueness."""
    sentences = []
    axes, _ = nearest_axes(ct.ijk_to_ras)
    if axes[2] != 2:
        plane = "sagittal" if axes[0] == 2 else "coronal"
        sentences.append(
            f"The slices are {plane}: the volume is processed in axial order and the result put back."
        )
    tilt = tilt_deg(ct.ijk_to_ras)
    if tilt > TILT_WARNING_DEG:
        sentences.append(
            f"The gantry was tilted by {tilt:.1f} degrees: the sheared grid is kept, "
            "and volumes account for it."
        )
        return sentences
    superior = unit_columns(ct.ijk_to_ras)[:, axes[2]]
    oblique = angle_deg(superior, np.array([0.0, 0.0, 1.0]))
    if oblique > OBLIQUE_WARNING_DEG:
        sentences.append(f"The slices are oblique: {oblique:.1f} degrees off the axial plane.")
    return sentences
