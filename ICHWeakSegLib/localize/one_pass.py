"""What every localization method gives: logits and maps of one batch from one forward pass.

A method first runs the network, then asks `select` which images deserve a map; only for those is there a
backward pass. So a slice without blood costs a forward pass and no more, and a slice with blood is not run
twice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Which of the images deserve a map: logits (B, classes) -> booleans (B,).
Select = Callable[[Tensor], Tensor]


def all_images(logits: Tensor) -> Tensor:
    """Select every image."""
    return torch.ones(len(logits), dtype=torch.bool, device=logits.device)


def choose(select: Select, logits: Tensor) -> Tensor:
    """Ask `select`, and check its answer: booleans (B,) on the device of the logits."""
    chosen = torch.as_tensor(select(logits), device=logits.device)
    if chosen.dtype != torch.bool or chosen.shape != logits.shape[:1]:
        raise ValueError(f"Expected one boolean for each of {len(logits)} images, got {chosen}.")
    return chosen


def no_maps(images: Tensor) -> Tensor:
    """Empty maps (B, H, W) of images (B, C, H, W)."""
    return images.new_zeros(images.shape[0], *images.shape[2:])


def blank(maps: Tensor, chosen: Tensor) -> Tensor:
    """Maps (B, H, W) with zeros for the images that were not chosen."""
    return torch.where(chosen[:, None, None], maps, 0.0)
