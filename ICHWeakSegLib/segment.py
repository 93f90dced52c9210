"""The one pipeline: CT in; mask, map and slice scores out.

Everybody calls this: the command line, the Slicer module's worker, cohorts and evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    from ICHWeakSegLib.ct import AxialGrid
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.models import Model

REFINEMENTS = ("hu", "threshold", "otsu")
DEFAULT_MODEL = "starter"
# Slabs that are prepared at a time: enough to keep the network busy, few enough to cost no memory.
CHUNK = 16

# (stage, done, total), for progress bars.
Progress = Callable[[str, int, int], None]


class Cancelled(Exception):
    """The caller asked to stop; nothing was written."""


@dataclass
class Result:
    """What `segment` found.

    Attributes:
        ct: the CT that went in.
        mask: 1 for blood, uint8, shape (K, J, I) on the CT's own grid.
        slice_scores: a row for each axial slice from inferior to superior: `slice` (0-based), `probability`
            of blood and one entry a class of the model.
        positive: which axial slices the classifier called positive, bool, shape (S,).
        volume_ml: volume of the mask in mL by the CT's true geometry.
        warnings: sentences about the input and about what had to be done differently.
        provenance: model, version, sha256, method, refinement, thresholds, software, device.
        grid: the axial view of the CT that the networks saw.
    """

    ct: CT
    mask: np.ndarray
    slice_scores: list[dict[str, float]]
    positive: np.ndarray
    volume_ml: float
    warnings: list[str]
    provenance: dict[str, Any]
    grid: AxialGrid = field(repr=False)
    _maps: _SliceMaps = field(repr=False, default=None)

    @property
    def map(self) -> np.ndarray:
        """Localization map, 0-1, float32, shape (K, J, I) on the CT's own grid; made anew at each access."""
        return _to_native(self.grid, self._maps, np.float32, order=1)


