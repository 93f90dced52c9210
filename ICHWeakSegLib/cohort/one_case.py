"""One case: read, segment, measure, write its folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.cohort.case_files import write_case_files
from ICHWeakSegLib.cohort.folders import CASES, case_folder
from ICHWeakSegLib.cohort.work import DONE, FAILED, STOP, Outcome, Task, system_error, why
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.output.private import Scrubber, header_words
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.head import Head
    from ICHWeakSegLib.ct.volume import CT


@dataclass
class Prepared:
    """A case that is ready for the network."""

    ct: CT
    head: Head


class SegmentWork:
    """Segments cases with one model, loaded once.

    Args:
        output: the batch's folder.
        model: folder.
        expected: what the run's model is (`model_facts`); the one found here must be the same.
        options: arguments of `segment` by name.
        software: version that the run was started with.

    Raises:
        InputError: the model cannot be loaded or is another one, or the software is.
    """

    def __init__(
        self,
        output: str,
        model: str,
        expected: Mapping[str, str],
        options: Mapping[str, Any],
        software: str,
    ) -> None:
        from ICHWeakSegLib.cohort.run_file import model_facts
        from ICHWeakSegLib.models import load_model

        if software != __version__:
            raise InputError(
                f"A worker has ICHWeakSeg {__version__}, the run was started with {software}: install the same."
            )
        self._output, self._options = Path(output), dict(options)
        if not (self._output / CASES).is_dir():
            raise InputError(
                f"A worker does not see the output folder {output}: put it on a file system that all workers "
                "share."
            )
        # A bundled model may be installed elsewhere on another machine.
        self._model = load_model(Path(model) if Path(model).is_dir() else expected["name"])
        if model_facts(self._model.folder) != dict(expected):
            raise InputError(
                f"A worker finds another model under {model}: put the same model where all workers find it."
            )

    def prepare(self, task: Task) -> Prepared:
        """Read the CT and find its brain.

        Raises:
            InputError: it is no head CT.
        """
        from ICHWeakSegLib.ct.head import Head

        ct = read_case(task)
        # From here on nothing knows where it came from.
        ct.source, ct.info = task["id"], {}
        scrub = scrubber(task)
        ct.warnings[:] = [scrub(sentence) for sentence in [*ct.warnings, *task["notes"]]]
        return Prepared(ct, Head.of(ct))

    def finish(self, task: Task, prepared: Callable[[], Prepared]) -> Outcome:
        """Segment and write."""
        from ICHWeakSegLib.segment import segment

        start = time.monotonic()
        name = task["id"]
        try:
            ready = prepared()
            result = segment(ready.ct, self._model, head=ready.head, **self._options)
        except Exception as problem:
            return why(problem, name, time.monotonic() - start, scrubber(task))
        try:
            with case_folder(self._output / CASES, name, bool(task.get("replace"))) as folder:
                write_case_files(folder, result, task)
        except Exception as problem:
            outcome = why(problem, name, time.monotonic() - start, scrubber(task))
            trouble = system_error(problem)
            if outcome.status == FAILED and trouble is not None:
                # The next case would meet the same.
                said = trouble.strerror or type(trouble).__name__
                outcome = replace(
                    outcome, status=STOP, sentence=f"The output folder cannot be written to ({said})."
                )
            return outcome
        return Outcome(name, DONE, "", time.monotonic() - start)


def read_case(task: Task) -> CT:
    """The CT of a task.

    Raises:
        InputError: as `read_ct`.
    """
    from ICHWeakSegLib.ct.read import checked, read_ct

    source = Path(task["source"])
    if not task["files"]:
        return read_ct(source, task["series"])
    from ICHWeakSegLib.ct.dicom import read_files

    try:
        ct = read_files([source / name for name in task["files"]], str(source))
    except FileNotFoundError as problem:
        raise InputError(f"{problem.filename} is gone; check the input folder.") from problem
    except OSError as problem:
        raise InputError(
            f"{problem.filename or source} cannot be read ({problem.strerror}); check its permissions and disk."
        ) from problem
    return checked(ct)


def scrubber(task: Task) -> Scrubber:
    """Takes out of texts what would tell whose case it is."""
    source = Path(task["source"])
    files = [source / name for name in task["files"]]
    words = header_words((files or [source])[0])
    if task["series"]:
        words.append(task["series"])
    return Scrubber(task["id"], [*files, source], words)
