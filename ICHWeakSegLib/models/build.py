"""The network that a card describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.models.card import Architecture
from ICHWeakSegLib.models.sections import ModelError

if TYPE_CHECKING:
    from torch import nn


def build_network(architecture: Architecture, source: str = "The model card") -> nn.Module:
    """A network of the card's architecture with untrained weights.

    Args:
        architecture: the card's architecture.
        source: file name for errors.

    Raises:
        ModelError: timm knows no such backbone, or the overrides do not fit it.
    """
    from ICHWeakSegLib.networks import SwinClassifier

    # timm wants tuples where JSON has lists.
    overrides = {key: _tuples(value) for key, value in architecture.overrides.items()}
    try:
        return SwinClassifier(
            architecture.backbone,
            architecture.num_classes,
            in_chans=architecture.in_chans,
            pretrained=False,
            **overrides,
        )
    except Exception as problem:  # timm raises many kinds for one cause
        reason = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
        raise ModelError(
            f"{source}: field 'architecture' describes a network that cannot be built ({reason})."
        ) from problem


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
