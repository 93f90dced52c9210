"""`ichweakseg train segmenter`: a segmentation network from painted bleeds, pseudo-masks or masks."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.train_options import (
    add_data_options,
    add_kind,
    add_run_options,
    check_shared_options,
)
from ICHWeakSegLib.commands.train_run import (
    Cohort,
    card_facts,
    figures_text,
    free_target,
    read_training_cohort,
    say_where,
    train_all,
    training_packages,
    write_results,
)
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.training.cache import Cropped
    from ICHWeakSegLib.training.train_segmenter import SegmenterRecipe

# As `PRESETS` of networks.segmenter, which needs torch.
NETWORKS = ("weak", "weak-fast", "unet", "unet-16", "swin-unetr")
SIZE = 192
# As `LOSSES` of training.segmenter_module, and `Mix`.
LOSSES = ("mixed", "dice-ce", "batch-dice")
MIX = (6, 2, 4, 4)


def add_to(kinds: argparse._SubParsersAction) -> None:
    kind = add_kind(
        kinds,
        "segmenter",
        help="a segmentation network (U-Net, SwinUNETR)",
        description="Train a segmentation network: on bleeds painted into CTs without blood together with "
        "image-level labels, on pseudo-masks, or on masks that people drew. A run that was stopped goes on "
        "when the same command is given again.",
    )
    add_data_options(kind)
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
        "--by",
        metavar="RUN",
        help="of --on pseudo-masks: output of 'train sequence', whose networks make the masks here, each "
        "fold's for its own training patients",
    )
    kind.add_argument(
        "--teacher",
        metavar="RUN",
        help="a second round (self-training): output of an earlier 'train segmenter' with the same folds, whose "
        "networks are started from and guess the blood on slices with blood",
    )
    kind.add_argument(
        "--keep-teacher",
        action="store_true",
        help="the result is the mean of --teacher's networks and the new ones",
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
        "--ensemble",
        action="store_true",
        help="the model is the mean of the networks of --folds, which have seen all patients between them; no "
        "final one is trained",
    )
    kind.add_argument(
        "--loss",
        choices=LOSSES,
        help="dense loss; default: mixed on painted, batch-dice on pseudo-masks, dice-ce on masks",
    )
    kind.add_argument(
        "--mix",
        type=int,
        nargs=4,
        metavar="N",
        help="slices in a batch: drawn positive, drawn negative, labelled positive, labelled negative; default: "
        "6 2 4 4 on painted, else 8 8 0 0",
    )
    kind.add_argument("--epochs", type=int, default=24, metavar="N", help="default: %(default)s")
    kind.add_argument("--steps", type=int, default=100, metavar="N", help="an epoch; default: %(default)s")
    kind.add_argument("--rate", type=float, default=1e-3, metavar="R", help="default: %(default)s")
    kind.add_argument("--rotation", type=float, metavar="DEG", help="augmentation; default: 15")
    add_run_options(kind)
    kind.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    with training_packages():
        import torch

        from ICHWeakSegLib.training.package import slice_auc, smoothed
        from ICHWeakSegLib.training.pseudo_masks import PseudoMasks
        from ICHWeakSegLib.training.segmenter_package import (
            SMOOTHING,
            learned_on,
            package_pair,
            package_segmenter,
        )
        from ICHWeakSegLib.training.teacher import Teacher
        from ICHWeakSegLib.training.train_segmenter import (
            check_segmenter,
            cross_validate_segmenter,
            join_folds,
            train_segmenter,
        )

    check_options(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    teacher = Teacher(Path(options.teacher)) if options.teacher else None
    recipe = recipe_of(options)
    if teacher:
        recipe = replace(recipe, teacher=teacher.digest, keep_teacher=options.keep_teacher)
    target = free_target(options)
    classifier = _classifier(options.beside)
    with Bar(options.quiet) as bar:
        cohort = read_training_cohort(options, recipe, check_segmenter, bar)
        drawn = draw(options, recipe, cohort, bar)
    outcome = train_all(
        options,
        recipe,
        cohort,
        drawn,
        cross_validate_segmenter,
        train_segmenter,
        lambda epoch, metrics: f"Epoch {epoch} of {recipe.epochs}: {figures_text(metrics)}",
        join=join_folds if options.ensemble else None,
        **({"draw": PseudoMasks(Path(options.by))} if options.by else {}),
        **({"draw": teacher, "start": teacher.weights} if teacher else {}),
    )
    if outcome is None:
        return
    if len({row[2] for row in outcome.scores}) == 2:
        # As the model is used: with a word of the neighbouring slices.
        auc = slice_auc(smoothed(outcome.scores, SMOOTHING))
        outcome.results["slice_auc_with_neighbours"] = round(auc, 4)
        write_results(cohort.folder, outcome.results)
    if classifier is not None:
        package_pair(
            target,
            options.name,
            classifier,
            recipe,
            outcome.network,
            cohort.crops,
            {f"segmenter_{key}": value for key, value in outcome.results.items()},
            mode=options.mode,
            overwrite=options.overwrite,
            learned=learned_on(recipe, options.on),
        )
    else:
        package_segmenter(
            target,
            options.name,
            recipe,
            outcome.network,
            outcome.scores,
            cohort.crops,
            outcome.results,
            learned=learned_on(recipe, options.on),
            **card_facts(options, cohort),
        )
    say_where(options, target)


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
    check_shared_options(options)
    for flag in ("epochs", "steps", "size", "painted"):
        value = getattr(options, flag)
        if value is not None and value < 1:
            raise InputError(f"--{flag} needs at least 1, not {value}.")
    for flag, value in (("--rate", options.rate), ("--pixel-mm", options.pixel_mm)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{flag} is a number above 0, not {value:g}.")
    weight = options.image_weight
    if weight is not None and not (weight >= 0 and math.isfinite(weight)):
        raise InputError(f"--image-weight is 0 or a number above it, not {weight:g}.")
    if options.ensemble and (not options.folds or options.folds_only or options.valid):
        raise InputError(
            "--ensemble needs --folds K and --valid 0, and makes a package: leave out --folds-only."
        )
    if options.masks and options.on == "painted":
        raise InputError("--masks is for --on masks and --on pseudo-masks: painted bleeds bring their own.")
    if options.by and (options.on != "pseudo-masks" or options.masks):
        raise InputError("--by is for --on pseudo-masks, and takes the place of --masks.")
    if options.keep_teacher and not options.teacher:
        raise InputError("--keep-teacher needs --teacher RUN.")
    if options.teacher and options.on != "painted":
        raise InputError("--teacher is for --on painted: its guesses stand beside painted bleeds.")
    if options.on != "painted" and not (options.masks or options.by):
        also = ", or the sequence training with --by" if options.on == "pseudo-masks" else ""
        raise InputError(f"--on {options.on} needs a folder of masks with --masks{also}.")


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
        Mix(*(options.mix or (MIX if options.on == "painted" else (8, 8, 0, 0)))),
        options.loss or {"painted": "mixed", "pseudo-masks": "batch-dice", "masks": "dice-ce"}[options.on],
        image_weight=weight,
        epochs=options.epochs,
        steps=options.steps,
        rate=options.rate,
        seed=options.seed,
        precision=options.precision,
    )


def draw(options: argparse.Namespace, recipe: SegmenterRecipe, cohort: Cohort, bar: Bar) -> list[Cropped]:
    """Painted volumes where they are asked for; else the cohort's crops get their masks."""
    wishes, cache = recipe.preprocessing, cohort.cache
    if options.on == "painted":
        from ICHWeakSegLib.training.painted_volumes import painted_volumes

        spacing = (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm)
        return painted_volumes(
            cohort.crops,
            options.painted,
            spacing,
            cache,
            options.seed,
            lambda *n: bar("painting bleeds", *n),
        )
    if options.by:
        return []
    from ICHWeakSegLib.training.voxel_masks import masked_cases

    cohort.crops = masked_cases(
        cohort.cases, cohort.crops, options.masks, wishes, cache, lambda *n: bar("reading masks", *n)
    )
    return []
