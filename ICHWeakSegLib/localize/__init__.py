"""From a classifier to a map of where it sees blood."""

from .batches import in_batches, is_out_of_memory
from .class_activation import grad_cam, hires_cam, layer_cam
from .hgi_sam import hgi_sam
from .methods import METHODS, Method, find_method
from .positive import Localized, classify_and_localize, localize_positive
from .swin_sam import swin_sam

__all__ = [
    "METHODS",
    "Localized",
    "Method",
    "classify_and_localize",
    "find_method",
    "grad_cam",
    "hgi_sam",
    "hires_cam",
    "in_batches",
    "is_out_of_memory",
    "layer_cam",
    "localize_positive",
    "swin_sam",
]
