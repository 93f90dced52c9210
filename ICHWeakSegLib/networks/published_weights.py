"""Fit checkpoint files of old timm versions to the installed one.

The published HGI-SAM weights (github.com/HealthX-Lab/HGI-SAM) were saved with timm before 0.9. There, patch
merging closed stage i; since 0.9 it opens stage i + 1. Old files also hold buffers that can be computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

# Computed when the network is built, so they are never read from a file.
_COMPUTED = re.compile(r"\.(relative_position_index|attn_mask)$")
_DOWNSAMPLE = re.compile(r"^swin\.layers\.(\d+)\.downsample\.")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_LISTED = 8


def convert_published_state_dict(state: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """State dict in the layout of `model`, ready for `model.load_state_dict(..., strict=True)`.

    Understood: old and new timm layouts, `module.` prefixes of DataParallel, a state dict inside a checkpoint
    (`state_dict`, `model_state_dict`, `model`), and a head kept inside the backbone (`swin.head.*`, as in the
    first form of the method). Tensors are handed on, not copied; neither argument is changed.

    Args:
        state: what `torch.load(path, weights_only=True)` or safetensors gave.
        model: the `SwinClassifier` that shall take the weights.

    Raises:
        ValueError: keys missing, unexpected or of another shape; the message lists them.
    """
    tensors = _tensors(state)
    merges_late = any(key.startswith("swin.layers.0.downsample.") for key in tensors)
    owns_head = any(key.startswith("head.") for key in tensors)
    converted: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if _COMPUTED.search(key):
            continue
        if merges_late:
            key = _DOWNSAMPLE.sub(lambda match: f"swin.layers.{int(match[1]) + 1}.downsample.", key)
        if not owns_head:
            key = re.sub(r"^swin\.head\.(fc\.)?", "head.", key)
        converted[key] = value
    _compare(converted, model.state_dict())
    return converted


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The named tensors of a checkpoint without wrapper and prefix."""
    for wrapper in _WRAPPERS:
        inner = state.get(wrapper)
        if isinstance(inner, Mapping):
            state = inner
            break
    strange = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if strange or not state:
        found = f"entries that are no tensors: {_some(strange)}" if strange else "no tensors"
        raise ValueError(f"This is no state dict of a SwinClassifier: it holds {found}.")
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def _compare(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = sorted(set(wanted) - set(found))
    unexpected = sorted(set(found) - set(wanted))
    mismatched = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    problems = [
        f"{len(names)} {word}: {_some(names)}"
        for word, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", mismatched),
        )
        if names
    ]
    if problems:
        raise ValueError("The weights do not fit this network. " + "; ".join(problems) + ".")


def _some(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
