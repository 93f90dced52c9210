"""Train a slice classifier from image-level labels, patient-wise, resumable, up to a model package."""

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
from ICHWeakSegLib.networks.swin_classifier import SwinClassifier
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import split_patients
from ICHWeakSegLib.training.claim import claim
from ICHWeakSegLib.training.classifier_module import ClassifierModule
from ICHWeakSegLib.training.dataset import Augmentation, SliceDataset, balanced_sampler
from ICHWeakSegLib.training.lightning_run import run_lightning
from ICHWeakSegLib.training.resumable import (
    write_whole,
)

NUM_CLASSES = {"binary": 2, "binary-sigmoid": 1, "subtypes": 6}
# HGI-SAM's maps come from the first three.
FEWEST_STAGES = 3


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a training gives, written beside its result.

    Attributes:
        backbone, overrides: timm's Swin and its options.
        strategy: `binary`, `binary-sigmoid` or `subtypes`.
        preprocessing: the network's input.
        augmentation: variation of training slices.
        epochs: at most so many.
        samples: slices an epoch; None: twice the minority class.
        batch: slices a step.
        rate, weight_decay, schedule, head_epochs: see `ClassifierModule`.
        patience: epochs without a better validation AUC before it stops; 0: never stop early.
        painted_share: share of painted slices among those drawn.
        painted_weight: weight of the loss that shows the network where blood was painted, see
            `ClassifierModule`; 0 where nothing is painted.
        seed: of splits, weights and order.
        precision: Lightning's, e.g. `32-true` or `bf16-mixed`.
    """

    backbone: str
    preprocessing: Preprocessing
    overrides: dict[str, Any] = field(default_factory=dict)
    strategy: str = "binary"
    augmentation: Augmentation = field(default_factory=Augmentation)
    epochs: int = 40
    samples: int | None = None
    batch: int = 12
    rate: float = 5e-4
    weight_decay: float = 0.05
    schedule: str = "scratch"
    head_epochs: int = 2
    patience: int = 3
    painted_share: float = 0.5
    painted_weight: float = 0.0
    seed: int = 0
    precision: str = "32-true"


@dataclass
class Trained:
    """Result of one training.

    Attributes:
        network: with the chosen weights, on the CPU, in eval mode.
        scores: for each validation slice: case name, plane, label, probability; empty without validation.
        metrics: final figures.
    """

    network: SwinClassifier
    scores: list[tuple[str, int, int, float]]
    metrics: dict[str, float]


def train_classifier(
    recipe: Recipe,
    train: list[Cropped],
    valid: list[Cropped],
    folder: Path,
    painted: list[Cropped] | None = None,
    initial: dict[str, torch.Tensor] | None = None,
    device: str = "auto",
    quiet: bool = False,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> Trained:
    """Train one network; a run that was killed goes on from its last whole epoch.

    Args:
        recipe: how.
        train, valid: cropped cases of different patients; with no `valid` the last epoch's weights are kept.
        folder: keeps checkpoints, `metrics.csv`, `curves.png` and `network.safetensors` of this run.
        painted: painted slices of the training patients.
        initial: state dict to start from instead of random weights.
        device: `auto`, `cpu`, `cuda` or `mps`.
        quiet: no progress bar; there is none either where standard output is no terminal.
        on_epoch: called with the number of epochs done and the metrics.

    Raises:
        InputError: a patient in both parts, no positive or no negative slice, `folder` holds another run,
            `initial` is of another architecture, or the training diverged.
        KeyboardInterrupt: stopped by the user; the same call goes on.
    """
    claim(folder, recipe, train, valid)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    network = _build(recipe)
    if initial:
        _start_from(network, initial)

    real = SliceDataset(train, recipe.preprocessing, recipe.augmentation)
    extra = SliceDataset(painted or [], recipe.preprocessing, recipe.augmentation)
    both = torch.utils.data.ConcatDataset([real, extra]) if len(extra) else real
    try:
        sampler = balanced_sampler(
            real.labels[:, 0], extra.labels[:, 0], recipe.painted_share, recipe.samples, recipe.seed
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    # A loader draws a number whenever it starts: from its own generator, so that resuming changes nothing.
    own = torch.Generator()
    loader = DataLoader(
        both, recipe.batch, sampler=sampler, drop_last=len(sampler) > recipe.batch, generator=own
    )
    checked = SliceDataset(valid, recipe.preprocessing)
    # The AUC of one kind of slice alone is undefined: such patients are scored, but cannot stop the training.
    valid_loader = DataLoader(checked, 64, generator=own) if len(set(checked.labels[:, 0])) == 2 else None

    module = ClassifierModule(
        network,
        recipe.strategy,
        recipe.schedule,
        recipe.rate,
        recipe.weight_decay,
        steps=len(loader) * recipe.epochs,
        head_epochs=recipe.head_epochs,
        painted_weight=recipe.painted_weight,
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
        patience=recipe.patience,
        # Without early stopping the validation only draws a curve.
        check_every=1 if recipe.patience else 4,
    )
    module.release()
    network = module.network.cpu().eval().requires_grad_(True)
    save_file(network.state_dict(), folder / "network.safetensors")
    scores = score_slices(network, recipe, valid)
    return Trained(network, scores, metrics)


@torch.inference_mode()
def score_slices(
    network: SwinClassifier, recipe: Recipe, cases: list[Cropped]
) -> list[tuple[str, int, int, float]]:
    """(case, plane, label, probability) of every labelled slice; slices without brain get 0."""
    module = ClassifierModule(network.eval(), recipe.strategy)
    rows = []
    for case in cases:
        known = np.flatnonzero(~np.isnan(case.labels[:, 0]))
        found = {int(plane): 0.0 for plane in known}
        inside = [plane for plane in found if case.brain[plane].any()]
        for first in range(0, len(inside), 32):
            planes = inside[first : first + 32]
            images = [
                recipe.preprocessing.images(case.hu[p].astype(np.float32), case.brain[p]) for p in planes
            ]
            values = module.score(network(torch.from_numpy(np.stack(images))))
            found.update(zip(planes, values.tolist(), strict=True))
        rows += [(case.name, p, int(case.labels[p, 0]), value) for p, value in found.items()]
    return rows


def cross_validate(
    recipe: Recipe,
    cases: list[Cropped],
    folder: Path,
    folds: int,
    painted: list[Cropped] | None = None,
    on_fold: Callable[[int, Trained], None] | None = None,
    **options: Any,
) -> list[tuple[str, int, int, float]]:
    """Patient-wise k-fold: the out-of-fold probability of every slice.

    Each fold leaves `fold-N/scores.json`, so that a killed run goes on with the fold it was in.
    """
    rows = []
    for number, held in enumerate(split_patients(cases, folds, recipe.seed)):
        place = folder / f"fold-{number}"
        finished = place / "scores.json"
        train = [case for case in cases if case.patient not in held]
        valid = [case for case in cases if case.patient in held]
        if finished.exists():
            claim(place, recipe, train, valid)
            rows += [tuple(row) for row in json.loads(finished.read_text())]
            continue
        mine = [case for case in painted or [] if case.patient not in held]
        trained = train_classifier(recipe, train, valid, place, mine, **options)
        if on_fold:
            on_fold(number, trained)
        write_whole(finished, json.dumps(trained.scores))
        rows += trained.scores
    return rows


def check_network(recipe: Recipe) -> None:
    """Build the network once and show it an empty image, before hours go into reading CTs.

    Raises:
        InputError: timm refuses it, or it does not take the preprocessing's images.
    """
    size = recipe.preprocessing.size
    network = _build(recipe).eval()
    if len(network.swin.layers) < FEWEST_STAGES:
        raise InputError(f"HGI-SAM needs a Swin of at least {FEWEST_STAGES} stages: give more depths.")
    try:
        with torch.inference_mode():
            network(torch.zeros(1, len(recipe.preprocessing.windows), size, size))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The network does not take images of {size} pixels: {reason}") from error


def _build(recipe: Recipe) -> SwinClassifier:
    if recipe.strategy not in NUM_CLASSES:
        raise InputError(f"The strategy is one of {', '.join(NUM_CLASSES)}, not {recipe.strategy!r}.")
    try:
        return SwinClassifier(
            recipe.backbone,
            NUM_CLASSES[recipe.strategy],
            in_chans=len(recipe.preprocessing.windows),
            # Plain attention trains a third faster on a CPU in bfloat16 than the fused one.
            fused_attention=False,
            **recipe.overrides,
        )
    except Exception as error:
        # timm checks few of its options: a wrong one ends in any kind of error.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"The network {recipe.backbone} cannot be built: {reason}") from error


def _start_from(network: SwinClassifier, initial: dict[str, torch.Tensor]) -> None:
    """Take over weights; a head of another strategy stays random."""
    own = network.state_dict()
    fitting = {key: value for key, value in initial.items() if key in own and own[key].shape == value.shape}
    strange = [key for key in own if key not in fitting and not key.startswith("head.")]
    if strange:
        raise InputError(
            f"The initial weights are of another architecture: {len(strange)} tensors differ, "
            f"the first is {strange[0]}."
        )
    network.load_state_dict(fitting, strict=False)
