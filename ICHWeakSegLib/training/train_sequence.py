"""Train the sequence classifier in its three stages, patient-wise and resumable at any point.

Source: Ramananda & Sundaresan, doi 10.1002/mp.17689 and arXiv 2309.16627. Rates, epochs, sampling and the
recurrent layers' head start before stage 2 ("reader") are ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils.data import ConcatDataset, DataLoader

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.inference.settings import choose_device
from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import split_patients
from ICHWeakSegLib.training.claim import claim
from ICHWeakSegLib.training.dataset import Augmentation, SliceDataset, balanced_sampler
from ICHWeakSegLib.training.lightning_run import run_lightning
from ICHWeakSegLib.training.package import operating_point
from ICHWeakSegLib.training.resumable import (
    write_whole,
)
from ICHWeakSegLib.training.sequence_dataset import RunDataset, features_of_runs
from ICHWeakSegLib.training.sequence_module import STAGES, SequenceModule
from ICHWeakSegLib.training.sequence_run import NETWORK_FILE, SequenceRun, write_run, write_weights

# Half the usual width: 2.8 M parameters, which little data and two cores suffice for.
NARROW = {"channels": (32, 64, 128, 256)}
FOLDERS = {"slices": "stage-1", "reader": "stage-2-reader", "sequence": "stage-2", "maps": "stage-3"}
# Runs that the recurrent layers alone read a step, and how often each run is drawn anew for them.
READER_BATCH, READER_DRAWS = 8, 2

Scores = list[tuple[str, int, int, float]]
# Called with the stage's name, the number of its epochs done and the metrics.
OnStageEpoch = Callable[[str, int, dict[str, float]], None]


@dataclass(frozen=True)
class SequenceRecipe:
    """Everything that decides what a training gives, written beside its result.

    Attributes:
        preprocessing: the network's input.
        backbone, overrides, pretrained: timm's ResNet, its options, and whether it starts from ImageNet.
        cell, layers, hidden, bidirectional, dropout, head: see `SequenceClassifier`.
        run, overlap: slices of a sequence, in training and in use; see `SequenceClassifier.volume_logits`.
        augmentation: variation of training slices; all slices of a run alike.
        epochs: of the three stages, at most so many; 0 of stage 2: the ResNet stays as it is.
        reader_epochs: before stage 2, of the recurrent layers on the features of the finished ResNet; 0: none.
        samples: slices an epoch in stages 1 and 3; None: twice the minority class.
        runs: runs an epoch in stage 2; None: twice the rarer kind, runs with or without blood.
        batch: slices a step in stages 1 and 3.
        run_batch: runs a step in stage 2.
        rates: learning rates of the stages.
        weight_decay: AdamW's.
        patience: epochs without a better validation AUC before a stage stops; 0: never stop early.
        painted_share: share of painted slices or runs among those drawn.
        seed: of splits, weights and order.
        precision: Lightning's, e.g. `32-true` or `bf16-mixed`.
    """

    preprocessing: Preprocessing
    backbone: str = "resnet18"
    overrides: dict[str, Any] = field(default_factory=lambda: dict(NARROW))
    pretrained: bool = False
    cell: str = "gru"
    layers: int | None = None
    hidden: int = 256
    bidirectional: bool = False
    dropout: float = 0.0
    head: tuple[int, ...] | None = None
    run: int = 32
    overlap: int = 8
    augmentation: Augmentation = field(default_factory=Augmentation)
    epochs: tuple[int, int, int] = (20, 20, 5)
    reader_epochs: int = 20
    samples: int | None = None
    runs: int | None = None
    batch: int = 16
    run_batch: int = 2
    rates: tuple[float, float, float] = (1e-3, 1e-3, 1e-3)
    weight_decay: float = 0.01
    patience: int = 0
    painted_share: float = 0.5
    seed: int = 0
    precision: str = "32-true"

    def network_arguments(self) -> dict[str, Any]:
        """Arguments of `SequenceClassifier`."""
        names = (
            "backbone",
            "overrides",
            "pretrained",
            "cell",
            "layers",
            "hidden",
            "bidirectional",
            "dropout",
        )
        settings = {name: getattr(self, name) for name in (*names, "head", "run", "overlap")}
        return {"in_chans": len(self.preprocessing.windows), **settings}


@dataclass
class TrainedSequence:
    """Result of one training.

    Attributes:
        network: with the chosen weights, on the CPU, in eval mode.
        scores: for each validation slice: case name, plane, label, probability; empty without validation.
        slice_scores: the same by the linear head of the maps alone.
    """

    network: SequenceClassifier
    scores: Scores
    slice_scores: Scores


def train_sequence(
    recipe: SequenceRecipe,
    train: list[Cropped],
    valid: list[Cropped],
    folder: Path,
    painted: list[Cropped] | None = None,
    initial: dict[str, torch.Tensor] | None = None,
    device: str = "auto",
    quiet: bool = False,
    on_epoch: OnStageEpoch | None = None,
    slices_from: Path | None = None,
) -> TrainedSequence:
    """Train one network; a run that was killed goes on from the last whole epoch of its stage.

    Args:
        recipe: how.
        train, valid: cropped cases of different patients; with no `valid` the last epoch's weights are kept.
        folder: keeps `stage-1`, `stage-2-reader`, `stage-2` and `stage-3` (checkpoints, curves, weights), and
            `network.safetensors` with `network.json`, which `read_run` reads.
        painted: painted whole volumes of the training patients, see `painted_volumes`.
        initial: state dict of such a network to start from instead of random weights.
        device: `auto`, `cpu`, `cuda` or `mps`.
        quiet: no progress bar; there is none either where standard output is no terminal.
        on_epoch: told of every epoch.
        slices_from: output folder of another such training; its ResNet after stage 1 is taken over from the part
            of the same name, so that recurrent layers are compared on equal features.

    Raises:
        InputError: a patient in both parts, no positive or no negative slice, `folder` holds another run,
            `initial` is of another architecture, or the training diverged.
        KeyboardInterrupt: stopped by the user; the same call goes on.
    """
    claim(folder, recipe, train, valid)
    painted = painted or []
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    network = build_sequence(recipe)
    if initial:
        try:
            network.load_state_dict(initial)
        except RuntimeError as error:
            raise InputError("The initial weights are of another architecture.") from error
    if slices_from and recipe.epochs[0]:
        _take_slices(Path(slices_from) / folder.name, folder, network, recipe)
    for number, stage in enumerate(STAGES, start=1):
        if not _epochs(recipe, stage):
            continue
        place = folder / FOLDERS[stage]
        finished = place / NETWORK_FILE
        if not finished.exists():
            # Of its own: a stage draws the same whether or not those before it ran in this process.
            lightning.seed_everything(recipe.seed + 1000 * number, workers=True, verbose=False)
            if stage == "maps":
                network.fresh_slice_head()
            network.to(choose_device(device))
            data = _data(stage, network, recipe, train, painted, valid)
            _fit_stage(stage, network, recipe, data, place, device, quiet, on_epoch)
        network.load_state_dict(load_file(finished))
    network = network.cpu().eval().requires_grad_(True)
    scores = score_sequences(network, recipe, valid)
    probability = operating_point(scores).probability
    write_run(folder, SequenceRun(network, recipe.preprocessing, probability))
    return TrainedSequence(network, scores, score_slices_alone(network, recipe, valid))


def _take_slices(source: Path, folder: Path, network: SequenceClassifier, recipe: SequenceRecipe) -> None:
    """Leave another training's ResNet and linear head as this one's stage 1.

    Raises:
        InputError: it is not there, or it had other patients, another input or another ResNet.
    """
    target = folder / FOLDERS["slices"] / NETWORK_FILE
    if target.exists():
        return
    weights = source / FOLDERS["slices"] / NETWORK_FILE
    if not weights.is_file():
        raise InputError(f"{source} has no finished first stage: let that training end first.")
    own, other = (json.loads((place / "run.json").read_text(encoding="utf-8")) for place in (folder, source))
    keys = ("preprocessing", "backbone", "overrides", "augmentation", "painted_share", "seed")
    if other["train"] != own["train"] or any(other["recipe"][key] != own["recipe"][key] for key in keys):
        raise InputError(
            f"The first stage of {source} had other patients or settings: give both trainings the same data, "
            "--folds, --seed, input and ResNet."
        )
    if other["recipe"]["epochs"][0] != recipe.epochs[0]:
        raise InputError(
            f"The first stage of {source} had {other['recipe']['epochs'][0]} epochs, not {recipe.epochs[0]}."
        )
    state = network.state_dict()
    taken = {
        key: value for key, value in load_file(weights).items() if key.startswith(("resnet.", "slice_head."))
    }
    before = {key: value.clone() for key, value in state.items()}
    network.load_state_dict(before | taken)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_weights(network, target)
    network.load_state_dict(before)


@dataclass
class _Data:
    """Loaders of a stage; `valid` is None where an AUC would be undefined."""

    train: DataLoader
    valid: DataLoader | None
    draws: torch.Generator


def _epochs(recipe: SequenceRecipe, stage: str) -> int:
    if stage == "reader":
        return recipe.reader_epochs
    return recipe.epochs[("slices", "sequence", "maps").index(stage)]


def _rate(recipe: SequenceRecipe, stage: str) -> float:
    return recipe.rates[{"slices": 0, "reader": 1, "sequence": 1, "maps": 2}[stage]]


def _data(
    stage: str,
    network: SequenceClassifier,
    recipe: SequenceRecipe,
    train: list[Cropped],
    painted: list[Cropped],
    valid: list[Cropped],
) -> _Data:
    wishes, how = recipe.preprocessing, recipe.augmentation
    if stage in ("reader", "sequence"):
        sets = [RunDataset(cases, wishes, how, recipe.run) for cases in (train, painted)]
        kinds, samples, batch = [part.positive for part in sets], recipe.runs, recipe.run_batch
        checked, checked_batch = RunDataset(valid, wishes, None, recipe.run), 1
    else:
        sets = [SliceDataset(cases, wishes, how) for cases in (train, painted)]
        kinds, samples, batch = [part.labels[:, 0] for part in sets], recipe.samples, recipe.batch
        checked, checked_batch = SliceDataset(valid, wishes), 32
    two_kinds = len(set(checked.labels[:, 0])) == 2
    if stage == "reader":
        batch, checked_batch = READER_BATCH, READER_BATCH
        samples = READER_DRAWS * sum(map(len, sets))
        kinds = [np.tile(kind, READER_DRAWS) for kind in kinds]
        sets = [features_of_runs(network, part, READER_DRAWS) for part in sets]
        checked = features_of_runs(network, checked, 1)
    try:
        sampler = balanced_sampler(*kinds, recipe.painted_share, samples, recipe.seed)
    except ValueError as error:
        kind = "slice" if stage in ("slices", "maps") else "run of slices"
        raise InputError(str(error).replace("slice", kind)) from error
    # A loader draws a number whenever it starts: from its own generator, so that resuming changes nothing.
    own = torch.Generator()
    both = ConcatDataset(sets) if len(sets[1]) else sets[0]
    loader = DataLoader(both, batch, sampler=sampler, drop_last=len(sampler) > batch, generator=own)
    check = DataLoader(checked, checked_batch, generator=own) if two_kinds else None
    return _Data(loader, check, sampler.generator)


def _fit_stage(
    stage: str,
    network: SequenceClassifier,
    recipe: SequenceRecipe,
    data: _Data,
    folder: Path,
    device: str,
    quiet: bool,
    on_epoch: OnStageEpoch | None,
) -> None:
    """Train one stage and leave its weights in `folder`."""
    epochs = _epochs(recipe, stage)
    module = SequenceModule(
        network.train(), stage, _rate(recipe, stage), recipe.weight_decay, steps=len(data.train) * epochs
    )
    run_lightning(
        module,
        data.train,
        data.valid,
        folder,
        data.draws,
        epochs=epochs,
        precision=recipe.precision,
        device=device,
        quiet=quiet,
        on_epoch=None if on_epoch is None else lambda *told: on_epoch(stage, *told),
        patience=recipe.patience,
        # Without early stopping the validation only draws a curve.
        check_every=1 if recipe.patience else 4,
    )
    write_weights(network.cpu(), folder / NETWORK_FILE)


@torch.inference_mode()
def score_sequences(network: SequenceClassifier, recipe: SequenceRecipe, cases: list[Cropped]) -> Scores:
    """(case, plane, label, probability) of every labelled slice, seen with its neighbours; no brain: 0."""

    def logits(case: Cropped, planes: np.ndarray) -> torch.Tensor:
        images = (_image(recipe, case, plane) for plane in planes)
        return network.classify_volume(images)

    return _scored(network, cases, logits)


@torch.inference_mode()
def score_slices_alone(network: SequenceClassifier, recipe: SequenceRecipe, cases: list[Cropped]) -> Scores:
    """The same by the linear head that the maps come from, slice by slice."""

    def logits(case: Cropped, planes: np.ndarray) -> torch.Tensor:
        parts = [
            network.slice_logits(torch.stack([_image(recipe, case, plane) for plane in some]))[:, 0]
            for some in np.array_split(planes, -(-len(planes) // 16))
        ]
        return torch.cat(parts)

    return _scored(network, cases, logits)


def _image(recipe: SequenceRecipe, case: Cropped, plane: int) -> torch.Tensor:
    hu = np.asarray(case.hu[plane], np.float32)
    return torch.from_numpy(recipe.preprocessing.images(hu, case.brain[plane]))


def _scored(
    network: SequenceClassifier,
    cases: list[Cropped],
    logits: Callable[[Cropped, np.ndarray], torch.Tensor],
) -> Scores:
    network.eval()
    rows: Scores = []
    for case in cases:
        values = np.zeros(len(case.hu))
        # Slices without a label are neighbours all the same.
        planes = np.flatnonzero(case.brain.any(axis=(1, 2)))
        if len(planes):
            values[planes] = logits(case, planes).sigmoid().numpy()
        known = np.flatnonzero(~np.isnan(case.labels[:, 0]))
        rows += [(case.name, int(p), int(case.labels[p, 0]), float(values[p])) for p in known]
    return rows


def cross_validate_sequence(
    recipe: SequenceRecipe,
    cases: list[Cropped],
    folder: Path,
    folds: int,
    painted: list[Cropped] | None = None,
    on_fold: Callable[[int, TrainedSequence], None] | None = None,
    **options: Any,
) -> Scores:
    """Patient-wise k-fold: the out-of-fold probability of every slice.

    Each fold leaves `fold-N/scores.json`, so that a killed run goes on with the fold it was in.
    """
    rows: Scores = []
    for number, held in enumerate(split_patients(cases, folds, recipe.seed)):
        place = folder / f"fold-{number}"
        finished = place / "scores.json"
        train = [case for case in cases if case.patient not in held]
        valid = [case for case in cases if case.patient in held]
        if finished.exists():
            claim(place, recipe, train, valid)
            rows += [tuple(row) for row in json.loads(finished.read_text(encoding="utf-8"))]
            continue
        mine = [case for case in painted or [] if case.patient not in held]
        trained = train_sequence(recipe, train, valid, place, mine, **options)
        if on_fold:
            on_fold(number, trained)
        write_whole(finished, json.dumps(trained.scores))
        rows += trained.scores
    return rows


def build_sequence(recipe: SequenceRecipe) -> SequenceClassifier:
    """The recipe's network with untrained weights.

    Raises:
        InputError: timm refuses it, or an option makes no sense.
    """
    if len(recipe.epochs) != 3 or len(recipe.rates) != 3:
        raise InputError("Epochs and rates are three numbers each, one a stage.")
    if min(recipe.epochs) < 0 or 0 in recipe.epochs[::2] or not (recipe.epochs[1] or recipe.reader_epochs):
        raise InputError(
            "A stage needs an epoch at least; the second may have none where the recurrent layers alone have some."
        )
    try:
        return SequenceClassifier(**recipe.network_arguments())
    except Exception as error:
        # timm checks few of its options: a wrong one ends in any kind of error.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"The network {recipe.backbone} cannot be built: {reason}") from error


def check_sequence(recipe: SequenceRecipe) -> None:
    """Build the network once and show it an empty image, before hours go into reading CTs.

    Raises:
        InputError: as `build_sequence`, or it does not take the preprocessing's images.
    """
    network, size = build_sequence(recipe).eval(), recipe.preprocessing.size
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 1, len(recipe.preprocessing.windows), size, size))
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The network does not take images of {size} pixels: {reason}") from error
