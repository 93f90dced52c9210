"""A network looks at a CT: slice probabilities, positive slices, maps. One file for each kind of network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ICHWeakSegLib.look.seen import Seen, Step

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Seen", "Step", "look"]


def look(network: nn.Module, seen: Seen, step: Step) -> None:
    """Let a network look at the CT, as its kind does, and fill in what it saw."""
    kind = seen.card.architecture.kind
    # Each brings its own libraries, and MONAI alone takes seconds to import.
    if kind == "sequence-classifier":
        from ICHWeakSegLib.look.sequence import look_with_sequence as look_with
    elif kind == "segmenter":
        from ICHWeakSegLib.look.segmenter import look_with_segmenter as look_with
    elif kind == "sc-network":
        from ICHWeakSegLib.look.sc import look_with_sc as look_with
    else:
        from ICHWeakSegLib.look.swin import look_with_swin as look_with
    look_with(network, seen, step)
