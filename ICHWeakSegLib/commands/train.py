"""`ichweakseg train classifier`: a site's own model from image-level labels."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.training.train_classifier import Recipe

# A narrow Swin that little data suffices for; one pixel is about 1 mm.
NARROW = {
    "img_size": 192,
    "embed_dim": 48,
    "depths": (2, 2, 4, 2),
    "num_heads": (3, 6, 12, 24),
    "window_size": 6,
    "drop_path_rate": 0.1,
}


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("train", help="train a model from image-level labels")
    kinds = command.add_subparsers(title="what to train", metavar="KIND", required=True)
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
        help="share of patients for validation; 0: train on all",
    )
    kind.add_argument(
        "--backbone", default="swin_tiny_patch4_window7_224", help="timm Swin; default: %(default)s"
    )
    kind.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="timm option as JSON, e.g. embed_dim=96; default: a narrow Swin at 192 pixels",
    )
    kind.add_argument("--preprocessing", choices=("brain-crop", "hgi-sam"), default="brain-crop")
    kind.add_argument("--pixel-mm", type=float, default=0.95, help="of brain-crop; default: %(default)s")
    kind.add_argument(
        "--initial", metavar="NAME|DIR", help="start from this model's weights (same architecture)"
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
    kind.add_argument("--rate", type=float, metavar="R", help="learning rate; default 5e-4, fine-tuning 1e-5")
    kind.add_argument(
        "--rotation", type=float, default=45.0, metavar="DEG", help="augmentation; default: %(default)s"
    )
    kind.add_argument("--patience", type=int, default=3, metavar="N", help="epochs; 0: never stop early")
    kind.add_argument("--seed", type=int, default=0, metavar="N")
    kind.add_argument(
        "--precision", default="32-true", help="Lightning's, e.g. bf16-mixed; default: %(default)s"
    )
    kind.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    kind.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    kind.add_argument("--attribution", default="", help="of the training data, for the model card")
    kind.add_argument("--licence", default="", help="of the weights, for the model card")
    kind.add_argument("--overwrite", action="store_true", help="replace a model package that is there")
    kind.add_argument("--quiet", action="store_true")
    kind.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    import torch

    from ICHWeakSegLib.training.cache import cached_cases
    from ICHWeakSegLib.training.cases import read_cohort, split_patients
    from ICHWeakSegLib.training.package import package, slice_auc
    from ICHWeakSegLib.training.train_classifier import cross_validate, train_classifier

    if options.threads:
        torch.set_num_threads(options.threads)
    folder = Path(options.output)
    if (folder / options.name).exists() and not options.overwrite:
        raise InputError(f"{folder / options.name} exists already: give another --name or --overwrite.")
    recipe = recipe_of(options)
    initial = initial_weights(options, recipe)
    with Bar(options.quiet) as bar:
        cases = read_cohort(options.data, options.labels)
        if not options.folds and not 0 <= options.valid < 1:
            raise InputError(f"--valid is a share of 0 to below 1, not {options.valid:g}.")
        crops = cached_cases(cases, recipe.preprocessing, folder / "cache", lambda *n: bar("reading CTs", *n))
        painted = paint(options, recipe, crops, folder, bar)

    shared: dict[str, Any] = {
        "painted": painted,
        "initial": initial,
        "device": options.device,
        "quiet": options.quiet,
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
    held: set[str] = set()
    if options.valid:
        held = split_patients(crops, max(2, round(1 / options.valid)), recipe.seed)[0]
    train = [case for case in crops if case.patient not in held]
    valid = [case for case in crops if case.patient in held]
    shared["painted"] = [case for case in painted if case.patient not in held]
    trained = train_classifier(recipe, train, valid, folder / "final", **shared)
    if trained.scores:
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


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe that the command line describes.

    Raises:
        InputError: an option makes no sense.
    """
    from ICHWeakSegLib.ct.network_input import HGI_SAM_INPUT, Preprocessing
    from ICHWeakSegLib.training.dataset import Augmentation
    from ICHWeakSegLib.training.train_classifier import Recipe

    overrides = dict(NARROW) if options.backbone == "swin_tiny_patch4_window7_224" else {}
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
    for flag, value, least in (("--epochs", options.epochs, 1), ("--batch", options.batch, 1)):
        if value < least:
            raise InputError(f"{flag} needs at least {least}, not {value}.")
    if not 0 <= options.painted_share < 1:
        raise InputError(f"--painted-share lies between 0 and below 1, not {options.painted_share:g}.")
    if options.preprocessing == "hgi-sam":
        preprocessing = HGI_SAM_INPUT
    else:
        size = overrides.get("img_size", 224)
        preprocessing = Preprocessing(
            size if isinstance(size, int) else size[0],
            ((40, 80), (80, 200), (55, 50)),
            pixel_mm=options.pixel_mm,
            blank_outside_brain=True,
            slice_mm=5.0,
            brain_hu=33.0,
        )
    tuning = bool(options.initial or options.pretrained)
    return Recipe(
        backbone=options.backbone,
        preprocessing=preprocessing,
        overrides=overrides,
        strategy=options.strategy,
        augmentation=Augmentation(rotation_deg=options.rotation),
        epochs=options.epochs,
        samples=options.samples,
        batch=options.batch,
        rate=options.rate or (1e-5 if tuning else 5e-4),
        weight_decay=1e-6 if tuning else 0.05,
        schedule="fine-tune" if tuning else "scratch",
        patience=options.patience,
        painted_share=options.painted_share if options.painted else 0.0,
        seed=options.seed,
        precision=options.precision,
    )


def initial_weights(options: argparse.Namespace, recipe: Recipe) -> dict[str, Any] | None:
    """State dict of `--initial`, whose architecture has to be the recipe's; the head may differ."""
    if not options.initial:
        return None
    from ICHWeakSegLib.models import load_model

    model = load_model(options.initial)
    if model.card.architecture.backbone != recipe.backbone:
        raise InputError(
            f"--initial {options.initial} is a {model.card.architecture.backbone}: give --backbone the same."
        )
    return model.network.state_dict()


def paint(options: argparse.Namespace, recipe: Recipe, crops: list[Any], folder: Path, bar: Bar) -> list[Any]:
    """Painted slices in the CTs without blood, where `--painted` asks for them."""
    if not options.painted:
        return []
    from ICHWeakSegLib.training.painting import painted_cases

    wishes = recipe.preprocessing
    if wishes.pixel_mm is None:
        raise InputError("--painted needs --preprocessing brain-crop, whose pixels have a size in mm.")
    spacing = (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm)
    return painted_cases(
        crops, options.painted, spacing, folder / "cache", options.seed, lambda *n: bar("painting bleeds", *n)
    )
