"""Made-up bleeds and heads whose truth is known exactly."""

from .anatomy import Anatomy, find_anatomy
from .decoys import DECOYS, paint_decoy
from .head import Phantom, make_phantom
from .lesions import Painted, paint_lesion
from .shapes import SUBTYPES

__all__ = [
    "DECOYS",
    "SUBTYPES",
    "Anatomy",
    "Painted",
    "Phantom",
    "find_anatomy",
    "make_phantom",
    "paint_decoy",
    "paint_lesion",
]
