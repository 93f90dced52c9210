"""Loading a model package: card, checked weights, network ready to run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.models.card import CARD_FILE, ModelCard
from ICHWeakSegLib.models.find import find_model
from ICHWeakSegLib.models.sections import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

_AGAIN = "get the model again"


@dataclass
class Model:
    """A loaded model.

    Attributes:
        card: what it is and wants.
        network: on its device, float32, in eval mode.
        folder: the package's folder.
    """

    card: ModelCard
    network: nn.Module
    folder: Path

    def provenance(self) -> dict[str, str]:
        """Which model made a result: `model`, `version` and `sha256` of its weights."""
        assert self.card.weights is not None
        return {"model": self.card.name, "version": self.card.version, "sha256": self.card.weights.sha256}


def load_model(name_or_dir: str | Path, device: str | torch.device = "cpu") -> Model:
    """Load a model by name or folder.

    Args:
        name_or_dir: a name (see `find.py` for the order of places) or a model folder.
        device: torch device for the network.

    Raises:
        ModelError: no such model; its card is wrong; its weight file is missing, truncated or altered, or
            does not fit the architecture.
    """
    from ICHWeakSegLib.models.build import build_network

    found = find_model(name_or_dir)
    assert found.card is not None
    weights = read_weights(found.folder, found.card)
    network = build_network(found.card.architecture, str(found.folder / CARD_FILE))
    fill_network(network, weights, str(found.folder / found.card.weights.file))
    return Model(found.card, network.eval().to(device), found.folder)


def read_weights(folder: Path, card: ModelCard) -> dict[str, torch.Tensor]:
    """Tensors of the package's weight file after checking its size, SHA-256 and dtype; float32 on the CPU.

    Raises:
        ModelError: the file is missing, truncated, altered, or not as the card says.
    """
    import safetensors.torch
    import torch

    if card.weights is None:
        raise ModelError(f"{folder / CARD_FILE}: field 'weights' is missing.")
    file = folder / card.weights.file
    try:
        # Hash and parse the same bytes, so that what was checked is what runs.
        data = file.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{file} is missing: {_AGAIN}.") from None
    except OSError as problem:
        raise ModelError(f"{file} cannot be read: {problem}.") from None
    if len(data) != card.weights.bytes:
        short = "truncated" if len(data) < card.weights.bytes else "not the card's"
        raise ModelError(
            f"{file} is {short}: it has {len(data)} bytes, the card says {card.weights.bytes}; {_AGAIN}."
        )
    if hashlib.sha256(data).hexdigest() != card.weights.sha256:
        raise ModelError(f"{file} is damaged: its SHA-256 is not the card's; {_AGAIN}.")
    try:
        tensors = safetensors.torch.load(data)
    except Exception as problem:  # safetensors' own error type is not public in every version
        raise ModelError(f"{file} is not a safetensors file ({problem}); {_AGAIN}.") from None
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype != getattr(torch, card.weights.dtype):
            found = str(tensor.dtype).removeprefix("torch.")
            raise ModelError(f"{file}: tensor {key} is {found}, the card says {card.weights.dtype}.")
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{file}: tensor {key} holds values that are not numbers.")
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


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
