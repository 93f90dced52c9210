"""From values per window and token to one image-sized map in 0-1."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .watched_attention import BlockAttention

# Below this relative spread a float32 map differs by rounding only, and counts as constant.
_ROUNDING = 1e-6


def windows_to_grid(values: Tensor, block: BlockAttention, shift: tuple[int, int] | None = None) -> Tensor:
    """Put windows back in their places on the token grid.

    Args:
        values: (B * windows, N), one value per token, windows row by row.
        block: gives grid, window and shift. Padding that completed the last windows is cut off.
        shift: undo this cyclic shift instead of the block's own.

    Returns:
        (B, grid rows, grid columns).
    """
    (rows, columns), (height, width) = block.grid, block.window
    down, across = -(-rows // height), -(-columns // width)
    tiles = values.reshape(-1, down, across, height, width).permute(0, 1, 3, 2, 4)
    grid = tiles.reshape(-1, down * height, across * width)[:, :rows, :columns]
    return torch.roll(grid, shifts=shift or block.shift, dims=(1, 2))


def multiply_pairs(maps: Sequence[Tensor]) -> Tensor:
    """Product of consecutive pairs of block maps (B, H, W), mean over the pairs; a lone map stays."""
    if len(maps) == 1:
        return maps[0]
    pairs = [first * second for first, second in zip(maps[::2], maps[1::2], strict=True)]
    return torch.stack(pairs).mean(dim=0)


def min_max(maps: Tensor) -> Tensor:
    """Scale each map of (B, H, W) to 0-1 by itself; a constant one becomes zeros."""
    low = maps.amin(dim=(1, 2), keepdim=True)
    high = maps.amax(dim=(1, 2), keepdim=True)
    spread = high - low
    constant = spread <= _ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(constant, 0.0, (maps - low) / torch.where(constant, 1.0, spread))


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear (corners not aligned) from (B, h, w) to (B, *size)."""
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def inside_brain(maps: Tensor, brain: Tensor | np.ndarray | None) -> Tensor:
    """Multiply maps (B, H, W) with a brain mask, (H, W) for all or (B, H, W), and scale each to 0-1.

    Raises:
        ValueError: the mask has another shape.
    """
    if brain is None:
        return min_max(maps)
    mask = torch.as_tensor(brain).to(device=maps.device, dtype=maps.dtype)
    if mask.shape not in (maps.shape, maps.shape[1:]):
        raise ValueError(
            f"The brain mask must be {tuple(maps.shape[1:])} or {tuple(maps.shape)}, got {tuple(mask.shape)}."
        )
    return min_max(maps * mask)


def combine_stages(
    blocks: Sequence[BlockAttention], to_map: Callable[[BlockAttention], Tensor], size: tuple[int, int]
) -> Tensor:
    """Product over the stages of their block maps, each stage scaled to 0-1 and enlarged.

    Args:
        blocks: in the order of the network.
        to_map: block -> (B, rows, columns).
        size: height and width of the result in pixels.

    Returns:
        (B, *size), not scaled.
    """
    stages = sorted({block.stage for block in blocks})
    maps = [multiply_pairs([to_map(block) for block in blocks if block.stage == stage]) for stage in stages]
    return torch.stack([enlarge(min_max(stage), size) for stage in maps]).prod(dim=0)
