"""`ichweakseg train`: a site's own model; here the classifier from image-level labels."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands import train_segmenter, train_sequence
from ICHWeakSegLib.commands.progress import Bar
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


def add_classifier_to(kinds: argparse._SubParsersAction) -> None:
    kind = kinds.add_parser(
        "classifier",
        help="a slice classifier (Swin) for HGI-SAM",
        description="Train a slice classifier from image-level labels ('blood on this slice: yes or no'). "
        "A run that was stopped goes on when the same command is given again.",
    )
    kind.add_argument(
        "data",
        metavar="DATA",
        help="slice pairs (brain/, bone/), volumes, or RSNA 2019 DICOM files; see --labels",
    )
    kind.add_argument(
        "--labels", metavar="CSV", help="label table; default: slices.csv or the only CSV in DATA"
    )
    kind.add_argument(
        "--output", required=True, metavar="DIR", help="the run's folder: checkpoints, curves, figures"
    )
    kind.add_argument("--name", required=True, help="name of the model package, made in DIR/NAME")
    kind.add_argument(
        "--strategy", choices=("binary", "binary-sigmoid", "subtypes"), default="binary-sigmoid"
    )
    kind.add_argument(
        "--folds", type=int, default=0, metavar="K", help="first measure by patient-wise K-fold"
    )
    kind.add_argument(
        "--valid",
        type=float,
        default=0.15,
        metavar="F",
        help="share of patients for validation, up to 0.5; 0: train on all",
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
    kind.add_argument("--seed", type=int, default=0, metavar="N")
    kind.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        default="32-true",
        help="default: %(default)s",
    )
    kind.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    kind.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    kind.add_argument("--attribution", default="", help="of the training data, for the model card")
    kind.add_argument("--licence", default="", help="of the weights, for the model card")
    kind.add_argument("--overwrite", action="store_true", help="replace a model package that is there")
    kind.add_argument("--quiet", action="store_true")
    kind.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    try:
        import torch

        from ICHWeakSegLib.training.cache import cached_cases
        from ICHWeakSegLib.training.cases import read_cohort, split_patients
        from ICHWeakSegLib.training.package import package, slice_auc
        from ICHWeakSegLib.training.train_classifier import check_network, cross_validate, train_classifier
    except ModuleNotFoundError as problem:
        if not problem.name or problem.name.startswith("ICHWeakSegLib"):
            raise
        raise InputError(
            f"Training needs the Python package {problem.name}, which is missing: "
            'install it with pip install "ichweakseg[training]".'
        ) from problem

    check_options(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    folder = Path(options.output)
    if (folder / options.name).exists() and not options.overwrite:
        raise InputError(f"{folder / options.name} exists already: give another --name or --overwrite.")
    model = initial_model(options)
    recipe = recipe_of(options, model.card if model else None)
    initial = model.network.state_dict() if model else None
    with Bar(options.quiet) as bar:
        cases = read_cohort(options.data, options.labels)
        if options.valid:
            parts = max(2, round(1 / options.valid))
            held = split_patients(cases, parts, recipe.seed, "give a larger --valid, or --valid 0")[0]
        else:
            held = set()
        if options.folds:
            split_patients(cases, options.folds, recipe.seed, "give fewer --folds")
        check_network(recipe)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {folder} cannot be made ({error.strerror}): choose another."
            ) from error
        crops = cached_cases(cases, recipe.preprocessing, folder / "cache", lambda *n: bar("reading CTs", *n))
        painted = paint(options, recipe, crops, folder, bar)

    def told(epoch: int, metrics: dict[str, float]) -> None:
        figures = [f"loss {metrics['train_loss']:.3f}"] if "train_loss" in metrics else []
        figures += [f"slice AUC {metrics['val_auc']:.3f}"] if "val_auc" in metrics else []
        print(f"Epoch {epoch} of at most {recipe.epochs}: {', '.join(figures)}", flush=True)

    shared: dict[str, Any] = {
        "painted": painted,
        "initial": initial,
        "device": options.device,
        "quiet": options.quiet,
        # A log file shows that it goes on; on a terminal the bar does.
        "on_epoch": None if options.quiet or sys.stdout.isatty() else told,
    }
    results: dict[str, Any] = {}
    scores: list[tuple[str, int, int, float]] = []
    if options.folds:
        scores = cross_validate(recipe, crops, folder, options.folds, **shared)
        results["slice_auc_cross_validated"] = round(slice_auc(scores), 4)
        results["folds"] = options.folds
        print(
            f"Slice AUC, {options.folds}-fold by patient: {results['slice_auc_cross_validated']:.3f}",
            flush=True,
        )
    train = [case for case in crops if case.patient not in held]
    valid = [case for case in crops if case.patient in held]
    shared["painted"] = [case for case in painted if case.patient not in held]
    trained = train_classifier(recipe, train, valid, folder / "final", **shared)
    if len({label for *_, label, _ in trained.scores}) == 2:
        results["slice_auc_validation"] = round(slice_auc(trained.scores), 4)
    card = package(
        folder / options.name,
        options.name,
        recipe,
        trained.network,
        scores or trained.scores,
        crops,
        results,
        data=f"{Path(options.data).resolve().name}: {len(crops)} CTs",
        attribution=options.attribution,
        licence=options.licence,
        overwrite=options.overwrite,
    )
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(f"Model {card.name} is ready in {folder / options.name}.")
    print(f"Learning curves: {folder / 'final' / 'curves.png'}")
    print(f"Use it: ichweakseg segment CT --output OUT.seg.nrrd --model {folder / options.name}")


def check_options(options: argparse.Namespace) -> None:
    """Refuse numbers and names that make no sense, before anything is read.

    Raises:
        InputError: the first one found.
    """
    check_name(options.name)
    for flag, least in (
        ("epochs", 1),
        ("batch", 1),
        ("samples", 1),
        ("threads", 1),
        ("patience", 0),
        ("painted", 0),
    ):
        value = getattr(options, flag)
        if value is not None and value < least:
            raise InputError(f"--{flag} needs at least {least}, not {value}.")
    if options.folds != 0 and options.folds < 2:
        raise InputError(f"--folds needs at least 2, or 0 for none, not {options.folds}.")
    if not 0 <= options.valid <= 0.5:
        raise InputError(f"--valid is a share from 0 to 0.5, not {options.valid:g}.")
    if not 0 <= options.painted_share < 1:
        raise InputError(f"--painted-share lies between 0 and below 1, not {options.painted_share:g}.")
    if not 0 <= options.rotation <= 180:
        raise InputError(f"--rotation lies between 0 and 180 degrees, not {options.rotation:g}.")
    for flag, value in (("--rate", options.rate), ("--pixel-mm", options.pixel_mm)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"{flag} is a number above 0, not {value:g}.")
    if options.initial and options.pretrained:
        raise InputError("--initial and --pretrained exclude each other: choose one start.")
    if options.initial and (options.backbone or options.override or options.preprocessing):
        raise InputError(
            "--initial brings its own network and input: leave out --backbone, --override, --preprocessing."
        )
    check_device(options.device)


def check_name(name: str) -> None:
    """Refuse a name that cannot be a model's, or that is a folder of the run itself.

    Raises:
        InputError: it is one.
    """
    from ICHWeakSegLib.models.card import is_model_name

    if not is_model_name(name):
        raise InputError(f"--name {name!r} cannot be the name of a folder: use letters and digits.")
    if name in ("final", "cache") or re.fullmatch(r"fold-\d+", name):
        raise InputError(f"--name {name} is a folder of the run itself: give another.")


def check_device(device: str) -> None:
    """Refuse a device that torch does not find.

    Raises:
        InputError: it is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise InputError(
            f"This computer has no {device} device that torch can use: give --device auto or cpu."
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


def paint(options: argparse.Namespace, recipe: Recipe, crops: list[Any], folder: Path, bar: Bar) -> list[Any]:
    """Painted slices in the CTs without blood, where `--painted` asks for them."""
    if not options.painted:
        return []
    from ICHWeakSegLib.training.painting import painted_cases

    wishes = recipe.preprocessing
    spacing = (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm)
    return painted_cases(
        crops, options.painted, spacing, folder / "cache", options.seed, lambda *n: bar("painting bleeds", *n)
    )
