"""A network's predictions on a CT: slice probabilities, positive slices, maps. One file a kind of network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ICHWeakSegLib.inference.slice_predictions import SlicePredictions, Step

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SlicePredictions", "Step", "predict"]


def predict(network: nn.Module, predictions: SlicePredictions, step: Step) -> None:
    """Run a network on the CT, as its kind does, and fill in its predictions."""
    kind = predictions.card.architecture.kind
    # Each brings its own libraries, and MONAI alone takes seconds to import.
    if kind == "sequence-classifier":
        from ICHWeakSegLib.inference.sequence_classifier import predict_with_sequence as predict_with
    elif kind == "segmenter":
        from ICHWeakSegLib.inference.segmenter import predict_with_segmenter as predict_with
    elif kind == "sc-network":
        from ICHWeakSegLib.inference.sc_network import predict_with_sc as predict_with
    else:
        from ICHWeakSegLib.inference.swin_classifier import predict_with_swin as predict_with
    predict_with(network, predictions, step)
