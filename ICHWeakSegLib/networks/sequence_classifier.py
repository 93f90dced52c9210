"""Slice-sequence classifier: a ResNet sees every slice, a recurrent layer reads the slices in their order.

Source: Ramananda & Sundaresan, Medical Physics 2025 (doi 10.1002/mp.17689; three GRU layers and a head of 128
and 64) and its first form, arXiv 2309.16627 (LSTM and one linear layer).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}
# Widths of the head's hidden layers, as published.
HEADS = {"gru": (128, 64), "lstm": ()}
# Slices that go through the ResNet at a time: enough to keep it busy, few enough to cost no memory.
BATCH = 8


class SequenceClassifier(nn.Module):
    """ResNet, recurrent layers over contiguous slices, one logit ("blood") a slice.

    Two heads: `head` follows the recurrent layers and decides about slices; `slice_head` is one linear layer
    on the ResNet's pooled features. It trains the ResNet in stage 1, is made anew in stage 3, and gives the
    class activation maps.

    Args:
        backbone: name of any timm ResNet; the paper's is `resnet101`.
        in_chans: image channels, 3 CT windows in the paper.
        cell: `gru` (2025) or `lstm` (first form).
        layers: recurrent layers; 3 for `gru` and 1 for `lstm` by default. The first form's count is not
            published: 1 is ours.
        hidden: width of a recurrent layer.
        bidirectional: read the slices from both ends; ours, off as published.
        dropout: between recurrent layers and in the head, 0-1.
        head: widths of the head's hidden layers; (128, 64) for `gru`, none for `lstm` by default.
        run, overlap: slices of a sequence and what runs of a long volume share, see `volume_logits`.
        pretrained: let timm download ImageNet weights for the ResNet.
        overrides: passed on to timm, such as `channels` (32, 64, 128, 256) for half the usual width or `layers`
            (2, 2, 2, 2) for the blocks of each stage.

    Raises:
        ValueError: unknown backbone or cell, one that is no ResNet, or options that timm refuses.

    Example:
        >>> model = SequenceClassifier("resnet18", overrides={"channels": (32, 64, 128, 256)})
        >>> model(torch.zeros(2, 5, 3, 64, 64)).shape
        torch.Size([2, 5])
    """

    # One logit: methods that ask for the number of classes find it here, as in `SwinClassifier`.
    num_classes = 1

    def __init__(
        self,
        backbone: str = "resnet18",
        in_chans: int = 3,
        cell: str = "gru",
        layers: int | None = None,
        hidden: int = 256,
        bidirectional: bool = False,
        dropout: float = 0.0,
        head: Sequence[int] | None = None,
        run: int = 32,
        overlap: int = 8,
        pretrained: bool = False,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"The cell is one of {', '.join(CELLS)}, not {cell!r}.")
        layers = {"gru": 3, "lstm": 1}[cell] if layers is None else layers
        widths = tuple(HEADS[cell] if head is None else head)
        if in_chans < 1 or layers < 1 or hidden < 1 or any(width < 1 for width in widths):
            raise ValueError("in_chans, layers, hidden and the head's widths must be at least 1.")
        if not 0 <= overlap < run:
            raise ValueError(f"The overlap lies between 0 and below the run of {run}, not {overlap}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout lies between 0 and below 1, not {dropout}.")
        # JSON has lists where timm wants tuples.
        wishes = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in (overrides or {}).items()
        }
        self.config: dict[str, Any] = {
            "backbone": backbone,
            "in_chans": in_chans,
            "cell": cell,
            "layers": layers,
            "hidden": hidden,
            "bidirectional": bidirectional,
            "dropout": dropout,
            "head": list(widths),
            "run": run,
            "overlap": overlap,
            "overrides": {
                key: list(value) if isinstance(value, tuple) else value for key, value in wishes.items()
            },
        }
        self.resnet = _resnet(backbone, in_chans, pretrained, wishes)
        self.bidirectional, self.run, self.overlap = bidirectional, run, overlap
        # torch warns where there is nothing between layers to drop.
        between = dropout if layers > 1 else 0.0
        self.recurrent = CELLS[cell](
            self.resnet.num_features,
            hidden,
            layers,
            batch_first=True,
            dropout=between,
            bidirectional=bidirectional,
        )
        sizes = (hidden * (2 if bidirectional else 1), *widths)
        hidden_layers = [
            part
            for low, high in pairwise(sizes)
            for part in (nn.Linear(low, high), nn.ReLU(), nn.Dropout(dropout))
        ]
        self.head = nn.Sequential(*hidden_layers, nn.Linear(sizes[-1], 1))
        self.slice_head = nn.Linear(self.resnet.num_features, 1)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits of sequences of slices.

        Args:
            images: (B, T, C, H, W), windowed to 0-1, slices in their order from inferior to superior.
            mask: (B, T) booleans, False for padding; all real by default. Padding may stand anywhere: it is
                never computed, neighbours across it count as neighbours, and real outputs do not depend on it.

        Returns:
            Logits (B, T); 0 for padding.

        Raises:
            ValueError: images or mask have another shape.
        """
        if images.ndim != 5 or images.shape[2] != self.config["in_chans"]:
            wanted = self.config["in_chans"]
            raise ValueError(f"Images must be (B, T, {wanted}, H, W), got {tuple(images.shape)}.")
        real = _checked(mask, images.shape[:2], images.device)
        found = self.features(images[real])
        features = found.new_zeros(*real.shape, found.shape[1])
        features[real] = found
        return self.sequence_logits(features, real)

    def features(self, images: Tensor) -> Tensor:
        """Pooled features (N, F) of slices (N, C, H, W), each by itself."""
        if not len(images):
            return images.new_zeros(0, self.resnet.num_features)
        return self.resnet(images)

    def sequence_logits(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (B, T) of sequences of features (B, T, F); `mask` as for `forward`."""
        real = _checked(mask, features.shape[:2], features.device)
        lengths = real.sum(dim=1)
        logits = features.new_zeros(real.shape)
        rows = lengths > 0
        if not rows.any():
            return logits
        # Real steps first, in their order: then a packed sequence ends before the padding begins.
        order = (~real[rows]).to(torch.uint8).argsort(dim=1, stable=True)
        front = features[rows].gather(1, order[..., None].expand(-1, -1, features.shape[2]))
        packed = pack_padded_sequence(front, lengths[rows].cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=real.shape[1]
        )
        found = self.head(states)[..., 0].to(logits.dtype)
        return (
            logits.index_put((rows.nonzero()[:, 0],), torch.zeros_like(found).scatter(1, order, found)) * real
        )

    def slice_logits(self, images: Tensor) -> Tensor:
        """Logits (N, 1) of slices (N, C, H, W) by the linear head, without their neighbours."""
        return self.slice_head(self.features(images))

    def fresh_slice_head(self) -> None:
        """Forget the linear head: stage 3 trains a new one on the finished ResNet."""
        self.slice_head.reset_parameters()

    @torch.inference_mode()
    def classify_volume(self, images: Iterable[Tensor], batch: int = BATCH) -> Tensor:
        """Logits of a volume whose slices come one by one; only `batch` images are held at a time.

        Args:
            images: slices (C, H, W) from inferior to superior.
            batch: slices that go through the ResNet together.

        Returns:
            Logits (S,) on the CPU.
        """
        home = self.slice_head.weight.device
        parts = [self.features(torch.stack(some).to(home)) for some in _groups(iter(images), batch)]
        if not parts:
            return torch.zeros(0)
        return self.volume_logits(torch.cat(parts))

    @torch.inference_mode()
    def volume_logits(self, features: Tensor) -> Tensor:
        """Logits (S,) of a whole volume's features (S, F), on the CPU.

        A volume of at most `run` slices is one sequence. A longer one is cut into runs of `run` slices that
        share at least `overlap` with the next, the last one ending at the volume's end. Where runs overlap,
        their logits are averaged, weighted by the slices from the nearest cut end (for a network that reads in one
        direction: from the cut start) to the slice: near a cut a run knows little of what lies around. The
        papers do not say how they merge: this is ours.
        """
        count = len(features)
        total, weights = torch.zeros(count), torch.zeros(count)
        for start in run_starts(count, self.run, self.overlap):
            stop = min(start + self.run, count)
            logits = self.sequence_logits(features[None, start:stop])[0].float().cpu()
            weight = self._trust(start, stop, count)
            total[start:stop] += weight * logits
            weights[start:stop] += weight
        return total / weights

    def _trust(self, start: int, stop: int, count: int) -> Tensor:
        length = stop - start
        from_start = torch.arange(1.0, length + 1)
        whole = torch.full((length,), float(length))
        before = whole if start == 0 else from_start
        behind = whole if stop == count or not self.bidirectional else from_start.flip(0)
        return torch.minimum(before, behind)


def run_starts(count: int, run: int, overlap: int) -> list[int]:
    """First slices of the runs that cover `count` slices; see `SequenceClassifier.volume_logits`."""
    if count <= run:
        return [0] if count else []
    return [*range(0, count - run, run - overlap), count - run]


def _resnet(backbone: str, in_chans: int, pretrained: bool, overrides: dict[str, Any]) -> ResNet:
    if not timm.is_model(backbone):
        raise ValueError(f"timm {timm.__version__} has no model named {backbone!r}.")
    try:
        network = timm.create_model(
            backbone, pretrained=pretrained, num_classes=0, in_chans=in_chans, **overrides
        )
    except (TypeError, AssertionError, IndexError, KeyError) as error:
        raise ValueError(f"timm cannot build {backbone!r} with {overrides}: {error}") from error
    if not isinstance(network, ResNet):
        raise ValueError(f"{backbone!r} is a {type(network).__name__}; SequenceClassifier needs a ResNet.")
    return network


def _checked(mask: Tensor | None, shape: torch.Size, device: torch.device) -> Tensor:
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=device)
    if mask.dtype != torch.bool or mask.shape != shape:
        raise ValueError(f"The mask must be {tuple(shape)} booleans, got {mask.dtype} {tuple(mask.shape)}.")
    return mask.to(device)


def _groups(images: Iterator[Tensor], size: int) -> Iterator[list[Tensor]]:
    if size < 1:
        raise ValueError(f"The batch must be at least 1, got {size}.")
    while some := list(islice(images, size)):
        yield some
