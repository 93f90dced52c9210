"""Watches the pip that Slicer runs: its lines, Slicer's event loop in the meantime, and cancel.

Slicer's own waiting blocks on pip's next line, and pip is silent while it downloads: the window would freeze for
minutes and Cancel could not be clicked. Each route (PyTorchUtils, slicer.packaging, slicer.util) starts
its process through `slicer.util.launchConsoleProcess`, so that one function is wrapped for the time of a step.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TICK = 0.05  # seconds between two looks at the event loop
GRACE = 5.0  # seconds that pip gets to put back what it was replacing
INSTALLERS = ("pip", "light_the_torch")


class PipWatch:
    """For the time of a `with` block, watches each pip that Slicer starts in it.

    onLine gets each line that pip writes; onDownload the name of a file and how many of its bytes are here
    (pip 24.1 and later tell that); cancelled is asked often, and at its first True pip and its children are
    ended. `environment` is set for the block, for pip to inherit.

    Attributes:
        lines: what pip wrote, without the progress of downloads.
        stopped: pip was ended because of `cancelled`.
        canStop: pip can be ended; without it, `cancelled` must be asked after the step.
    """

    def __init__(
        self,
        onLine: Callable[[str], None] | None = None,
        onDownload: Callable[[str, int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.lines: list[str] = []
        self.stopped = False
        self.canStop = False
        self._onLine = onLine
        self._onDownload = onDownload
        self._cancelled = cancelled
        self._environment = environment or {}
        self._processes: list[subprocess.Popen] = []
        self._file = ""

    def __enter__(self) -> PipWatch:
        import slicer

        self._before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        self._launch = getattr(slicer.util, "launchConsoleProcess", None)
        self.canStop = self._launch is not None
        if self.canStop:
            slicer.util.launchConsoleProcess = self._launchWatched
        return self

    def __exit__(self, *_: object) -> None:
        import slicer

        if self._launch is not None:
            slicer.util.launchConsoleProcess = self._launch
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        # An error on our side must not leave a pip behind that nobody sees.
        for process in self._processes:
            if process.poll() is None:
                endTree(process)

    def _launchWatched(self, args: list[str], *others: Any, **options: Any) -> subprocess.Popen:
        process = self._launch(args, *others, **options)
        # Other modules may start their own processes while the event loop runs: those are not ours.
        if _isInstaller(args) and options.get("blocking", True):
            self._processes.append(process)
            process.stdout = _PumpedLines(process, self)
        return process

    def take(self, line: str) -> bool:
        """Note a line of pip; False for a progress line, which Slicer's console need not see."""
        progress = re.fullmatch(r"Progress (\d+) of (\d+)", line.strip())
        if progress:
            if self._onDownload is not None:
                self._onDownload(self._file, int(progress.group(1)), int(progress.group(2)))
            return False
        file = re.match(r"\s*Downloading (\S+)", line)
        if file:
            self._file = file.group(1).rsplit("/", 1)[-1]
        self.lines.append(line.rstrip())
        if self._onLine is not None:
            self._onLine(line.rstrip())
        return True

    def shouldStop(self) -> bool:
        """Let Slicer's window live for a moment; True when the user wants pip to end."""
        import slicer

        app = getattr(slicer, "app", None)
        if app is not None:
            app.processEvents()
        return self._cancelled is not None and bool(self._cancelled())


class _PumpedLines:
    """Stands in for a process's stdout: `readline` waits with the event loop alive and ends pip on cancel."""

    def __init__(self, process: subprocess.Popen, watch: PipWatch) -> None:
        self._process = process
        self._watch = watch
        self._stdout = process.stdout
        # pip writes UTF-8 where Slicer's locale may be another: a strange letter must not lose the line.
        self._stdout.reconfigure(errors="replace")
        self._lines: queue.Queue[str] = queue.Queue()
        self._ended = False
        threading.Thread(target=self._read, name="ICHWeakSeg pip output", daemon=True).start()

    def readline(self) -> str:
        while not self._ended:
            if self._watch.shouldStop():
                self._watch.stopped = True
                self._ended = True
                endTree(self._process)
                break
            try:
                line = self._lines.get(timeout=TICK)
            except queue.Empty:
                continue
            if not line:
                self._ended = True
            elif self._watch.take(line):
                return line
        return ""

    def close(self) -> None:
        self._stdout.close()

    def _read(self) -> None:
        try:
            for line in self._stdout:
                self._lines.put(line)
        except ValueError:
            pass  # closed in the middle
        self._lines.put("")


def endTree(process: subprocess.Popen, grace: float = GRACE) -> None:
    """End a process with all its descendants and wait for it; PythonSlicer is a launcher with pip as its child.

    First as Ctrl-C does, on which pip puts back the version that it was about to replace; after `grace` seconds
    without asking. Windows knows only the latter.
    """
    if os.name == "nt":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(process.pid)],
            capture_output=True,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
    else:
        family = _family(process.pid)
        _signal(family, signal.SIGINT)
        _awaitEnd(process, family, grace)
        family |= _family(process.pid)
        _signal(_alive(family), signal.SIGKILL)
        # A killed child ends a moment after the signal, and only the first process can be waited for.
        _awaitEnd(process, family, GRACE)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()


def _isInstaller(args: list[str]) -> bool:
    args = [str(arg) for arg in args]
    return "-m" in args[:-1] and args[args.index("-m") + 1] in INSTALLERS


def _awaitEnd(process: subprocess.Popen, family: set[int], seconds: float) -> None:
    """Wait until a process and its family have ended, for so many seconds at most."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process.poll()
        if not _alive(family):
            return
        time.sleep(TICK)


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _alive(pids: set[int]) -> set[int]:
    table = _processTable()
    return {pid for pid in pids if pid in table and table[pid][1] != "Z"}


def _family(pid: int) -> set[int]:
    """A process and its descendants."""
    table = _processTable()
    family, size = {pid}, 0
    while len(family) > size:
        size = len(family)
        family |= {child for child, (parent, _) in table.items() if parent in family}
    return family


def _processTable() -> dict[int, tuple[int, str]]:
    """Parent and state of each process: from /proc, or from `ps` on macOS."""
    table = {}
    if Path("/proc/self/stat").exists():
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                # The name, in brackets, may hold blanks and brackets itself.
                state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue  # it ended meanwhile
            table[int(stat.parent.name)] = (int(parent), state)
        return table
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, text=True, check=False
    )
    for row in listing.stdout.splitlines():
        pid, parent, state = row.split()[:3]
        table[int(pid)] = (int(parent), state[0])
    return table
