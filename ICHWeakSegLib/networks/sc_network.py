"""A network for segmentation and outcome from a head CT and admission text, after ICH-SCNet.

ICH-SCNet (Yu et al., BIBM 2024, arXiv 2411.04656) joins SAM's image encoder, CLIP's text encoder, cross-modal
interaction of text with image and segmentation features, feature fusion, and two tasks. No code of it is
published: how the parts are built and joined is ours, and docs/prognosis.md says which choices these are.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ICHWeakSegLib.networks.attention_pool import AttentionPool
from ICHWeakSegLib.networks.conv_encoder import ConvEncoder
from ICHWeakSegLib.networks.cross_attention import CrossAttention, places
from ICHWeakSegLib.networks.mask_decoder import MaskDecoder
from ICHWeakSegLib.networks.outcome_head import OutcomeHead
from ICHWeakSegLib.networks.sam_encoder import SIZES, SamEncoder
from ICHWeakSegLib.networks.text_encoder import SmallTextEncoder
from ICHWeakSegLib.networks.tuning import is_frozen

IMAGE_KINDS = ("conv", "sam", *SIZES)
TEXT_KINDS = ("small", "transformers")
# Places of a slice without blood give no mask features: so many places of full blood count as many.
_SOFT_PLACES = 0.1
# Blood logit of a slice that is padding: never blood.
NEVER = -20.0


class ScOutput(NamedTuple):
    """What `ScNetwork` gives for B patients of up to S slices.

    Attributes:
        outcome: (B,) logits of a poor outcome.
        blood: (B, S, H, W) logits; `NEVER` on padding; None without any image.
        volume_ml: (B,) of pixels that are rather blood than not, each counted by its probability.
        slice_weights: (B, S), sum 1; 0 for patients without an image.
        image_weights: (B, S, h, w), where the slices' pooling looked, sum 1 a slice; None without any image.
        tokens: of each text.
        token_weights: (B, T), sum 1; 0 for patients without text.
        auxiliary: name to logits of bands.
    """

    outcome: Tensor
    blood: Tensor | None
    volume_ml: Tensor
    slice_weights: Tensor
    image_weights: Tensor | None
    tokens: list[list[str]]
    token_weights: Tensor
    auxiliary: dict[str, Tensor]


class ScNetwork(nn.Module):
    """Blood on every slice and the outcome of the patient.

    Args:
        size: side of the slices in pixels; a multiple of 16.
        windows: CT windows, the channels of a slice.
        image: the image encoder, `kind` and its arguments: `conv` (`widths`), `vit_b`, `vit_l`, `vit_h` (SAM's
            sizes; `normalize`) or `sam` (any argument of `SamEncoder`).
        text: the text encoder: `small` (arguments of `SmallTextEncoder`) or `transformers` (arguments of
            `TransformersTextEncoder` but for its tokenizer).
        width: of all features behind the encoders.
        rounds: of cross attention between text and image.
        heads: of the attention.
        dropout: behind the encoders.
        auxiliary: names in `outcome_head.AUXILIARY`.
        mask_gradient: let the outcome's gradient flow through the mask into the decoder: for training without any
            mask; else the mask is left to its own loss.
        slices_at_once: slices that pass through the encoder and the decoder together; fewer need less memory.

    Raises:
        ValueError: unknown kind, or numbers that do not fit each other.

    Example:
        >>> network = ScNetwork(size=64)
        >>> out = network(torch.zeros(1, 8, 3, 64, 64), ["Glasgow Coma Scale 6, severe."])
        >>> out.outcome.shape, out.blood.shape
        (torch.Size([1]), torch.Size([1, 8, 64, 64]))
    """

    def __init__(
        self,
        size: int = 128,
        windows: int = 3,
        image: dict[str, Any] | None = None,
        text: dict[str, Any] | None = None,
        width: int = 96,
        rounds: int = 1,
        heads: int = 4,
        dropout: float = 0.2,
        auxiliary: Sequence[str] = (),
        mask_gradient: bool = False,
        slices_at_once: int = 8,
    ) -> None:
        super().__init__()
        if size % 16 or size < 16:
            raise ValueError(f"The side of the slices is a multiple of 16 pixels, not {size}.")
        for name, value, least in (
            ("windows", windows, 1),
            ("rounds", rounds, 0),
            ("slices_at_once", slices_at_once, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is a whole number of at least {least}, not {value!r}.")
        if width % heads or width % 8:
            raise ValueError(f"The width is a multiple of 8 and of the heads ({heads}), not {width}.")
        self.size, self.windows, self.width = size, windows, width
        self.mask_gradient, self.slices_at_once = mask_gradient, slices_at_once
        self._config = {
            "image": _image_arguments(image or {"kind": "conv"}),
            "text": _text_arguments(text or {"kind": "small"}),
            "width": width,
            "rounds": rounds,
            "heads": heads,
            "dropout": dropout,
            "auxiliary": list(auxiliary),
        }
        self.image = _image_encoder(self._config["image"], size, windows)
        self.text = _text_encoder(self._config["text"])
        self.cells = size // self.image.strides[-1]
        self.from_image = nn.Conv2d(self.image.channels[-1], width, 1)
        self.from_text = nn.Linear(self.text.width, width)
        self.no_text = nn.Parameter(torch.zeros(width))
        self.register_buffer("places", places(self.cells, self.cells, width), persistent=False)
        self.interaction = nn.ModuleList(CrossAttention(width, heads, dropout) for _ in range(rounds))
        self.decoder = MaskDecoder(width, self.image.channels, self.image.strides, windows)
        self.look = AttentionPool(width, 2 * width)
        self.fuse = nn.Sequential(nn.Linear(3 * width + 1, width), nn.GELU(), nn.LayerNorm(width))
        self.head = OutcomeHead(width, dropout, tuple(auxiliary))

    @property
    def in_chans(self) -> int:
        """Channels of a slice: its windows."""
        return self.windows

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that build this network again, plain JSON: `ScNetwork(**network.config)`."""
        text = self._config["text"]
        if text["kind"] == "transformers":
            text = {"kind": "transformers", **self.text.arguments}
        return {
            "size": self.size,
            "windows": self.windows,
            **self._config,
            "text": text,
            "mask_gradient": self.mask_gradient,
            "slices_at_once": self.slices_at_once,
        }

    def train(self, mode: bool = True) -> ScNetwork:
        """As every module; a frozen encoder stays as it is used, without dropout."""
        super().train(mode)
        for encoder in (self.image, self.text):
            if mode and is_frozen(encoder):
                encoder.eval()
        return self

    def forward(
        self,
        images: Tensor | None,
        texts: Sequence[str],
        valid: Tensor | None = None,
        brain: Tensor | None = None,
        pixel_ml: Tensor | None = None,
    ) -> ScOutput:
        """Blood and outcome of B patients.

        Args:
            images: (B, S, windows, size, size) in 0-1, slices from inferior; None: no patient has an image.
            texts: of each patient; empty: no text.
            valid: bool (B, S), false for padding, which changes nothing; all false: no image. Default: all true.
            brain: bool (B, S, size, size), where blood can be; default: everywhere.
            pixel_ml: (B, S), volume of a pixel of each slice in mL; default 0.02, i.e. 2 x 2 x 5 mm.

        Raises:
            ValueError: shapes that do not fit.
        """
        count, device = len(texts), self.no_text.device
        if images is not None:
            wanted = (self.windows, self.size, self.size)
            if images.ndim != 5 or len(images) != count or tuple(images.shape[2:]) != wanted:
                raise ValueError(
                    f"Images must be ({count}, S, {', '.join(map(str, wanted))}), got {tuple(images.shape)}."
                )
            if valid is None:
                valid = torch.ones(images.shape[:2], dtype=torch.bool, device=device)
        tokens, text, there = self._read(texts)
        slots = 1 if images is None else images.shape[1]
        slices = torch.zeros(count, slots, self.width, device=device, dtype=text.dtype)
        volume = torch.zeros(count, slots, device=device)
        blood = weights = None
        if images is None or not valid.any():
            valid = torch.zeros(count, slots, dtype=torch.bool, device=device)
        if images is not None:
            blood = torch.full((count, slots, self.size, self.size), NEVER, device=device)
            weights = torch.zeros(count, slots, self.cells, self.cells, device=device)
        if valid.any():
            patient, slot = valid.nonzero(as_tuple=True)
            # No text at all is a token of its own: attention needs something to look at.
            words, padding = self._words(text, there)
            where = brain[valid] if brain is not None else None
            found = self._slices(images[valid], words[patient], padding[patient], where)
            slices = slices.index_put((patient, slot), found[0].to(slices.dtype))
            blood = blood.index_put((patient, slot), found[1].float())
            weights = weights.index_put((patient, slot), found[2].float())
            each = pixel_ml[valid] if pixel_ml is not None else found[3].new_full(found[3].shape, 0.02)
            volume = volume.index_put((patient, slot), found[3].float() * each.float())
        volume_ml = volume.sum(1)
        head = self.head(slices, valid, text, there, volume_ml)
        return ScOutput(
            head.outcome,
            blood,
            volume_ml,
            head.slice_weights,
            weights,
            tokens,
            head.token_weights,
            head.auxiliary,
        )

    def _read(self, texts: Sequence[str]) -> tuple[list[list[str]], Tensor, Tensor]:
        """Tokens, features (B, T, width) and where there is a token; none of an empty text."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_frozen(self.text)):
            found = self.text(texts)
        told = torch.tensor([bool(text.strip()) for text in texts], device=found.padding.device)
        tokens = [row if text.strip() else [] for row, text in zip(found.tokens, texts, strict=True)]
        return tokens, self.from_text(found.features), ~found.padding & told[:, None]

    def _words(self, text: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Text features for the slices, and their padding; the learned token where there is no text."""
        none = ~there.any(1)
        alone = torch.zeros_like(text).index_fill(1, torch.zeros(1, dtype=torch.long, device=text.device), 1)
        words = torch.where(none[:, None, None], alone * self.no_text.to(text.dtype), text)
        padding = ~there
        padding = torch.where(none[:, None], alone[..., 0] == 0, padding)
        return words, padding

    def _slices(
        self, images: Tensor, words: Tensor, padding: Tensor, brain: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All slices, some at a time; where gradients are wanted, a part is computed again on the way back."""
        frozen = is_frozen(self.image)
        parts = []
        for low in range(0, len(images), self.slices_at_once):
            some = slice(low, low + self.slices_at_once)
            features: list[Tensor] = []
            if frozen:
                # Once: nothing in it needs a way back.
                with torch.no_grad():
                    features = self.image(images[some])
            inside = None if brain is None else brain[some]
            arguments = (images[some], words[some], padding[some], inside, *features)
            if torch.is_grad_enabled() and len(images) > self.slices_at_once:
                parts.append(checkpoint(self._some_slices, *arguments, use_reentrant=False))
            else:
                parts.append(self._some_slices(*arguments))
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]

    def _some_slices(
        self, images: Tensor, words: Tensor, padding: Tensor, brain: Tensor | None, *features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slice features (N, width), blood logits (N, H, W), attention (N, h, w), pixels of blood (N,)."""
        maps = list(features) or self.image(images)
        count = len(images)
        image = self.from_image(maps[-1]).flatten(2).transpose(1, 2) + self.places
        for block in self.interaction:
            image, words = block(image, words, padding)
        square = image.transpose(1, 2).reshape(count, self.width, self.cells, self.cells)
        logits = self.decoder(square, maps, images)[:, 0]
        inside = torch.ones_like(logits, dtype=torch.bool) if brain is None else brain
        share = logits.float().sigmoid() * inside
        share = share if self.mask_gradient else share.detach()
        cover = functional.adaptive_avg_pool2d(share[:, None], self.cells).flatten(1)
        segment = (cover[..., None] * image).sum(1) / (cover.sum(1, keepdim=True) + _SOFT_PLACES)
        seen = (~padding)[..., None]
        told = (words * seen).sum(1) / seen.sum(1)
        # Places without brain hold nothing to look at; a slice without any is looked at as a whole.
        there = functional.adaptive_max_pool2d(inside[:, None].float(), self.cells).flatten(1) > 0
        there = there | ~there.any(1, keepdim=True)
        looked, weights = self.look(image, torch.cat([told, segment], 1).to(image.dtype), there)
        pixels = (share * (share >= 0.5)).sum((1, 2))
        size = torch.log1p(pixels)[:, None] / 5.0
        slices = self.fuse(torch.cat([looked, segment.to(looked.dtype), told, size.to(looked.dtype)], 1))
        return slices, logits, weights.reshape(count, self.cells, self.cells), pixels


def _image_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """All arguments of the image encoder: a package outlives a change of defaults."""
    kind = given.get("kind")
    if kind == "conv":
        return _with_defaults(ConvEncoder, given)
    if kind == "sam" or kind in SIZES:
        return _with_defaults(SamEncoder, {**SIZES.get(kind, {}), **given})
    raise ValueError(f"The image encoder is one of {', '.join(IMAGE_KINDS)}, not {kind!r}.")


def _text_arguments(given: dict[str, Any]) -> dict[str, Any]:
    kind = given.get("kind")
    if kind == "small":
        return _with_defaults(SmallTextEncoder, given)
    if kind == "transformers":
        return dict(given)
    raise ValueError(f"The text encoder is one of {', '.join(TEXT_KINDS)}, not {kind!r}.")


def _with_defaults(encoder: type[nn.Module], given: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(encoder).parameters
    own = {name: known[name].default for name in known if name not in ("size", "in_chans")}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in {**own, **given}.items()
    }


def _image_encoder(arguments: dict[str, Any], size: int, windows: int) -> ConvEncoder | SamEncoder:
    own = {key: value for key, value in arguments.items() if key != "kind"}
    if arguments["kind"] == "conv":
        return ConvEncoder(windows, **own)
    return SamEncoder(size, windows, **own)


def _text_encoder(arguments: dict[str, Any]) -> nn.Module:
    own = {key: value for key, value in arguments.items() if key != "kind"}
    if arguments["kind"] == "small":
        return SmallTextEncoder(**own)
    from ICHWeakSegLib.networks.transformers_text import TransformersTextEncoder

    return TransformersTextEncoder(**own)
