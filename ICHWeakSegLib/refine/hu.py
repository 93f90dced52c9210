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

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.refine.components import bounding_box, label, remove_specks, touching
from ICHWeakSegLib.refine.threshold import Planes, refine_threshold

WHOLE = (slice(None), slice(None))


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
        if peak.any():
            seeds[s] = within(peak, how.seed_mm, spacing_mm) & inside
    box = bounding_box(seeds)
    if box is None:
        return mask
    labels, _ = label(seeds[box])
    del seeds
    run = _Run(hu, brain, spacing_mm, np.asarray(slice_ml, float), brain_hu, how)
    for number, part in enumerate(ndimage.find_objects(labels), start=1):
        place = tuple(
            slice(whole.start + inner.start, whole.start + inner.stop)
            for whole, inner in zip(box, part, strict=True)
        )
        run.grow(labels[part] == number, place, mask)
    for s, plane in enumerate(mask):
        if plane.any():
            mask[s] = ndimage.binary_fill_holes(plane) & run.possible(s, WHOLE)
    return remove_specks(mask, slice_ml, how.smallest_ml)


class _Run:
    """The planes of a run of slices. Nothing is kept of them: a run of thin slices would fill the memory.

    Args:
        hu, brain, spacing_mm, slice_ml, brain_hu: as for `refine_hu`.
        how: the options.
    """

    def __init__(
        self,
        hu: Planes,
        brain: Planes,
        spacing_mm: tuple[float, float],
        slice_ml: np.ndarray,
        brain_hu: float,
        how: HuOptions,
    ) -> None:
        self._hu, self._brain, self._spacing_mm = hu, brain, spacing_mm
        self._brain_hu, self._how = brain_hu, how
        self._voxel_ml = float(np.median(slice_ml))
        # Thick slices stay as they are.
        self._half = int(how.slice_mm / (2 * self._voxel_ml * 1000 / np.prod(spacing_mm)))

    def grow(self, seed: np.ndarray, place: tuple[slice, ...], mask: np.ndarray) -> None:
        """Add the bleed of one seed to the mask.

        Args:
            seed: bool.
            place: slices, rows and columns of `seed` in the run.
            mask: bool, shape (S, H, W), changed in place.
        """
        how = self._how
        contrast = self._contrast(seed, place)
        if contrast < how.faintest:
            return
        cut = self._brain_hu + float(np.clip(how.edge * contrast, how.lowest_cut, how.highest_cut))
        # Only near the seed can blood be found: nothing beyond is computed.
        box = self._around(place, how.reach_mm + 6)
        blood = np.zeros_like(mask[(slice(None), *box)])
        seeds = np.zeros_like(blood)
        seeds[(place[0], *_relative(place, box))] = seed
        near = within(seeds.any(axis=0), how.reach_mm, self._spacing_mm)
        for s, plane in enumerate(blood):
            found = self._bright(s, box, cut, near)
            if found.any():
                plane[:] = found
        mask[(slice(None), *box)] |= touching(blood, seeds)

    def possible(self, s: int, box: tuple[slice, slice]) -> np.ndarray:
        """Where a plane may hold blood at all: brain without bone, calcification and metal."""
        return self._brain[s][box] & (self._averaged(s, box) <= self._how.highest_hu)

    def _contrast(self, seed: np.ndarray, place: tuple[slice, ...]) -> float:
        """How much brighter than brain a seed's blood is, in HU."""
        how = self._how
        box = self._around(place, 6 * how.smooth_mm)
        values = []
        for s, here in zip(range(place[0].start, place[0].stop), seed, strict=True):
            wide = np.zeros(self._brain[s][box].shape, bool)
            wide[_relative(place, box)] = here
            values.append(self._smooth(s, box)[wide & self.possible(s, box)])
        values = np.concatenate(values)
        if not values.size:
            return -np.inf
        core = 100 * (1 - how.core_ml / (values.size * self._voxel_ml))
        return float(np.percentile(values, max(how.brightness, core))) - self._brain_hu

    def _bright(self, s: int, box: tuple[slice, slice], cut: float, near: np.ndarray) -> np.ndarray:
        """Blood of a plane at least as bright as `cut`, without rim and bridges."""
        how, spacing_mm = self._how, self._spacing_mm
        found = self.possible(s, box) & near
        if not found.any():
            return found
        found &= self._smooth(s, box) >= cut
        if not found.any():
            return found
        half = ndimage.distance_transform_edt(np.pad(found, 1), sampling=spacing_mm)[1:-1, 1:-1]
        rim = within(~self._brain[s][box], how.rim_mm, spacing_mm)
        found &= ~rim | within(half > how.rim_mm / 2, how.rim_mm, spacing_mm)
        return found & within(half > how.bridge_mm / 2, how.bridge_mm / 2 + 0.5, spacing_mm)

    def _averaged(self, s: int, box: tuple[slice, slice]) -> np.ndarray:
        """HU of a plane, of thin slices the mean with their neighbours within `slice_mm`."""
        group = [
            self._hu[t][box] for t in range(max(0, s - self._half), min(len(self._hu), s + self._half + 1))
        ]
        return group[0] if len(group) == 1 else np.mean(group, axis=0, dtype=np.float32)

    def _smooth(self, s: int, box: tuple[slice, slice]) -> np.ndarray:
        return _smoothed(self._averaged(s, box), self._brain[s][box], self._spacing_mm, self._how.smooth_mm)

    def _around(self, place: tuple[slice, ...], margin_mm: float) -> tuple[slice, slice]:
        shape = self._brain[0].shape
        return tuple(
            _wider(part, margin_mm, step, size)
            for part, step, size in zip(place[1:], self._spacing_mm, shape, strict=True)
        )


def within(mask: np.ndarray, reach_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Pixels at most `reach_mm` from a plane's mask."""
    if not mask.any():
        return mask
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= reach_mm


def _smoothed(hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float], sd_mm: float) -> np.ndarray:
    """Gaussian-smoothed HU from intracranial voxels only, so that bone does not bleed in; -1000 elsewhere."""
    out = np.full(brain.shape, -1000.0, np.float32)
    if brain.any():
        sigma = tuple(sd_mm / step for step in spacing_mm)
        weight = ndimage.gaussian_filter(brain.astype(np.float32), sigma)
        total = ndimage.gaussian_filter(np.where(brain, hu, 0).astype(np.float32), sigma)
        out[brain] = total[brain] / weight[brain]
    return out


def _wider(part: slice, margin_mm: float, step_mm: float, size: int) -> slice:
    margin = int(np.ceil(margin_mm / step_mm)) + 2
    return slice(max(0, part.start - margin), min(size, part.stop + margin))


def _relative(place: tuple[slice, ...], box: tuple[slice, slice]) -> tuple[slice, slice]:
    """Rows and columns of a place, counted from a box around it."""
    return tuple(
        slice(part.start - wide.start, part.stop - wide.start)
        for part, wide in zip(place[1:], box, strict=True)
    )
