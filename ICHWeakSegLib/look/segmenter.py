"""A segmenter looks: its probability of every pixel is the map, the highest ones decide about the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ICHWeakSegLib.localize.segmenter_maps import segmenter_passes
from ICHWeakSegLib.look.seen import LOOKING, Seen, Step

if TYPE_CHECKING:
    from ICHWeakSegLib.networks.segmenter import Segmenter


def look_with_segmenter(network: Segmenter, seen: Seen, step: Step) -> None:
    """Fill probabilities, positive slabs and their maps."""
    todo, squares = seen.slabs(), {}
    passes = segmenter_passes(
        network,
        seen.source,
        todo,
        notice=seen.notice,
        progress=lambda done, total: step(LOOKING, done, total),
    )
    for slab, square, score in passes:
        seen.probabilities[slab, seen.card.target] = score
        # Its neighbours have a say about the slab: which maps are wanted is known at the end.
        squares[slab] = square
    seen.squares = {slab: squares[slab] for slab in seen.decide()}
