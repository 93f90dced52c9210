"""One phantom head with a bleed, made once and cut into slices of any thickness: quick to test with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.phantom import make_phantom

PIXEL_MM = 1.8


@dataclass
class HeadWithBleed:
    """A CT with its truths, bool, on the CT's own grid."""

    ct: CT
    blood: np.ndarray
    brain: np.ndarray

    @property
    def blood_ml(self) -> float:
        return self.ct.volume_ml(self.blood)


@cache
def _thin() -> HeadWithBleed:
    phantom = make_phantom("intraparenchymal", 40.0, spacing_mm=1.0, seed=3, size=128, pixel_mm=PIXEL_MM)
    for array in (phantom.ct.hu, phantom.truth, phantom.brain):
        array.setflags(write=False)
    return HeadWithBleed(phantom.ct, phantom.truth.astype(bool), phantom.brain)


def head(thickness: int = 5) -> HeadWithBleed:
    """The head in slices of this many mm, 128 x 128 pixels of 1.8 mm, LPS, inferior to superior."""
    thin = _thin()
    count = len(thin.ct.hu) // thickness

    def thick(array: np.ndarray) -> np.ndarray:
        return array[: count * thickness].reshape(count, thickness, *array.shape[1:]).mean(axis=1)

    affine = thin.ct.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, 2] * (thickness - 1) / 2
    affine[:3, 2] *= thickness
    hu = np.rint(thick(thin.ct.hu.astype(np.float32))).astype(np.int16)
    return HeadWithBleed(CT(hu, affine, source="phantom"), thick(thin.blood) >= 0.5, thick(thin.brain) >= 0.5)


def on_grid(
    shape: tuple[int, int, int], ijk_to_ras: np.ndarray, positions: np.ndarray | None = None
) -> HeadWithBleed:
    """The head sampled at the voxels of another grid.

    Args:
        shape: (K, J, I).
        ijk_to_ras: of the grid.
        positions: places of the slices in mm, for uneven ones; the affine has their nominal step.
    """
    thin = _thin()
    step = np.linalg.norm(ijk_to_ras[:3, 2])
    k = np.arange(shape[0]) if positions is None else (positions - positions[0]) / step
    to_thin = np.linalg.inv(thin.ct.ijk_to_ras) @ ijk_to_ras
    k, j, i = np.meshgrid(k, np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    place = to_thin[:3, :3] @ np.stack([i, j, k]).reshape(3, -1) + to_thin[:3, 3:]

    def sample(array: np.ndarray, fill: float) -> np.ndarray:
        values = ndimage.map_coordinates(
            array.astype(np.float32), place[::-1], order=1, cval=fill, prefilter=False
        )
        return values.reshape(shape)

    # Noise of thicker slices, as they would be scanned.
    hu = np.rint(sample(ndimage.uniform_filter1d(thin.ct.hu, 5, axis=0), -1000)).astype(np.int16)
    ct = CT(hu, np.asarray(ijk_to_ras, float), positions, source="phantom")
    return HeadWithBleed(ct, sample(thin.blood, 0) >= 0.5, sample(thin.brain, 0) >= 0.5)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks, 0-1."""
    one, other = one != 0, other != 0
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
