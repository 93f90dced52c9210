"""Loading a model package: card, checked weights, network ready to run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.card import CARD_FILE, TOKENIZER_FILE, ModelCard, Weights
from ICHWeakSegLib.models.completeness import AGAIN, unreadable, wrong_size
from ICHWeakSegLib.models.fallback import model_for

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass
class Model:
    """A loaded model.

    Attributes:
        card: what it is and wants.
        network: on its device, float32, in eval mode.
        folder: the package's folder.
        segmenter: the second network of a package that has one, likewise.
        instead_of: name of the model that was asked for and does not know the method; empty where it is this one.
    """

    card: ModelCard
    network: nn.Module
    folder: Path
    segmenter: nn.Module | None = None
    instead_of: str = ""

    def provenance(self) -> dict[str, str]:
        """Which model made a result: `model`, `version` and `sha256` of its weights."""
        assert self.card.weights is not None
        facts = {"model": self.card.name, "version": self.card.version, "sha256": self.card.weights.sha256}
        if self.card.segmenter is not None and self.card.segmenter.weights is not None:
            facts["segmenter_sha256"] = self.card.segmenter.weights.sha256
        return facts


def load_model(
    name_or_dir: str | Path, device: str | torch.device = "cpu", *, method: str | None = None
) -> Model:
    """Load a model by name or folder.

    Args:
        name_or_dir: a name (see `find.py` for the order of places) or a model folder.
        device: torch device for the network.
        method: localization that will be asked for. Where the model does not know it, the one that its card
            names for further methods stands in, see `model_for`.

    Raises:
        ModelError: no such model; its card is wrong; its weight file is missing, truncated or altered, or
            does not fit the architecture.
    """
    found, instead_of = model_for(name_or_dir, method)
    assert found.card is not None
    network, segmenter = load_networks(found.folder, found.card)
    if segmenter is not None:
        segmenter = segmenter.eval().to(device)
    return Model(found.card, network.eval().to(device), found.folder, segmenter, instead_of)


def load_networks(folder: Path, card: ModelCard) -> tuple[nn.Module, nn.Module | None]:
    """The networks of a package with their checked weights, on the CPU.

    Raises:
        ModelError: as `load_model`.
    """
    from ICHWeakSegLib.models.build import build_network, build_segmenter

    weights = read_weights(folder, card)
    network = build_network(card.architecture, str(folder / CARD_FILE))
    fill_network(network, weights, str(folder / card.weights.file))
    if card.prognosis is not None:
        _give_files(network, folder, card.prognosis.files)
    if card.segmenter is None:
        return network, None
    if card.segmenter.weights is None:
        raise ModelError(f"{folder / CARD_FILE}: field 'segmenter.weights' is missing.")
    more = read_weight_file(folder, card.segmenter.weights)
    segmenter = build_segmenter(card.segmenter, str(folder / CARD_FILE))
    fill_network(segmenter, more, str(folder / card.segmenter.weights.file))
    return network, segmenter


def read_weights(folder: Path, card: ModelCard) -> dict[str, torch.Tensor]:
    """Tensors of the package's weight file after checking its size, SHA-256 and dtype; float32 on the CPU.

    Raises:
        ModelError: the file is missing, truncated, altered, or not as the card says.
    """
    if card.weights is None:
        raise ModelError(f"{folder / CARD_FILE}: field 'weights' is missing.")
    return read_weight_file(folder, card.weights)


def read_weight_file(folder: Path, weights: Weights) -> dict[str, torch.Tensor]:
    """Tensors of one weight file; see `read_weights`."""
    import safetensors.torch
    import torch

    file = folder / weights.file
    try:
        # Hash and parse the same bytes, so that what was checked is what runs.
        data = file.read_bytes()
    except OSError as problem:
        raise ModelError(unreadable(file, problem)) from None
    if len(data) != weights.bytes:
        raise ModelError(wrong_size(file, len(data), weights))
    if hashlib.sha256(data).hexdigest() != weights.sha256:
        raise ModelError(f"{file} is damaged: its SHA-256 is not the card's; {AGAIN}.")
    try:
        tensors = safetensors.torch.load(data)
    except Exception as problem:  # safetensors' own error type is not public in every version
        raise ModelError(f"{file} is not a safetensors file ({problem}); {AGAIN}.") from None
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype != getattr(torch, weights.dtype):
            found = str(tensor.dtype).removeprefix("torch.")
            raise ModelError(f"{file}: tensor {key} is {found}, the card says {weights.dtype}.")
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{file}: tensor {key} holds values that are not numbers.")
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


def _give_files(network: nn.Module, folder: Path, files: dict[str, str]) -> None:
    """Hand a network the further files of its package, checked; so far that is the tokenizer."""
    for name, sha256 in files.items():
        try:
            data = (folder / name).read_bytes()
        except OSError as problem:
            raise ModelError(f"{folder / name} cannot be read ({problem}): {AGAIN}.") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ModelError(f"{folder / name} is damaged: its SHA-256 is not the card's; {AGAIN}.")
        if name != TOKENIZER_FILE:
            continue
        try:
            network.text.set_tokenizer(data.decode("utf-8"))
        except (AttributeError, ValueError) as problem:
            raise ModelError(
                f"{folder / name} does not fit the model's text encoder ({problem}); {AGAIN}."
            ) from (problem)


def fill_network(network: nn.Module, tensors: dict[str, Any], source: str) -> None:
    """Put tensors into a network of exactly these keys and shapes.

    Raises:
        ModelError: keys or shapes differ; names the first and how many.
    """
    wanted = network.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - wanted.keys())
    wrong = [key for key in wanted if key in tensors and wanted[key].shape != tensors[key].shape]
    if missing:
        problem = f"{len(missing)} tensors are missing, first {missing[0]}"
    elif unknown:
        problem = f"{len(unknown)} tensors have no place, first {unknown[0]}"
    elif wrong:
        has, wants = tuple(tensors[wrong[0]].shape), tuple(wanted[wrong[0]].shape)
        problem = f"{len(wrong)} tensors have another shape, first {wrong[0]} {has} instead of {wants}"
    else:
        network.load_state_dict(tensors)
        return
    raise ModelError(f"{source} does not fit the card's architecture: {problem}.")
