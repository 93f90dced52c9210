"""Inference with a prognosis network: its mask decoder without any text, read as a segmenter's map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ICHWeakSegLib.inference.slice_predictions import CHUNK, LOCALIZING, SlicePredictions, Step
from ICHWeakSegLib.localize.batches import device_of, in_batches
from ICHWeakSegLib.networks.segmenter import slice_logits

if TYPE_CHECKING:
    from ICHWeakSegLib.networks.sc_network import ScNetwork

# As a segmenter's: so many pixels decide about their slice.
TOP_K = 40


def predict_with_sc(network: ScNetwork, predictions: SlicePredictions, step: Step) -> None:
    """Fill probabilities, positive slabs and their maps."""
    todo, squares = predictions.slabs(), {}
    for first in range(0, len(todo), CHUNK):
        slabs = todo[first : first + CHUNK]
        step(LOCALIZING, first, len(todo))
        images, brains = (torch.from_numpy(part) for part in predictions.source.batch(slabs))
        maps = np.zeros(brains.shape, np.float32)
        scores = np.zeros(len(slabs), np.float32)

        def work(batch: list[int], images=images, brains=brains, maps=maps, scores=scores) -> None:
            with torch.inference_mode():
                place = device_of(network)
                brain = brains[batch].to(place)
                logits = network(images[batch].to(place)[None], [""], brain=brain[None]).blood[0]
                maps[batch] = (logits.sigmoid() * brain).cpu().numpy()
                scores[batch] = slice_logits(logits[:, None], brain, TOP_K).sigmoid().cpu().numpy()

        in_batches(network, range(len(slabs)), CHUNK, work, predictions.notice)
        for place, slab in enumerate(slabs):
            predictions.probabilities[slab, predictions.card.target] = scores[place]
            squares[slab] = maps[place]
    predictions.squares = {slab: squares[slab] for slab in predictions.decide()}
