"""Train a prognosis network: folds by patient, then a final one on all patients; resumable after a kill."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.models.card import TOKENIZER_FILE
from ICHWeakSegLib.networks.sc_network import ScNetwork
from ICHWeakSegLib.networks.tuning import merge_lora, tune
from ICHWeakSegLib.prognosis.admission_text import DEFAULT_TEMPLATE
from ICHWeakSegLib.prognosis.dataset import (
    CaseSampler,
    Collate,
    ModalityDropout,
    PrognosisCrop,
    PrognosisDataset,
)
from ICHWeakSegLib.prognosis.module import TASKS, PrognosisModule
from ICHWeakSegLib.training.cases import split_patients
from ICHWeakSegLib.training.claim import claim
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.lightning_run import run_lightning
from ICHWeakSegLib.training.resumable import write_whole

# As segmenters: the head turns little.
GENTLE = Augmentation(rotation_deg=15.0, scale=0.10, shift=0.03, noise_hu=3.0, hu_offset=3.0, hu_gain=0.10)
WEIGHTS = {"segmentation": 1.0, "outcome": 1.0, "auxiliary": 0.1}
NETWORK_FILE, CONFIG_FILE, HELD_OUT_FILE = "network.safetensors", "network.json", "held_out.json"


@dataclass(frozen=True)
class PrognosisRecipe:
    """Everything that decides what a training gives, written beside its result.

    Attributes:
        preprocessing: the network's input.
        network: arguments of `ScNetwork` without `size` and `windows`, which the preprocessing gives.
        image_weights: official SAM or MedSAM file that the image encoder begins with; empty: random.
        text_folder: transformers folder of the text encoder, in place of `network["text"]`; empty: none.
        tune_image, tune_text: `frozen`, `lora` or `full`.
        lora_rank: of LoRA.
        template: of the text.
        outcome: scale and cut of the poor outcome, plain JSON.
        leaks: fields known only after admission that the cases bring.
        weights: of the tasks in `TASKS`; None: learned.
        augmentation: of training cases.
        dropout: of modalities.
        epochs: how many; after each one a killed run can go on.
        batch: cases at a time.
        rate, weight_decay, encoder_rate: see `PrognosisModule`.
        check_every: epochs between two looks at the validation patients.
        seed: of splits, weights and order.
        precision: Lightning's, e.g. `32-true` or `bf16-mixed`.
    """

    preprocessing: Preprocessing
    network: dict[str, Any] = field(default_factory=dict)
    image_weights: str = ""
    text_folder: str = ""
    tune_image: str = "full"
    tune_text: str = "full"
    lora_rank: int = 8
    template: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(DEFAULT_TEMPLATE))
    outcome: dict[str, Any] = field(default_factory=dict)
    leaks: tuple[str, ...] = ()
    weights: dict[str, float] | None = field(default_factory=lambda: dict(WEIGHTS))
    augmentation: Augmentation = GENTLE
    dropout: ModalityDropout = field(default_factory=ModalityDropout)
    epochs: int = 30
    batch: int = 4
    rate: float = 1e-3
    weight_decay: float = 0.05
    encoder_rate: float = 0.1
    check_every: int = 5
    seed: int = 0
    precision: str = "32-true"


@dataclass
class TrainedPrognosis:
    """Result of one training.

    Attributes:
        network: with the last weights, LoRA merged, on the CPU, in eval mode.
        held_out: a row for each validation case with a known outcome, see `held_out_rows`.
        metrics: final figures.
    """

    network: ScNetwork
    held_out: list[dict[str, Any]]
    metrics: dict[str, float]


def build_sc_network(recipe: PrognosisRecipe, weights: bool = True) -> ScNetwork:
    """The recipe's network; its encoders with the weights of their files, tuned as the recipe says.

    Args:
        recipe: how.
        weights: false: random encoders that learn in full, for weights that follow.

    Raises:
        InputError: arguments or a file that cannot be used, or a package that is missing.
    """
    arguments = dict(recipe.network)
    wishes = recipe.preprocessing
    if wishes.scaling != "fixed":
        raise InputError("A prognosis network takes windows with fixed scaling.")
    try:
        text = None
        if recipe.text_folder:
            from ICHWeakSegLib.networks.transformers_text import TransformersTextEncoder

            text = TransformersTextEncoder.from_folder(recipe.text_folder)
            arguments["text"] = {"kind": "transformers", **text.arguments}
        network = ScNetwork(wishes.size, len(wishes.windows), **arguments)
        if text is not None:
            network.text.set_tokenizer(text.tokenizer_text)
            network.text.load_state_dict(text.state_dict())
        if not weights:
            return network
        if recipe.image_weights:
            if not hasattr(network.image, "load_official"):
                raise InputError("Only SAM's encoders (vit_b, vit_l, vit_h) begin with a SAM file.")
            network.image.load_official(recipe.image_weights)
        tune(network.image, recipe.tune_image, recipe.lora_rank)
        tune(network.text, recipe.tune_text, recipe.lora_rank)
    except ModuleNotFoundError as problem:
        if not problem.name or problem.name.startswith("ICHWeakSegLib"):
            raise
        raise InputError(
            f"This encoder needs the Python package {problem.name}, which is missing: install it with "
            'pip install "ichweakseg[prognosis]".'
        ) from problem
    except (TypeError, ValueError) as problem:
        raise InputError(f"The prognosis network cannot be built: {problem}") from problem
    return network


def fit_prognosis(
    recipe: PrognosisRecipe,
    train: Sequence[PrognosisCrop],
    valid: Sequence[PrognosisCrop],
    folder: Path,
    device: str = "auto",
    quiet: bool = False,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> TrainedPrognosis:
    """Train one network; a run that was killed goes on from its last whole epoch.

    The last weights are kept, not those of the best look at the validation patients: these stay a measure.

    Args:
        recipe: how.
        train, valid: cases of different patients.
        folder: keeps checkpoints, logs, `curves.png`, the network and `held_out.json` of this run.
        device: `auto`, `cpu`, `cuda` or `mps`.
        quiet: no progress bar; there is none either where standard output is no terminal.
        on_epoch: called with the number of epochs done and the metrics.

    Raises:
        InputError: a patient in both parts, one outcome only, `folder` holds another run, or it diverged.
        KeyboardInterrupt: stopped by the user; the same call goes on.
    """
    check_outcomes(train)
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    network = build_sc_network(recipe)
    claim(folder, recipe, train, valid)
    sampler = CaseSampler(len(train), recipe.batch, recipe.seed)
    own, collate = torch.Generator(), Collate(recipe.preprocessing)
    brain_hu = recipe.preprocessing.brain_hu or 33.0
    data = PrognosisDataset(train, recipe.template, recipe.augmentation, recipe.dropout, brain_hu)
    loader = DataLoader(data, batch_sampler=sampler, generator=own, collate_fn=collate)
    both = {case.outcome for case in valid} >= {0.0, 1.0}
    checked = PrognosisDataset(valid, recipe.template)
    # The AUC of one kind of patient alone is undefined.
    valid_loader = DataLoader(checked, recipe.batch, generator=own, collate_fn=collate) if both else None
    module = PrognosisModule(
        network,
        recipe.weights,
        recipe.rate,
        recipe.weight_decay,
        recipe.encoder_rate,
        [name for name, path in (("image", recipe.image_weights), ("text", recipe.text_folder)) if path],
        steps=len(sampler) * recipe.epochs,
    )
    with _frozen_on_purpose():
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
    for task, spread in module.uncertainty.items():
        metrics[f"{task}_weight"] = float(torch.exp(-spread))
    network = finished(module.network)
    save_network(network, folder)
    rows = held_out_rows(network, recipe, valid)
    write_whole(folder / HELD_OUT_FILE, json.dumps(rows))
    return TrainedPrognosis(network, rows, metrics)


def cross_validate_prognosis(
    recipe: PrognosisRecipe,
    cases: Sequence[PrognosisCrop],
    folder: Path,
    folds: int,
    on_fold: Callable[[int, list[dict[str, Any]]], None] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Patient-wise k-fold: the out-of-fold rows of every case with a known outcome, with `fold`.

    Each fold leaves `fold-N/held_out.json`, so that a killed run goes on with the fold it was in. Other arguments
    as `fit_prognosis`.
    """
    rows: list[dict[str, Any]] = []
    for number, held in enumerate(split_patients(cases, folds, recipe.seed, "give fewer --folds")):
        place = Path(folder) / f"fold-{number}"
        train = [case for case in cases if case.patient not in held]
        valid = [case for case in cases if case.patient in held]
        finished_rows = place / HELD_OUT_FILE
        if finished_rows.exists():
            claim(place, recipe, train, valid)
            found = json.loads(finished_rows.read_text(encoding="utf-8"))
        else:
            found = fit_prognosis(recipe, train, valid, place, **options).held_out
        rows += [{**row, "fold": number} for row in found]
        if on_fold:
            on_fold(number, found)
    return rows


