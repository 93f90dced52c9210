"""A head CT in HU with its geometry: reading, checking, writing, and the network's axial view of it."""

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.check import check_ct
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.ct.read import read_ct
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.ct.write import write_volume

__all__ = ["CT", "AxialGrid", "Head", "InputError", "atomic_path", "check_ct", "read_ct", "write_volume"]
