"""Slicer's own parameterNodeWrapper, ScriptedLoadableModule and testing in place of our stand-ins for them.

    ICHWEAKSEG_SLICER_SOURCE=/path/to/Slicer pytest Testing/widget

The folder is a source tree of Slicer, as `git clone` gives it; nothing of it has to be built.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import slicer

VARIABLE = "ICHWEAKSEG_SLICER_SOURCE"
# In the order in which they are loaded.
NAMES = ("slicer.parameterNodeWrapper", "slicer.ScriptedLoadableModule", "slicer.testing")
# Widgets that those name, but of which there is no stand-in: nothing is of these types.
_WIDGET = re.compile(r"\b(ctk|slicer)\.(ctk\w+|qMRML\w+)")


def modules(ctk: ModuleType) -> dict[str, ModuleType]:
    """Slicer's own modules by name; empty where nobody names a source tree.

    Args:
        ctk: gets empty classes for widgets without a stand-in, and so does `slicer`.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        return {}
    paths = _paths(Path(folder).expanduser())
    _add_widgets(paths, ctk)
    return _loaded(paths)


def _paths(source: Path) -> tuple[Path, ...]:
    paths = []
    for name in NAMES:
        path = source / "Base" / "Python" / name.replace(".", "/")
        paths.append(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
        if not paths[-1].is_file():
            raise FileNotFoundError(
                f"{VARIABLE}: {paths[-1]} is not there, so {source} is no source of Slicer"
            )
    return tuple(paths)


def _add_widgets(paths: tuple[Path, ...], ctk: ModuleType) -> None:
    for owner, name in _named_widgets(paths):
        module = ctk if owner == "ctk" else slicer
        if not hasattr(module, name):
            setattr(module, name, _widget(name))


@cache
def _named_widgets(paths: tuple[Path, ...]) -> frozenset[tuple[str, str]]:
    files = [
        file for path in paths for file in (path.parent.glob("*.py") if path.stem == "__init__" else [path])
    ]
    return frozenset(pair for file in files for pair in _WIDGET.findall(file.read_text("utf-8")))


@cache
def _widget(name: str) -> type:
    return type(name, (), {})


@cache
def _loaded(paths: tuple[Path, ...]) -> dict[str, ModuleType]:
    found = {}
    for name, path in zip(NAMES, paths, strict=True):
        spec = importlib.util.spec_from_file_location(name, path)
        found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    return found
