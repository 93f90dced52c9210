"""Text encoders: a small one that needs no file, and any encoder of transformers from a local folder.

Both give tokens that people can read, their features and where they are padding.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_PIECES = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")


class EncodedText(NamedTuple):
    """What a text encoder makes of texts.

    Attributes:
        tokens: of each text, as people can read them; as many as the text has, no padding.
        features: (B, T, width), T of the longest text.
        padding: bool (B, T), true where a text has no token.
    """

    tokens: list[list[str]]
    features: Tensor
    padding: Tensor


class SmallTextEncoder(nn.Module):
    """A transformer on hashed words, from scratch.

    Words go to buckets by their CRC-32, so that there is no vocabulary to keep; digits are tokens of their own
    that know their place, so that 84 and 86 have the tens in common.

    Args:
        width: of the features.
        depth: transformer layers.
        heads: of their attention.
        buckets: words share so many embeddings.
        length: tokens that count; the rest of a longer text is left out.
        dropout: of the transformer.

    Attributes:
        width: of the features.

    Example:
        >>> SmallTextEncoder.pieces("Aged 84 years.")
        [('aged', 'aged'), ('8', '8@1'), ('4', '4@0'), ('years', 'years'), ('.', '.')]
    """

    def __init__(
        self,
        width: int = 32,
        depth: int = 1,
        heads: int = 4,
        buckets: int = 2048,
        length: int = 160,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"The text encoder's width is a multiple of its heads ({heads}), not {width}.")
        self.width, self.buckets, self.length = width, buckets, length
        # The last one is padding.
        self.words = nn.Embedding(buckets + 1, width, padding_idx=buckets)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        nn.init.normal_(self.words.weight[:buckets], std=0.5)

    @staticmethod
    def pieces(text: str) -> list[tuple[str, str]]:
        """Tokens of a text, each as people read it and as it is hashed."""
        found: list[tuple[str, str]] = []
        for match in _PIECES.finditer(text.lower()):
            piece, start = match.group(), match.start()
            if not piece.isdecimal():
                found.append((piece, piece))
                continue
            # Digits right behind a digit and a point are its decimals.
            decimals = start > 1 and text[start - 1] == "." and text[start - 2].isdecimal()
            last = len(piece) - 1
            found += [(d, f"{d}@{-1 - n if decimals else last - n}") for n, d in enumerate(piece)]
        return found

    def forward(self, texts: Sequence[str]) -> EncodedText:
        """Tokens and features of texts; a text without a token is all padding."""
        pieces = [self.pieces(text)[: self.length] for text in texts]
        longest = max(1, *(len(found) for found in pieces))
        ids = torch.full((len(texts), longest), self.buckets)
        for row, found in enumerate(pieces):
            for column, (_, key) in enumerate(found):
                ids[row, column] = zlib.crc32(key.encode()) % self.buckets
        ids = ids.to(self.places.device)
        padding = ids == self.buckets
        # Attention to nothing would be NaN.
        blind = padding & ~padding.all(1, keepdim=True)
        features = self.layers(self.words(ids) + self.places[:longest], src_key_padding_mask=blind)
        return EncodedText([[shown for shown, _ in found] for found in pieces], features, padding)
