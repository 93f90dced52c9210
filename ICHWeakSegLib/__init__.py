"""Weakly supervised segmentation of intracranial hemorrhage on non-contrast head CT. Research use only.

>>> from ICHWeakSegLib import read_ct, load_model, segment
>>> result = segment(read_ct("head.nii.gz"), load_model("starter"))
>>> result.volume_ml, result.mask.shape
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.on_demand import names_on_demand
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.ct.volume import CT
    from ICHWeakSegLib.errors import InputError
    from ICHWeakSegLib.models.load import load_model
    from ICHWeakSegLib.segment import Result, segment

__all__ = ["CT", "InputError", "Result", "__version__", "load_model", "read_ct", "segment"]

# Each from its module when it is asked for: the Slicer panel opens without scipy.
__getattr__ = names_on_demand(
    __name__,
    {
        "CT": "ct.volume",
        "InputError": "errors",
        "Result": "segment",
        "load_model": "models.load",
        "read_ct": "ct.read",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """`segment` is the function, also after its module of the same name was imported."""

    @property
    def segment(self) -> Any:
        return importlib.import_module(f"{__name__}.segment").segment

    @segment.setter
    def segment(self, _: types.ModuleType) -> None:
        """Python puts each imported module here."""


sys.modules[__name__].__class__ = _Package
