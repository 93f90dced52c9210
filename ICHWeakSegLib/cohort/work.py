"""What a worker does, and what it says when a case is over; the same for all kinds of workers."""

from __future__ import annotations

import errno
import importlib
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ICHWeakSegLib.ct.errors import InputError

# Plain JSON values: `id` and whatever the work needs.
Task = dict[str, Any]
# Called now and then while waiting; raises to stop.
Tick = Callable[[], None]

DONE, FAILED, MEMORY, STOP = "done", "failed", "memory", "stop"
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        id: of the case.
        status: `done`; `failed`, for a reason of its own; `memory`, perhaps better alone; `stop`: the same
            would meet every case, so that the run is to end.
        sentence: what is wrong.
        seconds: what it took.
    """

    id: str
    status: str
    sentence: str = ""
    seconds: float = 0.0


class Work(Protocol):
    """Made once in each worker; `prepare` of the next case runs in a thread while `finish` is under way."""

    def prepare(self, task: Task) -> Any:
        """Read and prepare; its errors come out of `prepared` in `finish`."""

    def finish(self, task: Task, prepared: Callable[[], Any]) -> Outcome:
        """Do the work; raises nothing."""


@dataclass(frozen=True)
class Setup:
    """How a worker makes its `Work`; plain JSON values, so that it reaches other processes and machines.

    Attributes:
        work: `module:class`.
        arguments: of that class.
    """

    work: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Work:
        """The work, ready: models loaded.

        Raises:
            InputError: it cannot be done here.
        """
        module, _, name = self.work.partition(":")
        return getattr(importlib.import_module(module), name)(**self.arguments)


class Workers(Protocol):
    """Have cases done, here or elsewhere."""

    def run(self, tasks: Iterable[Task], tick: Tick) -> Generator[Outcome, None, None]:
        """Outcomes as they come, one for each task; whatever ends the iteration ends the work.

        Raises:
            InputError: no case can be done.
        """


def why(problem: BaseException, id: str, seconds: float, scrub: Callable[[str], str]) -> Outcome:
    """The outcome of a case that an exception ended."""
    chain = list(_chain(problem))
    if any(isinstance(one, OSError) and one.errno in FULL for one in chain):
        return Outcome(id, STOP, "The disk of the output folder is full.", seconds)
    memory = next((one for one in chain if isinstance(one, MemoryError)), None)
    if memory is not None or any(word in str(problem).lower() for word in _NO_MEMORY):
        return Outcome(
            id, MEMORY, "There was not enough memory for this case: run it on a larger machine.", seconds
        )
    if isinstance(problem, InputError):
        return Outcome(id, FAILED, scrub(str(problem)), seconds)
    frames = traceback.extract_tb(problem.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    said = scrub(f"{type(problem).__name__}{place}: {problem}")
    return Outcome(id, FAILED, f"An unexpected error ended this case ({said[:300]}).", seconds)


def system_error(problem: BaseException) -> OSError | None:
    """The system's error behind an exception, if there is one."""
    return next((one for one in _chain(problem) if isinstance(one, OSError)), None)


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        yield problem
        problem = problem.__cause__ or problem.__context__
