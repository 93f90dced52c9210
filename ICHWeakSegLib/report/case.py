"""What the report of a case says, worked out once for the page and the PDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.quantify import Entered, Quantities, measure
from ICHWeakSegLib.quantify.find_lesions import find_lesions
from ICHWeakSegLib.report.scores import Scores, scores_of

if TYPE_CHECKING:
    from ICHWeakSegLib.segment import Result

NOTICE = "For research use only. Not a medical device; not for diagnosis or treatment."


@dataclass
class Case:
    """Everything that a report shows.

    Attributes:
        ct: the CT.
        grid: its axial view; slices are counted from 0 at the lowest.
        masks: by class name, uint8, shape (K, J, I).
        lesions: number of the lesion in each axial voxel, 0 for none, shape (S, H, W).
        quantities: of these masks.
        scores: clinical scores.
        probabilities: of blood on each axial slice, shape (S,); None where not known.
        slice_threshold: slices from this probability on are positive; None where not known.
        map: localization map, 0-1, shape (K, J, I); None where there is none.
        warnings: sentences.
        provenance: how the masks were made; empty where not known.
        name: what the report calls the case; no patient's identity.
        identity: whose case it is, by what is told; empty unless identifiers are kept.
    """

    ct: CT
    grid: AxialGrid
    masks: dict[str, np.ndarray]
    lesions: np.ndarray
    quantities: Quantities
    scores: Scores
    probabilities: np.ndarray | None = None
    slice_threshold: float | None = None
    map: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    identity: dict[str, str] = field(default_factory=dict)

    @property
    def subtypes(self) -> list[str]:
        """Subtypes that the masks tell apart."""
        return list(self.quantities.total.subtypes_ml)

    def summary(self) -> str:
        """The result in a sentence."""
        total, count = self.quantities.total, self.grid.shape[0]
        if not total.lesions:
            return f"No blood found on {count} slices (0 mL)."
        lesions = "1 lesion" if total.lesions == 1 else f"{total.lesions} lesions"
        return f"{total.volume_ml:.1f} mL of blood in {lesions} on {total.slices} of {count} slices."


def make_case(
    ct: CT,
    masks: Mapping[str, np.ndarray],
    *,
    probabilities: Sequence[float] | None = None,
    map: np.ndarray | None = None,
    provenance: Mapping[str, Any] | None = None,
    warnings: Sequence[str] | None = None,
    head: Head | None = None,
    quantities: Quantities | None = None,
    entered: Entered | None = None,
    name: str = "",
    identity: Mapping[str, str] | None = None,
    scrub: Callable[[str], str] = str,
) -> Case:
    """Measure a case for its report.

    Args:
        ct: the CT.
        masks: by class name, shape (K, J, I).
        probabilities: of blood on each axial slice from inferior to superior.
        map: localization map, 0-1, shape (K, J, I).
        provenance: how the masks were made; `slice_threshold` becomes the line in the curve.
        warnings: of the run that made the masks; the CT's own by default.
        head: of this CT, where it is known already.
        quantities: of these masks, where they were measured already.
        entered: for clinical scores.
        name: what the report calls the case.
        identity: whose case it is, where that is to be shown.
        scrub: takes what names a patient out of sentences.

    Raises:
        InputError: masks, map or probabilities are not this CT's; a value for a score is out of its range.
    """
    grid = AxialGrid(ct) if head is None else head.grid
    if quantities is None:
        quantities = measure(ct, masks, brain=None if head is None else head.brain)
    facts = dict(provenance or {})
    if map is not None and np.shape(map) != ct.hu.shape:
        raise InputError(f"The map has shape {np.shape(map)}, the CT {ct.hu.shape}: give the map of this CT.")
    if probabilities is not None and len(probabilities) != grid.shape[0]:
        raise InputError(
            f"There are {len(probabilities)} slice scores for {grid.shape[0]} axial slices: give the scores of "
            "this CT."
        )
    said = [*(ct.warnings if warnings is None else warnings), *grid.warnings, *quantities.warnings]
    return Case(
        ct=ct,
        grid=grid,
        masks={key: np.asarray(mask) for key, mask in masks.items()},
        lesions=_axial_lesions(ct, grid, masks),
        quantities=quantities,
        scores=scores_of(entered or Entered(), quantities),
        probabilities=None if probabilities is None else np.asarray(probabilities, float),
        slice_threshold=_number(facts.get("slice_threshold")),
        map=map,
        warnings=[scrub(sentence) for sentence in dict.fromkeys(said)],
        provenance={key: scrub(value) if isinstance(value, str) else value for key, value in facts.items()},
        name=name,
        identity=dict(identity or {}),
    )


def case_of(result: Result, **more: Any) -> Case:
    """The case of what `segment` found; `more` as for `make_case`."""
    return make_case(
        result.ct,
        result.masks,
        probabilities=[row["probability"] for row in result.slice_scores],
        map=result.map,
        provenance=result.provenance,
        warnings=result.warnings,
        head=result.head,
        **more,
    )


def _axial_lesions(ct: CT, grid: AxialGrid, masks: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lesions by the numbers that `measure` gives them: the largest first."""
    labels, order, volumes = find_lesions(ct, masks)
    if not order:
        return np.zeros(grid.shape, np.uint16)
    numbers = np.zeros(len(volumes), labels.dtype)
    numbers[order] = np.arange(1, len(order) + 1)
    return grid.from_native(numbers[labels])


def _number(value: object) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
