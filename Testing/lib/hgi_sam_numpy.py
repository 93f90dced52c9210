"""HGI-SAM and Swin-SAM written down a second time, as plainly as possible: the oracle of `test_localize`.

Nothing of ICHWeakSegLib.localize is used. The network runs block by block from its weights alone, with an
attention that is written out; windows, shifts, masks and relative positions are counted token by token;
gradients are asked for one block after the other. All that follows is NumPy loops. Slow, for small networks
only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional


@dataclass
class Block:
    """Attention of one image in one block: arrays (windows, heads, N, N), and where the windows lie."""

    stage: int
    index: int
    grid: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]
    attention: np.ndarray
    gradient_at_logits: np.ndarray
    gradient_at_attention: np.ndarray


def run(classifier, image, window: int, target: int = 1) -> tuple[np.ndarray, list[Block]]:
    """Logits (classes,) and all blocks of one image (C, H, W); `window` as the network was asked for."""
    swin = classifier.swin
    seen = []
    tokens = swin.patch_embed(image[None])[0]
    for stage, layer in enumerate(swin.layers):
        if stage:
            tokens = _merge(tokens, layer.downsample)
        for index, block in enumerate(layer.blocks):
            rows, columns, _ = tokens.shape
            size = (min(rows, window), min(columns, window))
            shift = tuple(
                0 if index % 2 == 0 or extent <= window else window // 2 for extent in (rows, columns)
            )
            mixed, logits, attention = _attend(block.attn, block.norm1(tokens), size, shift)
            tokens = tokens + mixed
            tokens = tokens + block.mlp(block.norm2(tokens))
            seen.append((stage, index, (rows, columns), size, shift, logits, attention))
    output = classifier.head(swin.norm(tokens).mean(dim=(0, 1)))
    logit = output[0] if len(output) == 1 else output[target]
    blocks = []
    for *place, logits, attention in seen:
        (at_logits,) = torch.autograd.grad(logit, logits, retain_graph=True)
        (at_attention,) = torch.autograd.grad(logit, attention, retain_graph=True)
        arrays = (tensor.detach().numpy() for tensor in (attention, at_logits, at_attention))
        blocks.append(Block(*place, *arrays))
    return output.detach().numpy(), blocks


def hgi_sam(blocks: list[Block], size, brain=None, gradient_at="logits", stages=(0, 1, 2)) -> np.ndarray:
    """Map (H, W) in 0-1 as the method card has it."""

    def weighted(block: Block) -> np.ndarray:
        gradient = block.gradient_at_logits if gradient_at == "logits" else block.gradient_at_attention
        windows, heads, count, _ = block.attention.shape
        values = np.zeros((windows, count))
        for window in range(windows):
            mean_head = np.zeros((count, count))
            for head in range(heads):
                weight = np.sqrt((gradient[window, head] ** 2).sum())
                mean_head += weight * block.attention[window, head] / heads
            values[window] = mean_head.mean(axis=0)
        return values

    return _map(blocks, weighted, size, brain, stages, roll=False)


def swin_sam(blocks: list[Block], size, brain=None, reference_roll=False) -> np.ndarray:
    """Map (H, W) in 0-1 from attention alone."""
    stages = sorted({block.stage for block in blocks})
    return _map(blocks, lambda block: block.attention.mean(axis=(1, 2)), size, brain, stages, reference_roll)


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (h, w) to `size`, pixel centres at half positions, edges repeated."""
    result = np.zeros(size)
    for row in range(size[0]):
        y = min(max((row + 0.5) * image.shape[0] / size[0] - 0.5, 0), image.shape[0] - 1)
        top = int(np.floor(y))
        bottom = min(top + 1, image.shape[0] - 1)
        for column in range(size[1]):
            x = min(max((column + 0.5) * image.shape[1] / size[1] - 0.5, 0), image.shape[1] - 1)
            left = int(np.floor(x))
            right = min(left + 1, image.shape[1] - 1)
            upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
            result[row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return result


def _map(blocks, values_of, size, brain, stages, roll) -> np.ndarray:
    product = np.ones(size)
    for stage in stages:
        grids = [_place(values_of(block), block, roll) for block in blocks if block.stage == stage]
        pairs = [grids[i] * grids[i + 1] for i in range(0, len(grids) - 1, 2)] or [grids[0]]
        product *= bilinear(_scale(sum(pairs) / len(pairs)), size)
    return _scale(product if brain is None else product * brain)


def _scale(image: np.ndarray) -> np.ndarray:
    spread = image.max() - image.min()
    return np.zeros_like(image) if spread == 0 else (image - image.min()) / spread


def _place(values: np.ndarray, block: Block, roll: bool) -> np.ndarray:
    """Values (windows, N) to their tokens (rows, columns)."""
    shift = block.shift
    if roll and block.index % 2:
        shift = (block.window[0] // 2, block.window[1] // 2)
    grid = np.zeros(block.grid)
    for window, count, row, column in _positions(block.grid, block.window):
        if row < block.grid[0] and column < block.grid[1]:
            target = ((row + shift[0]) % block.grid[0], (column + shift[1]) % block.grid[1])
            grid[target] = values[window, count]
    return grid


def _positions(grid, window):
    """(window, token in the window, row, column) of the padded grid."""
    down, across = -(-grid[0] // window[0]), -(-grid[1] // window[1])
    for row in range(down * window[0]):
        for column in range(across * window[1]):
            number = (row // window[0]) * across + column // window[1]
            yield number, (row % window[0]) * window[1] + column % window[1], row, column


def _attend(attention_layer, tokens, window, shift):
    """Shifted-window attention, written out: mixed tokens, softmax input, softmax output."""
    rows, columns, channels = tokens.shape
    positions = list(_positions((rows, columns), window))
    count = max(position[0] for position in positions) + 1
    inside = window[0] * window[1]
    padded = (-(-rows // window[0]) * window[0], -(-columns // window[1]) * window[1])
    gathered = [[None] * inside for _ in range(count)]
    region = np.zeros((count, inside), dtype=int)
    for number, place, row, column in positions:
        real = row < rows and column < columns
        source = tokens[(row + shift[0]) % rows, (column + shift[1]) % columns]
        gathered[number][place] = source if real else torch.zeros(channels, dtype=tokens.dtype)
        region[number, place] = 3 * _region(row, padded[0], window[0], shift[0]) + _region(
            column, padded[1], window[1], shift[1]
        )
    windows = torch.stack([torch.stack(line) for line in gathered])
    heads = attention_layer.num_heads
    parts = attention_layer.qkv(windows).reshape(count, inside, 3, heads, -1)
    query, key, value = (parts[:, :, i].transpose(1, 2) for i in range(3))
    offset = np.zeros((inside, inside), dtype=int)
    for i in range(inside):
        for j in range(inside):
            dy = i // window[1] - j // window[1] + window[0] - 1
            dx = i % window[1] - j % window[1] + window[1] - 1
            offset[i, j] = dy * (2 * window[1] - 1) + dx
    logits = query @ key.transpose(2, 3) / (channels // heads) ** 0.5
    logits = logits + attention_layer.relative_position_bias_table[offset].permute(2, 0, 1)
    if any(shift):
        apart = torch.from_numpy(region[:, None, :, None] != region[:, None, None, :])
        logits = logits - 100.0 * apart
    attention = torch.exp(logits - logits.amax(dim=-1, keepdim=True))
    attention = attention / attention.sum(dim=-1, keepdim=True)
    mixed = attention_layer.proj((attention @ value).transpose(1, 2).reshape(count, inside, channels))
    lines = [[None] * columns for _ in range(rows)]
    for number, place, row, column in positions:
        if row < rows and column < columns:
            lines[(row + shift[0]) % rows][(column + shift[1]) % columns] = mixed[number, place]
    return torch.stack([torch.stack(line) for line in lines]), logits, attention


def _region(position: int, extent: int, window: int, shift: int) -> int:
    """Which of the parts, brought together by the cyclic shift, a position belongs to."""
    if not shift or position < extent - window:
        return 0
    return 1 if position < extent - shift else 2


def _merge(tokens, merging):
    """Patch merging: four neighbours to one token."""
    tokens = functional.pad(tokens, (0, 0, 0, tokens.shape[1] % 2, 0, tokens.shape[0] % 2))
    corners = [tokens[row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return merging.reduction(merging.norm(torch.cat(corners, dim=-1)))
