"""Inference with a Swin classifier: each slab by itself, with HGI-SAM and its relatives for the maps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ICHWeakSegLib.inference.slice_predictions import CHUNK, LOCALIZING, SlicePredictions, Step
from ICHWeakSegLib.inference.subtype_maps import SubtypeMaps
from ICHWeakSegLib.localize import classify_and_localize, localize_positive

if TYPE_CHECKING:
    from ICHWeakSegLib.networks import SwinClassifier


def predict_with_swin(network: SwinClassifier, predictions: SlicePredictions, step: Step) -> None:
    """Fill probabilities, positive slabs, their maps and subtypes."""
    card, settings = predictions.card, predictions.settings
    # Attention without gradients belongs to no class.
    options = {} if settings.method == "swin-sam" else {"target": card.target}
    options |= settings.method_options
    todo = predictions.slabs()
    for first in range(0, len(todo), CHUNK):
        slabs = todo[first : first + CHUNK]
        step(LOCALIZING, first, len(todo))
        images, brains = (torch.from_numpy(part) for part in predictions.source.batch(slabs))
        run = _all_at_once if predictions.gate is None else _as_told
        found = run(
            network,
            images,
            predictions,
            slabs,
            brain=brains,
            notice=predictions.notice,
            progress=lambda done, _, first=first: step(LOCALIZING, first + done, len(todo)),
            **options,
        )
        predictions.probabilities[slabs] = _probabilities(network, predictions, found.logits).numpy()
        for place in np.flatnonzero(found.positive.numpy()):
            predictions.squares[slabs[place]] = found.maps[place].numpy().copy()
            predictions.positive[slabs[place]] = True
    if card.strategy == "subtypes":
        predictions.subtypes = SubtypeMaps(
            predictions.source, card.classes, predictions.probabilities, predictions.positive
        )
        _map_subtypes(network, predictions, step)


def _probabilities(
    network: SwinClassifier, predictions: SlicePredictions, logits: torch.Tensor
) -> torch.Tensor:
    return network.probabilities(logits.float(), predictions.card.strategy)


def _all_at_once(
    network: SwinClassifier, images: torch.Tensor, predictions: SlicePredictions, _: list[int], **options: Any
) -> Any:
    """The network decides, and each slab runs through it once."""
    card, settings = predictions.card, predictions.settings
    return classify_and_localize(
        network,
        images,
        lambda logits: _probabilities(network, predictions, logits)[:, card.target] >= settings.probability,
        settings.method,
        **options,
    )


def _as_told(
    network: SwinClassifier,
    images: torch.Tensor,
    predictions: SlicePredictions,
    slabs: list[int],
    **options: Any,
) -> Any:
    """The gate decides: probabilities of all, maps of those."""
    # No slab deserves a map: what is left is a plain forward pass, with its smaller batches and fallbacks.
    plain = partial(classify_and_localize, network, images, lambda logits: logits[:, 0] != logits[:, 0])
    found = plain(predictions.settings.method, **options)
    wanted = predictions.gate[slabs]
    maps = localize_positive(network, images, wanted, predictions.settings.method, **options)
    return found._replace(positive=torch.from_numpy(wanted), maps=maps)


def _map_subtypes(network: SwinClassifier, predictions: SlicePredictions, step: Step) -> None:
    """A map a subtype where a slab may show more than one."""
    # Attention without gradients tells no class from another: the likeliest takes it all.
    todo = predictions.subtypes.undecided() if predictions.settings.method != "swin-sam" else []
    for done, (slab, candidates) in enumerate(todo):
        step("telling subtypes apart", done, len(todo))
        images, brains = (torch.from_numpy(part) for part in predictions.source.batch([slab]))
        for name in candidates:
            maps = localize_positive(
                network,
                images,
                [True],
                predictions.settings.method,
                brain=brains,
                notice=predictions.notice,
                target=predictions.card.classes.index(name),
                **predictions.settings.method_options,
            )
            predictions.subtypes.add(slab, name, maps[0].numpy())
