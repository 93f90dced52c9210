"""Is this volume a head CT in HU?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.geometry import nearest_axes
from ICHWeakSegLib.ct.shape import check_grid
from ICHWeakSegLib.ct.volume import CT

BONE_HU = 150.0
TISSUE_HU = -200.0
SOFT_HU = (-20.0, 110.0)
NARROWEST_RANGE_HU = 60.0
# A preterm baby's cranium measures about 6000 mm2, a slice near the vertex less.
SMALLEST_INSIDE_MM2 = 2000.0
# Inner widths of a skull (left-right, front-back); the rib cage and the pelvis are wider.
WIDEST_INSIDE_MM = (220.0, 250.0)
LEAST_SOFT_SHARE = 0.5
_WORKING_MM = 2.0
_WORKING_SLICE_MM = 3.0


def check_ct(ct: CT) -> None:
    """Refuse a volume that is not in HU or shows no head.

    A head is soft tissue that bone surrounds on all four sides in at least two axial slices, of the size of
    a cranium and not mainly air. Where the field of view cuts the head off, the border stands in for the
    missing bone on up to two sides. Clipped display windows are let through as long as they reach below zero.

    Raises:
        InputError: flat or singular grid, values that are not HU, or no head.
    """
    where = ct.source or "The volume"
    check_grid(ct.hu.shape, ct.ijk_to_ras, where)
    low, high = _check_range(ct, where)
    slices = _plausible_slices(ct, low, high)
    if not slices.tissue:
        raise InputError(f"{where} shows no tissue in its field of view; give a CT of the head.")
    if slices.good < min(2, slices.looked_at):
        raise InputError(f"{where} shows no head ({slices.reason()}); give a non-contrast head CT in HU.")


def _check_range(ct: CT, where: str) -> tuple[float, float]:
    step = tuple(max(1, size // 128) for size in ct.hu.shape)
    sample = ct.hu[:: step[0], :: step[1], :: step[2]]
    low, high = float(sample.min()), float(sample.max())
    if not np.isfinite([low, high]).all():
        raise InputError(
            f"{where} holds voxels that are not a number (NaN or infinite); export the CT again."
        )
    if low == high:
        raise InputError(f"{where} has the same value ({low:g}) everywhere; give a head CT in HU.")
    if high - low < NARROWEST_RANGE_HU:
        raise InputError(
            f"{where} has values from {low:g} to {high:g}, which look normalised; "
            "give the CT in HU (air -1000, water 0)."
        )
    if low >= 0:
        raise InputError(
            f"{where} has no value below zero ({low:g} to {high:g}), so that it is not in HU; "
            "give the CT in HU (air -1000, water 0)."
        )
    return low, high


@dataclass
class _Slices:
    """What was seen in the slices."""

    looked_at: int = 0
    good: int = 0
    tissue: bool = False
    bone: bool = False
    widest_mm: float = 0.0
    largest_mm2: float = 0.0
    too_wide: int = 0
    airy: int = 0

    def reason(self) -> str:
        if not self.bone:
            return "no bone around soft tissue"
        if self.too_wide:
            return f"the bone around soft tissue is {self.widest_mm:.0f} mm wide"
        if self.airy:
            return "mostly air or fat within the bone"
        return f"at most {self.largest_mm2 / 100:.0f} cm2 of soft tissue within bone"


def _plausible_slices(ct: CT, low: float, high: float) -> _Slices:
    axes, _ = nearest_axes(ct.ijk_to_ras)
    view = ct.hu.transpose(2 - axes[2], 2 - axes[1], 2 - axes[0])
    column_mm, row_mm, slice_mm = ct.spacing[list(axes)]
    rows, columns = (max(1, round(_WORKING_MM / mm)) for mm in (row_mm, column_mm))
    step = max(1, round(_WORKING_SLICE_MM / slice_mm))
    pixel = (rows * row_mm, columns * column_mm)
    # In a clipped window bone is whatever reached the upper end, and air whatever fell to the lower end.
    bone_hu = BONE_HU if high > BONE_HU + 50 else high - 0.01 * (high - low)
    tissue_hu = max(TISSUE_HU, low + 0.01 * (high - low))
    seen = _Slices()
    for plane in view[step // 2 :: step] if len(view) > 2 * step else view:
        height, width = (plane.shape[0] // rows * rows, plane.shape[1] // columns * columns)
        if not height or not width:
            continue
        blocks = plane[:height, :width].reshape(height // rows, rows, width // columns, columns)
        # A thin skull must not slip between the samples: the brightest voxel of a block speaks for bone.
        bone = blocks.max(axis=(1, 3)) >= bone_hu
        values = blocks[:, rows // 2, :, columns // 2]
        _look(seen, bone, values, tissue_hu, pixel)
    return seen


def _look(
    seen: _Slices, bone: np.ndarray, values: np.ndarray, tissue_hu: float, pixel: tuple[float, float]
) -> None:
    tissue = values > tissue_hu
    inside = _enclosed(bone, tissue) & ~bone
    soft = inside & (values > max(SOFT_HU[0], tissue_hu)) & (values < SOFT_HU[1])
    seen.looked_at += 1
    seen.tissue |= bool(tissue.mean() > 0.01)
    labels, count = ndimage.label(soft)
    if not count:
        return
    seen.bone = True
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    area = largest.sum() * pixel[0] * pixel[1]
    height, width = (np.ptp(index) + 1 for index in np.nonzero(largest))
    height, width = height * pixel[0], width * pixel[1]
    seen.largest_mm2 = max(seen.largest_mm2, area)
    if area < SMALLEST_INSIDE_MM2:
        return
    if width > WIDEST_INSIDE_MM[0] or height > WIDEST_INSIDE_MM[1]:
        seen.too_wide += 1
        seen.widest_mm = max(seen.widest_mm, width, height)
    elif soft.sum() < LEAST_SOFT_SHARE * inside.sum():
        seen.airy += 1
    else:
        seen.good += 1


def _enclosed(bone: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Pixels with bone on all four sides; on two of them tissue up to the border will do."""
    closed = np.ones(bone.shape, bool)
    bony_sides = np.zeros(bone.shape, np.uint8)
    for axis in (0, 1):
        for sense in (1, -1):
            order = (slice(None, None, sense),) if axis == 0 else (slice(None), slice(None, None, sense))
            bony = np.logical_or.accumulate(bone[order], axis=axis)[order]
            cut = np.logical_and.accumulate(tissue[order], axis=axis)[order]
            closed &= bony | cut
            bony_sides += bony
    return closed & (bony_sides >= 2)
