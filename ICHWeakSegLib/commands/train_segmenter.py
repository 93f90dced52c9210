"""`ichweakseg train segmenter`: a segmentation network from painted bleeds, pseudo-masks or masks."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.training.cache import Cropped
    from ICHWeakSegLib.training.cases import Case
    from ICHWeakSegLib.training.train_segmenter import SegmenterRecipe

# As `PRESETS` of networks.segmenter, which needs torch.
NETWORKS = ("weak", "weak-fast", "unet", "unet-16", "swin-unetr")
SIZE = 192


def add_to(kinds: argparse._SubParsersAction) -> None:
    kind = kinds.add_parser(
        "segmenter",
        help="a segmentation network (U-Net, SwinUNETR)",
        description="Train a segmentation network: on bleeds painted into CTs without blood together with "
        "image-level labels, on pseudo-masks, or on masks that people drew. A run that was stopped goes on "
        "when the same command is given again.",
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
        "--output", required=True, metavar="DIR", help="the run's folder: checkpoints, curves, network"
    )
    kind.add_argument("--name", required=True, help="name of the model package, made in DIR/NAME")
    kind.add_argument(
        "--beside",
        metavar="NAME|DIR",
        help="put the network beside the classifier of this model; default: it finds slices by itself",
    )
    kind.add_argument(
        "--mode",
        choices=("either", "network", "both", "map"),
        default="either",
        help="whose mask counts beside a classifier; default: %(default)s",
    )
    kind.add_argument("--on", choices=("painted", "pseudo-masks", "masks"), default="painted")
    kind.add_argument(
        "--masks", metavar="DIR", help="of --on masks or pseudo-masks: a file a CT, named as the CT"
    )
    kind.add_argument(
        "--network", choices=NETWORKS, help="default: weak on painted, unet-16 on pseudo-masks, unet on masks"
    )
    kind.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="argument of the network as JSON, e.g. context=2 or mirror=false",
    )
    kind.add_argument("--size", type=int, default=SIZE, help="side of the input; default: %(default)s")
    kind.add_argument("--pixel-mm", type=float, default=0.95, help="default: %(default)s")
    kind.add_argument(
        "--painted", type=int, default=20, metavar="N", help="volumes painted into each CT without blood"
    )
    kind.add_argument(
        "--image-weight",
        type=float,
        metavar="W",
        help="weight of the image-level loss; default: 1 on painted, else 0",
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
    kind.add_argument("--epochs", type=int, default=24, metavar="N", help="default: %(default)s")
    kind.add_argument("--steps", type=int, default=100, metavar="N", help="an epoch; default: %(default)s")
    kind.add_argument("--rate", type=float, default=1e-3, metavar="R", help="default: %(default)s")
    kind.add_argument("--rotation", type=float, metavar="DEG", help="augmentation; default: 15")
    kind.add_argument("--seed", type=int, default=0, metavar="N")
    kind.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        default="32-true",
        help="default: %(default)s",
    )
    kind.add_argument("--attribution", default="", help="of the training data, for the model card")
    kind.add_argument("--licence", default="", help="of the weights, for the model card")
    kind.add_argument("--overwrite", action="store_true", help="replace a model package that is there")
    kind.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    kind.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    kind.add_argument("--quiet", action="store_true")
    kind.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    try:
        import torch

        from ICHWeakSegLib.training.cache import cached_cases
        from ICHWeakSegLib.training.cases import read_cohort, split_patients
        from ICHWeakSegLib.training.package import slice_auc
        from ICHWeakSegLib.training.segmenter_package import package_pair, package_segmenter
        from ICHWeakSegLib.training.train_segmenter import (
            check_segmenter,
            cross_validate_segmenter,
            train_segmenter,
        )
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
    recipe = recipe_of(options)
    folder = Path(options.output)
    if (folder / options.name).exists() and not options.overwrite:
        raise InputError(f"{folder / options.name} exists already: give another --name or --overwrite.")
    classifier = _classifier(options.beside)
    with Bar(options.quiet) as bar:
        cases = read_cohort(options.data, options.labels)
        held: set[str] = set()
        if options.valid:
            parts = max(2, round(1 / options.valid))
            held = split_patients(cases, parts, recipe.seed, "give a larger --valid, or --valid 0")[0]
        if options.folds:
            split_patients(cases, options.folds, recipe.seed, "give fewer --folds")
        check_segmenter(recipe)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The folder {folder} cannot be made ({error.strerror}): choose another."
            ) from error
        crops = cached_cases(cases, recipe.preprocessing, folder / "cache", lambda *n: bar("reading CTs", *n))
        crops, drawn = draw(options, recipe, cases, crops, folder, bar)

    def told(epoch: int, metrics: dict[str, float]) -> None:
        figures = [f"loss {metrics['train_loss']:.3f}"] if "train_loss" in metrics else []
        figures += [f"slice AUC {metrics['val_auc']:.3f}"] if "val_auc" in metrics else []
        print(f"Epoch {epoch} of {recipe.epochs}: {', '.join(figures)}", flush=True)

    shared: dict[str, Any] = {
        "device": options.device,
        "quiet": options.quiet,
        # A log file shows that it goes on; on a terminal the bar does.
        "on_epoch": None if options.quiet or sys.stdout.isatty() else told,
    }
    results: dict[str, Any] = {}
    scores: list[tuple[str, int, int, float]] = []
    if options.folds:
        scores = cross_validate_segmenter(recipe, crops, folder, options.folds, drawn, **shared)
        results["slice_auc_cross_validated"] = round(slice_auc(scores), 4)
        results["folds"] = options.folds
        print(
            f"Slice AUC, {options.folds}-fold by patient: {results['slice_auc_cross_validated']:.3f}",
            flush=True,
        )
    trained = train_segmenter(
        recipe,
        [case for case in crops if case.patient not in held],
        [case for case in crops if case.patient in held],
        folder / "final",
        [case for case in drawn if case.patient not in held],
        **shared,
    )
    if len({label for *_, label, _ in trained.scores}) == 2:
        results["slice_auc_validation"] = round(slice_auc(trained.scores), 4)
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    place = folder / options.name
    if classifier is not None:
        package_pair(
            place,
            options.name,
            classifier,
            recipe,
            trained.network,
            crops,
            {f"segmenter_{key}": value for key, value in results.items()},
            mode=options.mode,
            overwrite=options.overwrite,
        )
    else:
        package_segmenter(
            place,
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
    print(f"Model {options.name} is ready in {place}.")
    print(f"Learning curves: {folder / 'final' / 'curves.png'}")


def _classifier(name: str | None) -> Model | None:
    """The model of `--beside`.

    Raises:
        InputError: there is none, or it is a segmentation network itself.
    """
    if name is None:
        return None
    from ICHWeakSegLib.models import load_model

    model = load_model(name)
    if model.card.architecture.kind == "segmenter":
        raise InputError(f"--beside needs a classifier; {model.card.name} is a segmentation network itself.")
    return model


def check_options(options: argparse.Namespace) -> None:
    """Refuse numbers and paths that make no sense, before anything is read.

    Raises:
        InputError: the first one found.
    """
    from ICHWeakSegLib.commands.train import check_device, check_name

    check_name(options.name)
    for flag in ("epochs", "steps", "size", "painted", "threads"):
        value = getattr(options, flag)
        if value is not None and value < 1:
            raise InputError(f"--{flag} needs at least 1, not {value}.")
    if options.folds != 0 and options.folds < 2:
        raise InputError(f"--folds needs at least 2, or 0 for none, not {options.folds}.")
    if not 0 <= options.valid <= 0.5:
        raise InputError(f"--valid is a share from 0 to 0.5, not {options.valid:g}.")
    if options.rotation is not None and not 0 <= options.rotation <= 180:
        raise InputError(f"--rotation lies between 0 and 180 degrees, not {options.rotation:g}.")
    for flag, value in (("--rate", options.rate), ("--pixel-mm", options.pixel_mm)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{flag} is a number above 0, not {value:g}.")
    weight = options.image_weight
    if weight is not None and not (weight >= 0 and math.isfinite(weight)):
        raise InputError(f"--image-weight is 0 or a number above it, not {weight:g}.")
    if (options.on == "painted") == bool(options.masks):
        raise InputError(
            "--masks is the folder of masks of --on masks or --on pseudo-masks: give both, or none of them."
        )
    check_device(options.device)


def recipe_of(options: argparse.Namespace) -> SegmenterRecipe:
    """The recipe that the command line describes.

    Raises:
        InputError: an option makes no sense.
    """
    from ICHWeakSegLib.ct.network_input import Preprocessing
    from ICHWeakSegLib.networks.segmenter import PRESETS
    from ICHWeakSegLib.training.segmenter_dataset import Mix
    from ICHWeakSegLib.training.train_segmenter import GENTLE, SegmenterRecipe

    network = dict(
        PRESETS[options.network or {"painted": "weak", "masks": "unet"}.get(options.on, "unet-16")]
    )
    for item in options.override:
        key, separator, value = item.partition("=")
        try:
            network[key] = json.loads(value)
        except ValueError:
            separator = ""
        if not separator:
            raise InputError(f"--override takes KEY=VALUE with a JSON value, not {item!r}.")
    preprocessing = Preprocessing(
        options.size,
        ((40, 80), (80, 200), (55, 50)),
        pixel_mm=options.pixel_mm,
        blank_outside_brain=True,
        slice_mm=5.0,
        brain_hu=33.0,
    )
    weight = options.image_weight
    if weight is None:
        weight = 1.0 if options.on == "painted" else 0.0
    return SegmenterRecipe(
        preprocessing,
        network,
        GENTLE if options.rotation is None else replace(GENTLE, rotation_deg=options.rotation),
        # Drawn cases bring their own slices without blood.
        Mix() if options.on == "painted" else Mix(8, 8, 0, 0),
        {"painted": "mixed", "pseudo-masks": "batch-dice", "masks": "dice-ce"}[options.on],
        image_weight=weight,
        epochs=options.epochs,
        steps=options.steps,
        rate=options.rate,
        seed=options.seed,
        precision=options.precision,
    )


def draw(
    options: argparse.Namespace,
    recipe: SegmenterRecipe,
    cases: list[Case],
    crops: list[Cropped],
    folder: Path,
    bar: Bar,
) -> tuple[list[Cropped], list[Cropped]]:
    """The crops, with masks where there are any, and painted volumes where they are asked for."""
    wishes = recipe.preprocessing
    if options.on == "painted":
        from ICHWeakSegLib.training.painted_volumes import painted_volumes

        spacing = (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm)
        drawn = painted_volumes(
            crops,
            options.painted,
            spacing,
            folder / "cache",
            options.seed,
            lambda *n: bar("painting bleeds", *n),
        )
        return crops, drawn
    from ICHWeakSegLib.training.voxel_masks import masked_cases

    masked = masked_cases(
        cases, crops, options.masks, wishes, folder / "cache", lambda *n: bar("reading masks", *n)
    )
    return masked, []
