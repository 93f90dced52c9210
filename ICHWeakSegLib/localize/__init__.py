"""From a classifier to a map of where it sees blood."""

from .batches import in_batches, is_out_of_memory
from .class_activation import grad_cam, hires_cam, layer_cam
from .hgi_sam import hgi_sam
from .methods import METHODS, Method, find_method
from .positive import Localized, classify_and_localize, localize_positive
from .resnet_cam import CAM_THRESHOLD, cam, cam_pass, resnet_grad_cam, resnet_grad_cam_pass
from .swin_sam import swin_sam

__all__ = [
    "CAM_THRESHOLD",
    "METHODS",
    "Localized",
    "Method",
    "cam",
    "cam_pass",
    "classify_and_localize",
    "find_method",
    "grad_cam",
    "hgi_sam",
    "hires_cam",
    "in_batches",
    "is_out_of_memory",
    "layer_cam",
    "localize_positive",
    "resnet_grad_cam",
    "resnet_grad_cam_pass",
    "swin_sam",
]
