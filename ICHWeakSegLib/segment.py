"""The one pipeline: CT in; mask, map and slice scores out.

Everybody calls this: the command line, the Slicer module's worker, cohorts and evaluation. Planes are kept for
positive slices only, and within the brain's box, so that a CT of many thin slices costs little more than itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.patches import WHOLE, Patch, on_native_grid
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.cut import Progress, cut_maps
from ICHWeakSegLib.refine import split_subtypes
from ICHWeakSegLib.settings import Settings, choose_device
from ICHWeakSegLib.subtypes import SubtypeMaps
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
        subtypes: which subtype blood would be in each voxel of the positive slices, uint8, shape (K, J, I), as
            1-based index into `subtype_names`; None for a model that did not learn subtypes.
        subtype_names: EDH, IPH, ...; empty for a model that did not learn subtypes.
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
    subtypes: np.ndarray | None = field(repr=False, default=None)
    subtype_names: tuple[str, ...] = ()

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """One mask a segment: `hemorrhage`, or one a subtype; uint8, shape (K, J, I)."""
        if self.subtypes is None:
            return {"hemorrhage": self.mask}
        return split_subtypes(self.mask, self.subtypes, self.subtype_names)

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
        brain_hu = run.source.median_brain_hu
        blood = list(cut_maps(maps, grid, brain, brain_hu, settings.cut, step))
        mask = on_native_grid(grid, blood, np.dtype(bool)).view(np.uint8)
        subtypes = None
        if run.subtypes is not None:
            subtypes = on_native_grid(grid, run.subtypes.patches(), np.dtype(np.uint8), order=0)
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
            "brain_hu": brain_hu,
            "software": f"ICHWeakSeg {__version__}",
            "device": place,
        },
        grid=grid,
        square_maps=maps,
        subtypes=subtypes,
        subtype_names=() if run.subtypes is None else run.subtypes.names,
    )


class _Run:
    """Classification and localization of one CT, slab by slab.

    Attributes:
        probabilities: of the classes, shape (slabs, classes); zeros for slabs without brain.
        positive: bool, shape (slabs,).
        squares: maps of the positive slabs.
        subtypes: of the positive slabs; None for a model that did not learn subtypes.
        warnings: sentences about what had to be done differently.
    """

    def __init__(self, card: ModelCard, settings: Settings, source: NetworkInput) -> None:
        self.card, self.settings, self.source = card, settings, source
        self.probabilities = np.zeros((len(source), len(card.classes)), np.float32)
        self.positive = np.zeros(len(source), bool)
        self.squares: dict[int, np.ndarray] = {}
        self.subtypes: SubtypeMaps | None = None
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
        if card.strategy == "subtypes":
            self.subtypes = SubtypeMaps(self.source, card.classes, self.probabilities, self.positive)
            self._map_subtypes(network, self.subtypes, step)

    def _map_subtypes(self, network: SwinClassifier, subtypes: SubtypeMaps, step: Progress) -> None:
        """A map a subtype where a slab may show more than one."""
        import torch

        from ICHWeakSegLib.localize import localize_positive

        # Attention without gradients tells no class from another: the likeliest takes it all.
        todo = subtypes.undecided() if self.settings.method != "swin-sam" else []
        for done, (slab, candidates) in enumerate(todo):
            step("telling subtypes apart", done, len(todo))
            images, brains = self.source.batch([slab])
            for name in candidates:
                subtypes.add(
                    slab,
                    name,
                    localize_positive(
                        network,
                        torch.from_numpy(images),
                        [True],
                        self.settings.method,
                        brain=torch.from_numpy(brains),
                        notice=self._notice,
                        target=self.card.classes.index(name),
                        **self.settings.method_options,
                    )[0].numpy(),
                )

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
