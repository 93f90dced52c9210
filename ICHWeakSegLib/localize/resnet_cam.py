"""Class activation maps of a ResNet with a linear head: classic CAM, and Grad-CAM, both at `layer4`.

Sources: CAM, Zhou et al., CVPR 2016, arXiv 1512.04150 (first form of the sequence model, arXiv 2309.16627);
Grad-CAM, Selvaraju et al., ICCV 2017, arXiv 1610.02391 (its form of 2025, doi 10.1002/mp.17689). With pooled
features and one linear layer the gradient is the head's weight over the number of cells: the two are
proportional, so equal after scaling.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..networks.sequence_classifier import SequenceClassifier
from .frozen import frozen
from .one_pass import Select, all_images, blank, choose, no_maps
from .window_maps import enlarge, inside_brain

# Of the scaled map, from which on a pixel belongs to the region: both papers.
CAM_THRESHOLD = 0.7
# Network, activations (B, F, h, w), logits (B, 1) of the images that are asked for -> channel weights.
Weights = Callable[[SequenceClassifier, Tensor, Tensor], Tensor]


def cam(
    network: SequenceClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    target: int = 0,
) -> Tensor:
    """Classic CAM: `layer4`'s channels weighted by the linear head.

    Args:
        network: in any mode, with a trained `slice_head`; it is given back as it was.
        images: (B, C, H, W), windowed to 0-1.
        brain: mask (H, W) or (B, H, W); maps are zero outside and scaled inside.
        target: there is one logit only; taken so that all methods can be called alike.

    Returns:
        (B, H, W) float32: ReLU, bilinear enlargement, min-max to 0-1 for each image by itself; zeros where a
        map is constant.

    Raises:
        ValueError: images or brain do not fit.
    """
    return cam_pass(network, images, brain, all_images, target)[1]


def resnet_grad_cam(
    network: SequenceClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    target: int = 0,
) -> Tensor:
    """Grad-CAM: `layer4`'s channels weighted by the mean gradient of the logit. Arguments as for `cam`."""
    return resnet_grad_cam_pass(network, images, brain, all_images, target)[1]


def _pass(
    weights_of: Weights,
    network: SequenceClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    select: Select = all_images,
    target: int = 0,
) -> tuple[Tensor, Tensor]:
    """Logits (B, 1) of the linear head and maps (B, H, W), zeros for images that `select` leaves out."""
    if images.ndim != 4 or images.shape[1] != network.config["in_chans"]:
        wanted = network.config["in_chans"]
        raise ValueError(f"Images must be (B, {wanted}, H, W), got {tuple(images.shape)}.")
    with frozen(network):
        with torch.inference_mode(False), torch.no_grad():
            activations = network.resnet.forward_features(images.detach().clone())
        with torch.inference_mode(False), torch.enable_grad():
            # The graph starts here, so the backward pass ends here.
            activations.requires_grad_(True)
            logits = network.slice_head(network.resnet.forward_head(activations))
            chosen = choose(select, logits.detach())
            if not chosen.any():
                return logits.detach(), no_maps(images)
            weights = weights_of(network, activations, logits[chosen]).detach()
    cells = (weights * activations.detach()).sum(dim=1).relu()
    maps = inside_brain(enlarge(cells.float(), tuple(images.shape[2:])), brain)
    return logits.detach(), blank(maps, chosen)


def _head_weights(network: SequenceClassifier, activations: Tensor, _: Tensor) -> Tensor:
    return network.slice_head.weight[0, None, :, None, None]


def _mean_gradients(_: SequenceClassifier, activations: Tensor, logits: Tensor) -> Tensor:
    (gradients,) = torch.autograd.grad(logits.sum(), activations)
    return gradients.mean(dim=(2, 3), keepdim=True)


cam_pass = partial(_pass, _head_weights)
resnet_grad_cam_pass = partial(_pass, _mean_gradients)
