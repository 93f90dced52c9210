"""Swin-SAM: self-attention maps of a Swin without gradients.

Source: Rasoulian, Salari, Xiao, MLCN 2022, doi 10.1007/978-3-031-17899-3_7; a baseline in arXiv 2304.04902.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..networks import SwinClassifier
from .attention_capture import AttentionCapture
from .frozen import frozen
from .one_pass import Select, all_images, blank, choose
from .watched_attention import BlockAttention
from .window_maps import combine_stages, inside_brain, windows_to_grid


def swin_sam(
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    reference_roll: bool = False,
) -> Tensor:
    """Map of where the classifier looks, from the attention of all stages. It knows no target class.

    Args:
        classifier, images, brain: as for `hgi_sam`.
        reference_roll: roll every second block by half a window, also one that did not shift because a single
            window covers its grid. The authors' code does so; it misplaces the last stage.

    Returns:
        (B, H, W) float32 in 0-1, each image scaled by itself; zeros where a map is constant.
    """
    return swin_sam_pass(classifier, images, brain, all_images, reference_roll)[1]


def swin_sam_pass(
    classifier: SwinClassifier,
    images: Tensor,
    brain: Tensor | np.ndarray | None = None,
    select: Select = all_images,
    reference_roll: bool = False,
) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and maps (B, H, W), the latter zeros for images that `select` leaves out."""
    stages = range(len(classifier.swin.layers))
    with frozen(classifier), torch.no_grad(), AttentionCapture(classifier.swin, stages) as capture:
        logits = classifier(images)
    chosen = choose(select, logits)
    attended = partial(_attended, reference_roll=reference_roll)
    maps = combine_stages(capture.blocks, attended, tuple(images.shape[2:]))
    return logits, blank(inside_brain(maps, brain), chosen)


def _attended(block: BlockAttention, reference_roll: bool) -> Tensor:
    """Attention of a block (B, rows, columns), averaged over its heads."""
    rolled = reference_roll and block.index % 2 == 1
    shift = (block.window[0] // 2, block.window[1] // 2) if rolled else None
    return windows_to_grid(block.key_mean.mean(dim=1), block, shift)
