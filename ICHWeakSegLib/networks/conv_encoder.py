"""A small convolutional image encoder: for machines without SAM's weights, and for little data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ConvEncoder(nn.Module):
    """Features of four scales from scratch; normalised by groups, so that no slice knows of another.

    Args:
        in_chans: channels of the images.
        widths: channels of the scales; each halves the size of the one before, the first that of the image.

    Attributes:
        channels, strides: of the feature maps, as `SamEncoder`'s.
    """

    def __init__(self, in_chans: int = 3, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        if not widths or any(width % 8 or width < 8 for width in widths):
            raise ValueError(f"Widths are multiples of 8, not {list(widths)}.")
        self.channels = list(widths)
        self.strides = [2 ** (level + 1) for level in range(len(widths))]
        levels, before = [], in_chans
        for width in widths:
            levels.append(nn.Sequential(_convolution(before, width, 2), _convolution(width, width, 1)))
            before = width
        self.levels = nn.ModuleList(levels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps (B, channels, H / stride, W / stride), finest first, of images (B, in_chans, H, W)."""
        features = []
        for level in self.levels:
            images = level(images)
            features.append(images)
        return features


def _convolution(before: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, stride, padding=1, bias=False), nn.GroupNorm(width // 8, width), nn.SiLU()
    )
