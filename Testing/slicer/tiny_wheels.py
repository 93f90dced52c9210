"""Packages of a few bytes, written by hand, for a real pip."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

# A build backend that never finishes, in a process of its own below pip; it tells its process id first.
SLOW_BACKEND = """
import os, time
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    with open({note!r} + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename({note!r} + ".new", {note!r})
    time.sleep(300)
build_wheel = prepare_metadata_for_build_wheel
"""


def module_of(name: str) -> str:
    """What a tiny package is imported by; never the name of a real one."""
    return f"tiny_{name.lower().replace('-', '_')}"


def tiny_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel with one module and these requirements."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
    files = {
        f"{module_of(name)}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
    return path


def never_built(folder: Path, name: str, version: str, note: Path) -> Path:
    """Write a source package whose build writes its process id into `note` and then waits."""
    stem = f"{name}-{version}"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n',
        "slow.py": SLOW_BACKEND.format(note=str(note)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{stem}/{file}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path
