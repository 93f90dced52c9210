"""`python -m ICHWeakSegLib.worker [--idle SECONDS]`: the pipeline as a server on stdin and stdout.

The environment variable ICHWEAKSEG_WORKER_MEMORY_MB limits its address space, where the system can do that.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import sys
from typing import Any

from ICHWeakSegLib.worker.exchange import NO_VOICE
from ICHWeakSegLib.worker.server import IDLE_SECONDS, Server

MEMORY_VARIABLE = "ICHWEAKSEG_WORKER_MEMORY_MB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ICHWeakSegLib.worker", description=__doc__)
    parser.add_argument(
        "--idle",
        type=float,
        default=IDLE_SECONDS,
        metavar="SECONDS",
        help="end after so long without a request (default: %(default)g)",
    )
    idle = parser.parse_args().idle
    events = _own_stdout()
    # A crash in compiled code leaves its traceback in the log.
    faulthandler.enable()
    _limit_memory()

    def emit(event: dict[str, Any]) -> None:
        try:
            # The newline with it: one write, nothing in between.
            _write_all(events, json.dumps(event).encode("utf-8") + b"\n")
        except OSError:
            os._exit(NO_VOICE)

    Server(sys.stdin.buffer, emit, idle).serve()
    # At once: torch's threads and the listener's blocked read need no farewell.
    os._exit(0)


def _own_stdout() -> int:
    """A descriptor of stdout for events alone; what others print to stdout goes to stderr from now on."""
    sys.stdout.flush()
    events = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    return events


def _limit_memory() -> None:
    megabytes = os.environ.get(MEMORY_VARIABLE)
    if not megabytes:
        return
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    limit = int(float(megabytes) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
