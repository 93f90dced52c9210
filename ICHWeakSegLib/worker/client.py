"""The caller's side of the worker: starts it when it is needed, hands over cases, tells what it says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.models.find import MODELS_VARIABLE
from ICHWeakSegLib.worker.exchange import (
    DISK_FULL,
    NO_VOICE,
    Asked,
    CaseResult,
    write_asked,
    write_case,
    write_result,
)
from ICHWeakSegLib.worker.process import FOLDER_PREFIX, Runner, SubprocessRunner, remove_leftovers

# A result and the one before can be cut again without writing their CT anew.
KEPT_CASES = 2
# SIGKILL as Python and as shells tell it; Windows: no memory, insufficient resources, commitment limit.
_ENDED_BY_SYSTEM = {-9, 137, 0xC0000017, 0xC000009A, 0xC000012D}
# PythonSlicer is a launcher: of a child that a signal ended it says this on stderr, and exits with 1 itself.
_LAUNCHER_LINE = "exit abnormally"


@dataclass(frozen=True)
class Event:
    """Something that the worker said, or that happened to it.

    Attributes:
        kind: `progress`, `result`, `error`, `log` (a line of its stderr) or `ended` (its process has).
        request: number of the request that it is about; None for `log`, `ended` and what belongs to none.
        stage, done, total: of `progress`.
        case: of `result`, the case folder; None else.
        sentence: of `error`, for the user.
        reason: of `error`: `input`, `memory`, `missing`, `bug`, `crash` or `start`.
        text: of `log`.
        status: of `ended`, the exit status.
    """

    kind: str
    request: int | None = None
    stage: str = ""
    done: int = 0
    total: int = 1
    case: Path | None = None
    sentence: str = ""
    reason: str = ""
    text: str = ""
    status: int | None = None


class WorkerClient:
    """Sends cases to a worker process and collects what it says; nothing here waits for it.

    The process starts with the first request. One that has ended in between (after a while without work, by a
    crash, by `cancel`) is started again with the next.

    Args:
        command: starts the worker, such as `[python, "-m", "ICHWeakSegLib.worker"]`.
        cwd: where to; with `-m` the folder that holds ICHWeakSegLib.
        env: its environment; the caller's by default.
        runner: makes the process runner; another one in tests.

    Example:
        >>> client = WorkerClient([sys.executable, "-m", "ICHWeakSegLib.worker"], folder)
        >>> case = client.new_case(ct)
        >>> number = client.segment(case, model="starter")
        >>> while client.busy: events = client.poll()
        >>> read_result(case)
        >>> client.close()
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        cwd: str | Path,
        env: Mapping[str, str] | None = None,
        runner: Callable[[], Runner] = SubprocessRunner,
    ) -> None:
        self._command = [str(part) for part in command]
        self._cwd, self._env = Path(cwd), env
        self._make_runner = runner
        self._runner: Runner | None = None
        self._pid: int | None = None
        self._last_number = 0
        # Requests without an answer, as they were sent, in their order.
        self._pending: dict[int, dict[str, Any]] = {}
        # Those that were sent to a second process, and those that a process has begun with.
        self._resent: set[int] = set()
        self._begun: set[int] = set()
        self._events: list[Event] = []
        self._log_part = ""
        self._launcher_spoke = False
        self._folder: Path | None = None
        self._remove_folder: weakref.finalize | None = None
        self._cases: list[Path] = []

    @property
    def busy(self) -> bool:
        """Whether a request has no answer yet."""
        return bool(self._pending)

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._runner is not None and self._runner.status() is None

    @property
    def pid(self) -> int | None:
        """The worker's process id as it told it itself; None where it has not, or has ended."""
        return self._pid if self.running else None

    def new_case(self, ct: CT) -> Path:
        """Write a CT into a case folder of its own; only the last two cases, and those at work, are kept.

        Raises:
            InputError: it cannot be written.
        """
        with _writing("The CT"):
            folder = Path(tempfile.mkdtemp(prefix="case-", dir=self._own_folder()))
            try:
                write_case(folder, ct)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        self._cases.append(folder)
        self._drop_old_cases()
        return folder

    def hand_result(self, case: Path, result: CaseResult) -> None:
        """Put a result into a case folder, for `rethreshold`.

        Raises:
            InputError: it cannot be written.
        """
        with _writing("The localization map"):
            write_result(case, result)

    def segment(self, case: Path, **options: Any) -> int:
        """Ask for a segmentation; its result will be in the case folder.

        Args:
            case: from `new_case`.
            **options: of `ICHWeakSegLib.segment.segment`: model, method, refine, threshold, sensitivity, device,
                threads; None means the default. The path of a model has a separator in it, else it is a name.

        Returns:
            The request's number, as events tell it.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if "model" in given:
            given["model"] = _model_for_another_folder(given["model"])
        models = self._models_folder()
        return self._request({"do": "segment", "case": str(case), "options": given, "models": models})

    def prognosis(self, case: Path, model: str | Path, **asked: Any) -> int:
        """Ask for the outcome of the patient on a case's CT, to be had with `read_answer`.

        Args:
            case: from `new_case`.
            model: a package of prognosis.
            **asked: plain values, as `questions.answer_prognosis` takes them.

        Returns:
            The number of the request.
        """
        model, models = _model_for_another_folder(model), self._models_folder()
        return self._request(
            {"do": "prognosis", "case": str(case), "model": model, "models": models, **asked}
        )

    def rethreshold(self, case: Path, threshold: float, measure: bool = False) -> int:
        """Ask for the segments of a case at another threshold of its map, 0-1; the number of the request.

        With `measure` the new lesions are measured, too.
        """
        more = {"measure": True} if measure else {}
        return self._request({"do": "recut", "case": str(case), "threshold": float(threshold), **more})

    def measure(self, case: Path, asked: Asked) -> int:
        """Ask for the numbers of masks on a case's CT, to be had with `read_answer`; the number of the request."""
        _hand_over(case, asked)
        return self._request({"do": "measure", "case": str(case)})

    def follow_up(self, before: Path, asked_before: Asked, after: Path, asked_after: Asked) -> int:
        """Ask for the change between two cases; its answer will be in the later one's folder.

        Returns:
            The number of the request.
        """
        _hand_over(before, asked_before)
        _hand_over(after, asked_after)
        return self._request({"do": "follow-up", "before": str(before), "case": str(after)})

    def report(self, case: Path, asked: Asked, path: str | Path, facts: Mapping[str, Any]) -> int:
        """Ask for the HTML report of masks on a case's CT.

        Args:
            case: from `new_case`.
            asked: the masks, and the map where there is one.
            path: of the page.
            facts: plain values, as `questions.answer_report` takes them.

        Returns:
            The number of the request.
        """
        _hand_over(case, asked)
        # The worker has another working folder.
        path = os.path.abspath(os.path.expanduser(path))
        return self._request({"do": "report", "case": str(case), "path": path, "facts": dict(facts)})

    def poll(self) -> list[Event]:
        """What has happened since the last call; never waits."""
        self._take_in()
        events, self._events = self._events, []
        return events

    def cancel(self) -> None:
        """End the worker in the middle of whatever it does; there is no event for what was asked of it."""
        self._forget_requests()
        self._events.clear()
        self._let_go()

    def close(self) -> None:
        """End the worker and remove its files."""
        self.cancel()
        self._cases.clear()
        if self._remove_folder is not None:
            self._remove_folder()
        self._folder = self._remove_folder = None

    def _models_folder(self) -> str:
        """Where own models lie now: the user may have chosen another folder since the worker started."""
        models = (os.environ if self._env is None else self._env).get(MODELS_VARIABLE)
        return os.path.abspath(os.path.expanduser(models)) if models else ""

    def _request(self, request: dict[str, Any]) -> int:
        # It may have ended since the last poll: that is no failure of this request.
        self._take_in()
        self._last_number += 1
        number = self._last_number
        self._pending[number] = {"id": number, **request}
        if self._runner is None:
            self._start()
        else:
            self._send(number)
        return number

    def _take_in(self) -> None:
        """Read what the process said, and whether it has ended."""
        runner = self._runner
        if runner is None:
            return
        # The status first: what was written before the end is read then.
        status = runner.status()
        for line in runner.lines():
            self._read(line)
        self._read_log(runner.log())
        if status is not None:
            self._has_ended(status)

    def _start(self) -> None:
        """Start a process and send it everything that is pending."""
        runner = self._make_runner()
        self._launcher_spoke = False
        try:
            runner.start(self._command, self._cwd, self._env)
        except OSError as problem:
            runner.kill()
            sentence = (
                f"The segmentation process could not be started with {self._command[0]} "
                f"({problem.strerror or problem}): install Slicer and ICH WeakSeg again."
            )
            self._fail_all("start", sentence)
            return
        self._runner = runner
        for number in list(self._pending):
            self._send(number)

    def _send(self, number: int) -> None:
        # ASCII, so that even a folder name that is no proper text arrives.
        self._runner.send(json.dumps(self._pending[number]))

    def _read(self, line: str) -> None:
        try:
            said = json.loads(line)
            what, number = said["event"], said.get("id")
            if what == "ready":
                self._pid = int(said["pid"])
                return
            if what == "progress":
                event = Event("progress", number, said["stage"], int(said["done"]), int(said["total"]))
            elif what == "result":
                event = Event("result", number, case=Path(said["case"]))
            elif what == "error":
                event = Event("error", number, sentence=said["sentence"], reason=said["kind"])
            else:
                raise ValueError(f"unknown event {what!r}")
        except (ValueError, TypeError, KeyError, AttributeError):
            # Whatever else comes on stdout is no reason to stop.
            self._events.append(Event("log", text=line))
            return
        if event.kind == "progress":
            self._begun.add(number)
        else:
            self._pending.pop(number, None)
            self._resent.discard(number)
            self._begun.discard(number)
        self._events.append(event)

    def _read_log(self, text: str) -> None:
        *lines, self._log_part = (self._log_part + text).split("\n")
        self._launcher_spoke |= any(_LAUNCHER_LINE in line for line in (*lines, self._log_part))
        self._events += [Event("log", text=line.rstrip("\r")) for line in lines]

    def _has_ended(self, status: int) -> None:
        """The process is dead: its unanswered requests failed, unless it died before it began with them."""
        if self._log_part:
            self._events.append(Event("log", text=self._log_part))
        self._let_go()
        self._events.append(Event("ended", status=status))
        if not self._pending:
            return
        # It ended for lack of requests, or was ended, in the very moment when one came.
        if not (self._resent | self._begun).intersection(self._pending):
            self._resent.update(self._pending)
            self._start()
            return
        self._fail_all("crash", _sentence_of(status, self._launcher_spoke))

    def _let_go(self) -> None:
        runner, self._runner = self._runner, None
        self._pid, self._log_part = None, ""
        if runner is not None:
            runner.kill()

    def _fail_all(self, reason: str, sentence: str) -> None:
        self._events += [Event("error", number, sentence=sentence, reason=reason) for number in self._pending]
        self._forget_requests()

    def _forget_requests(self) -> None:
        for known in (self._pending, self._resent, self._begun):
            known.clear()

    def _own_folder(self) -> Path:
        if self._folder is None:
            remove_leftovers()
            self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
            # Called at the latest when Python ends.
            self._remove_folder = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        # A cleaner of temporary files may have been here.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder

    def _drop_old_cases(self) -> None:
        pending = self._pending.values()
        at_work = {Path(request[key]) for request in pending for key in ("case", "before") if key in request}
        for old in self._cases[:-KEPT_CASES]:
            if old not in at_work:
                shutil.rmtree(old, ignore_errors=True)
                self._cases.remove(old)


