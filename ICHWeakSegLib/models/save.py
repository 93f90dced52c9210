"""Writing a model package as a whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.card import (
    CARD_FILE,
    DTYPES,
    SEGMENTER_FILE,
    WEIGHTS_FILE,
    ModelCard,
    Weights,
    card_from_dict,
    card_text,
    card_to_dict,
)

if TYPE_CHECKING:
    import torch
    from torch import nn


def save_model(
    folder: str | Path,
    card: ModelCard,
    network: nn.Module | Mapping[str, torch.Tensor],
    dtype: str = "float16",
    overwrite: bool = False,
    segmenter: nn.Module | Mapping[str, torch.Tensor] | None = None,
    more_files: Mapping[str, bytes] | None = None,
) -> ModelCard:
    """Write card and weights to a folder.

    Args:
        folder: the package's folder; its parents are made.
        card: its `weights` is filled in here.
        network: the network or its state dict.
        dtype: of the stored floating-point tensors: float32, float16 or bfloat16.
        overwrite: replace a model that is there.
        segmenter: the second network, where the card has one.
        more_files: further files of a card with `prognosis`, by name; their SHA-256 goes there.

    Returns:
        The card as written.

    Raises:
        ModelError: the folder exists, the card is not valid, or a weight does not fit the dtype.
    """
    folder = Path(folder).absolute()
    if dtype not in DTYPES:
        raise ModelError(f"Weights can be stored as {', '.join(DTYPES)}, not {dtype}.")
    if folder.exists() and not overwrite:
        raise ModelError(f"{folder} exists already: choose another name or ask to overwrite it.")
    if (
        folder.exists()
        and not (folder / CARD_FILE).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        raise ModelError(f"{folder} exists and is not a model: it is not overwritten.")
    if more_files:
        if card.prognosis is None:
            raise ModelError(f"The card of model {card.name} has no place for further files.")
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in more_files.items()}
        card = replace(card, prognosis=replace(card.prognosis, files=sums))
    # The same checks as at loading, before anything is written.
    bare = None if card.segmenter is None else replace(card.segmenter, weights=None)
    card_from_dict(card_to_dict(replace(card, weights=None, segmenter=bare)), f"Card of model {card.name}")
    if (card.segmenter is None) != (segmenter is None):
        raise ModelError(f"The card of model {card.name} and its networks do not agree about a segmenter.")
    files = {**(more_files or {}), WEIGHTS_FILE: _weights_bytes(network, dtype)}
    card = replace(card, weights=_facts(WEIGHTS_FILE, files, dtype))
    if segmenter is not None:
        files[SEGMENTER_FILE] = _weights_bytes(segmenter, dtype)
        card = replace(card, segmenter=replace(card.segmenter, weights=_facts(SEGMENTER_FILE, files, dtype)))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # On the same disk, so that the rename is one step; the dot hides it from the list of models.
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as problem:
        raise ModelError(f"{folder} cannot be written: {problem}.") from problem
    try:
        (temporary / "new").mkdir()
        for name, data in files.items():
            (temporary / "new" / name).write_bytes(data)
        (temporary / "new" / CARD_FILE).write_text(
            card_text(card), encoding="utf-8", errors="backslashreplace", newline="\n"
        )
        _swap(temporary / "new", folder, temporary / "old")
    except OSError as problem:
        raise ModelError(f"{folder} cannot be written: {problem}.") from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


def _facts(name: str, files: Mapping[str, bytes], dtype: str) -> Weights:
    return Weights(hashlib.sha256(files[name]).hexdigest(), len(files[name]), dtype, name)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Rename `new` to `folder`; what was there goes to `old` and comes back if the rename fails."""
    had = folder.exists()
    if had:
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if had:
            old.rename(folder)
        raise


def _weights_bytes(network: nn.Module | Mapping[str, torch.Tensor], dtype: str) -> bytes:
    import safetensors.torch
    import torch

    state = network if isinstance(network, Mapping) else network.state_dict()
    tensors = {}
    for key, value in state.items():
        tensor = value.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.to(getattr(torch, dtype))
        if not torch.isfinite(tensor).all():
            raise ModelError(f"Tensor {key} holds values that are not numbers or do not fit {dtype}.")
        # safetensors refuses tensors that share memory.
        tensors[key] = tensor.clone().contiguous()
    return safetensors.torch.save(tensors)