def segment(
    ct: CT | str | Path,
    model: Model | str | Path = DEFAULT_MODEL,
    *,
    method: str | None = None,
    refine: str | None = None,
    threshold: float | None = None,
    sensitivity: float | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Segment intracranial hemorrhage on a head CT.

    Args:
        ct: a CT, or the path of one.
        model: a loaded model, its name, or its folder.
        method: localization, a name in `localize.METHODS`; the model card's by default.
        refine: `hu` (map and HU), `threshold` or `otsu` (map alone); the card's by default.
        threshold: of the map, 0-1; the card's by default.
        sensitivity: slice sensitivity that moves the classifier's operating point; needs the card's table.
        device: `auto`, `cpu`, `cuda` or `mps`; without memory there it goes on with smaller batches, then
            on the CPU, and says so in the warnings.
        threads: CPU threads of torch; its own choice by default.
        progress: called as (stage, done, total).
        cancelled: asked between slices; True ends the run with `Cancelled`.

    Raises:
        InputError: the CT, the model or an option cannot be used.
        Cancelled: the caller asked for it.
    """
    import torch

    from ICHWeakSegLib.ct import AxialGrid, read_ct
    from ICHWeakSegLib.ct.brain_mask import BrainMask
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.models import Model, load_model

    report, stop = progress or (lambda *_: None), cancelled or (lambda: False)
    if threads:
        torch.set_num_threads(threads)
    place = choose_device(device)
    if not isinstance(ct, CT):
        report("reading", 0, 1)
        ct = read_ct(ct)
    if not isinstance(model, Model):
        report("loading the model", 0, 1)
        model = load_model(model)
    card = model.card
    how = _Options.choose(card, method, refine, threshold, sensitivity)
    warnings = list(ct.warnings)

    report("brain mask", 0, 1)
    grid = AxialGrid(ct)
    warnings += grid.warnings
    brain = BrainMask(grid)
    if brain.empty:
        raise InputError(
            f"No skull with brain inside was found in {ct.source or 'the CT'}: is it a head CT in HU that "
            "includes the brain?"
        )
    source = NetworkInput(grid, brain, card.preprocessing)
    _stop_if(stop)

    network = model.network.to(place)
    scores, positive, maps = _localize(network, card, source, how, warnings, report, stop)
    planes = _SliceMaps(source, positive, maps)
    report("refining", 0, 1)
    masks = _refine(source, planes, how, stop)
    mask = _to_native(grid, masks, np.uint8)
    return Result(
        ct=ct,
        mask=mask,
        slice_scores=[
            {"slice": s, "probability": float(scores[source.group_of(s), card.target])}
            | {name: float(scores[source.group_of(s), c]) for c, name in enumerate(card.classes)}
            for s in range(grid.shape[0])
        ],
        positive=np.array([bool(positive[source.group_of(s)]) for s in range(grid.shape[0])]),
        volume_ml=ct.volume_ml(mask),
        warnings=warnings,
        provenance={
            **model.provenance(),
            **how.provenance(),
            "software": f"ICHWeakSeg {__version__}",
            "device": str(next(network.parameters()).device),
        },
        grid=grid,
        _maps=planes,
    )


def choose_device(device: str) -> str:
    """Torch's name for a device that is there.

    Raises:
        InputError: it is not, or the name is unknown.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if device not in there:
        raise InputError(f"The device is auto, cpu, cuda or mps, not {device!r}.")
    if not there[device]:
        raise InputError(f"This machine or its torch has no {device} device: use --device cpu or auto.")
    return device


@dataclass(frozen=True)
class _Options:
    """The run's settings after the card's defaults have been filled in."""

    method: str
    refine: str
    threshold: float
    probability: float
    sensitivity: float | None
    refine_options: dict[str, Any]

    @classmethod
    def choose(
        cls,
        card: Any,
        method: str | None,
        refine: str | None,
        threshold: float | None,
        sensitivity: float | None,
    ) -> _Options:
        from ICHWeakSegLib.localize import METHODS

        method = method or card.map.method
        if method not in METHODS:
            raise InputError(f"The method is one of {', '.join(METHODS)}, not {method!r}.")
        refine = refine or card.map.refine
        # An imported model's card may say that its paper refines nothing beyond the threshold.
        refine = "threshold" if refine == "none" else refine
        if refine not in REFINEMENTS:
            raise InputError(f"The refinement is one of {', '.join(REFINEMENTS)}, not {refine!r}.")
        if threshold is None:
            own = method == card.map.method
            threshold = card.map.threshold if own else METHODS[method].threshold(card.strategy)
        if not 0 <= threshold <= 1:
            raise InputError(f"The threshold of the map lies between 0 and 1; {threshold:g} does not.")
        options = card.map.refine_options if refine == card.map.refine else {}
        return cls(method, refine, threshold, card.operating_point(sensitivity), sensitivity, options)

    def provenance(self) -> dict[str, Any]:
        facts = {
            "method": self.method,
            "refine": self.refine,
            "map_threshold": self.threshold,
            "slice_threshold": self.probability,
        }
        return facts | ({"sensitivity": self.sensitivity} if self.sensitivity is not None else {})


class _SliceMaps:
    """Maps of axial slices, pasted from the network's squares when they are asked for."""

    def __init__(self, source: NetworkInput, positive: np.ndarray, maps: dict[int, np.ndarray]) -> None:
        self.source, self.positive, self.maps = source, positive, maps

    def __getitem__(self, s: int) -> np.ndarray | None:
        """Map (H, W) of a slice, or None where it is zero."""
        square = self.maps.get(self.source.group_of(s))
        return None if square is None else self.source.frame.paste(square)


def _localize(
    network: Any,
    card: Any,
    source: NetworkInput,
    how: _Options,
    warnings: list[str],
    report: Progress,
    stop: Callable[[], bool],
) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Scores (slabs, classes), which slabs are positive, and maps of the positive ones."""
    import torch

    from ICHWeakSegLib.localize import classify_and_localize

    count = len(source)
    scores = np.zeros((count, len(card.classes)), np.float32)
    positive = np.zeros(count, bool)
    maps: dict[int, np.ndarray] = {}

    def is_positive(logits: torch.Tensor) -> torch.Tensor:
        return network.probabilities(logits.float(), card.strategy)[:, card.target] >= how.probability

    def notice(sentence: str) -> None:
        if sentence not in warnings:
            warnings.append(sentence)

    # A slab without brain holds no blood: the network never sees it.
    todo = [index for index in range(count) if source.slab_has_brain(index)]
    options = {} if how.method == "swin-sam" else {"target": card.target}
    for first in range(0, len(todo), CHUNK):
        _stop_if(stop)
        report("classifying and localizing", first, len(todo))
        indices = todo[first : first + CHUNK]
        images, brains = source.batch(indices)
        found = classify_and_localize(
            network,
            torch.from_numpy(images),
            is_positive,
            how.method,
            brain=torch.from_numpy(brains),
            notice=notice,
            **options,
        )
        scores[indices] = network.probabilities(found.logits, card.strategy).numpy()
        positive[indices] = found.positive.numpy()
        for place, index in enumerate(indices):
            if positive[index]:
                maps[index] = found.maps[place].numpy().copy()
    report("classifying and localizing", len(todo), len(todo))
    return scores, positive, maps


def _refine(
    source: NetworkInput, planes: _SliceMaps, how: _Options, stop: Callable[[], bool]
) -> dict[int, tuple[tuple[slice, slice], np.ndarray]]:
    """Masks of the positive axial slices within the brain's box, run by run of neighbouring slices."""
    grid, brain = source.slices, source.brain
    positive = [s for s in range(grid.shape[0]) if planes.source.group_of(s) in planes.maps]
    masks: dict[int, Any] = {}
    for run in _runs(positive):
        _stop_if(stop)
        inside = np.stack([brain[s] for s in run])
        box = _box(inside.any(axis=0))
        if box is None:
            continue
        inside = np.ascontiguousarray(inside[:, box[0], box[1]])
        hu = np.stack([grid.slice_hu(s)[box] for s in run])
        maps = np.stack([planes[s][box] for s in run])
        for s, mask in zip(run, _mask(hu, maps, inside, source, run, how), strict=True):
            masks[s] = (box, mask)
    return masks


def _mask(
    hu: np.ndarray, maps: np.ndarray, brain: np.ndarray, source: NetworkInput, run: list[int], how: _Options
) -> np.ndarray:
    from ICHWeakSegLib.refine import HuOptions, refine_hu, refine_otsu, refine_threshold

    if how.refine == "threshold":
        return refine_threshold(maps, brain, how.threshold)
    if how.refine == "otsu":
        return refine_otsu(maps, brain)
    grid = source.slices
    try:
        options = HuOptions(**how.refine_options)
    except TypeError as problem:
        raise InputError(f"The model card's refine_options do not fit this version: {problem}.") from problem
    return refine_hu(
        hu,
        maps,
        brain,
        spacing_mm=grid.spacing_mm,
        slice_ml=grid.slice_ml[run],
        threshold=how.threshold,
        brain_hu=source.median_brain_hu,
        options=options,
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


def _box(plane: np.ndarray) -> tuple[slice, slice] | None:
    if not plane.any():
        return None
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _to_native(grid: AxialGrid, planes: Any, dtype: type, order: int = 0) -> np.ndarray:
    """Axial planes, given one by one, on the CT's own grid, shape (K, J, I)."""
    if grid.is_view:
        native = np.zeros(grid.native_shape, dtype)
        axial = grid.from_native(native)
        _paste(axial, planes)
        return native
    # Blood between two voxel centres counts where it fills half: linear weights, then the cut.
    axial = np.zeros(grid.shape, np.float32)
    _paste(axial, planes)
    native = grid.to_native(axial, order=1)
    return native if order else (native >= 0.5).astype(dtype)


def _paste(axial: np.ndarray, planes: Any) -> None:
    for s in range(len(axial)):
        if isinstance(planes, dict):
            if s in planes:
                box, plane = planes[s]
                axial[s][box] = plane
        else:
            plane = planes[s]
            if plane is not None:
                axial[s] = plane


def _stop_if(stop: Callable[[], bool]) -> None:
    if stop():
        raise Cancelled
