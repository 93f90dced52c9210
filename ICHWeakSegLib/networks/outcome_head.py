"""From the slices of a volume, the tokens of a text and the volume of blood to one outcome logit."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ICHWeakSegLib.networks.attention_pool import AttentionPool

# Bands of admission fields that the image may teach, too: GCS as the ICH score cuts it, age in years.
AUXILIARY: dict[str, tuple[float, ...]] = {"gcs": (5, 13), "age": (60, 70, 80)}


class OutcomeLogits(NamedTuple):
    """What `OutcomeHead` gives.

    Attributes:
        outcome: (B,) logits of a poor outcome.
        slice_weights: (B, S), sum 1 over the slices that are there; 0 without an image.
        token_weights: (B, T), likewise over tokens.
        auxiliary: name in `AUXILIARY` to logits of its bands (B, bands).
    """

    outcome: Tensor
    slice_weights: Tensor
    token_weights: Tensor
    auxiliary: dict[str, Tensor]


class OutcomeHead(nn.Module):
    """Pools slices and tokens by attention, each steered by the other, and joins them with the volume of blood.

    A modality that is missing is replaced by a learned vector. The volume of blood (its logarithm and itself) is a
    feature of its own: a mean over slices cannot know a sum. Both are ours.

    Args:
        width: of the features.
        dropout: before the perceptron's layers.
        auxiliary: names in `AUXILIARY`, told from the image's features alone.

    Raises:
        ValueError: an unknown auxiliary.
    """

    def __init__(self, width: int, dropout: float = 0.2, auxiliary: tuple[str, ...] = ()) -> None:
        super().__init__()
        unknown = sorted(set(auxiliary) - AUXILIARY.keys())
        if unknown:
            raise ValueError(f"Auxiliary heads are {', '.join(AUXILIARY)}, not {unknown[0]!r}.")
        self.slices = AttentionPool(width, width)
        self.tokens = AttentionPool(width, width)
        self.no_image = nn.Parameter(torch.zeros(width))
        self.no_text = nn.Parameter(torch.zeros(width))
        self.join = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Dropout(dropout), nn.Linear(2 * width, width), nn.GELU()
        )
        self.last = nn.Sequential(nn.Dropout(dropout), nn.Linear(width + 4, 1))
        self.auxiliary = nn.ModuleDict(
            {name: nn.Linear(width, len(AUXILIARY[name]) + 1) for name in auxiliary}
        )

    def forward(
        self, slices: Tensor, valid: Tensor, text: Tensor, there: Tensor, volume_ml: Tensor
    ) -> OutcomeLogits:
        """The outcome of a batch of patients.

        Args:
            slices: (B, S, width).
            valid: bool (B, S), false for padding; a patient without slices has no image.
            text: (B, T, width).
            there: bool (B, T), false for padding; a patient without tokens has no text.
            volume_ml: (B,) of blood; 0 without an image.
        """
        has_image, has_text = valid.any(1), there.any(1)
        count = there.sum(1, keepdim=True).clamp(min=1)
        summary = (text * there[..., None]).sum(1) / count
        summary = torch.where(has_text[:, None], summary, self.no_text.to(summary.dtype))
        image, slice_weights = self.slices(slices, summary, valid)
        image = torch.where(has_image[:, None], image, self.no_image.to(image.dtype))
        words, token_weights = self.tokens(text, image, there)
        words = torch.where(has_text[:, None], words, self.no_text.to(words.dtype))
        # About 0 for 6 mL and 1 for 32 mL; and linear.
        order = (torch.log1p(volume_ml) - 2.0) / 1.5 * has_image
        linear = (volume_ml / 30.0).clamp(max=5.0)
        facts = torch.stack([order, linear, has_image.to(order.dtype), has_text.to(order.dtype)], 1)
        joined = self.join(torch.cat([image, words], 1))
        outcome = self.last(torch.cat([joined, facts.to(joined.dtype)], 1))[:, 0]
        return OutcomeLogits(
            outcome.float(),
            slice_weights,
            token_weights,
            {name: head(image) for name, head in self.auxiliary.items()},
        )


def band(name: str, values: Tensor) -> Tensor:
    """Band of each value, long; -1 where it is NaN."""
    cuts = torch.tensor(AUXILIARY[name], device=values.device)
    found = torch.bucketize(values.float().contiguous(), cuts, right=True)
    return torch.where(values.isnan(), -1, found)
