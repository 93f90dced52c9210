"""The default refinement: the map says where, HU says what.

1. HU are smoothed a little, so that a noise grain decides nothing, and compared with the case's own brain
   (median and spread inside the skull), since scanners and reconstructions differ.
2. Where the map is above its threshold, a two-class cut (Otsu) between brain and blood is sought on HU, kept
   within `lowest_cut` and `highest_cut` above the brain's median: thin, small and mixed bleeds lie below the
   classical 50 HU, and a dense one must not drag the cut up to its core.
3. Voxels in the blood range whose map is above the threshold are the seed region. It grows, within the blood
   range, as far as `reach_mm` beyond the map's border, since a map is coarser than a bleed.
4. The bright rim that partial volume leaves along the inner table is opened away; holes are filled; lesions
   below `smallest_ml` and those that no confident part of the map supports are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.refine.components import remove_specks, touching


@dataclass(frozen=True)
class HuOptions:
    """Parameters of `refine_hu`; HU are relative to the case's median brain.

    Attributes:
        smooth_mm: SD of the Gaussian that HU are smoothed with.
        lowest_cut, highest_cut: limits in HU above the median brain of the cut between brain and blood.
        highest_hu: brighter than this is bone, calcification or metal (absolute HU).
        confident: a lesion must hold a voxel whose map is at least this.
        reach_mm: how far blood may go on beyond the map's border.
        rim_mm: bright films along the inner table thinner than this are partial volume.
        smallest_ml: smallest lesion.
    """

    smooth_mm: float = 0.8
    lowest_cut: float = 11.0
    highest_cut: float = 20.0
    highest_hu: float = 115.0
    confident: float = 0.4
    reach_mm: float = 8.0
    rim_mm: float = 2.0
    smallest_ml: float = 0.2


def refine_hu(
    hu: np.ndarray,
    maps: np.ndarray,
    brain: np.ndarray,
    spacing_mm: tuple[float, float],
    slice_ml: np.ndarray,
    threshold: float,
    brain_hu: float,
    options: HuOptions | None = None,
) -> np.ndarray:
    """Blood where the map points to and HU agree.

    Args:
        hu: HU, shape (S, H, W).
        maps: 0-1, same shape.
        brain: bool, same shape.
        spacing_mm: size of a row and of a column step.
        slice_ml: volume of a voxel of each slice in mL, shape (S,).
        threshold: of the map, 0-1.
        brain_hu: median HU of the case's intracranial voxels.
        options: see `HuOptions`.

    Returns:
        bool mask (S, H, W).
    """
    how = options or HuOptions()
    where = (maps >= threshold) & (maps > 0) & brain
    if not where.any():
        return where
    smooth = _smooth(hu, brain, spacing_mm, how.smooth_mm)
    cut = brain_hu + _blood_cut(smooth[where] - brain_hu, how)
    blood = brain & (smooth >= cut) & (hu <= how.highest_hu)
    blood = _without_rim(blood, brain, spacing_mm, how.rim_mm)
    near = np.stack([_within(plane, how.reach_mm, spacing_mm) for plane in where])
    mask = touching(blood & near, where & (maps >= min(1.0, max(threshold, how.confident))))
    mask = np.stack([ndimage.binary_fill_holes(plane) for plane in mask]) & brain & (hu <= how.highest_hu)
    return remove_specks(mask, slice_ml, how.smallest_ml)


def _smooth(hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float], sd_mm: float) -> np.ndarray:
    """Gaussian-smoothed HU of each slice from intracranial voxels only, so that bone does not bleed in."""
    sigma = tuple(sd_mm / step for step in spacing_mm)
    out = np.full(hu.shape, -1000.0, np.float32)
    for plane, inside, result in zip(hu, brain, out, strict=True):
        if inside.any():
            weight = ndimage.gaussian_filter(inside.astype(np.float32), sigma)
            total = ndimage.gaussian_filter(np.where(inside, plane, 0).astype(np.float32), sigma)
            result[inside] = total[inside] / weight[inside]
    return out


def _blood_cut(relative: np.ndarray, how: HuOptions) -> float:
    """Otsu's cut of HU relative to brain, held within the options' limits."""
    values = relative[(relative > -15) & (relative < 80)]
    if values.size < 50:
        return how.highest_cut
    counts, edges = np.histogram(values, bins=95, range=(-15, 80))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    cut = edges[1:][np.nanargmax(np.where(np.isfinite(between), between, 0))]
    return float(np.clip(cut, how.lowest_cut, how.highest_cut))


def _without_rim(
    blood: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float], rim_mm: float
) -> np.ndarray:
    """Take away films along the inner table that are thinner than `rim_mm`."""
    out = blood.copy()
    for plane, inside, result in zip(blood, brain, out, strict=True):
        if not plane.any():
            continue
        depth = ndimage.distance_transform_edt(inside, sampling=spacing_mm)
        film = plane & (depth <= rim_mm)
        thick = ndimage.distance_transform_edt(plane, sampling=spacing_mm) > rim_mm / 2
        kept = _within(thick, rim_mm, spacing_mm)
        result[film & ~kept] = False
    return out


def _within(mask: np.ndarray, reach_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= reach_mm
