"""From a localization map and HU to a mask."""

from .components import bounding_box, count_lesions, remove_specks, touching
from .hu import HuOptions, refine_hu
from .hysteresis import HysteresisOptions, refine_hysteresis
from .kmeans import KMeansOptions, refine_kmeans
from .subtypes import split_subtypes
from .threshold import refine_otsu, refine_threshold

__all__ = [
    "HuOptions",
    "HysteresisOptions",
    "KMeansOptions",
    "bounding_box",
    "count_lesions",
    "refine_hu",
    "refine_hysteresis",
    "refine_kmeans",
    "refine_otsu",
    "refine_threshold",
    "remove_specks",
    "split_subtypes",
    "touching",
]