def _hand_over(case: Path, asked: Asked) -> None:
    with _writing("The masks"):
        write_asked(case, asked)


@contextlib.contextmanager
def _writing(what: str) -> Iterator[None]:
    """A sentence where the temporary files do not let themselves be written."""
    try:
        yield
    except OSError as problem:
        raise InputError(
            f"{what} cannot be written to the temporary folder {tempfile.gettempdir()} "
            f"({problem.strerror or problem}): free some space there."
        ) from problem


def _model_for_another_folder(model: str | Path) -> str:
    """A model as the worker understands it, whose working folder is another one."""
    text = str(model)
    separators = [sign for sign in (os.sep, os.altsep) if sign]
    if isinstance(model, Path) or text.startswith("~") or any(sign in text for sign in separators):
        return os.path.abspath(os.path.expanduser(text))
    return text


def _sentence_of(status: int, launcher_spoke: bool = False) -> str:
    """Why a process that ended with this status did so; a launcher's status is its own, not the child's."""
    if status == 1 and launcher_spoke:
        return (
            "The segmentation process crashed or was ended by the system, often for lack of memory: close "
            "other programs, use a CT with fewer slices or pixels, and see the log."
        )
    if status in _ENDED_BY_SYSTEM:
        return (
            "The segmentation process was ended by the system, usually for lack of memory: close other "
            "programs, or use a CT with fewer slices or pixels."
        )
    if status == NO_VOICE:
        return DISK_FULL
    name = f"exit status {status}"
    if status < 0:
        with contextlib.suppress(ValueError):
            name += f", {signal.Signals(-status).name}"
    return f"The segmentation process stopped unexpectedly ({name}): try again, and see the log."