def train_prognosis(
    recipe: PrognosisRecipe,
    cases: Sequence[PrognosisCrop],
    folder: Path,
    folds: int = 0,
    on_fold: Callable[[int, list[dict[str, Any]]], None] | None = None,
    **options: Any,
) -> TrainedPrognosis:
    """Cross-validate where folds are asked for, then train the final network on all patients.

    Args:
        recipe: how.
        cases: cropped; those without an outcome still teach segmentation.
        folder: keeps `fold-N` and `final`.
        folds: 0 for none, else at least 2.
        on_fold: called with the number of a finished fold and its rows.
        options: `device`, `quiet` and `on_epoch` of `fit_prognosis`.

    Returns:
        The final network with the held-out rows of the folds.

    Raises:
        InputError: as `fit_prognosis`, or fewer patients than folds.
    """
    if folds < 0 or folds == 1:
        raise InputError(f"Folds are 0 for none, or at least 2, not {folds}.")
    check_outcomes(cases)
    rows = cross_validate_prognosis(recipe, cases, folder, folds, on_fold, **options) if folds else []
    trained = fit_prognosis(recipe, cases, [], Path(folder) / "final", **options)
    return TrainedPrognosis(trained.network, rows, trained.metrics)


def held_out_rows(
    network: ScNetwork, recipe: PrognosisRecipe, cases: Sequence[PrognosisCrop]
) -> list[dict[str, Any]]:
    """Hashes, `outcome`, and the probability with all that is known, with the image only, with the text only."""
    return [
        {
            **case.identity,
            "outcome": int(case.outcome),
            **{name: round(value, 6) for name, value in probabilities(network, recipe, case).items()},
        }
        for case in cases
        if case.outcome is not None
    ]


