"""Which subtype blood would be, voxel by voxel, from a classifier that learned subtypes.

A slab's candidates are the subtypes at least half as likely as its likeliest one, by probabilities that are
averaged a little over neighbouring slabs, since a bleed goes on through slices. One candidate takes the whole
slab; of several, each voxel goes to the one with the highest probability x localization map of that class. The
published methods map one class at a time and leave this open: the rule is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.patches import WHOLE, Patch
from ICHWeakSegLib.models.card import SUBTYPES

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.network_input import NetworkInput

# A candidate's probability as a share of the likeliest one's.
LEAST_SHARE = 0.5
# Where no map points, the likelier class wins.
FLOOR = 0.05


class SubtypeMaps:
    """Subtypes of the positive slabs.

    Args:
        source: what the network is shown.
        classes: names of the network's outputs.
        probabilities: of the classes, shape (slabs, classes).
        positive: which slabs are positive, bool, shape (slabs,).
    """

    def __init__(
        self,
        source: NetworkInput,
        classes: Sequence[str],
        probabilities: np.ndarray,
        positive: np.ndarray,
    ) -> None:
        self.names: tuple[str, ...] = tuple(name for name in SUBTYPES if name in classes)
        self._source = source
        self._slabs = np.flatnonzero(positive).tolist()
        columns = [list(classes).index(name) for name in self.names]
        kernel = np.array([0.25, 0.5, 0.25])
        self._smooth = ndimage.convolve1d(probabilities[:, columns], kernel, axis=0, mode="nearest")
        self._squares: dict[int, dict[str, np.ndarray]] = {}

    def undecided(self) -> list[tuple[int, list[str]]]:
        """Positive slabs with several candidates, and those."""
        several = []
        for slab in self._slabs:
            row = self._smooth[slab]
            candidates = [self.names[n] for n in np.flatnonzero(row >= LEAST_SHARE * row.max())]
            if len(candidates) > 1:
                several.append((slab, candidates))
        return several

    def add(self, slab: int, name: str, square: np.ndarray) -> None:
        """Take in the map of a class, 0-1, shape (size, size)."""
        self._squares.setdefault(slab, {})[name] = square.copy()

    def patches(self) -> Iterator[Patch]:
        """Whole planes of all positive slices: 1-based index into `names`, uint8."""
        for slab in self._slabs:
            plane = self._plane(slab)
            for s in self._source.groups[slab]:
                yield s, WHOLE, plane

    def _plane(self, slab: int) -> np.ndarray:
        row, squares = self._smooth[slab], self._squares.get(slab)
        if not squares:
            return np.full(self._source.slices.shape[1:], np.argmax(row) + 1, np.uint8)
        numbers = [self.names.index(name) for name in squares]
        scores = [
            row[number] * (self._source.frame.paste(square) + FLOOR)
            for number, square in zip(numbers, squares.values(), strict=True)
        ]
        return (np.array(numbers, np.uint8) + 1)[np.argmax(scores, axis=0)]
