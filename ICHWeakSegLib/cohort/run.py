"""A whole cohort: find its cases, have each done once, keep the tables and the gallery up to date."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ICHWeakSegLib.cohort.case import Found
from ICHWeakSegLib.cohort.find import Progress, find_cases
from ICHWeakSegLib.cohort.folders import CASES, FAILED, sweep
from ICHWeakSegLib.cohort.gallery import GALLERY
from ICHWeakSegLib.cohort.ledger import Ledger
from ICHWeakSegLib.cohort.local import LocalWorkers
from ICHWeakSegLib.cohort.lock import LOCK_FILE, only_run
from ICHWeakSegLib.cohort.log import Log
from ICHWeakSegLib.cohort.machine import choose_workers, cores
from ICHWeakSegLib.cohort.names import Names
from ICHWeakSegLib.cohort.run_file import RUN_FILE, claim, model_facts
from ICHWeakSegLib.cohort.work import Setup, Workers
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.version import __version__

WORK = "ICHWeakSegLib.cohort.one_case:SegmentWork"


@dataclass
class Batch:
    """What a run left.

    Attributes:
        output: its folder.
        done: all finished cases in it, of this run and earlier ones.
        new: cases that this run finished.
        failed: id to sentence of all failed cases.
        skipped: files or series of the input that are no case.
    """

    output: Path
    done: int = 0
    new: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: int = 0

    @property
    def gallery(self) -> Path:
        """The page to look at first."""
        return self.output / GALLERY


def run_batch(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    method: str | None = None,
    refine: str | None = None,
    threshold: float | None = None,
    sensitivity: float | str | None = None,
    device: str = "auto",
    workers: int | str = "auto",
    threads: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    keep_identifiers: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    say: Callable[[str], None] | None = None,
    python: str | None = None,
) -> Batch:
    """Segment all head CTs of a cohort, each once, and write tables and a gallery for quality control.

    A case is done when its folder `cases/ID` is there. A run that was stopped, in whatever way, goes on with the
    rest when it is called again. Failed cases are listed and left alone unless `retry_failed`.

    Args:
        inputs: as for `find_cases`.
        output: folder for this cohort, model and options; made where it is missing.
        model: name or folder of a package; the bundled one by default.
        method, refine, threshold, sensitivity, device: as for `segment`.
        workers: processes on this machine, or `auto` by free memory and cores.
        threads: CPU threads of torch in each worker; cores / workers by default.
        scheduler: address or scheduler file of a Dask cluster that does the work in place of this machine.
        retry_failed: try failed cases again.
        keep_identifiers: write `identifiers.csv`, which says whose case is whose. Without it, nothing in the
            output names a patient or a file of the input.
        progress: called as (stage, done, total).
        cancelled: asked a few times a second; True ends the run with `Stopped`.
        say: told each line of the log.
        python: interpreter of the workers; this one's by default. Slicer needs its `PythonSlicer`.

    Raises:
        InputError: input, output, model or an option cannot be used; the disk is full.
        Stopped: the caller asked for it.

    Example:
        >>> batch = run_batch("scans", "results", workers=4, progress=print)
        >>> batch.done, batch.failed, batch.gallery
    """
    from ICHWeakSegLib.vocabulary import DEFAULT_MODEL

    options = {
        "method": method,
        "refine": refine,
        "threshold": threshold,
        "sensitivity": sensitivity,
        "device": device,
    }
    folder, facts = _check(model or DEFAULT_MODEL, options, scheduler is not None, workers, threads)
    output = Path(os.path.abspath(Path(output).expanduser()))
    new = _open(output)
    try:
        with only_run(output):
            # Before anything is written: a refused run leaves no trace in another's folder.
            if not new:
                claim(output, facts, options)
            try:
                found = find_cases(inputs, leave_out=[output], progress=progress)
                if not found.cases:
                    raise InputError(_nothing(found))
            except InputError:
                if new:
                    _leave(output)
                raise
            names = Names.of(output, new)
            if new:
                for part in (CASES, FAILED):
                    (output / part).mkdir(exist_ok=True)
                claim(output, facts, options)
            sweep(output / CASES)
            run = Ledger(output, names, Log(output, say), f"{facts['name']} {facts['version']}")
            run.take_stock(found, keep_identifiers)
            todo = run.todo(retry_failed)
            if todo:
                arguments = {
                    "output": str(output),
                    "model": str(folder),
                    "expected": facts,
                    "options": {**options, "threads": threads},
                    "software": __version__,
                }
                team = _team(arguments, len(todo), workers, scheduler, python, run.log)
                run.work(team, todo, progress, cancelled)
            run.refresh()
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise InputError(
            f"The output folder {output} cannot be written to ({reason}): mend that and run it again."
        ) from problem
    return Batch(
        output,
        len(run.results),
        run.new,
        {part["case"]: part["sentence"] for part in run.failures},
        len(found.skipped),
    )


def _team(
    arguments: dict[str, Any],
    cases: int,
    workers: int | str,
    scheduler: str | None,
    python: str | None,
    log: Log,
) -> Workers:
    """Who does the work: `SegmentWork` with these arguments, for so many cases."""
    if scheduler is not None:
        from ICHWeakSegLib.cohort.dask_cluster import DaskWorkers

        log("a Dask cluster does the work")
        return DaskWorkers(Setup(WORK, arguments), scheduler, log)
    options = arguments["options"]
    count = choose_workers(workers, cases, _on_gpu(options["device"]))
    options["threads"] = options["threads"] or max(1, cores() // count)
    log(f"{count} worker(s) with {options['threads']} thread(s) each")
    return LocalWorkers(Setup(WORK, arguments), count, options["threads"], python)


def _check(
    model: str | os.PathLike[str],
    options: Mapping[str, Any],
    elsewhere: bool,
    workers: int | str,
    threads: int | None,
) -> tuple[Path, dict[str, str]]:
    """The model's folder and facts, after all options were checked against it.

    Raises:
        InputError: one cannot be used.
    """
    from ICHWeakSegLib.inference.settings import Settings, choose_device
    from ICHWeakSegLib.models import model_for
    from ICHWeakSegLib.models.card import read_card

    if threads is not None and threads < 1:
        raise InputError(f"The number of threads is at least 1, not {threads}.")
    choose_workers(workers, 1)
    if not elsewhere:
        choose_device(options["device"])
    folder = model_for(model, options["method"])[0].folder.resolve()
    given = {name: options[name] for name in ("method", "refine", "threshold", "sensitivity")}
    Settings.of(read_card(folder), **given)
    return folder, model_facts(folder)


def _on_gpu(device: str) -> bool:
    from ICHWeakSegLib.inference.settings import choose_device

    return choose_device(device) != "cpu"


def _open(output: Path) -> bool:
    """Make the output folder; whether it is a new one.

    Raises:
        InputError: it is a file, cannot be made, or holds something else.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        there = [path.name for path in output.iterdir()]
    except OSError as problem:
        raise InputError(
            f"The folder {output} cannot be made ({problem.strerror}): choose another."
        ) from problem
    if RUN_FILE in there:
        return False
    # What a run leaves that was ended before it had begun.
    foreign = [name for name in there if not name.startswith(".") and name not in (CASES, FAILED)]
    if foreign:
        raise InputError(
            f"{output} holds other files, such as {foreign[0]}: give --output a folder of its own."
        )
    if not os.access(output, os.W_OK):
        raise InputError(f"The folder {output} may not be written to: choose another.")
    return True


def _leave(output: Path) -> None:
    """Take back what `_open` made; nothing happens where there is more."""
    (output / LOCK_FILE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        output.rmdir()


def _nothing(found: Found) -> str:
    """There is no case; why."""
    if not found.skipped:
        return "No CT was found: give a folder, file, pattern or CSV with head CTs."
    reasons: dict[str, int] = {}
    for part in found.skipped:
        reasons[part.reason] = reasons.get(part.reason, 0) + part.files
    most = sorted(reasons.items(), key=lambda item: -item[1])[:4]
    return f"No head CT was found, but {', '.join(f'{reason} ({count})' for reason, count in most)}."
