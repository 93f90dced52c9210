"""From localization maps to a mask, one run of neighbouring slices after the other. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.patches import WHOLE, Patch
from ICHWeakSegLib.refine import (
    HuOptions,
    HysteresisOptions,
    KMeansOptions,
    bounding_box,
    refine_hu,
    refine_hysteresis,
    refine_kmeans,
    refine_otsu,
    refine_threshold,
)
from ICHWeakSegLib.vocabulary import REFINEMENTS

if TYPE_CHECKING:
    from ICHWeakSegLib.ct import AxialGrid
    from ICHWeakSegLib.ct.brain_mask import BrainMask

Options = HuOptions | KMeansOptions | HysteresisOptions
# Those that have options of their own.
OPTIONS_OF: dict[str, type[Options]] = {
    "hu": HuOptions,
    "kmeans": KMeansOptions,
    "hysteresis": HysteresisOptions,
}

# Called as (stage, done, total).
Progress = Callable[[str, int, int], None]


class MapPlanes(Protocol):
    """Localization maps of axial slices."""

    def slices(self) -> list[int]:
        """The axial slices that have a map, ascending."""

    def planes(self, slices: Iterable[int], box: tuple[slice, slice] = WHOLE) -> list[np.ndarray]:
        """Maps of slices, 0-1, within a box of rows and columns."""


@dataclass(frozen=True)
class Refinement:
    """How a map becomes a mask.

    Attributes:
        refine: one of `REFINEMENTS`.
        threshold: of the map, 0-1.
        options: of a refinement that has some; its defaults where they are None.
    """

    refine: str
    threshold: float
    options: Options | None = None

    def __post_init__(self) -> None:
        if self.refine not in REFINEMENTS:
            raise InputError(f"The refinement is one of {', '.join(REFINEMENTS)}, not {self.refine!r}.")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"The threshold of the map lies between 0 and 1; {self.threshold:g} does not.")

    def facts(self) -> dict[str, object]:
        """What decided about the mask, for the provenance; options only where they are not the default."""
        return {
            "refine": self.refine,
            "map_threshold": self.threshold,
            **{
                f"refine_{option.name}": getattr(self.options, option.name)
                for option in (fields(self.options) if self.options is not None else ())
                if getattr(self.options, option.name) != option.default
            },
        }

    @classmethod
    def of(cls, facts: Mapping[str, object]) -> Refinement:
        """The settings that a provenance tells of, whose numbers may be text.

        Raises:
            InputError: it does not tell them.
        """
        try:
            kind = OPTIONS_OF.get(str(facts["refine"]))
            own = {
                # Whole numbers stay whole, also where they were written as text.
                option.name: type(option.default)(float(facts[f"refine_{option.name}"]))
                for option in (fields(kind) if kind is not None else ())
                if f"refine_{option.name}" in facts
            }
            options = kind(**own) if kind is not None else None
            return cls(str(facts["refine"]), float(facts["map_threshold"]), options)
        except (KeyError, TypeError, ValueError) as problem:
            raise InputError(
                f"The result does not say how its mask was made ({problem}): segment again."
            ) from None


def refine_maps(
    maps: MapPlanes,
    grid: AxialGrid,
    brain: BrainMask,
    brain_hu: float,
    how: Refinement,
    step: Progress,
) -> Iterator[Patch]:
    """Masks of the slices with blood, each within its own box, run by run of neighbouring slices.

    Args:
        maps: localization maps of `grid`'s slices.
        grid: the axial CT.
        brain: its brain mask.
        brain_hu: median HU of the case's brain.
        how: thresholds and options.
        step: told how far it is.
    """
    with_map = maps.slices()
    done = 0
    for run in _runs(with_map):
        step("refining", done, len(with_map))
        done += len(run)
        box = bounding_box(np.logical_or.reduce([brain[s] for s in run]))
        if box is None:
            continue
        # One pixel more: the brain's edge must be seen as an edge.
        box = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
        inside = [brain[s][box].copy() for s in run]
        mask = _mask(maps.planes(run, box), grid, run, box, inside, brain_hu, how)
        for s, plane in zip(run, mask, strict=True):
            part = bounding_box(plane)
            if part is not None:
                inner = tuple(
                    slice(outer.start + at.start, outer.start + at.stop)
                    for outer, at in zip(box, part, strict=True)
                )
                yield s, inner, plane[part].copy()


def _mask(
    planes: list[np.ndarray],
    grid: AxialGrid,
    run: list[int],
    box: tuple[slice, slice],
    inside: list[np.ndarray],
    brain_hu: float,
    how: Refinement,
) -> np.ndarray:
    """Blood in the box of a run of slices, bool, shape (len(run), rows, columns)."""
    if how.refine == "threshold":
        return refine_threshold(planes, inside, how.threshold)
    if how.refine == "otsu":
        return refine_otsu(planes, inside)
    hu = [grid.slice_hu(s)[box] for s in run]
    if how.refine == "hysteresis":
        return refine_hysteresis(hu, planes, inside, grid.slice_ml[run], how.threshold, how.options)
    if how.refine == "kmeans":
        return refine_kmeans(hu, planes, inside, how.threshold, how.options)
    return refine_hu(
        hu,
        planes,
        inside,
        spacing_mm=grid.spacing_mm,
        slice_ml=grid.slice_ml[run],
        threshold=how.threshold,
        brain_hu=brain_hu,
        options=how.options,
    )


def _runs(indices: list[int]) -> list[list[int]]:
    """Consecutive numbers together."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
