"""`ichweakseg train prognosis`: outcome and segmentation from CT and admission text, after ICH-SCNet."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.train_options import (
    add_kind,
    add_run_options,
    cache_folder,
    check_shared_options,
)
from ICHWeakSegLib.commands.train_run import free_target, make_folders, training_packages, write_results
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.prognosis.cohort_table import PrognosisCohort
    from ICHWeakSegLib.prognosis.dataset import PrognosisCrop
    from ICHWeakSegLib.prognosis.outcome import OutcomeRule
    from ICHWeakSegLib.prognosis.train import PrognosisRecipe

# As `SIZES` of networks.sam_encoder and `TUNE` of networks.tuning, which need torch.
SAM_SIZES = ("vit_b", "vit_l", "vit_h")
TUNE = ("frozen", "lora", "full")
WIDE_MM = 182.4


def add_to(kinds: argparse._SubParsersAction) -> None:
    kind = add_kind(
        kinds,
        "prognosis",
        help="outcome from CT and admission text (after ICH-SCNet)",
        description="Train a network that tells the outcome, and segments blood, from head CT and admission "
        "fields. A run that was stopped goes on when the same command is given again. Research use only.",
    )
    kind.add_argument("data", metavar="COHORT.csv", help="a row a case; see docs/prognosis.md")
    kind.add_argument(
        "--output", required=True, metavar="DIR", help="the run's folder: checkpoints, curves, figures"
    )
    kind.add_argument(
        "--name", default="prognosis", help="of the package, made in DIR/NAME; default: %(default)s"
    )
    kind.add_argument(
        "--folds",
        type=int,
        default=5,
        metavar="K",
        help="patient-wise folds, whose held-out cases measure the model and give its intervals; 0: none; "
        "default: %(default)s",
    )
    kind.add_argument("--cache", metavar="DIR", help="of cropped CTs; default: OUTPUT/cache")
    data = kind.add_argument_group("outcome and supervision")
    data.add_argument(
        "--outcome", choices=("mrs", "gos", "label"), help="its scale; default: the CSV's only one"
    )
    data.add_argument(
        "--cut", type=int, metavar="N", help="mRS from N on, or GOS up to N, is poor; default: 4, or 3 of GOS"
    )
    data.add_argument(
        "--allow-leakage",
        action="store_true",
        help="let fields in that are known only after admission; the model is marked",
    )
    data.add_argument(
        "--pseudo-masks-by", metavar="NAME|DIR", help="this model segments the CTs that have no mask"
    )
    data.add_argument(
        "--no-masks",
        action="store_true",
        help="leave the cohort's masks out; with --pseudo-masks-by: its masks in their place",
    )
    data.add_argument("--template", metavar="JSON", help="sentences of the admission text; default: built in")
    net = kind.add_argument_group("network")
    net.add_argument(
        "--image-encoder",
        nargs="+",
        default=["small"],
        metavar="ENCODER",
        help="small, or vit_b, vit_l, vit_h and then SAM's or MedSAM's .pth file; default: small",
    )
    net.add_argument(
        "--plain-range",
        action="store_true",
        help="images of 0-1 go into SAM's encoder as they are, as MedSAM learned; default: SAM's own scaling",
    )
    net.add_argument(
        "--text-encoder",
        default="small",
        metavar="small|FOLDER",
        help="a local transformers folder: CLIP, or any BERT; default: small",
    )
    net.add_argument(
        "--tune-image", choices=TUNE, help="default: full for small, frozen for an encoder with weights"
    )
    net.add_argument("--tune-text", choices=TUNE, help="default: as --tune-image")
    net.add_argument("--lora-rank", type=int, default=8, metavar="N", help="default: %(default)s")
    net.add_argument(
        "--size", type=int, default=128, metavar="N", help="side of a slice; default: %(default)s"
    )
    net.add_argument(
        "--pixel-mm", type=float, metavar="MM", help=f"default: {WIDE_MM:g} mm over the side of a slice"
    )
    net.add_argument(
        "--width", type=int, default=96, metavar="N", help="of fused features; default: %(default)s"
    )
    net.add_argument(
        "--auxiliary",
        nargs="*",
        choices=("gcs", "age"),
        default=[],
        help="bands that the image learns to tell as well",
    )
    net.add_argument(
        "--slices-at-once",
        type=int,
        default=8,
        metavar="N",
        help="fewer need less memory; default: %(default)s",
    )
    learn = kind.add_argument_group("learning")
    learn.add_argument("--epochs", type=int, default=30, metavar="N", help="default: %(default)s")
    learn.add_argument("--batch", type=int, default=4, metavar="N", help="cases; default: %(default)s")
    learn.add_argument("--rate", type=float, default=1e-3, metavar="R", help="default: %(default)s")
    learn.add_argument("--rotation", type=float, metavar="DEG", help="augmentation; default: 15")
    learn.add_argument(
        "--task-weights",
        nargs="+",
        default=["1", "1", "0.1"],
        metavar="W",
        help="of segmentation, outcome and auxiliary, or 'learned'; default: 1 1 0.1",
    )
    learn.add_argument(
        "--dropout",
        nargs=3,
        type=float,
        default=(0.15, 0.15, 0.3),
        metavar="P",
        help="how often a training case loses its text, its image, each field; default: 0.15 0.15 0.3",
    )
    add_run_options(kind)
    # What the shared checks look at.
    kind.set_defaults(run=run, folds_only=False, valid=0.0)


def run(options: argparse.Namespace) -> None:
    with training_packages():
        import torch

        from ICHWeakSegLib.prognosis.cohort_table import read_prognosis_cohort
        from ICHWeakSegLib.prognosis.dataset import cached_crops
        from ICHWeakSegLib.prognosis.package import held_out_results, package_prognosis
        from ICHWeakSegLib.prognosis.train import check_recipe, train_prognosis

    check_options(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    target, folder = free_target(options), Path(options.output)
    cohort = read_prognosis_cohort(options.data, options.allow_leakage, scale=options.outcome)
    for sentence in cohort.warnings:
        print(f"Note: {sentence}", file=sys.stderr)
    rule = rule_of(options, cohort)
    cohort = read_prognosis_cohort(options.data, options.allow_leakage, scale=rule.scale, rule=rule)
    recipe = recipe_of(options, rule, cohort)
    check_recipe(recipe)
    pseudo = _pseudo(options.pseudo_masks_by)
    cache = cache_folder(options)
    make_folders(folder, cache)
    with Bar(options.quiet) as bar:
        crops = cached_crops(
            cohort.cases,
            recipe.preprocessing,
            cache,
            pseudo,
            not options.no_masks,
            lambda *n: bar("reading CTs", *n),
        )
    told = not options.quiet
    if told:
        print(_supervision(crops, rule), flush=True)
    trained = train_prognosis(
        recipe,
        crops,
        folder,
        options.folds,
        on_fold=(lambda number, rows: print(_fold_text(number, rows), flush=True)) if told else None,
        device=options.device,
        quiet=options.quiet,
        # A log file shows that it goes on; on a terminal the bar does.
        on_epoch=None
        if not told or sys.stdout.isatty()
        else lambda *facts: print(_told(recipe, *facts), flush=True),
    )
    results = held_out_results(trained.held_out)
    write_results(folder, {**results, "folds": options.folds, "held_out": trained.held_out})
    package_prognosis(
        target,
        options.name,
        recipe,
        trained.network,
        crops,
        trained.held_out,
        options.folds,
        data=f"{Path(options.data).resolve().stem}: {len(crops)} CTs",
        attribution=options.attribution,
        licence=options.licence,
        overwrite=options.overwrite,
    )
    if results:
        print(
            f"Held-out AUC {results['auc_held_out']:.3f}, image only {results['image_only_auc_held_out']:.3f}, "
            f"text only {results['text_only_auc_held_out']:.3f} ({results['held_out_cases']} cases)."
        )
    print(f"Model {options.name} is ready in {target}. For research use only.")
    if recipe.leaks:
        print(f"It is marked: it learned from {', '.join(recipe.leaks)}, known only after admission.")
    print(f"Use it: ichweakseg prognosis CT --gcs 9 --age 71 --model {target}")


def check_options(options: argparse.Namespace) -> None:
    """Refuse numbers and paths that make no sense, before anything is read.

    Raises:
        InputError: the first one found.
    """
    check_shared_options(options)
    for flag in ("epochs", "batch", "size", "width", "lora_rank", "slices_at_once"):
        value = getattr(options, flag)
        if value < 1:
            raise InputError(f"--{flag.replace('_', '-')} needs at least 1, not {value}.")
    for flag, value in (("--rate", options.rate), ("--pixel-mm", options.pixel_mm)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"{flag} is a number above 0, not {value:g}.")
    if not all(0 <= share < 1 for share in options.dropout) or sum(options.dropout[:2]) > 1:
        raise InputError("--dropout takes three shares from 0 to below 1, the first two together at most 1.")


def rule_of(options: argparse.Namespace, cohort: PrognosisCohort) -> OutcomeRule:
    """When an outcome is poor.

    Raises:
        InputError: the CSV has no outcome, or the cut is not of its scale.
    """
    from ICHWeakSegLib.prognosis.outcome import OutcomeRule

    if cohort.scale is None:
        raise InputError(f"{options.data} has no outcome: add a column mrs, gos or outcome.")
    return OutcomeRule(cohort.scale, options.cut)


def recipe_of(options: argparse.Namespace, rule: OutcomeRule, cohort: PrognosisCohort) -> PrognosisRecipe:
    """The recipe that the command line describes.

    Raises:
        InputError: an option makes no sense.
    """
    from dataclasses import replace

    from ICHWeakSegLib.ct.network_input import Preprocessing
    from ICHWeakSegLib.prognosis.dataset import ModalityDropout
    from ICHWeakSegLib.prognosis.train import GENTLE, PrognosisRecipe

    image, weights_file = _image_encoder(options)
    official = bool(weights_file)
    text_folder = "" if options.text_encoder == "small" else options.text_encoder
    supervised = bool(options.pseudo_masks_by) or (
        not options.no_masks and any(case.mask is not None for case in cohort.cases)
    )
    preprocessing = Preprocessing(
        options.size,
        ((40, 80), (80, 200), (55, 50)),
        pixel_mm=options.pixel_mm or WIDE_MM / options.size,
        blank_outside_brain=True,
        slice_mm=5.0,
        brain_hu=33.0,
    )
    more = {"template": _template(options.template)} if options.template else {}
    return PrognosisRecipe(
        preprocessing,
        {
            "image": image,
            "width": options.width,
            "auxiliary": list(dict.fromkeys(options.auxiliary)),
            # Without any mask the outcome alone can teach the decoder where to look.
            "mask_gradient": not supervised,
            "slices_at_once": options.slices_at_once,
        },
        image_weights=weights_file,
        text_folder=text_folder,
        tune_image=options.tune_image or ("frozen" if official else "full"),
        tune_text=options.tune_text or ("frozen" if text_folder else "full"),
        lora_rank=options.lora_rank,
        outcome=rule.to_dict(),
        leaks=tuple(cohort.leaking),
        weights=_task_weights(options.task_weights),
        augmentation=GENTLE if options.rotation is None else replace(GENTLE, rotation_deg=options.rotation),
        dropout=ModalityDropout(*options.dropout),
        epochs=options.epochs,
        batch=options.batch,
        rate=options.rate,
        seed=options.seed,
        precision=options.precision,
        **more,
    )


def _image_encoder(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Arguments of the image encoder, and its weight file ("" for none)."""
    kind, *files = options.image_encoder
    if kind == "small":
        if files or options.plain_range:
            raise InputError(
                "The small image encoder takes no weight file and no --plain-range: leave them out."
            )
        return {"kind": "conv"}, ""
    if kind not in SAM_SIZES:
        raise InputError(
            f"--image-encoder is small, or {', '.join(SAM_SIZES)} with a weight file, not {kind!r}."
        )
    if len(files) != 1:
        raise InputError(
            f"--image-encoder {kind} needs the path of one SAM or MedSAM weight file, e.g. "
            f"--image-encoder {kind} sam_{kind}.pth."
        )
    return {"kind": kind, **({"normalize": False} if options.plain_range else {})}, files[0]


