"""The work of the worker: a case folder is segmented, its stored map is cut again, its masks are asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.worker.exchange import (
    CASE_FILE,
    HU_FILE,
    MAP_FILE,
    RESULT_FILE,
    Box,
    CaseResult,
    Found,
    FoundSegment,
    read_case,
    read_result,
    replace_segments,
    write_result,
)

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.axial import AxialGrid
    from ICHWeakSegLib.ct.brain_mask import BrainMask
    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.refine.stored_map import StoredCase

    # Called as (stage, done, total).
    Progress = Callable[[str, int, int], None]

OPTIONS = ("model", "method", "refine", "threshold", "sensitivity", "device", "threads")


class Workbench:
    """Segments cases one after the other, with the model and the last map kept at hand.

    Example:
        >>> bench = Workbench()
        >>> bench.segment(folder, {"model": "starter"}, lambda stage, done, total: None)
        >>> bench.rethreshold(folder, 0.2, lambda stage, done, total: None)
    """

    def __init__(self) -> None:
        self._model: Model | None = None
        self._stored: _Stored | None = None
        self._measured: _Measured | None = None
        self._progress: Progress = lambda stage, done, total: None

    def segment(self, folder: Path, options: Mapping[str, Any], progress: Progress) -> None:
        """Segment a case and write its result beside it.

        Args:
            folder: the case, as `exchange.write_case` wrote it.
            options: arguments of `ICHWeakSegLib.segment.segment` by name, those in `OPTIONS`.
            progress: called as (stage, done, total).

        Raises:
            InputError: the CT, the model or an option cannot be used.
        """
        # Before the imports, so that the caller knows that this has begun: they may be what memory does not hold.
        progress("reading", 0, 1)
        from ICHWeakSegLib.inference.settings import choose_device
        from ICHWeakSegLib.quantify import measure
        from ICHWeakSegLib.segment import DEFAULT_MODEL, segment

        unknown = sorted(options.keys() - set(OPTIONS))
        if unknown:
            raise InputError(f"There is no option {unknown[0]!r}: the options are {', '.join(OPTIONS)}.")
        options = {name: value for name, value in options.items() if value is not None}
        # Before anything that takes long.
        choose_device(options.get("device", "auto"))
        # Its memory is needed now.
        self._stored = self._measured = None
        ct = read_checked(folder)
        model = self._load(options.pop("model", DEFAULT_MODEL), progress, options.get("method"))
        result = segment(ct, model, progress=progress, **options)
        progress("measuring", 0, 1)
        quantities = measure(ct, result.masks, brain=result.head.brain)
        progress("writing", 0, 1)
        write_result(
            folder,
            CaseResult(
                shape=ct.hu.shape,
                segments=found_segments(ct, result.grid, result.masks),
                total=found(ct, result.grid, result.mask),
                map=Box.of(result.map),
                subtypes=None if result.subtypes is None else Box.of(result.subtypes),
                subtype_names=result.subtype_names,
                slice_scores=result.slice_scores,
                positive=result.positive.tolist(),
                warnings=result.warnings,
                provenance=result.provenance,
                quantities=quantities.to_dict(),
            ),
        )

    def rethreshold(self, folder: Path, threshold: float, progress: Progress, measured: bool = False) -> None:
        """Cut the map of a case's result at another threshold, and put the new segments into the result.

        Args:
            folder: of the case.
            threshold: of the map, 0-1.
            progress: called as (stage, done, total).
            measured: measure the new lesions, too; without it the result has no quantities.

        Raises:
            InputError: there is no map, it does not fit the CT, or the threshold is out of range.
        """
        from ICHWeakSegLib.ct.axial import AxialGrid

        self._progress = progress
        state = _state_of(folder)
        if self._stored is None or self._stored.state != state:
            # Never two at a time.
            self._stored = None
            self._stored = _read_stored(folder, state, self._step)
        ct = self._stored.ct
        mask, masks = self._stored.case.rethreshold(threshold)
        quantities = None
        if measured:
            from ICHWeakSegLib.quantify import measure

            progress("measuring", 0, 1)
            quantities = measure(ct, masks).to_dict()
        progress("writing", 0, 1)
        grid = AxialGrid(ct)
        provenance = {**self._stored.provenance, "map_threshold": threshold}
        replace_segments(
            folder, found_segments(ct, grid, masks), found(ct, grid, mask), provenance, quantities
        )

    def measure(self, folder: Path, progress: Progress) -> None:
        """Measure the masks that were put into a case folder; see `questions.answer_measure`."""
        from ICHWeakSegLib.worker.questions import answer_measure

        state = _state_of(folder)[:3]
        if self._measured is None or self._measured.state != state:
            # Never two at a time.
            self._measured = None
            progress("reading", 0, 1)
            self._measured = _Measured.of(state, read_checked(folder))
        progress("measuring", 0, 1)
        answer_measure(folder, self._measured.ct, self._measured.brain)

    def follow_up(self, before: Path, after: Path, progress: Progress) -> None:
        """Compare the masks that were put into two case folders; see `questions.answer_follow_up`."""
        from ICHWeakSegLib.worker.questions import answer_follow_up

        self._stored = self._measured = None
        progress("reading", 0, 1)
        earlier, later = read_checked(before), read_checked(after)
        progress("laying one head over the other", 0, 1)
        answer_follow_up(before, earlier, after, later)

    def report(self, folder: Path, path: Path, facts: Mapping[str, Any], progress: Progress) -> None:
        """Write the report of the masks that were put into a case folder; see `questions.answer_report`."""
        from ICHWeakSegLib.worker.questions import answer_report

        progress("reading", 0, 1)
        ct = read_checked(folder)
        progress("drawing the report", 0, 1)
        answer_report(folder, ct, path, facts)

    def prognosis(self, folder: Path, request: Mapping[str, Any], progress: Progress) -> None:
        """Forecast the outcome of the patient on a case's CT; see `questions.answer_prognosis`."""
        progress("reading", 0, 1)
        from ICHWeakSegLib.inference.settings import choose_device
        from ICHWeakSegLib.worker.questions import answer_prognosis

        choose_device(request.get("device") or "auto")
        self._stored = self._measured = None
        ct = read_checked(folder)
        answer_prognosis(folder, ct, self._load(request["model"], progress), request, progress)

    def _step(self, stage: str, done: int, total: int) -> None:
        """A stored case outlives the request that made it: its steps belong to the present one."""
        self._progress(stage, done, total)

    def free(self) -> None:
        """Let go of everything that is kept."""
        self._model = self._stored = self._measured = None

    def _load(self, name: str, progress: Progress, method: str | None = None) -> Model:
        """The model of a name or folder for a method; the loaded one where that is the same still."""
        from ICHWeakSegLib.models import load_model, model_for

        wanted, instead_of = model_for(name, method)
        model = self._model
        # The card holds the weights' checksum, so that a package that was changed is another one.
        if model is None or (model.folder.resolve(), model.card) != (wanted.folder.resolve(), wanted.card):
            progress("loading the model", 0, 1)
            # Never two at a time.
            model = self._model = None
            model = self._model = load_model(wanted.folder)
        model.instead_of = instead_of
        return model


