"""`python -m ICHWeakSegLib.cohort.worker_process`: a worker of a batch on this machine.

On stdin a line of JSON with the setup, then a line a case; on stdout `{"ready": true}` or `{"broken": sentence}`,
then a line an outcome. The next case is read and prepared while one is in the network. The end of stdin ends the
process at once: without its batch nobody wants its work.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ICHWeakSegLib.cohort.work import Setup, Task
from ICHWeakSegLib.ct.errors import InputError


def main() -> None:
    # Ctrl-C goes to the whole terminal; the batch decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _offer_to_oom_killer()
    answers = _own_stdout()

    def say(message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(answers, data) :]

    setup = Setup(**json.loads(sys.stdin.buffer.readline()))
    work = None
    todo: queue.Queue[tuple[Task, Future]] = queue.Queue()
    made: Future = Future()
    threading.Thread(target=_listen, args=(todo, made), daemon=True).start()
    try:
        work = setup.make()
    except InputError as problem:
        say({"broken": str(problem)})
        return
    except ModuleNotFoundError as problem:
        say(
            {
                "broken": f"A worker lacks the Python package {problem.name}: install ICHWeakSeg with its extras."
            }
        )
        return
    made.set_result(work)
    say({"ready": True})
    while True:
        task, ahead = todo.get()
        # Held by nothing else: the case's memory goes with the outcome.
        say(asdict(work.finish(task, ahead.result)))
        del task, ahead


def _listen(todo: queue.Queue[tuple[Task, Future]], made: Future) -> None:
    """Take cases in, and have each prepared as soon as the one before is."""
    reader = ThreadPoolExecutor(1)

    def prepare(task: Task) -> Any:
        return made.result().prepare(task)

    for line in sys.stdin.buffer:
        task = json.loads(line)
        todo.put((task, reader.submit(prepare, task)))
    os._exit(0)


def _own_stdout() -> int:
    """A descriptor of stdout for answers alone; what others print there goes to stderr from now on."""
    sys.stdout.flush()
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _offer_to_oom_killer() -> None:
    """Where memory runs out, Linux is to end a worker and not the batch."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    main()
