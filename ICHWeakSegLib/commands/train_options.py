"""Options that every kind of training has, and their checks."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError


def add_kind(kinds: argparse._SubParsersAction, name: str, **words: str) -> argparse.ArgumentParser:
    """A parser that takes `@FILE` in place of options: a recipe, with `#` before remarks."""
    kind = kinds.add_parser(
        name, fromfile_prefix_chars="@", epilog="@FILE stands for the options in a file.", **words
    )
    kind.convert_arg_line_to_args = lambda line: shlex.split(line, comments=True)  # type: ignore[method-assign]
    return kind


def add_data_options(kind: argparse.ArgumentParser) -> None:
    """What to train on, where to put it, and how to split it."""
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
        "--folds", type=int, default=0, metavar="K", help="first measure by patient-wise K-fold"
    )
    kind.add_argument(
        "--folds-only", action="store_true", help="measure by --folds and stop: no final network, no package"
    )
    kind.add_argument(
        "--cache",
        metavar="DIR",
        help="of cropped CTs and painted copies, which several runs may share; default: OUTPUT/cache",
    )
    kind.add_argument(
        "--valid",
        type=float,
        default=0.15,
        metavar="F",
        help="share of patients for validation, up to 0.5; 0: train on all",
    )


def cache_folder(options: argparse.Namespace) -> Path:
    """Where cropped CTs and painted copies are kept."""
    return Path(options.cache) if options.cache else Path(options.output) / "cache"


def add_run_options(kind: argparse.ArgumentParser) -> None:
    """How to run, and what the card says."""
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


def check_shared_options(options: argparse.Namespace) -> None:
    """Refuse names, splits and devices that make no sense, before anything is read.

    Raises:
        InputError: the first one found.
    """
    from ICHWeakSegLib.models.card import is_model_name

    name = options.name
    if not is_model_name(name):
        raise InputError(f"--name {name!r} cannot be the name of a folder: use letters and digits.")
    if name in ("final", "cache") or re.fullmatch(r"fold-\d+", name):
        raise InputError(f"--name {name} is a folder of the run itself: give another.")
    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads needs at least 1, not {options.threads}.")
    if options.folds != 0 and options.folds < 2:
        raise InputError(f"--folds needs at least 2, or 0 for none, not {options.folds}.")
    if options.folds_only and not options.folds:
        raise InputError("--folds-only needs --folds K.")
    if not 0 <= options.valid <= 0.5:
        raise InputError(f"--valid is a share from 0 to 0.5, not {options.valid:g}.")
    if options.rotation is not None and not 0 <= options.rotation <= 180:
        raise InputError(f"--rotation lies between 0 and 180 degrees, not {options.rotation:g}.")
    _check_device(options.device)


def _check_device(device: str) -> None:
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise InputError(
            f"This computer has no {device} device that torch can use: give --device auto or cpu."
        )
