"""`ichweakseg train sequence`: a ResNet with a recurrent layer over the slices, from image-level labels."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.train_options import (
    add_data_options,
    add_kind,
    add_run_options,
    check_shared_options,
)
from ICHWeakSegLib.commands.train_run import (
    card_facts,
    figures_text,
    free_target,
    read_training_cohort,
    say_where,
    train_all,
    training_packages,
)
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.training.train_sequence import SequenceRecipe

BACKBONE = "resnet18"


def add_to(kinds: argparse._SubParsersAction) -> None:
    kind = add_kind(
        kinds,
        "sequence",
        help="a slice-sequence classifier (ResNet with LSTM or GRU) for pseudo-masks",
        description="Train a slice-sequence classifier from image-level labels in three stages: slices, "
        "sequences, maps. A run that was stopped goes on when the same command is given again.",
    )
    add_data_options(kind)
    kind.add_argument("--backbone", metavar="NAME", help=f"timm ResNet; default: {BACKBONE}, half as wide")
    kind.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="timm option as JSON, e.g. channels=[32,64,128,256]",
    )
    kind.add_argument(
        "--pretrained", action="store_true", help="start from timm's ImageNet weights (downloads them)"
    )
    kind.add_argument("--cell", choices=("gru", "lstm"), default="gru", help="default: %(default)s")
    kind.add_argument("--layers", type=int, metavar="N", help="recurrent layers; default: gru 3, lstm 1")
    kind.add_argument("--hidden", type=int, default=256, metavar="N", help="default: %(default)s")
    kind.add_argument("--bidirectional", action="store_true", help="read the slices from both ends")
    kind.add_argument("--dropout", type=float, default=0.0, metavar="F")
    kind.add_argument(
        "--run",
        type=int,
        default=32,
        metavar="N",
        dest="run_length",
        help="slices of a sequence; default: 32",
    )
    kind.add_argument(
        "--overlap", type=int, default=8, metavar="N", help="of the runs of a long volume; default: 8"
    )
    kind.add_argument("--size", type=int, default=192, metavar="N", help="pixels; default: %(default)s")
    kind.add_argument("--pixel-mm", type=float, default=0.95, metavar="X", help="default: %(default)s")
    kind.add_argument(
        "--painted", type=int, default=0, metavar="N", help="painted copies of a CT without blood"
    )
    kind.add_argument(
        "--painted-share", type=float, default=0.5, metavar="F", help="share of painted slices drawn"
    )
    kind.add_argument(
        "--epochs",
        type=int,
        nargs=3,
        default=(20, 20, 5),
        metavar="N",
        help="of the stages; default: 20 20 5",
    )
    kind.add_argument(
        "--reader-epochs",
        type=int,
        default=20,
        metavar="N",
        help="of the recurrent layers alone, before stage 2; default: %(default)s",
    )
    kind.add_argument(
        "--rates", type=float, nargs=3, default=(1e-3, 1e-3, 1e-3), metavar="R", help="of the stages"
    )
    kind.add_argument(
        "--slices-from",
        metavar="RUN",
        help="take the first stage from this other output of 'train sequence', e.g. to compare gru with lstm",
    )
    kind.add_argument(
        "--samples", type=int, metavar="N", help="slices an epoch; default: twice the minority class"
    )
    kind.add_argument(
        "--runs", type=int, metavar="N", help="sequences an epoch; default: twice the rarer kind"
    )
    kind.add_argument(
        "--batch", type=int, default=16, metavar="N", help="slices a step; default: %(default)s"
    )
    kind.add_argument(
        "--run-batch", type=int, default=2, metavar="N", help="sequences a step; default: %(default)s"
    )
    kind.add_argument(
        "--rotation", type=float, default=45.0, metavar="DEG", help="augmentation; default: %(default)s"
    )
    kind.add_argument("--patience", type=int, default=3, metavar="N", help="epochs; 0: never stop early")
    add_run_options(kind)
    kind.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    with training_packages():
        import torch

        from ICHWeakSegLib.training.painted_volumes import painted_volumes
        from ICHWeakSegLib.training.sequence_package import package_sequence
        from ICHWeakSegLib.training.train_sequence import (
            check_sequence,
            cross_validate_sequence,
            train_sequence,
        )

    check_options(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    target = free_target(options)
    recipe = recipe_of(options)
    with Bar(options.quiet) as bar:
        cohort = read_training_cohort(options, recipe, check_sequence, bar)
        wishes = recipe.preprocessing
        painted = painted_volumes(
            cohort.crops,
            options.painted,
            (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm),
            cohort.cache,
            recipe.seed,
            lambda *n: bar("painting bleeds", *n),
        )
    outcome = train_all(
        options,
        recipe,
        cohort,
        painted,
        cross_validate_sequence,
        train_sequence,
        lambda stage, epoch, metrics: f"Stage {stage}, epoch {epoch}: {figures_text(metrics)}",
        slices_from=Path(options.slices_from) if options.slices_from else None,
    )
    if outcome is None:
        return
    package_sequence(
        target,
        options.name,
        recipe,
        outcome.network,
        outcome.scores,
        cohort.crops,
        outcome.results,
        **card_facts(options, cohort),
    )
    say_where(options, target)
    print(f"Look at what it teaches: ichweakseg pseudo-masks CT --output OUT.seg.nrrd --model {target}")


def check_options(options: argparse.Namespace) -> None:
    """Refuse numbers and names that make no sense, before anything is read.

    Raises:
        InputError: the first one found.
    """
    check_shared_options(options)
    least = {"batch": 1, "run_batch": 1, "samples": 1, "runs": 1, "layers": 1, "hidden": 1}
    least |= {"size": 32, "run_length": 2, "overlap": 0, "patience": 0, "painted": 0, "reader_epochs": 0}
    for name, low in least.items():
        value = getattr(options, name)
        if value is not None and value < low:
            flag = "--run" if name == "run_length" else f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} needs at least {low}, not {value}.")
    shares = (
        ("--painted-share", options.painted_share, 0.99),
        ("--dropout", options.dropout, 0.99),
    )
    for flag, value, high in shares:
        if not 0 <= value <= high:
            raise InputError(f"{flag} lies between 0 and {high:g}, not {value:g}.")
    for flag, value in (*(("--rates", rate) for rate in options.rates), ("--pixel-mm", options.pixel_mm)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{flag} takes numbers above 0, not {value:g}.")


def recipe_of(options: argparse.Namespace) -> SequenceRecipe:
    """The recipe that the command line describes.

    Raises:
        InputError: an option makes no sense.
    """
    from ICHWeakSegLib.ct.network_input import Preprocessing
    from ICHWeakSegLib.training.dataset import Augmentation
    from ICHWeakSegLib.training.train_sequence import NARROW, SequenceRecipe

    overrides: dict[str, Any] = {}
    if not options.backbone and not options.pretrained:
        overrides = dict(NARROW)
    for item in options.override:
        key, separator, value = item.partition("=")
        try:
            overrides[key] = json.loads(value)
        except ValueError:
            separator = ""
        if not separator:
            raise InputError(f"--override takes KEY=VALUE with a JSON value, not {item!r}.")
    return SequenceRecipe(
        Preprocessing(
            options.size,
            # The published bone window (600, 2800) would be empty inside the brain.
            ((40, 80), (80, 200), (55, 50)),
            pixel_mm=options.pixel_mm,
            blank_outside_brain=True,
            slice_mm=5.0,
            brain_hu=33.0,
        ),
        backbone=options.backbone or BACKBONE,
        overrides=overrides,
        pretrained=options.pretrained,
        cell=options.cell,
        layers=options.layers,
        hidden=options.hidden,
        bidirectional=options.bidirectional,
        dropout=options.dropout,
        run=options.run_length,
        overlap=options.overlap,
        augmentation=Augmentation(rotation_deg=options.rotation),
        epochs=tuple(options.epochs),
        reader_epochs=options.reader_epochs,
        samples=options.samples,
        runs=options.runs,
        batch=options.batch,
        run_batch=options.run_batch,
        rates=tuple(options.rates),
        patience=options.patience,
        painted_share=options.painted_share if options.painted else 0.0,
        seed=options.seed,
        precision=options.precision,
    )
