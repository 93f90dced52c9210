"""A synthetic head: an ellipsoid skull of 1000 HU around a brain of 35 HU, air outside."""

from __future__ import annotations

import numpy as np

from ICHWeakSegLib.ct.volume import CT

OUTER_MM = np.array([72.0, 92.0, 80.0])
INNER_MM = OUTER_MM - 7.0


def rotation(axis: str, degrees: float) -> np.ndarray:
    """3x3 rotation about R, A or S."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    first, second = {"R": (1, 2), "A": (2, 0), "S": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = c
    matrix[first, second], matrix[second, first] = -s, s
    return matrix


def axial_affine(shape, spacing=(4.0, 4.0, 5.0), turn=None, tilt_deg=0.0, axes="LPS") -> np.ndarray:
    """Affine (i, j, k) to RAS around the origin.

    Args:
        shape: (K, J, I).
        spacing: mm along i, j, k.
        turn: 3x3 rotation of the whole grid.
        tilt_deg: gantry tilt: i and j turn about R, the k step stays, its length is divided by the cosine.
        axes: where i, j and k run to, such as "LPS" (usual), "RAS", "ASR" (sagittal).
    """
    vectors = {
        "R": (1, 0, 0),
        "L": (-1, 0, 0),
        "A": (0, 1, 0),
        "P": (0, -1, 0),
        "S": (0, 0, 1),
        "I": (0, 0, -1),
    }
    columns = np.array([vectors[letter] for letter in axes], float).T
    columns[:, :2] = rotation("R", tilt_deg) @ columns[:, :2]
    columns[:, 2] /= np.cos(np.radians(tilt_deg))
    matrix = (turn if turn is not None else np.eye(3)) @ columns * spacing
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = -matrix @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def world(shape, affine, positions=None) -> np.ndarray:
    """RAS of all voxel centres, shape (K, J, I, 3); `positions` replaces the even k of the slices."""
    k = np.arange(shape[0]) if positions is None else (positions - positions[0]) / _step(affine)
    k, j, i = np.meshgrid(k, np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    return np.stack([i, j, k], -1) @ affine[:3, :3].T + affine[:3, 3]


def _step(affine) -> float:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return abs(normal @ affine[:3, 2]) / np.linalg.norm(normal)


def radius(points: np.ndarray, half_axes=INNER_MM, centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    """1 on the ellipsoid, less inside."""
    return np.sqrt((((points - centre) / half_axes) ** 2).sum(-1))


def head_hu(shape, affine, positions=None) -> np.ndarray:
    """int16 HU of the head on a grid, shape (K, J, I)."""
    points = world(shape, affine, positions)
    hu = np.full(shape, -1000, np.int16)
    hu[radius(points, OUTER_MM) <= 1] = 1000
    hu[radius(points) <= 1] = 35
    return hu


def head_ct(shape=(28, 56, 60), positions=None, **grid) -> CT:
    """A head on a grid given as for `axial_affine`; `positions` in mm make the slices uneven."""
    affine = grid.pop("affine", None)
    affine = axial_affine(shape, **grid) if affine is None else affine
    return CT(head_hu(shape, affine, positions), affine, positions, source="head")
