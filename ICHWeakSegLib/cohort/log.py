"""The log of a batch: what happened when, without a path or a name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

LOG_FILE = "batch.log"


class Log:
    """Appends lines with their time to `batch.log`.

    Args:
        folder: of the batch.
        echo: is told each line too.
    """

    def __init__(self, folder: Path, echo: Callable[[str], None] | None = None) -> None:
        self._path, self._echo = folder / LOG_FILE, echo

    def __call__(self, text: str) -> None:
        """Write one line."""
        line = " ".join(text.split())
        # A full disk is told of by the run itself.
        with (
            contextlib.suppress(OSError),
            open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n")
        if self._echo is not None:
            self._echo(line)
