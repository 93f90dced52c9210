"""The worker's side of the talk: JSON requests in, JSON events out, and a sentence for whatever fails.

Requests, one a line: `{"id": 1, "do": "segment", "case": FOLDER, "options": {...}, "models": FOLDER}`,
`{"id": 2, "do": "recut", "case": FOLDER, "threshold": 0.2, "measure": true}`; about masks that are there already
`{"id": 3, "do": "measure", "case": FOLDER}`, `{"id": 4, "do": "follow-up", "before": FOLDER, "case": FOLDER}`,
`{"id": 5, "do": "report", "case": FOLDER, "path": FILE, "facts": {...}}`,
`{"id": 6, "do": "prognosis", "case": FOLDER, "model": NAME, "clinical": {...}, "facts": {...}, "volume_ml": 9.5}`;
and `{"id": 7, "do": "quit"}`.
Events, one a line, with the request's id: `progress` (stage, done, total), `result` (case), `error` (kind,
sentence); before the first request `ready` (version, pid).
"""

from __future__ import annotations

import errno
import gc
import json
import os
import queue
import re
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.models.find import MODELS_VARIABLE
from ICHWeakSegLib.version import __version__
from ICHWeakSegLib.worker.cases import Workbench
from ICHWeakSegLib.worker.exchange import CASE_FILE, DISK_FULL

IDLE_SECONDS = 900.0
REQUESTS = ("segment", "recut", "measure", "follow-up", "report", "prognosis")
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
_UNMAPPED = re.compile(r"failed to map segment|cannot allocate memory|WinError 1455", re.I)


class Server:
    """Answers requests until it is told to quit, has nothing to do for long, or its caller has gone.

    Args:
        requests: the caller's lines; their end ends this process at once.
        emit: takes one event.
        idle: seconds without a request after which `serve` returns, so that memory is freed.
    """

    def __init__(
        self, requests: BinaryIO, emit: Callable[[dict[str, Any]], None], idle: float = IDLE_SECONDS
    ) -> None:
        self._emit, self._idle = emit, idle
        self._bench = Workbench()
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()

    def serve(self) -> None:
        """Answer until `quit` or `idle` seconds without a request."""
        self._emit({"event": "ready", "version": __version__, "pid": os.getpid()})
        while True:
            try:
                line = self._lines.get(timeout=self._idle)
            except queue.Empty:
                return
            if not self._answer(line):
                return

    def _listen(self, requests: BinaryIO) -> None:
        for line in requests:
            self._lines.put(line)
        # The caller has gone: nobody wants what is under way, and nobody would end it.
        os._exit(0)

    def _answer(self, line: bytes) -> bool:
        """Do what a line asks for; False to end afterwards."""
        number, what, whole = None, "work", True
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("it is no object")
            number, do = request.get("id"), request.get("do")
        except ValueError as problem:
            self._error(number, "bug", f"The request cannot be read ({problem}): {line[:200]!r}.")
            return True
        if do == "quit":
            return False

        def progress(stage: str, done: int, total: int) -> None:
            self._emit({"event": "progress", "id": number, "stage": stage, "done": done, "total": total})

        try:
            if do == "segment":
                what = f"segment {_case_name(request)}"
                # Where it is empty, models are where they usually are.
                os.environ[MODELS_VARIABLE] = request.get("models", os.environ.get(MODELS_VARIABLE, ""))
                self._bench.segment(Path(request["case"]), request.get("options") or {}, progress)
            elif do == "recut":
                what = f"cut the map of {_case_name(request)}"
                case, threshold = Path(request["case"]), float(request["threshold"])
                self._bench.rethreshold(case, threshold, progress, bool(request.get("measure")))
            elif do == "measure":
                what = f"measure {_case_name(request)}"
                self._bench.measure(Path(request["case"]), progress)
            elif do == "follow-up":
                what = f"compare {_case_name(request)} with an earlier CT"
                self._bench.follow_up(Path(request["before"]), Path(request["case"]), progress)
            elif do == "report":
                what = f"make the report of {_case_name(request)}"
                facts = request.get("facts") or {}
                self._bench.report(Path(request["case"]), Path(request["path"]), facts, progress)
            elif do == "prognosis":
                what = f"forecast the outcome of {_case_name(request)}"
                os.environ[MODELS_VARIABLE] = request.get("models", os.environ.get(MODELS_VARIABLE, ""))
                self._bench.prognosis(Path(request["case"]), request, progress)
            else:
                self._error(
                    number, "bug", f"There is no request {do!r}: it is {', '.join(REQUESTS)} or quit."
                )
                return True
        except Exception as problem:
            kind, sentence = explain(problem, what)
            # A package that was imported in part cannot be imported again in this process.
            whole = not _import_failed(problem)
            if kind != "input":
                traceback.print_exc()
        else:
            self._emit({"event": "result", "id": number, "case": request["case"]})
            return True
        # Out of the handler: until then the traceback keeps the arrays of all its frames.
        if kind == "memory":
            self._free()
        self._error(number, kind, sentence)
        return whole

    def _error(self, number: object, kind: str, sentence: str) -> None:
        self._emit({"event": "error", "id": number, "kind": kind, "sentence": sentence})

    def _free(self) -> None:
        self._bench.free()
        gc.collect()
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if cuda is not None and cuda.is_available():
            cuda.empty_cache()


