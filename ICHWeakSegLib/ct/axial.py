"""The network's view of a CT: axial slices on an orthogonal grid, and the way back to the voxels."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ICHWeakSegLib.ct.axes import AxialAxes
from ICHWeakSegLib.ct.geometry import angle_deg
from ICHWeakSegLib.ct.hu import AIR_HU
from ICHWeakSegLib.ct.resample import Resampling
from ICHWeakSegLib.ct.shear import SliceShifts
from ICHWeakSegLib.ct.volume import CT

MOST_ROTATION_DEG = 20.0
# Gantries tilt by up to 30 degrees, and such slices are what radiologists read.
MOST_TILT_DEG = 35.0
# A shear that moves no slice by more than this share of a pixel is rounding of the header.
SMALLEST_SHIFT = 0.05


class AxialGrid:
    """Axial slices of a CT on an orthogonal grid; slice 0 inferior, rows run to posterior, columns to left.

    Three ways lead there, the gentlest that fits is taken:

    - the axes are permuted and flipped: a view, lossless, `is_view` is True;
    - a sheared stack (gantry tilt): every slice is shifted in its own plane, nothing mixes between slices;
    - a rotation of the slices of more than 20 degrees off axial (35 for a sheared stack), an in-plane
      shear, or uneven slices that are not the axial ones: linear resampling along R, A and S.

    Unevenly spaced axial slices stay as they are; `positions_mm` has their true places.

    Attributes:
        shape: (S, H, W).
        ijk_to_ras: 4x4 affine of the axial grid from (column, row, slice) to RAS mm; with uneven slices the
            step along the slices is the mean one.
        spacing_mm: row step and column step in mm.
        positions_mm: position of each slice along the normal to superior in mm, shape (S,), ascending.
        slice_ml: volume of a voxel of each slice in mL, shape (S,).
        native_slice: index k of the native slice behind each axial slice, shape (S,), or None where the
            axial slices are not the native ones.
        is_view: whether `hu` is a view of the CT's own array.
        warnings: a sentence where the volume was resampled.

    Example:
        >>> grid = AxialGrid(ct)
        >>> mask = np.stack([segment(grid.slice_hu(s)) for s in range(grid.shape[0])])
        >>> ct.volume_ml(grid.to_native(mask))
    """

    def __init__(self, ct: CT):
        self._ct = ct
        self.warnings: list[str] = []
        axes = AxialAxes(ct)
        self._way: AxialAxes | SliceShifts | Resampling = axes
        off = angle_deg(axes.normal, np.array([0.0, 0.0, 1.0]))
        shifts = axes.shifts
        sheared = bool(np.ptp(shifts, axis=0).max() > SMALLEST_SHIFT)
        reason = ""
        if not axes.in_plane_orthogonal:
            reason = "are sheared in their plane"
        elif not axes.evenly_spaced_in_plane:
            reason = "are unevenly spaced and not axial"
        elif off > (MOST_TILT_DEG if sheared else MOST_ROTATION_DEG) or axes.tilt > MOST_TILT_DEG:
            reason = f"are {off:.0f} degrees off the axial plane"
        if reason:
            self._way = Resampling(ct)
            rows, _, thickness = self._way.spacing
            self.warnings.append(
                f"The slices {reason}: the volume was resampled to {rows:.2g} x {rows:.2g} x "
                f"{thickness:.2g} mm for the network and the result brought back."
            )
        elif sheared:
            self._way = SliceShifts(axes)
        self.is_view = self._way is axes
        self.shape: tuple[int, int, int] = self._way.shape
        self.ijk_to_ras: np.ndarray = self._way.ijk_to_ras
        self.positions_mm: np.ndarray = self._way.positions_mm
        self.native_slice: np.ndarray | None = self._way.native_slice
        self.spacing_mm: tuple[float, float] = tuple(
            float(np.linalg.norm(self.ijk_to_ras[:3, column])) for column in (1, 0)
        )
        self.slice_ml: np.ndarray = self._way.slice_ml

    @property
    def native_shape(self) -> tuple[int, int, int]:
        """Shape (K, J, I) of the CT's own grid."""
        return self._ct.hu.shape

    @cached_property
    def hu(self) -> np.ndarray:
        """HU, shape (S, H, W); a view where `is_view`, else computed at the first access and kept."""
        return self.from_native(self._ct.hu, order=1, fill=AIR_HU)

    def slice_hu(self, s: int) -> np.ndarray:
        """HU of one axial slice, shape (H, W), without the memory of the others."""
        if "hu" in self.__dict__:
            return self.hu[s]
        return self._way.slice_from_native(self._ct.hu, s, order=1, fill=AIR_HU)

    def from_native(self, array: np.ndarray, order: int = 0, fill: float = 0) -> np.ndarray:
        """Bring an array from the CT's own grid to the axial one.

        Args:
            array: shape (K, J, I).
            order: 0 nearest (masks, labels), 1 linear.
            fill: value outside the CT.

        Returns:
            Array of shape (S, H, W), type unchanged; a view where `is_view`.
        """
        if array.shape != self.native_shape:
            raise ValueError(f"the array has shape {array.shape}, the CT {self.native_shape}")
        if self.is_view:
            return self._way.view(array)
        out = np.empty(self.shape, array.dtype)
        for s in range(self.shape[0]):
            out[s] = self._way.slice_from_native(array, s, order, fill)
        return out

    def to_native(self, array: np.ndarray, order: int = 0, fill: float = 0) -> np.ndarray:
        """Bring an array from the axial grid back to the CT's own voxels.

        Args:
            array: shape (S, H, W).
            order: 0 nearest (masks, labels), 1 linear.
            fill: value where the axial grid does not reach.

        Returns:
            Array of shape (K, J, I), type unchanged; a view where `is_view`.
        """
        if array.shape != self.shape:
            raise ValueError(f"the array has shape {array.shape}, the axial grid {self.shape}")
        return self._way.to_native(array, order, fill)
