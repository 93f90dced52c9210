"""From a trained sequence network to a finished model package with its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.localize import CAM_THRESHOLD
from ICHWeakSegLib.models import Architecture, MapSettings, ModelCard, Training, save_model
from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.package import Scores, operating_point
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
    labels = np.concatenate([case.labels[:, 0] for case in cases])
    method = "grad-cam" if config["cell"] == "gru" else "cam"
    card = ModelCard(
        name=name,
        version=version,
        architecture=Architecture(
            config["backbone"], 1, "sequence-classifier", config["in_chans"], arguments=config
        ),
        strategy="binary-sigmoid",
        classes=("any",),
        target=0,
        preprocessing=recipe.preprocessing,
        operating=operating_point(scores),
        map=MapSettings(method, CAM_THRESHOLD, "kmeans"),
        method=method,
        description=f"Slice-sequence classifier ({config['cell'].upper()}) with pseudo-masks, trained on {data}",
        training=Training(
            data=data,
            attribution=attribution,
            licence=licence,
            patients=len({case.patient for case in cases}),
            slices=len(labels),
            recipe=(
                f"Image-level labels ({int((labels == 1).sum())} positive slices), three stages of "
                f"{', '.join(map(str, recipe.epochs))} epochs, runs of {recipe.run} slices, AdamW "
                f"{', '.join(f'{rate:g}' for rate in recipe.rates)}, painted share {recipe.painted_share:g}, "
                f"seed {recipe.seed}"
            ),
        ),
        results=results,
        licence=licence,
        limits=("For research use only.", "Measured only on the data named above."),
        citation="Ramananda & Sundaresan, Medical Physics 2025, doi 10.1002/mp.17689",
    )
    return save_model(folder, replace(card, **more), network, overwrite=overwrite)
