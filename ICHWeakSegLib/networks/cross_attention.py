"""Text and image features attend to each other (cross-modal interaction)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """One round: the text looks at the image, then the image at the text.

    In the manner of SAM's two-way attention, with normalisation before each step.

    Args:
        width: of both features.
        heads: of the attention.
        dropout: within.
    """

    def __init__(self, width: int, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.text_looks = _Look(width, heads, dropout)
        self.image_looks = _Look(width, heads, dropout)

    def forward(self, image: Tensor, text: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """New features of the same shapes.

        Args:
            image: (B, P, width), one a place.
            text: (B, T, width).
            padding: bool (B, T), true where there is no token; never all of a row.
        """
        text = self.text_looks(text, image)
        return self.image_looks(image, text, padding), text


class _Look(nn.Module):
    """Attention of one kind of features to the other, then a small perceptron."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.norm_other, self.norm_after = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, own: Tensor, other: Tensor, padding: Tensor | None = None) -> Tensor:
        seen = self.norm_other(other)
        own = own + self.attention(self.norm(own), seen, seen, padding, need_weights=False)[0]
        return own + self.perceptron(self.norm_after(own))


def places(height: int, width: int, channels: int) -> Tensor:
    """Where a place lies, as sines and cosines: (height * width, channels), row by row.

    Raises:
        ValueError: channels are not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"Places need channels in fours, not {channels}.")
    rates = torch.exp(torch.arange(channels // 4) * (-math.log(100.0) / max(1, channels // 4 - 1)))
    parts = []
    for count, along in ((height, 0), (width, 1)):
        # Whatever the grid, the image spans the same range.
        angle = (torch.arange(count) + 0.5)[:, None] / count * 10.0 * rates
        wave = torch.cat([angle.sin(), angle.cos()], 1)
        shape = (height, width, channels // 2)
        parts.append((wave[:, None] if along == 0 else wave[None]).expand(shape))
    return torch.cat(parts, -1).reshape(height * width, channels)
