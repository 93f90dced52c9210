"""With a segmenter: its probability of every pixel is the map, the highest ones decide about the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ICHWeakSegLib.inference.segmenter_maps import segmenter_passes
from ICHWeakSegLib.inference.slice_predictions import LOCALIZING, SlicePredictions, Step

if TYPE_CHECKING:
    from ICHWeakSegLib.networks.segmenter import Segmenter


def predict_with_segmenter(network: Segmenter, predictions: SlicePredictions, step: Step) -> None:
    """Fill probabilities, positive slabs and their maps."""
    todo, squares = predictions.slabs(), {}
    passes = segmenter_passes(
        network,
        predictions.source,
        todo,
        notice=predictions.notice,
        progress=lambda done, total: step(LOCALIZING, done, total),
    )
    for slab, square, score in passes:
        predictions.probabilities[slab, predictions.card.target] = score
        # Its neighbours have a say about the slab: which maps are wanted is known at the end.
        squares[slab] = square
    predictions.squares = {slab: squares[slab] for slab in predictions.decide()}
