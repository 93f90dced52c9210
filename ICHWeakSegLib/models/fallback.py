"""Which model runs where a method is asked for that the chosen one does not know."""

from __future__ import annotations

from pathlib import Path

from ICHWeakSegLib.models.card import ModelCard
from ICHWeakSegLib.models.find import FoundModel, find_model


def model_for(name_or_dir: str | Path, method: str | None = None) -> tuple[FoundModel, str]:
    """The model of a name or folder, or the one that its card names for further methods (`map.further`).

    Args:
        name_or_dir: a name or a model folder.
        method: localization that will be asked for; None for the card's own.

    Returns:
        The model, and the name of the one that it stands in for; empty where it is the chosen one itself.

    Raises:
        ModelError: there is no such model, or its card is broken.
    """
    found = find_model(name_or_dir)
    assert found.card is not None
    if method is None or not found.card.map.further or _knows(found.card, method):
        return found, ""
    other = find_model(found.card.map.further)
    assert other.card is not None
    # A name that neither knows: the chosen one's own sentence is the right one.
    return (other, found.card.name) if _knows(other.card, method) else (found, "")


def _knows(card: ModelCard, method: str) -> bool:
    from ICHWeakSegLib.localize.methods import default_thresholds

    return method in default_thresholds(card.architecture.kind, card.strategy)