def probabilities(network: ScNetwork, recipe: PrognosisRecipe, case: PrognosisCrop) -> dict[str, float]:
    """`probability`, `image_only` and `text_only` of one case, 0-1."""
    item = PrognosisDataset([case], recipe.template)[0]
    batch = Collate(recipe.preprocessing)([item])
    place = network.no_text.device
    images, valid, brain, pixel_ml = (
        part.to(place) for part in (batch.images, batch.valid, batch.brain, batch.pixel_ml)
    )
    with torch.inference_mode():
        both = network(images, batch.texts, valid, brain, pixel_ml).outcome
        image = network(images, [""], valid, brain, pixel_ml).outcome
        text = network(None, batch.texts).outcome
    names = ("probability", "image_only", "text_only")
    return {name: float(o.sigmoid()) for name, o in zip(names, (both, image, text), strict=True)}


def check_outcomes(cases: Sequence[PrognosisCrop]) -> None:
    """There is something to learn.

    Raises:
        InputError: only good or only poor outcomes, or none.
    """
    if {case.outcome for case in cases} >= {0.0, 1.0}:
        return
    raise InputError(
        "Training needs cases with a good and cases with a poor outcome among its patients: check the outcome "
        "column and --cut, or give fewer --folds."
    )


def check_recipe(recipe: PrognosisRecipe) -> None:
    """Build the network once, before hours go into reading CTs.

    Raises:
        InputError: it cannot be built.
    """
    if recipe.weights is not None and not set(recipe.weights) <= set(TASKS):
        raise InputError(f"The tasks are {', '.join(TASKS)}, not {', '.join(recipe.weights)}.")
    build_sc_network(recipe)


def finished(network: ScNetwork) -> ScNetwork:
    """The network as it is packed and used: LoRA merged, on the CPU, in eval mode."""
    merge_lora(network.image)
    merge_lora(network.text)
    return network.cpu().eval()


def save_network(network: ScNetwork, folder: Path) -> None:
    """Leave a finished network in a run's folder."""
    # safetensors refuses tensors that share memory.
    tensors = {key: value.clone().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, folder / NETWORK_FILE)
    text = getattr(network.text, "tokenizer_text", "")
    if text:
        write_whole(folder / TOKENIZER_FILE, text)
    write_whole(folder / CONFIG_FILE, json.dumps(network.config, indent=1))


def read_network(folder: Path) -> ScNetwork:
    """The network of a finished run (`fold-N` or `final`), in eval mode."""
    folder = Path(folder)
    network = ScNetwork(**json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    network.load_state_dict(load_file(folder / NETWORK_FILE))
    if (folder / TOKENIZER_FILE).exists():
        network.text.set_tokenizer((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    return network.eval()


@contextmanager
def _frozen_on_purpose() -> Iterator[None]:
    """No hint that modules are in eval mode: frozen encoders are meant to be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*in eval mode.*")
        yield


def recipe_text(recipe: PrognosisRecipe) -> str:
    """The recipe in words, for the card."""
    facts = asdict(recipe)
    image = recipe.network.get("image", {}).get("kind", "conv")
    text = "transformers" if recipe.text_folder else recipe.network.get("text", {}).get("kind", "small")
    weights = (
        "learned" if recipe.weights is None else ", ".join(f"{k} {v:g}" for k, v in recipe.weights.items())
    )
    return (
        f"image encoder {image} ({recipe.tune_image}), text encoder {text} ({recipe.tune_text}), "
        f"{facts['epochs']} epochs of batches of {facts['batch']} cases, AdamW {recipe.rate:g}, task weights "
        f"{weights}, modality dropout text {recipe.dropout.text:g} image {recipe.dropout.image:g} field "
        f"{recipe.dropout.field:g}, seed {recipe.seed}"
    )
