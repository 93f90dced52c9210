"""A head CT in Hounsfield units together with its geometry."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class NiftiForms:
    """Both affines to RAS in mm, shape (4, 4), that a NIfTI file carries, and their codes."""

    qform: np.ndarray
    qform_code: int
    sform: np.ndarray
    sform_code: int


@dataclass
class CT:
    """A CT volume on its own (native) voxel grid.

    Attributes:
        hu: HU, shape (K, J, I) as SimpleITK and Slicer order it, int16 or float32. Padding is air (-1024).
        ijk_to_ras: 4x4 affine from voxel index (i, j, k) to RAS in mm; may be sheared, flipped or oblique.
        slice_positions_mm: position of every k slice along the slice normal, shape (K,), strictly
            monotonic, only where slices are unevenly spaced; None where the affine says it all.
        warnings: sentences for the user about what was found and how it was handled.
        source: the path or node name that the CT came from.
        info: facts of the source (DICOM series UID, description, ...); never a patient's identity.
        nifti_forms: the pair of forms of the NIfTI file that the CT was read from, for results; else None.
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    slice_positions_mm: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)
    source: str = ""
    info: dict[str, str] = field(default_factory=dict)
    nifti_forms: NiftiForms | None = None

    @property
    def spacing(self) -> np.ndarray:
        """Lengths of the i, j and k steps in mm, shape (3,)."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL by the determinant, so that a sheared grid counts right."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    def slice_voxel_ml(self) -> np.ndarray:
        """Volume in mL of a voxel of each k slice, shape (K,).

        With uneven spacing a slice reaches half way to each of its neighbours.
        """
        count = self.hu.shape[0]
        if self.slice_positions_mm is None or count < 2:
            return np.full(count, self.voxel_ml)
        position = np.abs(np.asarray(self.slice_positions_mm, float) - self.slice_positions_mm[0])
        gaps = np.diff(position)
        reach = np.concatenate([gaps[:1], (gaps[:-1] + gaps[1:]) / 2, gaps[-1:]])
        i_step, j_step = self.ijk_to_ras[:3, 0], self.ijk_to_ras[:3, 1]
        return np.linalg.norm(np.cross(i_step, j_step)) * reach / 1000.0

    def volume_ml(self, mask: np.ndarray) -> float:
        """Volume of a mask of shape (K, J, I) in mL."""
        # Plane by plane: with an axis, NumPy would copy the whole mask.
        counts = np.array([np.count_nonzero(plane) for plane in mask])
        return float(counts @ self.slice_voxel_ml())
