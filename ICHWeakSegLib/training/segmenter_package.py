"""From a trained segmentation network to a finished model package, alone or beside a classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ICHWeakSegLib.localize.methods import PROBABILITY
from ICHWeakSegLib.models import (
    Architecture,
    MapSettings,
    Model,
    ModelCard,
    SegmenterPart,
    save_model,
)
from ICHWeakSegLib.networks.segmenter import Segmenter
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.package import Scores, trained_card, training_facts
from ICHWeakSegLib.training.train_segmenter import SegmenterRecipe

# Weight of the two neighbouring slabs' probabilities beside a slab's own: bleeds go on from slice to slice.
SMOOTHING = (0.5,)


def package_segmenter(
    folder: Path,
    name: str,
    recipe: SegmenterRecipe,
    network: Segmenter,
    scores: Scores,
    cases: list[Cropped],
    results: dict[str, Any],
    data: str = "",
    attribution: str = "",
    licence: str = "",
    version: str = "1.0.0",
    overwrite: bool = False,
    learned: str | None = None,
    **more: Any,
) -> ModelCard:
    """Write a package whose one network finds slices and pixels alike.

    Args:
        folder: the package's folder.
        scores: of patients that were not trained on; they set the operating point.
        cases: what the network was trained and validated on.
        results: measured figures for the card.
        learned: what drew the blood that it learned from; by default what the recipe suggests, see `learned_on`.
        more: further fields of `ModelCard`.
    """
    learned = learned or learned_on(recipe)
    card = trained_card(
        name,
        recipe.preprocessing,
        scores,
        cases,
        _how(recipe),
        learned=learned.capitalize(),
        smoothing=SMOOTHING,
        data=data,
        attribution=attribution,
        licence=licence,
        version=version,
        results=results,
        architecture=Architecture(
            network.kind.replace("-", "_"), 1, "segmenter", network.windows, arguments=network.config
        ),
        strategy="binary-sigmoid",
        classes=("any",),
        target=0,
        map=MapSettings(PROBABILITY, 0.3, "hysteresis"),
        method=PROBABILITY,
        description=f"Segmentation network ({network.kind}) from {learned}, trained on {data}",
    )
    return save_model(folder, replace(card, **more), network, overwrite=overwrite)


def package_pair(
    folder: Path,
    name: str,
    classifier: Model,
    recipe: SegmenterRecipe,
    network: Segmenter,
    cases: list[Cropped],
    results: dict[str, Any],
    mode: str = "either",
    overwrite: bool = False,
    learned: str | None = None,
    **more: Any,
) -> ModelCard:
    """Write a package of a classifier with a segmentation network that was trained on its pseudo-masks.

    Args:
        classifier: decides about slices, and gives the map.
        mode: whose mask counts, see `SegmenterPart`.
        others: as for `package_segmenter`.
    """
    own, learned = classifier.card, learned or learned_on(recipe)
    wishes = None if recipe.preprocessing == own.preprocessing else recipe.preprocessing
    card = replace(
        own,
        name=name,
        weights=None,
        segmenter=SegmenterPart(network.config, mode=mode, preprocessing=wishes),
        description=f"{own.description}; with a segmentation network ({network.kind}) from {learned}",
        training=replace(
            own.training,
            recipe=f"{own.training.recipe}. Segmentation network: "
            f"{training_facts(cases, _how(recipe), learned=learned.capitalize()).recipe}",
        ),
        results={**own.results, **results},
    )
    return save_model(
        folder, replace(card, **more), classifier.network, overwrite=overwrite, segmenter=network
    )


def learned_on(recipe: SegmenterRecipe, on: str | None = None) -> str:
    """What a segmenter learned from, in words.

    Args:
        recipe: how it was trained.
        on: `painted`, `pseudo-masks` or `masks`; by default what the recipe's loss and mix suggest.
    """
    if on is None:
        labelled = recipe.mix.labelled_positive + recipe.mix.labelled_negative
        on = "painted" if labelled else "pseudo-masks" if recipe.loss == "batch-dice" else "masks"
    if on != "painted":
        return on
    return "image-level labels and painted bleeds" if recipe.image_weight else "painted bleeds"


def _how(recipe: SegmenterRecipe) -> str:
    taught = " after an earlier round, whose maps were soft masks" if recipe.teacher else ""
    taught += ", and the mean of both rounds" if recipe.keep_teacher else ""
    return (
        f"{recipe.epochs * recipe.steps} steps of {recipe.mix.batch} slices{taught}, AdamW {recipe.rate:g}, "
        f"seed {recipe.seed}"
    )
