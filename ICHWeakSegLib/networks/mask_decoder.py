"""From image features of several depths to a blood logit for every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaskDecoder(nn.Module):
    """Doubles the resolution step by step; each step sees the encoder's features of that scale and the image.

    The ViT's features have one scale only, so that the fine ones come from convolutions on the image itself. The
    last doubling folds channels into pixels (sub-pixel convolution, arXiv 1609.05158): full resolution costs most.

    Args:
        width: of the features that come in, at the coarsest stride.
        channels, strides: of the encoder's feature maps, strides powers of 2.
        in_chans: of the image.
        slim: channels at half the resolution; they double with each step down, up to `width`.
    """

    def __init__(
        self, width: int, channels: Sequence[int], strides: Sequence[int], in_chans: int, slim: int = 16
    ) -> None:
        super().__init__()
        self.strides = list(strides)
        coarsest = max(strides)
        if any(stride < 2 or stride & (stride - 1) for stride in strides):
            raise ValueError(f"Strides are powers of 2, not {list(strides)}.")
        self.scales: list[int] = []
        self.steps = nn.ModuleDict()
        here, scale = width, coarsest
        while True:
            out = min(width, slim * scale // 2)
            skips = [n for n, stride in enumerate(strides) if stride == scale]
            self.steps[str(scale)] = _Step(
                here, [channels[n] for n in skips], in_chans * (4 if scale == 2 else 1), out
            )
            self.scales.append(scale)
            here = out
            if scale == 2:
                break
            scale //= 2
        self.last = nn.Conv2d(here, 4, 1)
        # Blood fills few pixels: begin with none.
        nn.init.constant_(self.last.bias, -3.0)

    def forward(self, fused: Tensor, features: Sequence[Tensor], images: Tensor) -> Tensor:
        """Blood logits (B, 1, H, W).

        Args:
            fused: (B, width, h, w), at the coarsest stride.
            features: the encoder's maps.
            images: (B, in_chans, H, W).
        """
        x = fused
        for scale in self.scales:
            if scale != self.scales[0]:
                x = functional.interpolate(x, scale_factor=2, mode="nearest")
            skips = [f for f, stride in zip(features, self.strides, strict=True) if stride == scale]
            # Fine detail of the image as channels at the last step, whose pixels become four.
            small = (
                functional.avg_pool2d(images, scale) if scale > 2 else functional.pixel_unshuffle(images, 2)
            )
            x = self.steps[str(scale)](x, skips, small)
        return functional.pixel_shuffle(self.last(x), 2)


class _Step(nn.Module):
    def __init__(self, before: int, skips: Sequence[int], in_chans: int, out: int) -> None:
        super().__init__()
        # Each source in its own scale of values first.
        self.reduced = nn.ModuleList(nn.Conv2d(channels, out, 1) for channels in [before, *skips])
        self.image = nn.Conv2d(in_chans, out, 3, padding=1)
        groups = max(1, out // 8)
        self.mix = nn.Sequential(
            nn.GroupNorm(groups, out),
            nn.SiLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out),
            nn.SiLU(),
        )

    def forward(self, x: Tensor, skips: Sequence[Tensor], image: Tensor) -> Tensor:
        parts = [reduce(part) for reduce, part in zip(self.reduced, [x, *skips], strict=True)]
        return self.mix(torch.stack([*parts, self.image(image)]).sum(0))
