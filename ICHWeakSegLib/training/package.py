"""From a trained classifier to a finished model package with its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.inference.neighbours import smooth_over_slices
from ICHWeakSegLib.localize import METHODS
from ICHWeakSegLib.models import Architecture, MapSettings, ModelCard, OperatingPoint, Training, save_model
from ICHWeakSegLib.networks import SwinClassifier
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import CLASSES
from ICHWeakSegLib.training.train_classifier import Recipe

Scores = list[tuple[str, int, int, float]]
SENSITIVITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
SPECIFICITY = 0.9
# Of the operating points' names: few false slices; few missed ones.
LOW_AT_SPECIFICITY, HIGH_AT_SENSITIVITY = 0.97, 0.9
OUTPUTS = {"binary": (("none", "any"), 1), "binary-sigmoid": (("any",), 0), "subtypes": (CLASSES, 0)}


def slice_auc(scores: Scores) -> float:
    """Area under the ROC curve over slices; NaN where only one class occurs."""
    labels = [label for *_, label, _ in scores]
    return float(roc_auc_score(labels, [row[3] for row in scores])) if len(set(labels)) == 2 else float("nan")


def smoothed(scores: Scores, weights: Sequence[float]) -> Scores:
    """The scores as a model with this `OperatingPoint.smoothing` would give them.

    A probability of 0 stands for a slice without brain, which takes no part.
    """
    by_case: dict[str, list[tuple[str, int, int, float]]] = {}
    for row in scores:
        by_case.setdefault(row[0], []).append(row)
    found: Scores = []
    for rows in by_case.values():
        values = np.zeros(max(row[1] for row in rows) + 1)
        values[[row[1] for row in rows]] = [row[3] for row in rows]
        values = smooth_over_slices(values, weights, values > 0)
        found += [(name, plane, label, float(values[plane])) for name, plane, label, _ in rows]
    return found


def operating_point(scores: Scores, smoothing: Sequence[float] = ()) -> OperatingPoint:
    """A specificity of 0.9 as default, and the probability that reaches each of `SENSITIVITIES`.

    From patients that the network was not trained on; 0.5 and no table where there are none of both kinds.
    With `smoothing` everything is measured, and used, on probabilities joined with the neighbouring slices'.
    """
    smoothing = tuple(smoothing)
    if len({row[2] for row in scores}) < 2:
        return OperatingPoint(smoothing=smoothing)
    scores = smoothed(scores, smoothing) if smoothing else scores
    false, true, cuts = roc_curve(
        [row[2] for row in scores], [row[3] for row in scores], drop_intermediate=False
    )
    cuts = np.clip(cuts, 0.0, 1.0)
    table, before = [], 1.0
    for wanted in SENSITIVITIES:
        # The card wants probabilities that fall as the sensitivity rises.
        before = min(before, float(cuts[np.flatnonzero(true >= wanted)[0]]))
        table.append((wanted, round(before, 5)))

    # A CT has ten times more slices without blood than with: false ones would soon add up to a false bleed.
    def specific(wanted: float) -> float:
        return round(float(cuts[np.flatnonzero(false <= 1 - wanted)[-1]]), 5)

    normal = specific(SPECIFICITY)
    sensitive = round(float(cuts[np.flatnonzero(true >= HIGH_AT_SENSITIVITY)[0]]), 5)
    points = {"low": specific(LOW_AT_SPECIFICITY), "normal": normal, "high": min(normal, sensitive)}
    return OperatingPoint(normal, tuple(table), points, smoothing)


def map_settings(recipe: Recipe, network: SwinClassifier) -> MapSettings:
    """How the model's maps are read.

    Whole slices (HGI-SAM's input): as published. Brain crops: the first stage of a small network is
    distracted by calcification and skull, so stages 1 and 2 speak, and the lower threshold suits their
    sharper maps; both were chosen on painted bleeds in heads that the network had not seen.
    """
    if recipe.preprocessing.framing == "resize-crop" or len(network.swin.layers) < 3:
        return MapSettings(threshold=METHODS["hgi-sam"].threshold(recipe.strategy))
    return MapSettings(threshold=0.03, method_options={"stages": [1, 2]})


def package(
    folder: Path,
    name: str,
    recipe: Recipe,
    network: SwinClassifier,
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
    """Write the model package.

    Args:
        folder: the package's folder.
        scores: of patients that were not trained on; they set the operating point.
        cases: what the network was trained and validated on.
        results: measured figures for the card.
        more: further fields of `ModelCard`.
    """
    classes, target = OUTPUTS[recipe.strategy]
    overrides = {key: value for key, value in recipe.overrides.items() if key != "pretrained"}
    card = trained_card(
        name,
        recipe.preprocessing,
        scores,
        cases,
        f"{recipe.epochs} epochs, batch {recipe.batch}, AdamW {recipe.rate:g}, {recipe.schedule}, "
        f"painted share {recipe.painted_share:g}, seed {recipe.seed}",
        data=data,
        attribution=attribution,
        licence=licence,
        version=version,
        results=results,
        architecture=Architecture(
            recipe.backbone, len(classes), in_chans=len(recipe.preprocessing.windows), overrides=overrides
        ),
        strategy=recipe.strategy,
        classes=tuple(classes),
        target=target,
        map=map_settings(recipe, network),
        description=f"Slice classifier for HGI-SAM, trained on {data}",
    )
    return save_model(folder, replace(card, **more), network, overwrite=overwrite)


def trained_card(
    name: str,
    preprocessing: Preprocessing,
    scores: Scores,
    cases: list[Cropped],
    how: str,
    *,
    data: str,
    attribution: str,
    licence: str,
    learned: str = "Image-level labels",
    smoothing: Sequence[float] = (),
    **own: Any,
) -> ModelCard:
    """The card of a network that was trained here.

    Args:
        scores: of patients that were not trained on; they set the operating point.
        cases: what the network was trained and validated on.
        how: the recipe in words; labels and positive slices are told before it.
        learned: what it learned from.
        smoothing: see `OperatingPoint`.
        own: further fields of `ModelCard`.
    """
    return ModelCard(
        name=name,
        preprocessing=preprocessing,
        operating=operating_point(scores, smoothing),
        training=training_facts(cases, how, data, attribution, licence, learned),
        licence=licence,
        limits=("For research use only.", "Measured only on the data named above."),
        **own,
    )


def training_facts(
    cases: list[Cropped],
    how: str,
    data: str = "",
    attribution: str = "",
    licence: str = "",
    learned: str = "Image-level labels",
) -> Training:
    """What a card says of the training; arguments as `trained_card`."""
    labels = np.concatenate([case.labels[:, 0] for case in cases])
    return Training(
        data=data,
        attribution=attribution,
        licence=licence,
        patients=len({case.patient for case in cases}),
        slices=len(labels),
        recipe=f"{learned} ({int((labels == 1).sum())} positive slices), {how}",
    )
