"""`ichweakseg study`: how many labels it takes, and which labels to learn from."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ICHWeakSegLib.commands import train
from ICHWeakSegLib.commands.evaluate import require_packages, use_threads
from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.train_options import cache_folder
from ICHWeakSegLib.ct.errors import InputError


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("study", help="label efficiency and learning strategies")
    kinds = command.add_subparsers(title="what to study", metavar="STUDY", required=True)
    labels = _with_train_options(
        kinds,
        "label-efficiency",
        "train with a part of the positive slices, or with few patients",
    )
    labels.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=None,
        metavar="F",
        help="of the positive slices; default: 0.1 0.25 0.5 1, none with --patients",
    )
    labels.add_argument(
        "--patients", type=int, nargs="+", default=[], metavar="N", help="train with N patients"
    )
    labels.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each; default: %(default)s"
    )
    labels.set_defaults(run=run_label_efficiency)
    strategies = _with_train_options(kinds, "strategies", "compare binary labels with subtypes")
    strategies.add_argument(
        "--strategies",
        nargs="+",
        choices=("binary", "binary-sigmoid", "subtypes"),
        default=["binary", "subtypes"],
        help="default: %(default)s",
    )
    strategies.add_argument(
        "--methods", nargs="+", default=[""], metavar="METHOD", help="localizations; default: the cards'"
    )
    strategies.set_defaults(run=run_strategies)


def _with_train_options(kinds: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    """A parser with the options of `train classifier`, those that make no sense here left out of the help."""
    command = kinds.add_parser(
        name,
        parents=[_train_parser()],
        conflict_handler="resolve",
        help=text,
        description=f"{text[0].upper()}{text[1:]}. Takes the options of 'train classifier'; the number of epochs "
        "is fixed. A study that was stopped goes on when the same command is given again.",
    )
    for flag, value in (("--name", "study"), ("--valid", 0.0), ("--patience", 0)):
        command.add_argument(flag, default=value, type=type(value), help=argparse.SUPPRESS)
    for flag in ("--overwrite", "--folds-only"):
        command.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    if name == "strategies":
        command.add_argument("--strategy", default="binary", help=argparse.SUPPRESS)
        command.add_argument("--folds", type=int, default=5, metavar="K", help="default: %(default)s")
    else:
        command.add_argument("--folds", type=int, default=0, help=argparse.SUPPRESS)
    command.add_argument("--boxes", metavar="CSV", help="default: boxes.csv in DATA")
    command.add_argument("--draws", type=int, default=1000, metavar="N", help="of the bootstrap")
    return command


def _train_parser() -> argparse.ArgumentParser:
    """The parser of `ichweakseg train classifier`, as it adds itself."""
    kinds = argparse.ArgumentParser().add_subparsers()
    train.add_classifier_to(kinds)
    return kinds.choices["classifier"]


def run_label_efficiency(options: argparse.Namespace) -> None:
    require_packages()
    from ICHWeakSegLib.evaluation.label_efficiency import Regime, label_efficiency

    if options.shares is None:
        options.shares = [] if options.patients else [0.1, 0.25, 0.5, 1.0]
    if options.folds:
        raise InputError("--folds is for 'study strategies': here --seeds says how many runs there are.")
    regimes = [Regime("share", share) for share in sorted(set(options.shares))]
    regimes += [Regime("patients", count) for count in sorted(set(options.patients))]
    _study(
        options,
        lambda recipe, crops, cases, **more: label_efficiency(
            recipe, crops, cases, regimes, options.seeds, Path(options.output), **more
        ),
    )


def run_strategies(options: argparse.Namespace) -> None:
    require_packages()
    from ICHWeakSegLib.evaluation.strategies import compare_strategies

    if options.folds < 2:
        raise InputError(f"--folds needs at least 2, not {options.folds}.")
    _study(
        options,
        lambda recipe, crops, cases, **more: compare_strategies(
            recipe,
            crops,
            cases,
            options.strategies,
            options.folds,
            Path(options.output),
            methods=options.methods,
            **more,
        ),
    )


def _study(options: argparse.Namespace, study: Callable[..., Path]) -> None:
    """Read the cohort as `train classifier` does, and hand it on."""
    from ICHWeakSegLib.evaluation.cases import label_table, read_cases
    from ICHWeakSegLib.training.cache import cached_cases
    from ICHWeakSegLib.training.cases import read_cohort
    from ICHWeakSegLib.training.train_classifier import check_network

    if options.patience or options.valid:
        raise InputError("A study trains a fixed number of epochs: leave out --patience and --valid.")
    train.check_options(options)
    if options.draws < 1:
        raise InputError(f"--draws needs at least 1, not {options.draws}.")
    use_threads(options.threads)
    model = train.initial_model(options)
    recipe = train.recipe_of(options, model.card if model else None)
    check_network(recipe)
    cohort = read_cohort(options.data, options.labels or label_table(Path(options.data)))
    cases = read_cases(options.data, options.labels, options.boxes)
    with Bar(options.quiet) as bar:
        cache = cache_folder(options)
        crops = cached_cases(cohort, recipe.preprocessing, cache, lambda *n: bar("reading CTs", *n))
        painted = train.paint(options, recipe, crops, cache, bar)
        more: dict[str, Any] = {
            "painted": painted,
            "initial": model.network.state_dict() if model else None,
            "device": options.device,
            "draws": options.draws,
            "data": Path(options.data).resolve().name,
            "progress": bar,
            "quiet": True,
        }
        summary = study(recipe, crops, cases, **more)
    if not options.quiet:
        print(f"The study is ready: {summary}")
