"""How the worker process is started from Slicer's Python."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import slicer


def pythonExecutable() -> str:
    """Slicer's Python for programs of their own; outside the application the one that runs this.

    Raises:
        FileNotFoundError: this Slicer has none.
    """
    if not hasattr(slicer, "app"):
        return sys.executable
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    # Slicer has its own folder of programs on the PATH.
    found = shutil.which(name)
    beside = Path(getattr(slicer.app, "slicerHome", "")) / "bin" / name
    if found is None and beside.is_file():
        found = str(beside)
    if found is None:
        raise FileNotFoundError(f"{name} was not found: install Slicer again.")
    return found


def libraryFolder() -> Path:
    """The folder that holds ICHWeakSegLib: of a checkout, or of the installed extension."""
    spec = importlib.util.find_spec("ICHWeakSegLib")
    return Path(next(iter(spec.submodule_search_locations))).parent


def workerCommand() -> list[str]:
    """What starts the worker, to be run in `libraryFolder()`."""
    return [pythonExecutable(), "-m", "ICHWeakSegLib.worker"]
