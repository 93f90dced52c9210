"""HGI-SAM: head-wise gradient-infused self-attention maps.

Source: Rasoulian, Salari, Xiao, MELBA 2023, arXiv 2304.04902. Attention heads count by the strength of their
gradient, stages of the Swin are multiplied, so that fine early and coarse late attention must agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..networks import SwinClassifier
from .attention_capture import AttentionCapture
from .frozen import frozen
from .one_pass import Select, all_images, blank, choose, no_maps
from .watched_attention import BlockAttention
from .window_maps import combine_stages, inside_brain, windows_to_grid


def hgi_sam(
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    target: int = 1,
    gradient_at: str = "logits",
    stages: Sequence[int] = (0, 1, 2),
) -> Tensor:
    """Map of where the classifier sees blood.

    Args:
        classifier: a Swin classifier of any size, on the device of the images. It is not changed.
        images: (B, C, H, W), as for the classifier.
        brain: mask (H, W) or (B, H, W); the map is 0 outside.
        target: the class to look for; a classifier with one logit has only that one.
        gradient_at: "logits" takes the gradient at the input of the attention's softmax, as the authors' code
            does; "attention" takes it at the attention itself, as their figure says.
        stages: the stages to multiply, counted from 0.

    Returns:
        (B, H, W) float32 in 0-1, each image scaled by itself; zeros where a map is constant.

    Raises:
        ValueError: images, brain, target or stages do not fit the classifier.
    """
    return hgi_sam_pass(classifier, images, brain, all_images, target, gradient_at, stages)[1]


def hgi_sam_pass(
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    select: Select = all_images,
    target: int = 1,
    gradient_at: str = "logits",
    stages: Sequence[int] = (0, 1, 2),
) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and maps (B, H, W), the latter zeros for images that `select` leaves out."""
    with (
        frozen(classifier),
        torch.inference_mode(False),
        torch.enable_grad(),
        AttentionCapture(classifier.swin, stages, gradient_at) as capture,
    ):
        logits = classifier(images.detach())
        chosen = choose(select, logits.detach())
        if chosen.any():
            capture.backward(classifier.positive_logit(logits, target)[chosen].sum())
        logits = logits.detach()
    if not chosen.any():
        return logits, no_maps(images)
    maps = combine_stages(capture.blocks, _weighted, tuple(images.shape[2:]))
    return logits, blank(inside_brain(maps, brain), chosen)


def _weighted(block: BlockAttention) -> Tensor:
    """Attention of a block (B, rows, columns): heads weighted by the norm of their gradient."""
    return windows_to_grid((block.gradient_norm[..., None] * block.key_mean).mean(dim=1), block)
