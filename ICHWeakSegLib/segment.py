"""The one pipeline: CT in; mask, map and slice scores out.

Everybody calls this: the command line, the Slicer module's worker, cohorts and evaluation. Planes are kept for
positive slices only, and within the brain's box, so that a CT of many thin slices costs little more than itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.patches import WHOLE, Patch, on_native_grid
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.errors import Cancelled, InputError
from ICHWeakSegLib.inference.settings import Settings, choose_device, torch_threads
from ICHWeakSegLib.refine import split_subtypes
from ICHWeakSegLib.refine.refine_maps import Progress, refine_maps
from ICHWeakSegLib.version import __version__
from ICHWeakSegLib.vocabulary import DEFAULT_MODEL

if TYPE_CHECKING:
    from ICHWeakSegLib.ct import AxialGrid, Head
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.models import Model


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
        head: the CT's axial slices and brain that the networks were shown; `grid` is its view of the CT.
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
    head: Head = field(repr=False)
    square_maps: SquareMaps = field(repr=False)
    subtypes: np.ndarray | None = field(repr=False, default=None)
    subtype_names: tuple[str, ...] = ()

    @property
    def grid(self) -> AxialGrid:
        """The axial view of the CT."""
        return self.head.grid

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
        source: what the network is shown.
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
    sensitivity: float | str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    gate: np.ndarray | None = None,
    head: Head | None = None,
) -> Result:
    """Segment intracranial hemorrhage on a head CT.

    Args:
        ct: a CT, or the path of one.
        model: a loaded model, its name, or its folder.
        method: localization, a name in `localize.METHODS`; the model card's by default.
        refine: a name in `vocabulary.REFINEMENTS`, e.g. `hu` (map and HU) or `threshold` (map alone); the
            card's by default.
        threshold: of the map, 0-1; the card's by default.
        sensitivity: moves the classifier's operating point: `low`, `normal` or `high`, or a slice sensitivity
            of the card's table, where the card has them.
        device: `auto`, `cpu`, `cuda` or `mps`; without memory there it goes on with smaller batches, then
            on the CPU, and says so in the warnings.
        threads: CPU threads of torch during the call; its own choice by default.
        progress: called as (stage, done, total).
        cancelled: asked between steps and slices; True ends the run with `Cancelled`.
        gate: which axial slices, from inferior to superior, get a mask whatever the classifier says; bool, shape
            (S,). For evaluation with known labels.
        head: of this CT, where several models look at it; made here by default.

    Raises:
        InputError: the CT, the model or an option cannot be used, or `head` is of another CT.
        Cancelled: the caller asked for it.

    Example:
        >>> result = segment("head.nii.gz", "starter")
        >>> result.volume_ml, result.slice_scores[0]["probability"]
    """
    from ICHWeakSegLib.ct import Head, read_ct
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.inference import SlicePredictions, predict
    from ICHWeakSegLib.inference.mask_fusion import joined, network_mask
    from ICHWeakSegLib.models import load_model

    def step(stage: str, done: int = 0, total: int = 1) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled
        if progress is not None:
            progress(stage, done, total)

    with torch_threads(threads):
        place = choose_device(device)
        if isinstance(ct, (str, Path)):
            step("reading")
            ct = read_ct(ct)
        if head is not None and head.ct is not ct:
            raise InputError(
                "The head was made from another CT than the one to segment: make it from this one."
            )
        if isinstance(model, (str, Path)):
            step("loading the model")
            model = load_model(model, method=method)
        settings = Settings.of(model.card, method, refine, threshold, sensitivity)

        if head is None:
            head = Head.of(ct, lambda done, total: step("brain mask", done, total))
        else:
            step("brain mask")
        grid, brain = head.grid, head.brain
        source = NetworkInput(grid, brain, model.card.preprocessing)
        predictions = SlicePredictions(model.card, settings, source, _slab_gate(gate, source))
        predictions.warnings += [*ct.warnings, *grid.warnings]
        if model.instead_of:
            predictions.warnings.append(
                f"{model.instead_of} does not know the method {method}: {model.card.name} was used instead."
            )
        predict(model.network.to(place), predictions, step)
        maps = SquareMaps(source, predictions.squares)
        brain_hu = source.median_brain_hu
        blood = refine_maps(maps, grid, brain, brain_hu, settings.refinement, step)
        mode = "map" if model.segmenter is None else model.card.segmenter.mode
        if mode != "map":
            second = source
            if model.card.segmenter.preprocessing is not None:
                second = NetworkInput(grid, brain, model.card.segmenter.preprocessing)
            slices = np.flatnonzero(predictions.positive_slices()).tolist()
            model.segmenter.to(place)
            more = network_mask(model, second, slices, step, predictions.notice)
            blood = joined(mode, blood, more, grid.shape[1:])
        blood = list(blood)
        facts = model.provenance() | ({} if mode == "map" else {"mode": mode})
        # If it was loaded here, its memory is free for what follows.
        del model
        mask = on_native_grid(grid, blood, np.dtype(bool)).view(np.uint8)
        subtypes = None
        if predictions.subtypes is not None:
            subtypes = on_native_grid(grid, predictions.subtypes.patches(), np.dtype(np.uint8), order=0)
    return Result(
        ct=ct,
        mask=mask,
        slice_scores=predictions.slice_scores(),
        positive=predictions.positive_slices(),
        volume_ml=ct.volume_ml(mask),
        warnings=predictions.warnings,
        provenance={
            **facts,
            **settings.provenance(),
            "brain_hu": brain_hu,
            "software": f"ICHWeakSeg {__version__}",
            "device": place,
        },
        head=head,
        square_maps=maps,
        subtypes=subtypes,
        subtype_names=() if predictions.subtypes is None else predictions.subtypes.names,
    )


def _slab_gate(gate: np.ndarray | None, source: NetworkInput) -> np.ndarray | None:
    """A slab is let through if one of its slices is."""
    if gate is None:
        return None
    count = source.groups[-1].stop
    if np.shape(gate) != (count,):
        raise InputError(f"The gate has shape {np.shape(gate)}, but the CT has {count} axial slices.")
    return np.array([bool(np.asarray(gate)[group.start : group.stop].any()) for group in source.groups])
