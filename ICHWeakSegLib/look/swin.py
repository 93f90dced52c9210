"""A Swin classifier looks: each slab by itself, with HGI-SAM and its relatives for the maps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ICHWeakSegLib.localize import classify_and_localize, localize_positive
from ICHWeakSegLib.look.seen import CHUNK, LOOKING, Seen, Step
from ICHWeakSegLib.subtypes import SubtypeMaps

if TYPE_CHECKING:
    from ICHWeakSegLib.networks import SwinClassifier


def look_with_swin(network: SwinClassifier, seen: Seen, step: Step) -> None:
    """Fill probabilities, positive slabs, their maps and subtypes."""
    card, settings = seen.card, seen.settings
    # Attention without gradients belongs to no class.
    options = {} if settings.method == "swin-sam" else {"target": card.target}
    options |= settings.method_options
    todo = seen.slabs()
    for first in range(0, len(todo), CHUNK):
        slabs = todo[first : first + CHUNK]
        step(LOOKING, first, len(todo))
        images, brains = (torch.from_numpy(part) for part in seen.source.batch(slabs))
        look = _all_at_once if seen.gate is None else _as_told
        found = look(
            network,
            images,
            seen,
            slabs,
            brain=brains,
            notice=seen.notice,
            progress=lambda done, _, first=first: step(LOOKING, first + done, len(todo)),
            **options,
        )
        seen.probabilities[slabs] = _probabilities(network, seen, found.logits).numpy()
        for place in np.flatnonzero(found.positive.numpy()):
            seen.squares[slabs[place]] = found.maps[place].numpy().copy()
            seen.positive[slabs[place]] = True
    if card.strategy == "subtypes":
        seen.subtypes = SubtypeMaps(seen.source, card.classes, seen.probabilities, seen.positive)
        _map_subtypes(network, seen, step)


def _probabilities(network: SwinClassifier, seen: Seen, logits: torch.Tensor) -> torch.Tensor:
    return network.probabilities(logits.float(), seen.card.strategy)


def _all_at_once(
    network: SwinClassifier, images: torch.Tensor, seen: Seen, _: list[int], **options: Any
) -> Any:
    """The network decides, and each slab runs through it once."""
    card, settings = seen.card, seen.settings
    return classify_and_localize(
        network,
        images,
        lambda logits: _probabilities(network, seen, logits)[:, card.target] >= settings.probability,
        settings.method,
        **options,
    )


def _as_told(
    network: SwinClassifier, images: torch.Tensor, seen: Seen, slabs: list[int], **options: Any
) -> Any:
    """The gate decides: probabilities of all, maps of those."""
    # No slab deserves a map: what is left is a plain forward pass, with its smaller batches and fallbacks.
    plain = partial(classify_and_localize, network, images, lambda logits: logits[:, 0] != logits[:, 0])
    found = plain(seen.settings.method, **options)
    wanted = seen.gate[slabs]
    maps = localize_positive(network, images, wanted, seen.settings.method, **options)
    return found._replace(positive=torch.from_numpy(wanted), maps=maps)


def _map_subtypes(network: SwinClassifier, seen: Seen, step: Step) -> None:
    """A map a subtype where a slab may show more than one."""
    # Attention without gradients tells no class from another: the likeliest takes it all.
    todo = seen.subtypes.undecided() if seen.settings.method != "swin-sam" else []
    for done, (slab, candidates) in enumerate(todo):
        step("telling subtypes apart", done, len(todo))
        images, brains = (torch.from_numpy(part) for part in seen.source.batch([slab]))
        for name in candidates:
            maps = localize_positive(
                network,
                images,
                [True],
                seen.settings.method,
                brain=brains,
                notice=seen.notice,
                target=seen.card.classes.index(name),
                **seen.settings.method_options,
            )
            seen.subtypes.add(slab, name, maps[0].numpy())
