"""A head CT in HU with its geometry: reading, checking, writing, and the network's axial view of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ICHWeakSegLib.on_demand import names_on_demand

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
__getattr__ = names_on_demand(
    __name__,
    {
        "CT": "volume",
        "AxialGrid": "axial",
        "Head": "head",
        "InputError": "errors",
        "atomic_path": "atomic",
        "check_ct": "check",
        "read_ct": "read",
        "write_volume": "write",
    },
)
