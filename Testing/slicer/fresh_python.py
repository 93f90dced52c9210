"""A Python with nothing installed but pip, in which Slicer's own `slicer.util` of slicer-core runs pip.

The libraries of the environment that runs the tests can be imported there, but without their metadata: to pip and
to `importlib.metadata` they are not installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path
from typing import Any

import pip

ROOT = Path(__file__).resolve().parents[2]
# Stand-ins: slicer.app (it counts how often the event loop ran) and `pip_install` in the form that 5.10 has.
# slicer-core has neither. `launchConsoleProcess` and `logProcessOutput` are Slicer's own.
PROLOGUE = """
import json, os, signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path += {paths!r}
from pathlib import Path
import slicer, slicer.util
ticks = []
slicer.app = types.SimpleNamespace(processEvents=lambda: ticks.append(time.monotonic()))
slicer.util.pip_install = lambda arguments: slicer.util.executePythonModule("pip", ["install", *arguments])
launch = slicer.util.launchConsoleProcess
environment = dict(os.environ)
from ICHWeakSegSlicer.dependencies import Dependencies
log, stages = [], []
def install(dependencies, **options):
    outcome = dependencies.install(
        onLog=log.append, onProgress=lambda *stage: stages.append(stage), **options)
    assert slicer.util.launchConsoleProcess is launch
    assert dict(os.environ) == environment
    return outcome
def version(name):
    import importlib.metadata
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
answer = {{}}
"""
EPILOGUE = """
answer.update(log=log, stages=stages, ticks=len(ticks))
Path({answer!r}).write_text(json.dumps(answer))
"""


class FreshPython:
    """A virtual environment in `folder`; its `PythonSlicer` starts Python as its child, as Slicer's does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder / "venv", symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        launcher = self.python.with_name("PythonSlicer")
        launcher.write_text(f'#!/bin/sh\n"{self.python}" "$@"\nexit $?\n')
        launcher.chmod(0o755)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.site = folder / "venv" / "lib" / version / "site-packages"
        ours = Path(pip.__path__[0])
        for part in (ours, *ours.parent.glob("pip-*.dist-info")):
            (self.site / part.name).symlink_to(part)
        self._links = folder / "links"
        self._links.mkdir()
        for part in Path(sysconfig.get_paths()["purelib"]).iterdir():
            if part.suffix not in (".dist-info", ".egg-info", ".pth") and part.name != "pip":
                (self._links / part.name).symlink_to(part)

    def pip(self, *arguments: str) -> None:
        subprocess.run(
            [self.python, "-m", "pip", *arguments], check=True, capture_output=True, env=self._env({})
        )

    def run(self, code: str, **environment: str) -> dict[str, Any]:
        """Run the code in the fresh Python; what it puts into `answer`, with `log`, `stages` and `ticks`."""
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        paths = [str(ROOT / "ICHWeakSeg"), str(ROOT), str(self._links)]
        script = self.folder / "script.py"
        script.write_text(
            PROLOGUE.format(paths=paths) + textwrap.dedent(code) + EPILOGUE.format(answer=str(answer))
        )
        done = subprocess.run(
            [self.python, script],
            env=self._env(environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(answer.read_text())

    def _env(self, changes: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "PIP_CONFIG_FILE": os.devnull, "OMP_NUM_THREADS": "1", **changes}
