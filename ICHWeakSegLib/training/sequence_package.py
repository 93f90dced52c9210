"""From a trained sequence network to a finished model package with its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ICHWeakSegLib.localize import CAM_THRESHOLD
from ICHWeakSegLib.models import Architecture, MapSettings, ModelCard, save_model
from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.package import Scores, trained_card
from ICHWeakSegLib.training.train_sequence import SequenceRecipe


def package_sequence(
    folder: Path,
    name: str,
    recipe: SequenceRecipe,
    network: SequenceClassifier,
    scores: Scores,
    cases: list[Cropped],
    results: dict[str, Any],
    data: str = "",
    attribution: str = "",
    licence: str = "",
    version: str = "1.0.0",
    overwrite: bool = False,
    **more: Any,
) -> ModelCard:
    """Write the model package: Grad-CAM for the GRU form, CAM for the LSTM form, K-means as published.

    Args:
        folder: the package's folder.
        scores: of patients that were not trained on; they set the operating point.
        cases: what the network was trained and validated on.
        results: measured figures for the card.
        more: further fields of `ModelCard`.
    """
    config = network.config
    method = "grad-cam" if config["cell"] == "gru" else "cam"
    card = trained_card(
        name,
        recipe.preprocessing,
        scores,
        cases,
        f"three stages of {', '.join(map(str, recipe.epochs))} epochs, runs of {recipe.run} slices, AdamW "
        f"{', '.join(f'{rate:g}' for rate in recipe.rates)}, painted share {recipe.painted_share:g}, "
        f"seed {recipe.seed}",
        data=data,
        attribution=attribution,
        licence=licence,
        version=version,
        results=results,
        architecture=Architecture(
            config["backbone"], 1, "sequence-classifier", config["in_chans"], arguments=config
        ),
        strategy="binary-sigmoid",
        classes=("any",),
        target=0,
        map=MapSettings(method, CAM_THRESHOLD, "kmeans"),
        method=method,
        description=f"Slice-sequence classifier ({config['cell'].upper()}) with pseudo-masks, trained on {data}",
        citation="Ramananda & Sundaresan, Medical Physics 2025, doi 10.1002/mp.17689",
    )
    return save_model(folder, replace(card, **more), network, overwrite=overwrite)
