"""Many features become one by attention that a query steers; the weights tell what counted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """Additive attention over a set (Bahdanau 2015; as pooling of instances, Ilse et al. 2018, arXiv 1802.04712).

    Args:
        width: of the features.
        query: of the query.
    """

    def __init__(self, width: int, query: int) -> None:
        super().__init__()
        self.keys = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.query = nn.Linear(query, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, features: Tensor, query: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted mean of features, and the weights.

        Args:
            features: (B, N, width).
            query: (B, query).
            there: bool (B, N), false for padding.

        Returns:
            (B, width); weights (B, N), sum 1, exactly 0 on padding. Both are 0 where nothing is there.
        """
        scores = self.score(torch.tanh(self.keys(features) + self.query(query)[:, None]))[..., 0].float()
        # Not minus infinity: where nothing is there, softmax would be NaN.
        weights = scores.masked_fill(~there, -1e9).softmax(1) * there
        return (weights[..., None].to(features.dtype) * features).sum(1), weights