def explain(problem: Exception, what: str) -> tuple[str, str]:
    """The kind of a failure (`input`, `memory`, `missing` or `bug`) and its sentence.

    Args:
        problem: the failure.
        what: what was being done, such as `segment Head`.
    """
    if isinstance(problem, InputError):
        return "input", str(problem)
    if _out_of_memory(problem):
        return "memory", (
            f"There is not enough memory to {what}: close other programs, or use a CT with fewer slices or "
            "pixels."
        )
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        package = problem.name.partition(".")[0]
        if package != "ICHWeakSegLib":
            return "missing", (
                f"The Python package {package} is missing: install the dependencies in the ICH WeakSeg module."
            )
    if _disk_full(problem):
        return "input", DISK_FULL
    text = " ".join(str(problem).split())
    return "bug", f"Something went wrong inside ICH WeakSeg ({type(problem).__name__}: {text}): see the log."


def _disk_full(problem: Exception) -> bool:
    if not isinstance(problem, OSError):
        return False
    # numpy tells only how many values it could write.
    short = problem.errno is None and _SHORT_WRITE.search(str(problem)) is not None
    return short or problem.errno in _NO_SPACE


def _out_of_memory(problem: Exception) -> bool:
    if isinstance(problem, MemoryError):
        return True
    if isinstance(problem, OSError) and problem.errno == errno.ENOMEM:
        return True
    if _import_failed(problem) and _UNMAPPED.search(str(problem)):
        return True
    # Without torch, or with one that was imported in part, there is none of its errors.
    if not hasattr(sys.modules.get("torch"), "cuda"):
        return False
    from ICHWeakSegLib.localize.batches import is_out_of_memory

    return is_out_of_memory(problem)


def _import_failed(problem: Exception) -> bool:
    if isinstance(problem, ImportError):
        return True
    # Compiled code that does not fit into memory.
    is_load = isinstance(problem, OSError) and problem.errno != errno.ENOMEM
    return is_load and _UNMAPPED.search(str(problem)) is not None


def _case_name(request: dict[str, Any]) -> str:
    """What the user calls a case, and its size."""
    try:
        facts = json.loads((Path(request["case"]) / CASE_FILE).read_text("utf-8"))
        size = " x ".join(str(count) for count in reversed(facts["shape"]))
        return f"{facts['source'] or 'the CT'} ({size} voxels)"
    except (KeyError, OSError, TypeError, ValueError):
        return "the CT"
