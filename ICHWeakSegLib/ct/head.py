"""A head CT made ready for networks: its axial slices and its brain, worked out once for all models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.brain_mask import AxialSlices, BrainMask, Progress
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT


@dataclass(frozen=True, eq=False)
class Head:
    """What every model needs of a CT; `segment` takes one, so that several models share it.

    Attributes:
        ct: the CT.
        grid: its axial view.
        brain: its brain mask, never empty.

    Example:
        >>> head = Head.of(ct)
        >>> results = [segment(ct, name, head=head) for name in ("starter", "mine")]
    """

    ct: CT
    grid: AxialGrid
    brain: BrainMask

    @classmethod
    def of(cls, ct: CT, progress: Progress | None = None) -> Head:
        """The head on a CT.

        Args:
            ct: the CT.
            progress: told how many slices were searched for brain, and of how many; it may raise to stop.

        Raises:
            InputError: no skull with brain inside was found.
        """
        grid = AxialGrid(ct)
        brain = _KeptMask(grid, progress)
        if brain.empty:
            raise InputError(
                f"{ct.source or 'The CT'} shows no skull with brain inside; give a head CT in HU that includes "
                "the brain."
            )
        return cls(ct, grid, brain)


class _KeptMask(BrainMask):
    """A brain mask that makes each slice once and keeps it as bits: 32 kB for 512 x 512 pixels."""

    def __init__(self, slices: AxialSlices, progress: Progress | None = None) -> None:
        super().__init__(slices, progress)
        self._bits: dict[int, np.ndarray] = {}
        self._shape = slices.slice_hu(0).shape

    def __getitem__(self, index: int) -> np.ndarray:
        """Mask of one slice, bool, shape (H, W), an array of the caller's own."""
        index = int(index)
        if index not in self._bits:
            self._bits[index] = np.packbits(self._fine(index))
        bits = np.unpackbits(self._bits[index], count=self._shape[0] * self._shape[1])
        return bits.view(bool).reshape(self._shape)
