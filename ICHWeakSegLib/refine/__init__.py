"""From a localization map and HU to a mask."""

from .components import remove_specks
from .hu import HuOptions, refine_hu
from .threshold import refine_otsu, refine_threshold

__all__ = ["HuOptions", "refine_hu", "refine_otsu", "refine_threshold", "remove_specks"]
