"""Weakly supervised segmentation of intracranial hemorrhage on non-contrast head CT. Research use only.

>>> from ICHWeakSegLib import read_ct, load_model, segment
>>> result = segment(read_ct("head.nii.gz"), load_model("starter"))
>>> result.volume_ml, result.mask.shape
"""

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.read import read_ct
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.models.load import load_model
from ICHWeakSegLib.segment import Result, segment
from ICHWeakSegLib.version import __version__

__all__ = ["CT", "InputError", "Result", "__version__", "load_model", "read_ct", "segment"]
