"""With a sequence classifier: slices in their order decide, its ResNet's class activation maps localize."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ICHWeakSegLib.inference.sequence_probabilities import sequence_probabilities
from ICHWeakSegLib.inference.slice_predictions import LOCALIZING, SlicePredictions, Step
from ICHWeakSegLib.localize.batches import device_of, in_batches
from ICHWeakSegLib.localize.methods import RESNET_METHODS

if TYPE_CHECKING:
    from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier


def predict_with_sequence(network: SequenceClassifier, predictions: SlicePredictions, step: Step) -> None:
    """Fill probabilities, positive slabs and their maps."""
    predictions.probabilities[:, predictions.card.target] = sequence_probabilities(
        network,
        predictions.source,
        notice=predictions.notice,
        progress=lambda done, total: step("classifying", done, total),
    )
    method = RESNET_METHODS[predictions.settings.method]

    def work(slabs: list[int]) -> None:
        images, brains = (torch.from_numpy(part) for part in predictions.source.batch(slabs))
        home = device_of(network)
        maps = method(network, images.to(home), brains.to(home), **predictions.settings.method_options)
        for slab, square in zip(slabs, maps.float().cpu().numpy(), strict=True):
            predictions.squares[slab] = square.copy()

    todo = predictions.decide()
    in_batches(network, todo, 1, work, predictions.notice, lambda done, total: step(LOCALIZING, done, total))
