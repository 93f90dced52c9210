"""The default refinement: the map says where, HU says what.

1. HU are smoothed a little, so that a noise grain decides nothing, and compared with the case's own brain
   (median inside the skull), since scanners and reconstructions differ.
2. Where the map is above its threshold, and a little beyond, lie the seeds; seeds that touch are one. How
   bright a seed's blood is, is a high percentile of its HU; a seed hardly brighter than brain is dropped.
3. The cut between brain and blood is half way between the two, where a voxel is half filled with blood, kept
   within `lowest_cut` and `highest_cut` above brain: thin, small and mixed bleeds lie below the classical
   50 HU, and a dense one must not drag the cut up to its core. Every seed has its own cut.
4. The bright rim that partial volume leaves along the inner table and bridges thinner than `bridge_mm` (falx,
   tentorium, vessels) are taken away; what is left and joined to the seed, through neighbouring positive
   slices too and at most `reach_mm` away, is blood. Holes are filled, specks dropped.

The parameters were set on painted bleeds in heads that the fold's network had not seen
(`Testing/benchmarks/bench_painted.py`), not on the patients whose figures are reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.refine.components import NEIGHBOURS, bounding_box, remove_specks, touching
from ICHWeakSegLib.refine.threshold import Planes, refine_threshold


@dataclass(frozen=True)
class HuOptions:
    """Parameters of `refine_hu`.

    Attributes:
        smooth_mm: SD of the Gaussian that HU are smoothed with.
        slice_mm: thinner slices are averaged with their neighbours to about this, since they are noisier.
        seed_mm: how far around the map's peak the blood's brightness is looked for.
        brightness: percentile of a seed's HU that stands for its blood; of a large seed, where the map rules
            out little, the lower end of its brightest `core_ml`.
        core_ml: see `brightness`.
        faintest: HU above the median brain that a seed's blood must reach.
        edge: where between brain (0) and blood (1) the cut lies.
        lowest_cut, highest_cut: limits of the cut in HU above the median brain.
        highest_hu: brighter than this is bone, calcification or metal (absolute HU).
        reach_mm: how far from its seed a bleed may go on.
        rim_mm: bright films along the inner table thinner than this are partial volume.
        bridge_mm: bright structures thinner than this part one region from another.
        smallest_ml: smallest lesion.
    """

    smooth_mm: float = 0.8
    slice_mm: float = 5.0
    seed_mm: float = 3.0
    brightness: float = 90.0
    core_ml: float = 0.5
    faintest: float = 12.0
    edge: float = 0.5
    lowest_cut: float = 9.0
    highest_cut: float = 18.0
    highest_hu: float = 115.0
    reach_mm: float = 40.0
    rim_mm: float = 2.0
    bridge_mm: float = 2.0
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
    mask = np.zeros((len(maps), *maps[0].shape), bool)
    seeds = np.zeros_like(mask)
    for s, (plane, inside) in enumerate(zip(maps, brain, strict=True)):
        (peak,) = refine_threshold([plane], [inside], threshold)
        seeds[s] = within(peak, how.seed_mm, spacing_mm) & inside
    box = bounding_box(seeds)
    if box is None:
        return mask
    # Only near the seeds can blood be found: nothing beyond is computed, and little is kept of each plane.
    box = tuple(_wider(part, how.reach_mm + 6, step) for part, step in zip(box[1:], spacing_mm, strict=True))
    hu, brain = ([plane[box] for plane in planes] for planes in (hu, brain))
    hu = _averaged(hu, np.asarray(slice_ml) * 1000 / np.prod(spacing_mm), how.slice_mm)
    tissue = [_Tissue(*planes, spacing_mm, how) for planes in zip(hu, brain, strict=True)]
    voxel_ml = float(np.median(slice_ml))
    labels, count = ndimage.label(seeds[(slice(None), *box)], NEIGHBOURS)
    blood = np.zeros(labels.shape, bool)
    for number in range(1, count + 1):
        blood |= _grown(labels == number, tissue, spacing_mm, voxel_ml, brain_hu, how)
    for plane, here in zip(blood, tissue, strict=True):
        if plane.any():
            plane[:] = ndimage.binary_fill_holes(plane) & here.possible
    mask[(slice(None), *box)] = remove_specks(blood, slice_ml, how.smallest_ml)
    return mask


class _Tissue:
    """One plane: what may be blood at all, its smoothed HU, and where the inner table is near."""

    def __init__(
        self, hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float], how: HuOptions
    ) -> None:
        self.possible = brain & (hu <= how.highest_hu)
        # Half precision resolves 0.03 HU here and halves what a long run of slices holds.
        self.smooth = _smoothed(hu, brain, spacing_mm, how.smooth_mm).astype(np.float16)
        self.rim = brain & within(~brain, how.rim_mm, spacing_mm)

    def bright(
        self, cut: float, near: np.ndarray, spacing_mm: tuple[float, float], how: HuOptions
    ) -> np.ndarray:
        """Blood at least as bright as `cut`, without rim and bridges."""
        found = self.possible & near & (self.smooth >= cut)
        if not found.any():
            return found
        half = ndimage.distance_transform_edt(np.pad(found, 1), sampling=spacing_mm)[1:-1, 1:-1]
        found &= ~self.rim | within(half > how.rim_mm / 2, how.rim_mm, spacing_mm)
        thick = half > how.bridge_mm / 2
        return found & within(thick, how.bridge_mm / 2 + 0.5, spacing_mm)


def _grown(
    seed: np.ndarray,
    tissue: list[_Tissue],
    spacing_mm: tuple[float, float],
    voxel_ml: float,
    brain_hu: float,
    how: HuOptions,
) -> np.ndarray:
    """The bleed of one seed, bool, shape (S, H, W)."""
    values = [here.smooth[plane & here.possible] for plane, here in zip(seed, tissue, strict=True)]
    values = np.concatenate(values).astype(np.float32)
    blood = np.zeros(seed.shape, bool)
    if not values.size:
        return blood
    core = 100 * (1 - how.core_ml / (values.size * voxel_ml))
    contrast = float(np.percentile(values, max(how.brightness, core))) - brain_hu
    if contrast < how.faintest:
        return blood
    cut = brain_hu + float(np.clip(how.edge * contrast, how.lowest_cut, how.highest_cut))
    near = within(seed.any(axis=0), how.reach_mm, spacing_mm)
    for plane, here in zip(blood, tissue, strict=True):
        plane[:] = here.bright(cut, near, spacing_mm, how)
    return touching(blood, seed)


def within(mask: np.ndarray, reach_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Pixels at most `reach_mm` from a plane's mask."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= reach_mm


def _averaged(hu: list[np.ndarray], thickness_mm: np.ndarray, slice_mm: float) -> Iterator[np.ndarray]:
    """Planes, each the mean of its neighbours within `slice_mm`; thick slices as they are."""
    half = int(slice_mm / (2 * float(np.median(thickness_mm))))
    for s, plane in enumerate(hu):
        group = hu[max(0, s - half) : s + half + 1]
        yield plane if len(group) == 1 else np.mean(group, axis=0, dtype=np.float32)


def _smoothed(hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float], sd_mm: float) -> np.ndarray:
    """Gaussian-smoothed HU from intracranial voxels only, so that bone does not bleed in; -1000 elsewhere."""
    out = np.full(brain.shape, -1000.0, np.float32)
    if brain.any():
        sigma = tuple(sd_mm / step for step in spacing_mm)
        weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
        total = ndimage.gaussian_filter(np.where(brain, hu, 0).astype(np.float32), sigma)
        out[brain] = total[brain] / weight[brain]
    return out


def _wider(part: slice, margin_mm: float, step_mm: float) -> slice:
    margin = int(np.ceil(margin_mm / step_mm)) + 2
    return slice(max(0, part.start - margin), part.stop + margin)
