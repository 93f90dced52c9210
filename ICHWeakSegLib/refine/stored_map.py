"""A stored localization map cut again at another threshold: no network, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.patches import WHOLE, on_native_grid
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.refine import split_subtypes
from ICHWeakSegLib.refine.refine_maps import Progress, Refinement, refine_maps


class StoredCase:
    """A CT with the map that a network made of it.

    On a grid that had to be resampled or shifted the stored map is interpolated once more than when it was
    made, so that the mask at the old threshold may differ by some border voxels; elsewhere it is the same.

    Args:
        ct: the CT.
        map: localization map, 0-1, shape (K, J, I).
        provenance: of the result; says how its mask was made. Numbers may be text.
        subtypes: as in `Result.subtypes`.
        subtype_names: as in `Result.subtype_names`.
        step: told how far it is.

    Raises:
        InputError: the map is not the CT's, or the provenance lacks something.

    Example:
        >>> case = StoredCase(ct, result.map, result.provenance)
        >>> mask, masks = case.rethreshold(0.2)
    """

    def __init__(
        self,
        ct: CT,
        map: np.ndarray,
        provenance: Mapping[str, object],
        subtypes: np.ndarray | None = None,
        subtype_names: Sequence[str] = (),
        step: Progress | None = None,
    ) -> None:
        if map.shape != ct.hu.shape:
            raise InputError(f"The map has shape {map.shape}, the CT {ct.hu.shape}: segment again.")
        self._step: Progress = step or (lambda stage, done, total: None)
        if provenance.get("mode", "map") != "map":
            raise InputError(
                "The mask comes from two networks, so that no threshold of the map cuts it: segment again."
            )
        self._refinement = Refinement.of(provenance)
        try:
            self._brain_hu = float(provenance["brain_hu"])
        except (KeyError, ValueError):
            raise InputError("The result does not say how bright the brain is: segment again.") from None
        self._subtypes, self._names = subtypes, tuple(subtype_names)
        self._step("brain mask", 0, 1)
        self._grid = AxialGrid(ct)
        self._brain = BrainMask(self._grid)
        self._maps = _Axial(self._grid.from_native(map, order=1))

    def rethreshold(self, threshold: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The mask at a threshold of 0-1.

        Returns:
            The mask, uint8, shape (K, J, I), and one mask a segment as in `Result.masks`.

        Raises:
            InputError: the threshold is out of range.
        """
        how = replace(self._refinement, threshold=threshold)
        blood = list(refine_maps(self._maps, self._grid, self._brain, self._brain_hu, how, self._step))
        mask = on_native_grid(self._grid, blood, np.dtype(bool)).view(np.uint8)
        if self._subtypes is None:
            return mask, {"hemorrhage": mask}
        return mask, split_subtypes(mask, self._subtypes, self._names)


class _Axial:
    """A map as axial planes, shape (S, H, W)."""

    def __init__(self, maps: np.ndarray) -> None:
        self._maps = maps
        self._slices = [s for s, plane in enumerate(maps) if plane.any()]

    def slices(self) -> list[int]:
        return self._slices

    def planes(self, slices: Iterable[int], box: tuple[slice, slice] = WHOLE) -> list[np.ndarray]:
        return [self._maps[s][box] for s in slices]
