"""One run at a time in an output folder; the system lets go of the lock whatever ends the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ICHWeakSegLib.errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Hold the folder.

    Raises:
        InputError: another run holds it.
    """
    try:
        lock = FileLock(output / LOCK_FILE, timeout=0).acquire()
    except Timeout as problem:
        raise InputError(f"Another run is at work in {output}: wait for it or stop it.") from problem
    with lock:
        yield
