"""The one pipeline: CT in; mask, map and slice scores out.

Everybody calls this: the command line, the Slicer module's worker, cohorts and evaluation. Planes are kept for
positive slices only, and within the brain's box, so that a CT of many thin slices costs little more than itself.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.settings import Settings, choose_device
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    import torch

    from ICHWeakSegLib.ct import AxialGrid
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.models import Model, ModelCard
    from ICHWeakSegLib.networks import SwinClassifier

DEFAULT_MODEL = "starter"
# Slabs that are prepared at a time: enough to keep the network busy, few enough to cost no memory.
CHUNK = 16

# Called as (stage, done, total).
Progress = Callable[[str, int, int], None]
# Part of an axial slice: its index, rows and columns, and the values there.
Patch = tuple[int, tuple[slice, slice], np.ndarray]
WHOLE = (slice(None), slice(None))


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
        square_maps: the networks' own maps of the positive slabs, for `map`.
    """

    ct: CT
    mask: np.ndarray
    slice_scores: list[dict[str, float]]
    positive: np.ndarray
    volume_ml: float
    warnings: list[str]
    provenance: dict[str, Any]
    grid: AxialGrid = field(repr=False)
    square_maps: SquareMaps = field(repr=False)

    @property
    def map(self) -> np.ndarray:
        """Localization map, 0-1, float32, shape (K, J, I) on the CT's own grid; made anew at each access."""
        return on_native_grid(self.grid, self.square_maps.patches(), np.dtype(np.float32))


