"""Class activation maps: Grad-CAM, LayerCAM and HiResCAM at one layer of a classifier.

Sources: Grad-CAM, Selvaraju et al., ICCV 2017, arXiv 1610.02391; LayerCAM, Jiang et al., TIP 2021,
doi 10.1109/TIP.2021.3089943; HiResCAM, Draelos and Carin, 2020, arXiv 2011.08891.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..networks import SwinClassifier
from .frozen import frozen
from .one_pass import Select, all_images, blank, choose, no_maps
from .window_maps import enlarge, inside_brain, min_max

# Activations and gradients (B, C, h, w) -> unscaled map (B, h, w).
Weighting = Callable[[Tensor, Tensor], Tensor]


def grad_cam(
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    target: int = 1,
    layer: nn.Module | str | None = None,
) -> Tensor:
    """Grad-CAM: channels weighted by the mean of their gradient.

    Args:
        classifier, images, brain, target: as for `hgi_sam`.
        layer: a module of the classifier or its dotted name; its output is (B, h, w, C), or (B, C, h, w)
            from a convolution. Without: the last block's first norm, as in the paper of HGI-SAM.

    Returns:
        (B, H, W) float32 in 0-1, each image scaled by itself; zeros where a map is constant.

    Raises:
        ValueError: no such layer, or its output is no image; images, brain or target do not fit.
    """
    return grad_cam_pass(classifier, images, brain, all_images, target, layer)[1]


def layer_cam(
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    target: int = 1,
    layer: nn.Module | str | None = None,
) -> Tensor:
    """LayerCAM: every activation weighted by its own positive gradient. Arguments as for `grad_cam`."""
    return layer_cam_pass(classifier, images, brain, all_images, target, layer)[1]


def hires_cam(
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    target: int = 1,
    layer: nn.Module | str | None = None,
) -> Tensor:
    """HiResCAM: every activation weighted by its own gradient. Arguments as for `grad_cam`."""
    return hires_cam_pass(classifier, images, brain, all_images, target, layer)[1]


def _cam_pass(
    weighting: Weighting,
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    select: Select = all_images,
    target: int = 1,
    layer: nn.Module | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and maps (B, H, W), the latter zeros for images that `select` leaves out."""
    module = _find_layer(classifier, layer)
    outputs: list[Tensor] = []

    def start_graph(_: nn.Module, __: tuple[Tensor], output: Tensor) -> Tensor:
        # The graph starts at this layer, so the backward pass ends here.
        outputs.append(output.detach().requires_grad_(True))
        # A copy, for what follows may work in place.
        return outputs[-1].clone()

    with frozen(classifier), torch.inference_mode(False), torch.enable_grad():
        hook = module.register_forward_hook(start_graph)
        try:
            logits = classifier(images.detach())
        finally:
            hook.remove()
        if len(outputs) != 1 or outputs[0].ndim != 4:
            raise ValueError(
                f"Layer {type(module).__name__} gives no single image-like output in a forward pass."
            )
        chosen = choose(select, logits.detach())
        if not chosen.any():
            return logits.detach(), no_maps(images)
        score = classifier.positive_logit(logits, target)[chosen].sum()
        (gradients,) = torch.autograd.grad(score, outputs[0])
    activations = outputs[0].detach()
    if not isinstance(module, nn.Conv2d):
        activations, gradients = activations.permute(0, 3, 1, 2), gradients.permute(0, 3, 1, 2)
    cam = weighting(activations, gradients).relu()
    maps = enlarge(min_max(cam), tuple(images.shape[2:]))
    return logits.detach(), blank(inside_brain(maps, brain), chosen)


def _find_layer(classifier: SwinClassifier, layer: nn.Module | str | None) -> nn.Module:
    if layer is None:
        return classifier.swin.layers[-1].blocks[-1].norm1
    if isinstance(layer, str):
        try:
            return classifier.get_submodule(layer)
        except AttributeError as error:
            raise ValueError(f"The classifier has no layer {layer!r}: {error}.") from error
    if not any(layer is module for module in classifier.modules()):
        raise ValueError(f"This {type(layer).__name__} is not a layer of the classifier.")
    return layer


def _by_channel_mean(activations: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)


def _by_positive_gradient(activations: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.relu() * activations).sum(dim=1)


def _by_gradient(activations: Tensor, gradients: Tensor) -> Tensor:
    return (gradients * activations).sum(dim=1)


grad_cam_pass = partial(_cam_pass, _by_channel_mean)
layer_cam_pass = partial(_cam_pass, _by_positive_gradient)
hires_cam_pass = partial(_cam_pass, _by_gradient)
