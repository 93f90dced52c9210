"""The default refinement: the map says where, HU says what.

1. HU are smoothed a little, so that a noise grain decides nothing, and compared with the case's own brain
   (median inside the skull), since scanners and reconstructions differ.
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

from ICHWeakSegLib.refine.components import bounding_box, remove_specks, touching
from ICHWeakSegLib.refine.threshold import Planes, refine_threshold

# HU above the median brain in which the cut is sought, one bin a HU: below is fluid and fat, above bone.
_SOUGHT_HU = (-15, 80)
_FEWEST_VOXELS = 50


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
    hu: Planes,
    maps: Planes,
    brain: Planes,
    spacing_mm: tuple[float, float],
    slice_ml: np.ndarray,
    threshold: float,
    brain_hu: float,
    options: HuOptions | None = None,
) -> np.ndarray:
    """Blood where the map points to and HU agree.

    Args:
        hu: HU, S planes of shape (H, W).
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
    where = refine_threshold(maps, brain, threshold)
    box = _reachable(where, spacing_mm, how)
    if box is None:
        return where
    mask = np.zeros(where.shape, bool)
    # Only near the map can blood be found: nothing beyond is computed.
    where = where[(slice(None), *box)]
    hu, maps, brain = ([plane[box] for plane in planes] for planes in (hu, maps, brain))
    smooth = [_smooth(plane, inside, spacing_mm, how.smooth_mm) for plane, inside in zip(hu, brain, strict=True)]
    cut = brain_hu + _blood_cut(
        np.concatenate([plane[here] for plane, here in zip(smooth, where, strict=True)]) - brain_hu, how
    )
    blood, sure = np.zeros(where.shape, bool), np.zeros(where.shape, bool)
    confident = min(1.0, max(threshold, how.confident))
    for s, (plane, inside) in enumerate(zip(smooth, brain, strict=True)):
        bright = inside & (plane >= cut) & (hu[s] <= how.highest_hu)
        bright = _without_rim(bright, inside, spacing_mm, how.rim_mm)
        blood[s] = bright & _within(where[s], how.reach_mm, spacing_mm)
        sure[s] = where[s] & (maps[s] >= confident)
    found = touching(blood, sure)
    for s, plane in enumerate(found):
        if plane.any():
            found[s] = ndimage.binary_fill_holes(plane) & brain[s] & (hu[s] <= how.highest_hu)
    mask[(slice(None), *box)] = remove_specks(found, slice_ml, how.smallest_ml)
    return mask


def _reachable(
    where: np.ndarray, spacing_mm: tuple[float, float], how: HuOptions
) -> tuple[slice, slice] | None:
    """Rows and columns that can decide about blood: the reach, and what smoothing and rim look at beyond."""
    box = bounding_box(where.any(axis=0))
    if box is None:
        return None
    margin_mm = how.reach_mm + max(5 * how.smooth_mm, 3 * how.rim_mm)
    margins = [int(np.ceil(margin_mm / step)) + 2 for step in spacing_mm]
    return tuple(
        slice(max(0, part.start - margin), part.stop + margin) for part, margin in zip(box, margins, strict=True)
    )


def _smooth(hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float], sd_mm: float) -> np.ndarray:
    """Gaussian-smoothed HU of a plane from intracranial voxels only, so that bone does not bleed in."""
    out = np.full(hu.shape, -1000.0, np.float32)
    if brain.any():
        sigma = tuple(sd_mm / step for step in spacing_mm)
        weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
        total = ndimage.gaussian_filter(np.where(brain, hu, 0).astype(np.float32), sigma)
        out[brain] = total[brain] / weight[brain]
    return out


def _blood_cut(relative: np.ndarray, how: HuOptions) -> float:
    """Otsu's cut of HU relative to brain, held within the options' limits."""
    low, high = _SOUGHT_HU
    values = relative[(relative > low) & (relative < high)]
    if values.size < _FEWEST_VOXELS:
        return how.highest_cut
    counts, edges = np.histogram(values, bins=high - low, range=_SOUGHT_HU)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    cut = edges[1:][np.argmax(np.nan_to_num(between, nan=0.0, posinf=0.0))]
    return float(np.clip(cut, how.lowest_cut, how.highest_cut))


def _without_rim(
    blood: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float], rim_mm: float
) -> np.ndarray:
    """A plane's blood without films along the inner table that are thinner than `rim_mm`."""
    if not blood.any():
        return blood
    film = blood & _within(~brain, rim_mm, spacing_mm)
    thick = ndimage.distance_transform_edt(np.pad(blood, 1), sampling=spacing_mm)[1:-1, 1:-1] > rim_mm / 2
    return blood & ~(film & ~_within(thick, rim_mm, spacing_mm))


def _within(mask: np.ndarray, reach_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Pixels at most `reach_mm` from the mask."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= reach_mm