@dataclass
class SquareMaps:
    """Maps of the positive slabs in the network's own square.

    Attributes:
        source: what the network saw.
        squares: slab to map, 0-1, shape (size, size).
    """

    source: NetworkInput
    squares: dict[int, np.ndarray]

    def slices(self) -> list[int]:
        """The axial slices that have a map, ascending."""
        return [s for slab in sorted(self.squares) for s in self.source.groups[slab]]

    def planes(self, slices: Iterable[int], box: tuple[slice, slice] = WHOLE) -> list[np.ndarray]:
        """Maps of slices within a box; slices of one slab share one array."""
        slabs = [self.source.group_of(s) for s in slices]
        # A copy: a view would keep the whole plane.
        pasted = {
            slab: self.source.frame.paste(self.squares[slab])[box].copy() for slab in dict.fromkeys(slabs)
        }
        return [pasted[slab] for slab in slabs]

    def patches(self) -> Iterator[Patch]:
        """Whole planes of all slices that have a map."""
        for slab in sorted(self.squares):
            plane = self.source.frame.paste(self.squares[slab])
            for s in self.source.groups[slab]:
                yield s, WHOLE, plane


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
        threads: CPU threads of torch during the call; its own choice by default.
        progress: called as (stage, done, total).
        cancelled: asked between steps and slices; True ends the run with `Cancelled`.

    Raises:
        InputError: the CT, the model or an option cannot be used.
        Cancelled: the caller asked for it.

    Example:
        >>> result = segment("head.nii.gz", "starter")
        >>> result.volume_ml, result.slice_scores[0]["probability"]
    """
    from ICHWeakSegLib.ct import AxialGrid, read_ct
    from ICHWeakSegLib.ct.brain_mask import BrainMask
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.models import load_model

    def step(stage: str, done: int = 0, total: int = 1) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled
        if progress is not None:
            progress(stage, done, total)

    with _threads(threads):
        place = choose_device(device)
        if isinstance(ct, (str, Path)):
            step("reading")
            ct = read_ct(ct)
        if isinstance(model, (str, Path)):
            step("loading the model")
            model = load_model(model)
        settings = Settings.of(model.card, method, refine, threshold, sensitivity)

        step("brain mask")
        grid = AxialGrid(ct)
        brain = BrainMask(grid)
        if brain.empty:
            raise InputError(
                f"{ct.source or 'The CT'} shows no skull with brain inside; give a head CT in HU that includes "
                "the brain."
            )
        run = _Run(model.card, settings, NetworkInput(grid, brain, model.card.preprocessing))
        run.warnings += [*ct.warnings, *grid.warnings]
        run.localize(model.network.to(place), step)
        facts = model.provenance()
        # If it was loaded here, its memory is free for what follows.
        del model
        maps = SquareMaps(run.source, run.squares)
        mask = on_native_grid(grid, list(_refined(maps, settings, step)), np.dtype(bool)).view(np.uint8)
    return Result(
        ct=ct,
        mask=mask,
        slice_scores=run.slice_scores(),
        positive=run.positive[[run.source.group_of(s) for s in range(grid.shape[0])]],
        volume_ml=ct.volume_ml(mask),
        warnings=run.warnings,
        provenance={
            **facts,
            **settings.provenance(),
            "software": f"ICHWeakSeg {__version__}",
            "device": place,
        },
        grid=grid,
        square_maps=maps,
    )


class _Run:
    """Classification and localization of one CT, slab by slab.

    Attributes:
        probabilities: of the classes, shape (slabs, classes); zeros for slabs without brain.
        positive: bool, shape (slabs,).
        squares: maps of the positive slabs.
        warnings: sentences about what had to be done differently.
    """

    def __init__(self, card: ModelCard, settings: Settings, source: NetworkInput) -> None:
        self.card, self.settings, self.source = card, settings, source
        self.probabilities = np.zeros((len(source), len(card.classes)), np.float32)
        self.positive = np.zeros(len(source), bool)
        self.squares: dict[int, np.ndarray] = {}
        self.warnings: list[str] = []

    def localize(self, network: SwinClassifier, step: Progress) -> None:
        """Fill the attributes."""
        import torch

        from ICHWeakSegLib.localize import classify_and_localize

        card, settings = self.card, self.settings

        def probabilities(logits: torch.Tensor) -> torch.Tensor:
            return network.probabilities(logits.float(), card.strategy)

        # Attention without gradients belongs to no class.
        options = {} if settings.method == "swin-sam" else {"target": card.target}
        options |= settings.method_options
        # A slab without brain holds no blood: the network never sees it.
        todo = [index for index in range(len(self.source)) if self.source.slab_has_brain(index)]
        for first in range(0, len(todo), CHUNK):
            slabs = todo[first : first + CHUNK]
            step("classifying and localizing", first, len(todo))
            images, brains = self.source.batch(slabs)
            found = classify_and_localize(
                network,
                torch.from_numpy(images),
                lambda logits: probabilities(logits)[:, card.target] >= settings.probability,
                settings.method,
                brain=torch.from_numpy(brains),
                notice=self._notice,
                progress=lambda done, _, first=first: step(
                    "classifying and localizing", first + done, len(todo)
                ),
                **options,
            )
            self.probabilities[slabs] = probabilities(found.logits).numpy()
            self.positive[slabs] = found.positive.numpy()
            for place in np.flatnonzero(found.positive.numpy()):
                self.squares[slabs[place]] = found.maps[place].numpy().copy()

    def slice_scores(self) -> list[dict[str, float]]:
        """A row for each axial slice."""
        card, rows = self.card, []
        for slab, group in enumerate(self.source.groups):
            classes = dict(zip(card.classes, map(float, self.probabilities[slab]), strict=True))
            probability = float(self.probabilities[slab, card.target])
            rows += [{"slice": s, "probability": probability, **classes} for s in group]
        return rows

    def _notice(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)


def _refined(maps: SquareMaps, settings: Settings, step: Progress) -> Iterator[Patch]:
    """Masks of the slices with blood, each within its own box, run by run of neighbouring slices."""
    from ICHWeakSegLib.refine import bounding_box

    brain = maps.source.brain
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
        mask = _mask(maps, settings, run, box, inside)
        for s, plane in zip(run, mask, strict=True):
            part = bounding_box(plane)
            if part is not None:
                inner = tuple(
                    slice(outer.start + at.start, outer.start + at.stop)
                    for outer, at in zip(box, part, strict=True)
                )
                yield s, inner, plane[part].copy()


def _mask(
    maps: SquareMaps, settings: Settings, run: list[int], box: tuple[slice, slice], inside: list[np.ndarray]
) -> np.ndarray:
    """Blood in the box of a run of slices, bool, shape (len(run), rows, columns)."""
    from ICHWeakSegLib.refine import refine_hu, refine_otsu, refine_threshold

    planes = maps.planes(run, box)
    if settings.refine == "threshold":
        return refine_threshold(planes, inside, settings.threshold)
    if settings.refine == "otsu":
        return refine_otsu(planes, inside)
    grid = maps.source.slices
    return refine_hu(
        [grid.slice_hu(s)[box] for s in run],
        planes,
        inside,
        spacing_mm=grid.spacing_mm,
        slice_ml=grid.slice_ml[run],
        threshold=settings.threshold,
        brain_hu=maps.source.median_brain_hu,
        options=settings.hu_options,
    )


def on_native_grid(grid: AxialGrid, patches: Iterable[Patch], dtype: np.dtype) -> np.ndarray:
    """Parts of axial slices on the CT's own grid, shape (K, J, I); zero elsewhere.

    Where the axial slices had to be resampled, values are linear between voxels, and a bool one is True from
    one half on.
    """
    whole = _zeros(grid.native_shape if grid.is_view else grid.shape, dtype)
    axial = grid.from_native(whole) if grid.is_view else whole
    for s, box, values in patches:
        axial[s][box] = values
    return whole if grid.is_view else np.ascontiguousarray(grid.to_native(axial, order=1))


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that take memory only where something else is written to them.

    NumPy's own do so too, but on Linux in pages of 2 MB: a small bleed on many thin slices would fill them all.
    """
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype).reshape(shape)


def _runs(indices: list[int]) -> list[list[int]]:
    """Consecutive numbers together."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """This many CPU threads of torch meanwhile."""
    import torch

    if count is None:
        yield
        return
    if count < 1:
        raise InputError(f"The number of threads is at least 1, not {count}.")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
