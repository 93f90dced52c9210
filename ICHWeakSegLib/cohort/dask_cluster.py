"""Workers of a Dask cluster: other processes, other machines, one shared file system."""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ICHWeakSegLib.cohort.work import FAILED, MEMORY, STOP, Outcome, Setup, Task, Tick, Work
from ICHWeakSegLib.ct.errors import InputError

TICK_SECONDS = 0.2
# Cases that a thread of the cluster has waiting: its next one is there before it asks.
_WAITING = 2
_CONNECT_SECONDS = 20
_ASK_SECONDS = 5.0

# A worker's own: the model stays loaded from case to case.
_made: dict[str, Work] = {}
_making = threading.Lock()
# Networks are watched while they run: one case at a time. Another thread may read the next one meanwhile.
_working = threading.Lock()


class DaskWorkers:
    """Has cases done by a Dask cluster; those of a worker that is lost are done again by others.

    Args:
        setup: of the work.
        scheduler: its address, such as `tcp://host:8786`, or the path of its scheduler file (`.json`).
        say: told what is waited for.

    Raises:
        InputError: the package `distributed` is missing, or nobody answers there.
    """

    def __init__(self, setup: Setup, scheduler: str, say: Callable[[str], None] = lambda text: None) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError as problem:
            raise InputError(
                f"--scheduler needs the Python package {problem.name}: pip install 'ichweakseg[cohort]'."
            ) from problem
        self._setup, self._say = json.dumps(asdict(setup), sort_keys=True), say
        self._where, self._space, self._told = scheduler, 0, False
        self._asked = float("-inf")
        where = {"scheduler_file": scheduler} if scheduler.endswith(".json") else {"address": scheduler}
        if "scheduler_file" in where and not Path(scheduler).is_file():
            raise InputError(f"The scheduler file {scheduler} does not exist: start dask scheduler first.")
        try:
            self._client = Client(**where, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as problem:
            raise InputError(
                f"No Dask scheduler answers at {scheduler}: start one with 'dask scheduler' and give its address."
            ) from problem

    def run(self, tasks: Iterable[Task], tick: Tick) -> Generator[Outcome, None, None]:
        """Outcomes as they come."""
        over: queue.SimpleQueue[Any] = queue.SimpleQueue()
        token = uuid.uuid4().hex[:8]
        todo, pending = iter(tasks), {}
        more = True
        try:
            while True:
                room = self._room()
                while more and len(pending) < room:
                    task = next(todo, None)
                    if task is None:
                        more = False
                        break
                    future = self._client.submit(
                        do_case, self._setup, task, key=f"ichweakseg-{token}-{task['id']}", pure=False
                    )
                    pending[future.key] = (future, task)
                    future.add_done_callback(over.put)
                if not pending:
                    return
                try:
                    future = over.get(timeout=TICK_SECONDS)
                except queue.Empty:
                    tick()
                    self._check()
                    continue
                tick()
                known = pending.pop(future.key, None)
                if known is not None:
                    yield self._outcome(known[0], known[1])
        finally:
            self._client.cancel([future for future, _ in pending.values()], force=True)
            self._client.close()

    def _room(self) -> int:
        """How many cases may be under way."""
        now = time.monotonic()
        if now - self._asked > _ASK_SECONDS:
            self._asked = now
            self._check()
            threads = sum(self._client.nthreads().values())
            if not threads and not self._told:
                self._told = True
                self._say(f"The Dask scheduler at {self._where} has no workers yet: waiting for them.")
            self._space = max(4, _WAITING * threads)
        return self._space

    def _check(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise InputError(
                f"The Dask scheduler at {self._where} is gone: start it and give the same command again."
            )

    def _outcome(self, future: Any, task: Task) -> Outcome:
        from distributed.scheduler import KilledWorker

        try:
            outcome = Outcome(**future.result())
        except KilledWorker:
            return Outcome(
                task["id"],
                FAILED,
                "Several Dask workers were lost while they were at this case; perhaps it needs more memory "
                "than they have.",
            )
        except CancelledError:
            self._check()
            return Outcome(
                task["id"], STOP, "The Dask scheduler let go of a case; it may have been restarted."
            )
        except Exception as problem:
            # Raised outside of the work itself: another version, a package that is missing.
            said = f"{type(problem).__name__}: {problem}"
            return Outcome(task["id"], STOP, f"A Dask worker cannot do the work ({said}).")
        return Outcome(outcome.id, FAILED, outcome.sentence) if outcome.status == MEMORY else outcome


def do_case(setup: str, task: Task) -> dict[str, Any]:
    """One case in a Dask worker.

    Args:
        setup: a `Setup` as JSON.
        task: the case.

    Returns:
        The fields of an `Outcome`.
    """
    with _making:
        if setup not in _made:
            try:
                # Another run's model goes.
                _made.clear()
                _made[setup] = Setup(**json.loads(setup)).make()
            except InputError as problem:
                return asdict(Outcome(task["id"], STOP, str(problem)))
        work = _made[setup]
    try:
        ready = work.prepare(task)
    except Exception as problem:
        return asdict(work.finish(task, _raiser(problem)))

    with _working:
        return asdict(work.finish(task, lambda: ready))


def _raiser(problem: Exception) -> Callable[[], Any]:
    def prepared() -> Any:
        raise problem

    return prepared