def _task_weights(words: list[str]) -> dict[str, float] | None:
    if words == ["learned"]:
        return None
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if (
        len(values) != 3
        or not all(value >= 0 and math.isfinite(value) for value in values)
        or not any(values)
    ):
        raise InputError(
            "--task-weights takes three numbers from 0 up (segmentation, outcome, auxiliary) or 'learned'."
        )
    return dict(zip(("segmentation", "outcome", "auxiliary"), values, strict=True))


def _template(path: str) -> dict[str, Any]:
    from ICHWeakSegLib.prognosis.admission_text import check_template

    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as problem:
        raise InputError(f"The template {path} cannot be read as JSON: {problem}.") from problem
    return check_template(data, f"The template {path}")


def _pseudo(name: str | None) -> Model | None:
    """The model of `--pseudo-masks-by`."""
    if name is None:
        return None
    from ICHWeakSegLib.models import load_model

    return load_model(name)


def _supervision(crops: list[PrognosisCrop], rule: OutcomeRule) -> str:
    from ICHWeakSegLib.prognosis.package import supervision

    return f"{supervision(crops)}. Poor: {rule.words}."


def _fold_text(number: int, rows: list[dict[str, Any]]) -> str:
    from ICHWeakSegLib.prognosis.package import held_out_results

    found = held_out_results(rows)
    auc = f"AUC {found['auc_held_out']:.3f}" if found else "no AUC: one kind of outcome only"
    return f"Fold {number + 1}: {len(rows)} held-out cases, {auc}"


def _told(recipe: PrognosisRecipe, epoch: int, metrics: dict[str, float]) -> str:
    parts = [f"loss {metrics['train_loss']:.3f}"] if "train_loss" in metrics else []
    parts += [f"outcome {metrics['outcome_loss']:.3f}"] if "outcome_loss" in metrics else []
    parts += [f"AUC {metrics['val_auc']:.3f}"] if "val_auc" in metrics else []
    return f"Epoch {epoch} of {recipe.epochs}: {', '.join(parts)}"
