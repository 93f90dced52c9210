"""Slice classifier of HGI-SAM: a Swin Transformer and one linear layer.

Source: Rasoulian, Salari, Xiao, MELBA 2023 (arXiv 2304.04902). The parts are named `swin` and `head` as in
the authors' checkpoint files, so that those load (see `published_weights`).
"""

from __future__ import annotations

from typing import Any

import timm
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

PAPER_BACKBONE = "swin_base_patch4_window12_384"
STRATEGIES = ("binary", "binary-sigmoid", "subtypes")


class SwinClassifier(nn.Module):
    """Swin Transformer with pooled features and a linear head.

    Args:
        backbone: name of a timm Swin (version 1) model; the paper's is `swin_base_patch4_window12_384`.
        num_classes: logits per slice: 2 for `binary`, 1 for `binary-sigmoid`, 6 for `subtypes`.
        in_chans: image channels, 3 CT windows in the paper.
        pretrained: let timm download ImageNet weights for the backbone.
        fused_attention: torch's fused attention kernel, equal up to rounding; it makes inference on a CPU
            about a quarter faster and needs less memory. timm itself leaves it off for Swin.
        overrides: passed on to timm: `img_size`, `window_size`, `embed_dim`, `depths`, `num_heads`,
            `drop_path_rate` and so on.

    Raises:
        ValueError: unknown backbone, one that is no Swin (version 1), or options that timm refuses.

    Example:
        >>> model = SwinClassifier("swin_tiny_patch4_window7_224", num_classes=2, img_size=112)
        >>> model(torch.zeros(4, 3, 112, 112)).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        backbone: str = PAPER_BACKBONE,
        num_classes: int = 2,
        in_chans: int = 3,
        pretrained: bool = False,
        fused_attention: bool = True,
        **overrides: Any,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        if in_chans < 1:
            raise ValueError(f"in_chans must be at least 1, got {in_chans}.")
        if not timm.is_model(backbone):
            raise ValueError(f"timm {timm.__version__} has no model named {backbone!r}.")
        try:
            swin = timm.create_model(
                backbone, pretrained=pretrained, num_classes=0, in_chans=in_chans, **overrides
            )
        except (TypeError, AssertionError, IndexError) as error:
            raise ValueError(f"timm cannot build {backbone!r} with {overrides}: {error}") from error
        if not isinstance(swin, SwinTransformer):
            raise ValueError(
                f"{backbone!r} is a {type(swin).__name__}; SwinClassifier needs a Swin Transformer v1."
            )
        for block in (block for stage in swin.layers for block in stage.blocks):
            block.attn.fused_attn = fused_attention
        self.backbone_name = backbone
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.overrides = dict(overrides)
        self.swin = swin
        self.head = nn.Linear(swin.num_features, num_classes)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again: `SwinClassifier(**model.config)`."""
        return {
            "backbone": self.backbone_name,
            "num_classes": self.num_classes,
            "in_chans": self.in_chans,
            **self.overrides,
        }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that the network was built for."""
        height, width = self.swin.patch_embed.img_size
        return int(height), int(width)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits of slices.

        Args:
            images: (B, C, H, W), windowed to 0-1.

        Returns:
            Logits (B, num_classes).

        Raises:
            ValueError: the images do not fit the network.
        """
        self._check(images)
        return self.head(self.swin(images))

    def positive_logit(self, logits: Tensor, target: int = 1) -> Tensor:
        """The logit (B,) whose rise means "more blood".

        One-logit networks have only that one, whatever `target` says. Else it is class `target`: 1 of a
        binary network (class 0 is "no blood"), or any subtype.

        Raises:
            ValueError: wrong shape, or no such class.
        """
        self._check_logits(logits)
        if self.num_classes == 1:
            return logits[:, 0]
        if not 0 <= target < self.num_classes:
            raise ValueError(f"target {target} is not one of the {self.num_classes} classes.")
        return logits[:, target]

    def probabilities(self, logits: Tensor, strategy: str) -> Tensor:
        """Class probabilities (B, num_classes), 0-1.

        Args:
            logits: (B, num_classes).
            strategy: how the network was trained: `binary` (2 classes, softmax), `binary-sigmoid` (1 class)
                or `subtypes` (independent sigmoids).

        Raises:
            ValueError: unknown strategy, or one that does not fit the number of classes.
        """
        self._check_logits(logits)
        if strategy not in STRATEGIES:
            raise ValueError(f"Unknown strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}.")
        wanted = {"binary": 2, "binary-sigmoid": 1}.get(strategy, self.num_classes)
        if wanted != self.num_classes:
            raise ValueError(
                f"Strategy {strategy!r} takes {wanted} logit(s), this network has {self.num_classes}."
            )
        return logits.softmax(dim=1) if strategy == "binary" else logits.sigmoid()

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.in_chans:
            raise ValueError(f"Images must be (B, {self.in_chans}, H, W), got {tuple(images.shape)}.")
        if self.swin.patch_embed.strict_img_size and tuple(images.shape[2:]) != self.image_size:
            built, got = self.image_size, tuple(images.shape[2:])
            raise ValueError(f"This network takes images of {built} pixels (height, width), got {got}.")

    def _check_logits(self, logits: Tensor) -> None:
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ValueError(f"Logits must be (B, {self.num_classes}), got {tuple(logits.shape)}.")
