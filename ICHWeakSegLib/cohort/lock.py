"""One run at a time in an output folder; the system lets go of the lock whatever ends the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def only_run(output: Path) -> Iterator[None]:
    """Hold the folder.

    Raises:
        InputError: another run holds it.
    """
    with open(output / LOCK_FILE, "a+b") as file:
        try:
            _lock(file.fileno())
        except OSError as problem:
            raise InputError(f"Another run is at work in {output}: wait for it or stop it.") from problem
        yield


def _lock(descriptor: int) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