def read_checked(folder: Path) -> CT:
    """The CT of a case folder in clean HU, checked to show a head, with warnings about its geometry.

    Raises:
        InputError: the folder is gone, or it is no head CT in HU.
    """
    from ICHWeakSegLib.ct.check import check_ct
    from ICHWeakSegLib.ct.geometry import geometry_warnings
    from ICHWeakSegLib.ct.hu import HUVolume
    from ICHWeakSegLib.ct.shape import require_3d

    try:
        ct = read_case(folder)
    except FileNotFoundError as problem:
        raise InputError(f"The temporary file {problem.filename} is gone: segment again.") from None
    where = ct.source or "The CT"
    require_3d(ct.hu.shape, where)
    raw = ct.hu
    volume = HUVolume(raw.shape, where)
    for k in range(raw.shape[0]):
        volume.put(k, raw[k])
    ct.hu = volume.hu
    check_ct(ct)
    ct.warnings += [sentence for sentence in geometry_warnings(ct) if sentence not in ct.warnings]
    return ct


def found(ct: CT, grid: AxialGrid, mask: np.ndarray) -> Found:
    """Numbers of a mask (K, J, I) on a CT whose axial view is `grid`."""
    from ICHWeakSegLib.refine import count_lesions

    count = total = 0
    # Plane by plane: no copy of the whole volume.
    for hu, plane in zip(ct.hu, mask, strict=True):
        values = hu[plane != 0]
        count += values.size
        total += float(values.sum(dtype=np.float64))
    return Found(
        volume_ml=ct.volume_ml(mask),
        lesions=count_lesions(mask),
        slices=sum(bool(plane.any()) for plane in grid.from_native(mask)) if count else 0,
        mean_hu=total / count if count else None,
    )


def found_segments(ct: CT, grid: AxialGrid, masks: Mapping[str, np.ndarray]) -> list[FoundSegment]:
    """Segments as they are handed over."""
    return [FoundSegment(name, Box.of(mask), found(ct, grid, mask)) for name, mask in masks.items()]


@dataclass(frozen=True)
class _Stored:
    """A case that can be cut again, and what its files were when they were read."""

    state: tuple
    ct: CT
    case: StoredCase
    provenance: dict[str, Any]


@dataclass(frozen=True)
class _Measured:
    """A case whose masks may be measured again soon."""

    state: tuple
    ct: CT
    brain: BrainMask | None

    @classmethod
    def of(cls, state: tuple, ct: CT) -> _Measured:
        from ICHWeakSegLib.ct import Head

        try:
            return cls(state, ct, Head.of(ct).brain)
        except InputError:
            # Volumes can be measured all the same.
            return cls(state, ct, None)


def _state_of(folder: Path) -> tuple:
    files = [folder / name for name in (CASE_FILE, HU_FILE, MAP_FILE)]
    return (folder, *(file.stat().st_mtime_ns if file.is_file() else None for file in files))


def _read_stored(folder: Path, state: tuple, step: Progress) -> _Stored:
    from ICHWeakSegLib.refine.stored_map import StoredCase

    if not (folder / RESULT_FILE).is_file():
        raise InputError(f"The temporary file {folder / RESULT_FILE} is gone: segment again.")
    kept = read_result(folder)
    if kept.map is None:
        raise InputError("The localization map was not kept: segment again.")
    step("reading", 0, 1)
    ct = read_checked(folder)
    case = StoredCase(
        ct,
        kept.map.within(kept.shape),
        kept.provenance,
        None if kept.subtypes is None else kept.subtypes.within(kept.shape),
        kept.subtype_names,
        step,
    )
    return _Stored(state, ct, case, kept.provenance)
