"""The steps that every kind of training shares: read the cohort, cross-validate, train, say how it went."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.train_options import cache_folder
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.training.cache import Cropped
    from ICHWeakSegLib.training.cases import Case


@contextmanager
def training_packages() -> Iterator[None]:
    """Say which package is missing where one is.

    Raises:
        InputError: names it.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        if not problem.name or problem.name.startswith("ICHWeakSegLib"):
            raise
        raise InputError(
            f"Training needs the Python package {problem.name}, which is missing: "
            'install it with pip install "ichweakseg[training]".'
        ) from problem


def free_target(options: argparse.Namespace) -> Path:
    """Where the package will be.

    Raises:
        InputError: something is there already.
    """
    target = Path(options.output) / options.name
    if target.exists() and not options.overwrite:
        raise InputError(f"{target} exists already: give another --name or --overwrite.")
    return target


@dataclass
class Cohort:
    """What is trained on.

    Attributes:
        folder: of the run.
        cache: of cropped cases and painted copies.
        cases: as read.
        crops: as the network sees them.
        held: patients kept for validation.
    """

    folder: Path
    cache: Path
    cases: list[Case]
    crops: list[Cropped]
    held: set[str]

    def part(self, cases: list[Cropped], held: bool = False) -> list[Cropped]:
        """Cases of the training patients, or of those held out."""
        return [case for case in cases if (case.patient in self.held) == held]


def read_training_cohort(
    options: argparse.Namespace, recipe: Any, check: Callable[[Any], None], bar: Bar
) -> Cohort:
    """Read and crop the cases; the network is built once before hours go into reading CTs.

    Raises:
        InputError: the data, a split or the network makes no sense, or the folder cannot be made.
    """
    from ICHWeakSegLib.training.cache import cached_cases
    from ICHWeakSegLib.training.cases import read_cohort, split_patients

    folder = Path(options.output)
    cases = read_cohort(options.data, options.labels)
    held: set[str] = set()
    if options.valid:
        parts = max(2, round(1 / options.valid))
        held = split_patients(cases, parts, recipe.seed, "give a larger --valid, or --valid 0")[0]
    if options.folds:
        split_patients(cases, options.folds, recipe.seed, "give fewer --folds")
    check(recipe)
    cache = cache_folder(options)
    make_folders(folder, cache)
    crops = cached_cases(cases, recipe.preprocessing, cache, lambda *n: bar("reading CTs", *n))
    return Cohort(folder, cache, cases, crops, held)


def make_folders(*places: Path) -> None:
    """Make the folders of a run.

    Raises:
        InputError: one cannot be made.
    """
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {place} cannot be made ({error.strerror}): choose another."
            ) from error


@dataclass
class Outcome:
    """What the trainings gave.

    Attributes:
        network: of the final training.
        scores: of patients that were not trained on: of the folds, else of the validation.
        results: figures for the card.
    """

    network: Any
    scores: list[tuple[str, int, int, float]]
    results: dict[str, Any]


def train_all(
    options: argparse.Namespace,
    recipe: Any,
    cohort: Cohort,
    extra: list[Cropped],
    cross_validate: Callable[..., list],
    train: Callable[..., Any],
    told: Callable[..., str],
    join: Callable[[list[Path]], Any] | None = None,
    **more: Any,
) -> Outcome | None:
    """Cross-validate where that is asked for, then train the final network, and leave `results.json`.

    None where only the folds were asked for.

    Args:
        extra: painted or drawn cases.
        cross_validate, train: of the kind of network.
        join: makes the network of those of the folds, in their folders, instead of training a final one.
        told: says in one line how far a training is, from what `on_epoch` is given.
        more: further arguments of both.
    """
    from ICHWeakSegLib.training.package import slice_auc

    shared = {
        "device": options.device,
        "quiet": options.quiet,
        # A log file shows that it goes on; on a terminal the bar does.
        "on_epoch": None
        if options.quiet or sys.stdout.isatty()
        else lambda *facts: print(told(*facts), flush=True),
        **more,
    }
    results: dict[str, Any] = {}
    scores: list[tuple[str, int, int, float]] = []
    if options.folds:
        scores = cross_validate(recipe, cohort.crops, cohort.folder, options.folds, extra, **shared)
        results["slice_auc_cross_validated"] = round(slice_auc(scores), 4)
        results["folds"] = options.folds
        print(
            f"Slice AUC, {options.folds}-fold by patient: {results['slice_auc_cross_validated']:.3f}",
            flush=True,
        )
        write_results(cohort.folder, results)
    if join is not None:
        places = [cohort.folder / f"fold-{number}" for number in range(options.folds)]
        return Outcome(join(places), scores, results)
    if options.folds_only:
        print(f"Folds: {cohort.folder}", flush=True)
        return None
    trained = train(
        recipe,
        cohort.part(cohort.crops),
        cohort.part(cohort.crops, held=True),
        cohort.folder / "final",
        cohort.part(extra),
        **shared,
    )
    if len({label for *_, label, _ in trained.scores}) == 2:
        results["slice_auc_validation"] = round(slice_auc(trained.scores), 4)
    write_results(cohort.folder, results)
    return Outcome(trained.network, scores or trained.scores, results)


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Leave the figures in `results.json`."""
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


def card_facts(options: argparse.Namespace, cohort: Cohort) -> dict[str, Any]:
    """What the card says of the data, as arguments of the package functions."""
    return {
        "data": f"{Path(options.data).resolve().name}: {len(cohort.crops)} CTs",
        "attribution": options.attribution,
        "licence": options.licence,
        "overwrite": options.overwrite,
    }


def figures_text(metrics: dict[str, float]) -> str:
    """Loss and AUC of an epoch in words."""
    parts = [f"loss {metrics['train_loss']:.3f}"] if "train_loss" in metrics else []
    parts += [f"slice AUC {metrics['val_auc']:.3f}"] if "val_auc" in metrics else []
    return ", ".join(parts)


def say_where(options: argparse.Namespace, target: Path) -> None:
    """Where the model is, and how to use it."""
    print(f"Model {options.name} is ready in {target}.")
    curves = Path(options.output) / "final" / "curves.png"
    if curves.exists():
        print(f"Learning curves: {curves}")
    print(f"Use it: ichweakseg segment CT --output OUT.seg.nrrd --model {target}")
