"""A sequence classifier looks: slices in their order decide, its ResNet's class activation maps localize."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ICHWeakSegLib.localize.batches import device_of, in_batches
from ICHWeakSegLib.localize.methods import RESNET_METHODS
from ICHWeakSegLib.localize.sequence_probabilities import sequence_probabilities
from ICHWeakSegLib.look.seen import LOOKING, Seen, Step

if TYPE_CHECKING:
    from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier


def look_with_sequence(network: SequenceClassifier, seen: Seen, step: Step) -> None:
    """Fill probabilities, positive slabs and their maps."""
    seen.probabilities[:, seen.card.target] = sequence_probabilities(
        network,
        seen.source,
        notice=seen.notice,
        progress=lambda done, total: step("classifying", done, total),
    )
    method = RESNET_METHODS[seen.settings.method]

    def work(slabs: list[int]) -> None:
        images, brains = (torch.from_numpy(part) for part in seen.source.batch(slabs))
        home = device_of(network)
        maps = method(network, images.to(home), brains.to(home), **seen.settings.method_options)
        for slab, square in zip(slabs, maps.float().cpu().numpy(), strict=True):
            seen.squares[slab] = square.copy()

    todo = seen.decide()
    in_batches(network, todo, 1, work, seen.notice, lambda done, total: step(LOOKING, done, total))
