"""Train a segmentation network on drawn blood, image-level labels or both; patient-wise and resumable."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.inference.segmenter_maps import slice_scores
from ICHWeakSegLib.networks.segmenter import PRESETS, Segmenter, committee
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import split_patients
from ICHWeakSegLib.training.claim import claim
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.lightning_run import run_lightning
from ICHWeakSegLib.training.resumable import (
    write_whole,
)
from ICHWeakSegLib.training.segmenter_dataset import CroppedPlanes, Mix, MixSampler, SegmenterDataset
from ICHWeakSegLib.training.segmenter_module import LOSSES, SegmenterModule

# Called with the name of the part, e.g. `fold-0` or `final`, and its training cases.
Draw = Callable[[str, list[Cropped]], list[Cropped]]
# Called with the name of the part.
Start = Callable[[str], dict[str, torch.Tensor]]
# A mirrored difference bears a smaller turn than a classifier of whole slices.
GENTLE = Augmentation(rotation_deg=15.0, scale=0.10, shift=0.03, noise_hu=3.0, hu_offset=3.0, hu_gain=0.10)


@dataclass(frozen=True)
class SegmenterRecipe:
    """Everything that decides what a training gives, written beside its result.

    Attributes:
        preprocessing: the network's input.
        network: arguments of `Segmenter`, without `windows`, which the preprocessing gives.
        augmentation: variation of training slices.
        mix: slices of each kind in a batch.
        loss: the dense loss, see `SegmenterModule`.
        dense_weight, image_weight: weights of the dense and the image-level loss.
        epochs: how many; after each one a killed run can go on.
        steps: batches an epoch.
        check_every: epochs between two looks at the validation patients.
        rate, weight_decay: AdamW's.
        seed: of splits, weights and order.
        precision: Lightning's, e.g. `32-true` or `bf16-mixed`.
        teacher: digest of the networks of an earlier round, see `training.teacher`; empty without one.
        keep_teacher: the result is the mean of the teacher and the student.
    """

    preprocessing: Preprocessing
    network: dict[str, Any] = field(default_factory=lambda: dict(PRESETS["weak"]))
    augmentation: Augmentation = GENTLE
    mix: Mix = field(default_factory=Mix)
    loss: str = "mixed"
    dense_weight: float = 1.0
    image_weight: float = 1.0
    epochs: int = 24
    steps: int = 100
    check_every: int = 4
    rate: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0
    precision: str = "32-true"
    teacher: str = ""
    keep_teacher: bool = False


@dataclass
class TrainedSegmenter:
    """Result of one training.

    Attributes:
        network: with the last weights, on the CPU, in eval mode.
        scores: for each validation slice: case name, plane, label, probability; empty without validation.
        metrics: final figures.
    """

    network: Segmenter
    scores: list[tuple[str, int, int, float]]
    metrics: dict[str, float]


def train_segmenter(
    recipe: SegmenterRecipe,
    train: list[Cropped],
    valid: list[Cropped],
    folder: Path,
    drawn: list[Cropped] | None = None,
    initial: dict[str, torch.Tensor] | None = None,
    device: str = "auto",
    quiet: bool = False,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    draw: Draw | None = None,
    start: Start | None = None,
) -> TrainedSegmenter:
    """Train one network; a run that was killed goes on from its last whole epoch.

    The last weights are kept, not those of the best look at the validation patients: these stay a measure.

    Args:
        recipe: how.
        train, valid: whole cropped cases of different patients; those with `blood` (masks, pseudo-masks) count
            as drawn, the others by their image-level labels.
        folder: keeps checkpoints, logs, `curves.png`, `segmenter.json` (the network's arguments) and
            `network.safetensors` of this run.
        drawn: further volumes of the training patients with blood drawn in, e.g. painted.
        initial: state dict to start from instead of random weights.
        device: `auto`, `cpu`, `cuda` or `mps`.
        quiet: no progress bar; there is none either where standard output is no terminal.
        on_epoch: called with the number of epochs done and the metrics.
        draw: gives the training cases their `blood` or `guess` first.
        start: gives the state dict to start from, in place of `initial`.

    Raises:
        InputError: a patient in both parts, a kind of slice that is missing, `folder` holds another run,
            `initial` is of another network, or the training diverged.
        KeyboardInterrupt: stopped by the user; the same call goes on.
    """
    drawn = drawn or []
    if draw:
        train = draw(folder.name, train)
    if start:
        initial = start(folder.name)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    network = build_segmenter(recipe)
    data = SegmenterDataset([*train, *drawn], network.context)
    sampler = MixSampler(data.pools, recipe.mix, recipe.steps, recipe.seed)
    claim(folder, recipe, [*train, *drawn], valid)
    if initial:
        _start_from(network, initial)
    # A loader draws a number whenever it starts: from its own generator, so that resuming changes nothing.
    own = torch.Generator()
    loader = DataLoader(data, batch_sampler=sampler, generator=own)
    checked = SegmenterDataset(valid, network.context)
    both = {case.labels[plane, 0] for case, plane in ((checked.cases[n], p) for n, p in checked.index)}
    # The AUC of one kind of slice alone is undefined.
    valid_loader = DataLoader(checked, 16, generator=own) if len(both) == 2 else None

    module = SegmenterModule(
        network,
        recipe.preprocessing,
        recipe.loss,
        recipe.dense_weight,
        recipe.image_weight,
        recipe.augmentation,
        recipe.rate,
        recipe.weight_decay,
        steps=recipe.steps * recipe.epochs,
    )
    metrics = run_lightning(
        module,
        loader,
        valid_loader,
        folder,
        sampler.generator,
        epochs=recipe.epochs,
        precision=recipe.precision,
        device=device,
        quiet=quiet,
        on_epoch=on_epoch,
        check_every=max(1, min(recipe.check_every, recipe.epochs)),
    )
    network = module.network.cpu().eval()
    if recipe.keep_teacher:
        first = build_segmenter(recipe)
        _start_from(first, initial or {})
        network = committee([first, network])
    save_file(network.state_dict(), folder / "network.safetensors")
    write_whole(folder / "segmenter.json", json.dumps(network.config, indent=1))
    scores = score_cases(network, recipe.preprocessing, valid)
    return TrainedSegmenter(network, scores, metrics)


def cross_validate_segmenter(
    recipe: SegmenterRecipe,
    cases: list[Cropped],
    folder: Path,
    folds: int,
    drawn: list[Cropped] | None = None,
    on_fold: Callable[[int, TrainedSegmenter], None] | None = None,
    **options: Any,
) -> list[tuple[str, int, int, float]]:
    """Patient-wise k-fold: the out-of-fold probability of every slice.

    Each fold leaves `fold-N/scores.json`, so that a killed run goes on with the fold it was in. `drawn`
    volumes of held-out patients take no part in their fold. Other arguments as in `train_segmenter`.
    """
    rows = []
    for number, held in enumerate(split_patients(cases, folds, recipe.seed)):
        place = folder / f"fold-{number}"
        finished = place / "scores.json"
        train = [case for case in cases if case.patient not in held]
        valid = [case for case in cases if case.patient in held]
        mine = [case for case in drawn or [] if case.patient not in held]
        if finished.exists():
            claim(place, recipe, [*train, *mine], valid)
            rows += [tuple(row) for row in json.loads(finished.read_text())]
            continue
        trained = train_segmenter(recipe, train, valid, place, mine, **options)
        if on_fold:
            on_fold(number, trained)
        write_whole(finished, json.dumps(trained.scores))
        rows += trained.scores
    return rows


def score_cases(
    network: Segmenter, preprocessing: Preprocessing, cases: list[Cropped]
) -> list[tuple[str, int, int, float]]:
    """(case, plane, label, probability) of every labelled slice; slices without brain get 0."""
    rows = []
    for case in cases:
        known = np.flatnonzero(~np.isnan(case.labels[:, 0])).tolist()
        found = slice_scores(network.eval(), CroppedPlanes(case), known, preprocessing).tolist()
        rows += [(case.name, p, int(case.labels[p, 0]), value) for p, value in zip(known, found, strict=True)]
    return rows


def build_segmenter(recipe: SegmenterRecipe) -> Segmenter:
    """The recipe's network with random weights.

    Raises:
        InputError: MONAI refuses it, or the recipe's loss or input does not exist for it.
    """
    if recipe.loss not in LOSSES:
        raise InputError(f"The loss is one of {', '.join(LOSSES)}, not {recipe.loss!r}.")
    if recipe.preprocessing.scaling != "fixed":
        raise InputError("A segmenter takes windows with fixed scaling.")
    try:
        return Segmenter(windows=len(recipe.preprocessing.windows), **recipe.network)
    except (TypeError, ValueError) as error:
        raise InputError(f"The segmentation network cannot be built: {error}") from error


def check_segmenter(recipe: SegmenterRecipe) -> None:
    """Build the network once and show it an empty image, before hours go into reading CTs.

    Raises:
        InputError: MONAI refuses it, or it does not take the preprocessing's images.
    """
    network, size = build_segmenter(recipe).eval(), recipe.preprocessing.size
    try:
        with torch.inference_mode():
            network(torch.zeros(1, network.in_chans, size, size))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The network does not take images of {size} pixels: {reason}") from error


def read_segmenter(folder: Path) -> tuple[Segmenter, dict[str, Any]]:
    """The network of a finished run, in eval mode, and its `run.json`."""
    from safetensors.torch import load_file

    network = Segmenter(**json.loads((folder / "segmenter.json").read_text(encoding="utf-8")))
    network.load_state_dict(load_file(folder / "network.safetensors"))
    return network.eval(), json.loads((folder / "run.json").read_text(encoding="utf-8"))


def join_folds(places: list[Path]) -> Segmenter:
    """The mean of the networks of finished folds, see `networks.segmenter.committee`."""
    return committee([read_segmenter(place)[0] for place in places])


def _start_from(network: Segmenter, initial: dict[str, torch.Tensor]) -> None:
    own = network.state_dict()
    strange = [k for k in own if k not in initial or own[k].shape != initial[k].shape]
    strange += [k for k in initial if k not in own]
    if strange:
        raise InputError(
            f"The initial weights are of another network: {len(strange)} tensors differ, the first is "
            f"{strange[0]}."
        )
    network.load_state_dict(initial)
