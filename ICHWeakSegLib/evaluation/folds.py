"""The networks of `ichweakseg train ... --folds`, each on the patients that it was not trained on.

A classifier may take its fold's segmentation network beside it, from another run that holds out the same patients.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import nn

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.evaluation.systems import System, parse
from ICHWeakSegLib.models import Architecture, Model, ModelCard, find_model
from ICHWeakSegLib.models.build import build_network
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.package import OUTPUTS, Scores, package
from ICHWeakSegLib.training.train_classifier import Recipe

ORIGIN = "out-of-fold scores of the other folds, at a specificity of 0.9"
# Only the training of a segmentation network leaves it.
SEGMENTER_FACTS = "segmenter.json"


@dataclass
class Fold:
    """A finished fold.

    Attributes:
        recipe: how it was trained: `Recipe`, `SequenceRecipe` or `SegmenterRecipe`.
        network: in eval mode, on the CPU.
        trained, held: patients it was trained on, and those that were held out.
        scores: of the held-out slices: case, plane, label, probability.
        package: writes the network's package, as `training.package.package`.
        name: of its folder.
        segments: whether the network is a segmentation network.
    """

    recipe: Any
    network: nn.Module
    trained: set[str]
    held: set[str]
    scores: Scores
    package: Callable[..., ModelCard]
    name: str
    segments: bool


def read_fold(folder: Path) -> Fold:
    """Read a fold's `run.json`, network and `scores.json`.

    Raises:
        InputError: a file is missing or of another kind of training, or a patient is in both parts.
    """
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        scores = [tuple(row) for row in json.loads((folder / "scores.json").read_text(encoding="utf-8"))]
        recipe, network, pack = _read_network(folder, run["recipe"])
        trained, held = set(run["train"]), set(run["valid"])
    except FileNotFoundError as problem:
        raise InputError(
            f"{folder} is not finished ({Path(problem.filename).name} is missing): let the training end first."
        ) from problem
    except (KeyError, TypeError, ValueError) as problem:
        raise InputError(
            f"{folder} is no fold of 'ichweakseg train ... --folds' ({problem}): check the path."
        ) from problem
    both = sorted(trained & held)
    if both:
        raise InputError(
            f"{folder} was trained on the patient {both[0]} whom it holds out: it cannot be measured."
        )
    segments = (folder / SEGMENTER_FACTS).is_file()
    return Fold(recipe, network.eval(), trained, held, scores, pack, folder.name, segments)


def _read_network(folder: Path, facts: dict[str, Any]) -> tuple[Any, nn.Module, Callable[..., ModelCard]]:
    """Recipe, network and what packages it, of whichever kind of training left this folder."""
    if (folder / SEGMENTER_FACTS).is_file():
        from ICHWeakSegLib.training.segmenter_package import package_segmenter
        from ICHWeakSegLib.training.train_segmenter import SegmenterRecipe, read_segmenter

        return _recipe(SegmenterRecipe, facts), read_segmenter(folder)[0], package_segmenter
    if (folder / "network.json").is_file():
        from ICHWeakSegLib.training.sequence_package import package_sequence
        from ICHWeakSegLib.training.sequence_run import read_run
        from ICHWeakSegLib.training.train_sequence import SequenceRecipe

        return _recipe(SequenceRecipe, facts), read_run(folder).network, package_sequence
    recipe = _recipe(Recipe, facts)
    network = build_network(_architecture(recipe), str(folder))
    network.load_state_dict(load_file(folder / "network.safetensors"))
    return recipe, network, package


def _architecture(recipe: Recipe) -> Architecture:
    overrides = {key: value for key, value in recipe.overrides.items() if key != "pretrained"}
    channels = len(recipe.preprocessing.windows)
    return Architecture(
        recipe.backbone, len(OUTPUTS[recipe.strategy][0]), in_chans=channels, overrides=overrides
    )


def _recipe(kind: type, facts: dict[str, Any]) -> Any:
    """A recipe of this kind from its JSON; what the kind does not know is left out."""
    from ICHWeakSegLib.training.segmenter_dataset import Mix

    known = {name: facts[name] for name in (f.name for f in fields(kind)) if name in facts}
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    known["preprocessing"] = Preprocessing.from_json(facts["preprocessing"])
    known["augmentation"] = Augmentation(**facts["augmentation"])
    if "mix" in known:
        known["mix"] = Mix(**facts["mix"])
    if "overrides" in known:
        known["overrides"] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in facts["overrides"].items()
        }
    return kind(**known)


@dataclass
class _Labels:
    """What a card tells of a training case."""

    patient: str
    labels: np.ndarray


def _learned(scores: Scores) -> list[_Labels]:
    by_case: dict[str, list[int]] = {}
    for name, _, label, _ in scores:
        by_case.setdefault(name, []).append(label)
    return [_Labels(name, np.array(labels)[:, None]) for name, labels in by_case.items()]


def fold_folders(run: Path) -> list[Path]:
    """The run's folds in their order.

    Raises:
        InputError: there are fewer than two.
    """
    found = sorted(run.glob("fold-*"), key=lambda path: (len(path.name), path.name))
    if len(found) < 2:
        raise InputError(f"{run} holds no folds: give the --output of a training with --folds.")
    return found


def fold_system(
    text: str,
    patients: Iterable[str],
    folder: Path,
    sensitivity: float | str | None = None,
    beside: Path | None = None,
) -> System:
    """The system of a cross-validated run: every patient meets the network that never saw him.

    Each fold's network becomes a package in `folder`. Its operating point comes from the out-of-fold scores
    of the other folds' patients, so that no patient takes part in choosing a threshold that he is measured by.

    Args:
        text: `RUN[:METHOD/REFINE/MODE]`, see `parse`; a mode needs `beside`.
        patients: those to be measured.
        folder: for the packages.
        sensitivity: moves the operating point by the table of those scores.
        beside: a run of segmentation networks; where there is a mode, each fold's classifier gets the one that was
            trained without the same patients.

    Raises:
        InputError: the run is not finished; a patient is in no fold, in two, or in his own training fold; the two
            runs make no pairs, or there is a mode and one network only.
    """
    spec = parse(text)
    run = Path(spec.model).expanduser()
    folds = [read_fold(place) for place in fold_folders(run)]
    fold_of = _fold_of(run, folds)
    strange = sorted(set(patients) - fold_of.keys())
    if strange:
        raise InputError(
            f"{run} holds out no patient {strange[0]} ({len(strange)} such): its networks can be measured on "
            "the patients of its own cohort only."
        )
    partners = _partners(run, folds, beside) if spec.mode and beside else []
    # No folder of a run without a mode has this sign in its name.
    stem = f"{_plain(run)}_{_plain(beside)}" if partners else _plain(run)
    found = []
    for number, fold in enumerate(folds):
        data = f"{fold.name} of {run.resolve().name}: {len(fold.trained)} patients"
        if partners:
            data += f"; segmentation network: {partners[number].name} of {beside.resolve().name}"
        model = _package(folds, number, folder / f"{stem}-{fold.name}", data)
        if partners:
            _add_segmenter(model, partners, number)
        found.append(find_model(model.folder))
    name = f"{run.resolve().name} ({len(folds)}-fold){spec.how}"
    caution = ""
    if any(getattr(fold.recipe, "patience", 0) for fold in folds):
        caution = (
            f"{name}: each fold kept the epoch with the best AUC on its own held-out patients (patience above "
            "0), so that its detection figures are a little too good; train with --patience 0."
        )
    system = System(name, lambda patient: found[fold_of[patient]], spec, sensitivity, True, ORIGIN, caution)
    for patient in fold_of:
        system.settings(patient)
    return system


def _fold_of(run: Path, folds: Sequence[Fold]) -> dict[str, int]:
    """Which fold holds a patient out."""
    found: dict[str, int] = {}
    for number, fold in enumerate(folds):
        for patient in fold.held:
            if patient in found:
                raise InputError(
                    f"{run}: the patient {patient} is held out in {folds[found[patient]].name} and in "
                    f"{fold.name}: no patient may be in two folds."
                )
            found[patient] = number
    return found


def _partners(run: Path, folds: Sequence[Fold], beside: Path) -> list[Fold]:
    """For each fold of classifiers the fold of `beside` that holds out the same patients.

    Raises:
        InputError: the networks are of the wrong kind, or the folds hold out different patients.
    """
    if any(fold.segments for fold in folds):
        raise InputError(
            f"{run} holds segmentation networks, which take no other beside them: leave out the mode, or give a "
            "run of classifiers."
        )
    others = [read_fold(place) for place in fold_folders(beside)]
    if not all(other.segments for other in others):
        raise InputError(
            f"{beside} holds no segmentation networks: give the --output of 'train segmenter --folds' as "
            "--folds-beside."
        )
    by_held = {frozenset(other.held): other for other in others}
    alone = next((fold for fold in folds if frozenset(fold.held) not in by_held), None)
    if alone is not None:
        raise InputError(
            f"{run} and {beside} hold out different patients ({alone.name} of {run} has no counterpart): train "
            "both on one cohort with the same --folds and --seed."
        )
    return [by_held[frozenset(fold.held)] for fold in folds]


def _package(folds: Sequence[Fold], number: int, target: Path, data: str) -> Model:
    """Write the package of a fold's network."""
    fold, others = folds[number], _scores_of_others(folds, number)
    card = fold.package(
        target,
        target.name,
        fold.recipe,
        fold.network,
        others,
        _learned(others),
        {},
        data=data,
        overwrite=True,
    )
    return Model(card, fold.network, target)


def _add_segmenter(classifier: Model, partners: Sequence[Fold], number: int) -> None:
    """Write a classifier's package anew, with its partner beside it; the system chooses the mode."""
    from ICHWeakSegLib.training.segmenter_package import package_pair

    partner = partners[number]
    package_pair(
        classifier.folder,
        classifier.card.name,
        classifier,
        partner.recipe,
        partner.network,
        _learned(_scores_of_others(partners, number)),
        {},
        overwrite=True,
    )


def _scores_of_others(folds: Sequence[Fold], number: int) -> Scores:
    return [row for place, other in enumerate(folds) if place != number for row in other.scores]


def _plain(run: Path) -> str:
    return re.sub("[^A-Za-z0-9]+", "-", run.resolve().name).strip("-")
