"""The network that a card describes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.card import Architecture, SegmenterPart

if TYPE_CHECKING:
    from torch import nn


def build_network(architecture: Architecture, source: str = "The model card") -> nn.Module:
    """A network of the card's architecture with untrained weights.

    Args:
        architecture: the card's architecture.
        source: file name for errors.

    Raises:
        ModelError: there is no such backbone, or the arguments do not fit it.
    """
    return _built(lambda: _network(architecture), "architecture", source)


def build_segmenter(part: SegmenterPart, source: str = "The model card") -> nn.Module:
    """The second network of a card with untrained weights; errors as `build_network`."""
    from ICHWeakSegLib.networks.segmenter import Segmenter

    return _built(lambda: Segmenter(**part.arguments), "segmenter", source)


def _network(architecture: Architecture) -> nn.Module:
    if architecture.kind == "sequence-classifier":
        from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier

        return SequenceClassifier(**{**architecture.arguments, "pretrained": False})
    if architecture.kind == "segmenter":
        from ICHWeakSegLib.networks.segmenter import Segmenter

        return Segmenter(**architecture.arguments)
    if architecture.kind == "sc-network":
        from ICHWeakSegLib.networks.sc_network import ScNetwork

        return ScNetwork(**architecture.arguments)
    from ICHWeakSegLib.networks import SwinClassifier

    # timm wants tuples where JSON has lists.
    overrides = {key: _tuples(value) for key, value in architecture.overrides.items()}
    return SwinClassifier(
        architecture.backbone,
        architecture.num_classes,
        in_chans=architecture.in_chans,
        pretrained=False,
        **overrides,
    )


def _built(make: Callable[[], nn.Module], field: str, source: str) -> nn.Module:
    try:
        return make()
    except ModuleNotFoundError as problem:
        if problem.name and problem.name.startswith("ICHWeakSegLib"):
            raise
        raise ModelError(
            f"{source}: the network needs the Python package {problem.name}, which is missing: install it with "
            'pip install "ichweakseg[prognosis]".'
        ) from problem
    except Exception as problem:  # timm and MONAI raise many kinds for one cause
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise ModelError(
            f"{source}: field '{field}' describes a network that cannot be built ({reason})."
        ) from problem


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
