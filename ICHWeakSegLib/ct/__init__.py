"""A head CT in HU with its geometry: reading, checking, writing, and the network's axial view of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.atomic import atomic_path
    from ICHWeakSegLib.ct.axial import AxialGrid
    from ICHWeakSegLib.ct.check import check_ct
    from ICHWeakSegLib.ct.errors import InputError
    from ICHWeakSegLib.ct.head import Head
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.ct.volume import CT
    from ICHWeakSegLib.ct.write import write_volume

__all__ = ["CT", "AxialGrid", "Head", "InputError", "atomic_path", "check_ct", "read_ct", "write_volume"]

# Each from its module when it is asked for: the Slicer panel takes the small ones and opens without scipy.
_HOMES = {
    "CT": "volume",
    "AxialGrid": "axial",
    "Head": "head",
    "InputError": "errors",
    "atomic_path": "atomic",
    "check_ct": "check",
    "read_ct": "read",
    "write_volume": "write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
