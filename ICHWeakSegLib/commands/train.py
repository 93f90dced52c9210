"""`ichweakseg train`: a site's own model; here the classifier from image-level labels."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands import train_prognosis, train_segmenter, train_sequence
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
    from ICHWeakSegLib.models import Model, ModelCard
    from ICHWeakSegLib.training.train_classifier import Recipe

BACKBONE = "swin_tiny_patch4_window7_224"
# A narrow Swin that little data suffices for; one pixel is about 1 mm.
NARROW = {
    "img_size": 192,
    "embed_dim": 32,
    "depths": (2, 2, 2, 2),
    "num_heads": (2, 4, 8, 16),
    "window_size": 6,
    "drop_path_rate": 0.05,
}


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("train", help="train a model from image-level labels")
    kinds = command.add_subparsers(title="what to train", metavar="KIND", required=True)
    add_classifier_to(kinds)
    train_sequence.add_to(kinds)
    train_segmenter.add_to(kinds)
    train_prognosis.add_to(kinds)


def add_classifier_to(kinds: argparse._SubParsersAction) -> None:
    kind = add_kind(
        kinds,
        "classifier",
        help="a slice classifier (Swin) for HGI-SAM",
        description="Train a slice classifier from image-level labels ('blood on this slice: yes or no'). "
        "A run that was stopped goes on when the same command is given again.",
    )
    add_data_options(kind)
    kind.add_argument(
        "--strategy", choices=("binary", "binary-sigmoid", "subtypes"), default="binary-sigmoid"
    )
    kind.add_argument("--backbone", metavar="NAME", help=f"timm Swin; default: {BACKBONE}, narrowed")
    kind.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="timm option as JSON, e.g. embed_dim=96; default: a narrow Swin at 192 pixels",
    )
    kind.add_argument(
        "--preprocessing", choices=("brain-crop", "hgi-sam"), help="the network's input; default: brain-crop"
    )
    kind.add_argument("--pixel-mm", type=float, default=0.95, help="of brain-crop; default: %(default)s")
    kind.add_argument(
        "--initial", metavar="NAME|DIR", help="start from this model: its network, input and weights"
    )
    kind.add_argument(
        "--pretrained", action="store_true", help="start from timm's ImageNet weights (downloads them)"
    )
    kind.add_argument("--painted", type=int, default=0, metavar="N", help="painted bleeds a CT without blood")
    kind.add_argument(
        "--painted-share", type=float, default=0.5, metavar="F", help="share of painted slices drawn"
    )
    kind.add_argument("--epochs", type=int, default=40, metavar="N", help="at most; default: %(default)s")
    kind.add_argument(
        "--samples", type=int, metavar="N", help="slices an epoch; default: twice the minority class"
    )
    kind.add_argument("--batch", type=int, default=12, metavar="N", help="default: %(default)s")
    kind.add_argument(
        "--rate", type=float, metavar="R", help="learning rate; default 2.5e-4, fine-tuning 1e-5"
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

        from ICHWeakSegLib.training.package import package
        from ICHWeakSegLib.training.train_classifier import check_network, cross_validate, train_classifier

    check_options(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    target = free_target(options)
    model = initial_model(options)
    recipe = recipe_of(options, model.card if model else None)
    with Bar(options.quiet) as bar:
        cohort = read_training_cohort(options, recipe, check_network, bar)
        painted = paint(options, recipe, cohort.crops, cohort.cache, bar)
    outcome = train_all(
        options,
        recipe,
        cohort,
        painted,
        cross_validate,
        train_classifier,
        lambda epoch, metrics: f"Epoch {epoch} of at most {recipe.epochs}: {figures_text(metrics)}",
        initial=model.network.state_dict() if model else None,
    )
    if outcome is None:
        return
    package(
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


def check_options(options: argparse.Namespace) -> None:
    """Refuse numbers and names that make no sense, before anything is read.

    Raises:
        InputError: the first one found.
    """
    check_shared_options(options)
    for flag, least in (("epochs", 1), ("batch", 1), ("samples", 1), ("patience", 0), ("painted", 0)):
        value = getattr(options, flag)
        if value is not None and value < least:
            raise InputError(f"--{flag} needs at least {least}, not {value}.")
    if not 0 <= options.painted_share < 1:
        raise InputError(f"--painted-share lies between 0 and below 1, not {options.painted_share:g}.")
    for flag, value in (("--rate", options.rate), ("--pixel-mm", options.pixel_mm)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"{flag} is a number above 0, not {value:g}.")
    if options.initial and options.pretrained:
        raise InputError("--initial and --pretrained exclude each other: choose one start.")
    if options.initial and (options.backbone or options.override or options.preprocessing):
        raise InputError(
            "--initial brings its own network and input: leave out --backbone, --override, --preprocessing."
        )


def recipe_of(options: argparse.Namespace, initial: ModelCard | None = None) -> Recipe:
    """The recipe that the command line describes.

    Args:
        options: of the command line.
        initial: card of the model to start from.

    Raises:
        InputError: an option makes no sense.
    """
    from ICHWeakSegLib.ct.network_input import HGI_SAM_INPUT, Preprocessing
    from ICHWeakSegLib.training.dataset import Augmentation
    from ICHWeakSegLib.training.train_classifier import Recipe

    backbone = options.backbone or BACKBONE
    overrides = dict(NARROW) if backbone == BACKBONE else {}
    if initial:
        backbone, overrides = initial.architecture.backbone, dict(initial.architecture.overrides)
    for item in options.override:
        key, separator, value = item.partition("=")
        try:
            overrides[key] = json.loads(value)
        except ValueError:
            separator = ""
        if not separator:
            raise InputError(f"--override takes KEY=VALUE with a JSON value, not {item!r}.")
        if isinstance(overrides[key], list):
            overrides[key] = tuple(overrides[key])
    if options.pretrained:
        overrides["pretrained"] = True
    if initial:
        preprocessing = initial.preprocessing
    elif options.preprocessing == "hgi-sam":
        preprocessing = HGI_SAM_INPUT
    else:
        size = overrides.get("img_size") or _native_size(backbone)
        if not isinstance(size, int) or size < 1:
            raise InputError(f"--override img_size is one whole number of pixels, not {size!r}.")
        preprocessing = Preprocessing(
            size,
            ((40, 80), (80, 200), (55, 50)),
            pixel_mm=options.pixel_mm,
            blank_outside_brain=True,
            slice_mm=5.0,
            brain_hu=33.0,
        )
    if options.painted and preprocessing.pixel_mm is None:
        raise InputError("--painted needs --preprocessing brain-crop, whose pixels have a size in mm.")
    tuning = bool(options.initial or options.pretrained)
    return Recipe(
        backbone=backbone,
        preprocessing=preprocessing,
        overrides=overrides,
        strategy=options.strategy,
        augmentation=Augmentation(rotation_deg=options.rotation),
        epochs=options.epochs,
        samples=options.samples,
        batch=options.batch,
        rate=options.rate or (1e-5 if tuning else 2.5e-4),
        weight_decay=1e-6 if tuning else 0.05,
        schedule="fine-tune" if tuning else "scratch",
        patience=options.patience,
        painted_share=options.painted_share if options.painted else 0.0,
        painted_weight=1.0 if options.painted else 0.0,
        seed=options.seed,
        precision=options.precision,
    )


def _native_size(backbone: str) -> int:
    """Side of the images that timm's model was made for; 224 where timm does not know it."""
    import timm

    known = timm.get_pretrained_cfg(backbone) if timm.is_model(backbone) else None
    return known.input_size[-1] if known else 224


def initial_model(options: argparse.Namespace) -> Model | None:
    """The model of `--initial`."""
    if not options.initial:
        return None
    from ICHWeakSegLib.models import load_model

    return load_model(options.initial)


def paint(options: argparse.Namespace, recipe: Recipe, crops: list[Any], cache: Path, bar: Bar) -> list[Any]:
    """Painted slices in the CTs without blood, where `--painted` asks for them."""
    if not options.painted:
        return []
    from ICHWeakSegLib.training.painting import painted_cases

    wishes = recipe.preprocessing
    spacing = (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm)
    return painted_cases(
        crops, options.painted, spacing, cache, options.seed, lambda *n: bar("painting bleeds", *n)
    )
