"""`ichweakseg evaluate`: any models and methods on one set of cases, measured alike."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.sensitivity import HELP, sensitivity
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.models import FoundModel


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "evaluate",
        help="measure models against labels, boxes and masks",
        description="Measure models and methods on cases with slice labels, boxes or masks. Thresholds come "
        "from the model cards. A run that was stopped goes on when the same command is given again.",
    )
    command.add_argument(
        "cases",
        type=os.path.expanduser,
        metavar="CASES",
        help="CSV with a column ct (and case, patient, mask, labels, boxes, subtype, slice, any, ...), or a "
        "folder as for training; with a column mrs, gos or outcome, models of prognosis are measured by it",
    )
    command.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="NAME|DIR[:HOW]",
        help="packages, with a method, refinement or mode other than the card's: starter-hgi-sam:grad-cam",
    )
    command.add_argument(
        "--folds-run",
        nargs="+",
        default=[],
        metavar="RUN[:HOW]",
        help="outputs of 'train classifier', 'train sequence' or 'train segmenter' with --folds: each network on "
        "the patients it was not trained on; a mode as in RUN:either puts those of --folds-beside beside them",
    )
    command.add_argument(
        "--folds-beside",
        type=os.path.expanduser,
        metavar="RUN",
        help="output of 'train segmenter --folds' for the fold runs with a mode: fold by fold its networks "
        "segment beside the classifiers that never saw the same patients",
    )
    command.add_argument("--output", required=True, type=os.path.expanduser, metavar="DIR")
    command.add_argument(
        "--labels", metavar="CSV", help="label table of a folder, where it is not the only CSV in it"
    )
    command.add_argument("--boxes", metavar="CSV", help="boxes of a folder; default: boxes.csv in it")
    command.add_argument(
        "--sensitivity",
        type=sensitivity,
        metavar="S",
        help=HELP,
    )
    command.add_argument(
        "--draws", type=int, default=1000, metavar="N", help="of the bootstrap; default: %(default)s"
    )
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the bootstrap; default: %(default)s"
    )
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    require_packages()
    from ICHWeakSegLib.evaluation.cases import read_cases
    from ICHWeakSegLib.evaluation.folds import fold_system
    from ICHWeakSegLib.evaluation.run import evaluate
    from ICHWeakSegLib.evaluation.systems import name_apart, package_systems
    from ICHWeakSegLib.inference.settings import choose_device
    from ICHWeakSegLib.prognosis.evaluate import prognosis_models

    if options.draws < 1:
        raise InputError(f"--draws needs at least 1, not {options.draws}.")
    if options.seed < 0:
        raise InputError(f"--seed is a whole number from 0 on, not {options.seed}.")
    choose_device(options.device)
    use_threads(options.threads)
    output = Path(options.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file: give a folder.")
    models = prognosis_models(options.models, options.cases)
    if models is not None:
        run_prognosis(options, models)
        return
    cases = read_cases(options.cases, options.labels, options.boxes)
    patients = {case.patient for case in cases}
    systems = package_systems(options.models, options.sensitivity)
    beside = check_beside(options)
    systems += [
        fold_system(run_, patients, output / "folds", options.sensitivity, beside)
        for run_ in options.folds_run
    ]
    name_apart(systems)
    with Bar(options.quiet) as bar:
        summary = evaluate(
            cases,
            systems,
            output,
            draws=options.draws,
            seed=options.seed,
            device=options.device,
            data=Path(options.cases).resolve().name,
            progress=bar,
        )
    if not options.quiet:
        print(f"{len(cases)} CTs of {len(patients)} patients with {len(systems)} system(s): {summary}")


def run_prognosis(options: argparse.Namespace, models: Sequence[FoundModel]) -> None:
    """Models that forecast an outcome, on the CSV of a cohort.

    Raises:
        InputError: an option that is not for them.
    """
    from ICHWeakSegLib.prognosis.evaluate import evaluate_prognosis

    for flag, given in (
        ("--folds-run", options.folds_run),
        ("--folds-beside", options.folds_beside),
        ("--labels", options.labels),
        ("--boxes", options.boxes),
        ("--sensitivity", options.sensitivity),
    ):
        if given:
            raise InputError(f"{flag} is not for models of prognosis such as {models[0].name}: leave it out.")
    with Bar(options.quiet) as bar:
        summary = evaluate_prognosis(
            options.cases,
            models,
            options.output,
            draws=options.draws,
            seed=options.seed,
            device=options.device,
            threads=options.threads,
            progress=bar,
        )
    if not options.quiet:
        print(f"{len(models)} model(s) of prognosis: {summary}")


def check_beside(options: argparse.Namespace) -> Path | None:
    """The run of `--folds-beside`.

    Raises:
        InputError: a fold run needs it and it is not given, or the other way round.
    """
    from ICHWeakSegLib.evaluation.systems import parse

    paired = next((text for text in options.folds_run if parse(text).mode), None)
    if paired and options.folds_beside is None:
        raise InputError(
            f"--folds-run {paired} needs segmentation networks beside its classifiers: name their run with "
            "--folds-beside."
        )
    if options.folds_beside is not None and not paired:
        raise InputError(
            "--folds-beside is for runs of --folds-run with a mode, such as RUN:either: add one, or leave it out."
        )
    return None if options.folds_beside is None else Path(options.folds_beside)


def require_packages() -> None:
    """Say in one sentence which package is missing.

    Raises:
        InputError: names it and what to install.
    """
    try:
        import ICHWeakSegLib.evaluation.run
        import ICHWeakSegLib.evaluation.summary  # noqa: F401
    except ModuleNotFoundError as problem:
        if not problem.name or problem.name.startswith("ICHWeakSegLib"):
            raise
        raise InputError(
            f"Evaluation needs the Python package {problem.name}, which is missing: "
            'install it with pip install "ichweakseg[training]".'
        ) from problem


def use_threads(count: int | None) -> None:
    """Let torch use so many CPU threads.

    Raises:
        InputError: fewer than 1.
    """
    import torch

    if count is None:
        return
    if count < 1:
        raise InputError(f"--threads needs at least 1, not {count}.")
    torch.set_num_threads(count)
