"""A program in a process of its own that never makes its caller wait, and never outlives it.

Its output goes to files that are read as they grow: Slicer's Python threads stand still while its event loop
idles, and a pipe that nobody reads would in the end hold the program up.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

# Also what `remove_leftovers` goes by.
FOLDER_PREFIX = "ichweakseg-run-"
OLD_SECONDS = 24 * 3600
# The system takes some milliseconds to end a process.
KILL_SECONDS = 5.0


class Runner(Protocol):
    """Runs one program, once."""

    def start(self, command: Sequence[str], cwd: str | Path, env: Mapping[str, str] | None) -> None:
        """Start it; `env` None hands on the caller's environment.

        Raises:
            OSError: it cannot be started.
        """

    def send(self, line: str) -> None:
        """Write a line to its stdin; nothing happens where it has ended."""

    def lines(self) -> list[str]:
        """Complete lines of its stdout since the last call, without their ends; never waits."""

    def log(self) -> str:
        """Text of its stderr since the last call; never waits."""

    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    def kill(self) -> None:
        """End it with all its descendants, and remove what it left; nothing happens the second time."""


class SubprocessRunner:
    """Runs a program with `subprocess`; it ends with its caller's Python at the latest.

    Descendants are found by their process group (POSIX) or as children of children (Windows).

    Example:
        >>> runner = SubprocessRunner()
        >>> runner.start([sys.executable, "-c", "print(input())"], ".", None)
        >>> runner.send("hello")
        >>> while runner.status() is None: time.sleep(0.01)
        >>> runner.lines()
        ['hello']
        >>> runner.kill()
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._out: _Growing | None = None
        self._err: _Growing | None = None
        self._part = ""
        self._end: weakref.finalize | None = None

    @property
    def pid(self) -> int | None:
        """Id of the process that was started; a launcher's where that starts the program in its turn."""
        return None if self._process is None else self._process.pid

    def start(self, command: Sequence[str], cwd: str | Path, env: Mapping[str, str] | None) -> None:
        if self._process is not None:
            raise RuntimeError("a runner runs one program, once")
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        if os.name == "nt":
            own_group = {
                "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW,
            }
        else:
            own_group = {"start_new_session": True}
        try:
            with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
                self._process = subprocess.Popen(
                    [str(part) for part in command],
                    cwd=cwd,
                    env=None if env is None else dict(env),
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=err,
                    bufsize=0,
                    **own_group,
                )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._out, self._err = _Growing(folder / "stdout"), _Growing(folder / "stderr")
        # Called at the latest when Python ends.
        self._end = weakref.finalize(
            self, _end, self._process, (self._out.file, self._err.file), folder, os.getpid()
        )

    def send(self, line: str) -> None:
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        # A broken pipe: it has ended, as its status will tell.
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode("utf-8") + b"\n")

    def lines(self) -> list[str]:
        if self._out is None:
            return []
        *complete, self._part = (self._part + self._out.read()).split("\n")
        return [line.removesuffix("\r") for line in complete]

    def log(self) -> str:
        return "" if self._err is None else self._err.read()

    def status(self) -> int | None:
        if self._process is None:
            return None
        first = self._process.returncode is None
        status = self._process.poll()
        if first and status is not None:
            # Now, since later the number of its group may be another's.
            _kill_group(self._process.pid)
        return status

    def kill(self) -> None:
        if self._end is not None:
            self._end()


class _Growing:
    """A text file that another process writes to."""

    def __init__(self, path: Path) -> None:
        self.file: BinaryIO = open(path, "rb")  # noqa: SIM115
        # A letter of several bytes may come in two parts.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """What is new."""
        return "" if self.file.closed else self._decoder.decode(self.file.read())


def remove_leftovers() -> None:
    """Remove temporary folders of programs whose caller was killed, a day later."""
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _end(process: subprocess.Popen, files: Sequence[BinaryIO], folder: Path, owner: int) -> None:
    """End a process with its descendants; close and remove its files."""
    # A fork of the caller must not end what is not its own.
    if os.getpid() != owner:
        return
    if process.poll() is None:
        _kill_tree(process)
    with contextlib.suppress(OSError):
        process.stdin.close()
    for file in files:
        file.close()
    shutil.rmtree(folder, ignore_errors=True)


def _kill_tree(process: subprocess.Popen) -> None:
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/T", "/F", "/PID", str(process.pid)],
            capture_output=True,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
    else:
        _kill_group(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_SECONDS)
        return
    process.kill()


def _kill_group(pid: int) -> None:
    """End what is left of the group that a process leads (POSIX)."""
    if os.name != "nt":
        # Gone already, or on macOS only zombies left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
