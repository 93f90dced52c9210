"""Workers as processes of this machine, each with its own model; one that dies costs no more than its case."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ICHWeakSegLib.cohort.work import FAILED, MEMORY, Outcome, Setup, Task, Tick
from ICHWeakSegLib.ct.errors import InputError

TICK_SECONDS = 0.2
# One in the network, one being prepared.
AHEAD = 2
_ROOT = Path(__file__).resolve().parents[2]
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LocalWorkers:
    """Has cases done by processes that are started here, not forked: nothing of this process comes with them.

    A worker that dies (killed, out of memory, a crash in compiled code) is replaced. Its cases, and those that
    lacked memory, are done again at the end by one worker alone; what dies there fails.

    Args:
        setup: of the work.
        count: workers.
        threads: of torch in each.
        python: interpreter; this one's by default.
    """

    def __init__(self, setup: Setup, count: int, threads: int = 1, python: str | None = None) -> None:
        self._setup, self._count, self._threads = setup, count, threads
        self._python = python or sys.executable

    def run(self, tasks: Iterable[Task], tick: Tick) -> Generator[Outcome, None, None]:
        """Outcomes as they come."""
        again: list[Task] = []
        for task, outcome in self._round(deque(tasks), self._count, AHEAD, tick):
            if outcome is None or outcome.status == MEMORY:
                again.append(task)
            else:
                yield outcome
        for task, outcome in self._round(deque(again), 1, 1, tick):
            yield outcome or Outcome(
                task["id"],
                FAILED,
                "The worker process was ended twice while it was at this case, the second time with nothing "
                "beside it; perhaps it needs more memory than there is.",
            )

    def _round(
        self, todo: deque[Task], count: int, ahead: int, tick: Tick
    ) -> Iterator[tuple[Task, Outcome | None]]:
        """Each task with its outcome, or None where its worker died."""
        answers: queue.Queue[tuple[_Process, dict | None]] = queue.Queue()
        processes: list[_Process] = []
        try:
            while todo or any(process.cases for process in processes):
                while todo and len(processes) < min(count, len(processes) + len(todo)):
                    processes.append(_Process(self._python, self._setup, self._threads, answers))
                # Evenly: one each before anybody gets a second one.
                for depth in range(1, ahead + 1):
                    for process in processes:
                        if todo and len(process.cases) < depth:
                            process.give(todo.popleft())
                try:
                    process, answer = answers.get(timeout=TICK_SECONDS)
                except queue.Empty:
                    tick()
                    continue
                tick()
                if answer is None:
                    processes.remove(process)
                    lost = process.take_all()
                    if process.ready:
                        yield from ((task, None) for task in lost)
                        continue
                    # It never came to its cases; fewer may find the memory that so many did not.
                    todo.extendleft(reversed(lost))
                    count -= 1
                    if not count:
                        raise InputError(process.epitaph())
                elif "broken" in answer:
                    raise InputError(answer["broken"])
                elif "ready" in answer:
                    process.ready = True
                else:
                    outcome = Outcome(**answer)
                    yield process.take(outcome.id), outcome
        finally:
            for process in processes:
                process.kill()


class _Process:
    """One worker process.

    Attributes:
        cases: those that it was given and has not answered.
        ready: it has its model.
    """

    def __init__(
        self,
        python: str,
        setup: Setup,
        threads: int,
        answers: queue.Queue[tuple[_Process, dict | None]],
    ) -> None:
        self.cases: dict[str, Task] = {}
        self.ready = False
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            # A thread that spins while it waits takes the core from other workers and from the reading ahead.
            "OMP_WAIT_POLICY": "PASSIVE",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, "-m", "ICHWeakSegLib.cohort.worker_process"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._send(asdict(setup))
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()

    def give(self, task: Task) -> None:
        """Hand it a case."""
        self.cases[task["id"]] = task
        self._send(task)

    def take(self, name: str) -> Task:
        """Take back a case that it has answered."""
        return self.cases.pop(name)

    def take_all(self) -> Sequence[Task]:
        """Take back what a dead one had."""
        lost = list(self.cases.values())
        self.cases.clear()
        self.kill()
        return lost

    def epitaph(self) -> str:
        """Why a worker died before it could begin."""
        status = self._process.wait()
        if status < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-status).name
                return f"The workers were ended as they started ({name}); perhaps there is too little memory."
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return f"A worker could not start ({lines[-1] if lines else f'exit status {status}'})."

    def kill(self) -> None:
        """End it at once; what it was writing stays hidden and is swept by the next run."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _send(self, message: dict) -> None:
        # A broken pipe: it has died, as the listener will tell.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self, answers: queue.Queue[tuple[_Process, dict | None]]) -> None:
        for line in self._process.stdout:
            # Half a line is what a killed one leaves.
            with contextlib.suppress(ValueError):
                answers.put((self, json.loads(line)))
        answers.put((self, None))
