"""A network looks at a CT: slice probabilities, positive slices, maps. One file for each kind of network."""

from ICHWeakSegLib.look.seen import Seen, Step
from ICHWeakSegLib.look.segmenter import look_with_segmenter
from ICHWeakSegLib.look.sequence import look_with_sequence
from ICHWeakSegLib.look.swin import look_with_swin

__all__ = ["LOOKS", "Seen", "Step", "look_with_segmenter", "look_with_sequence", "look_with_swin"]

# By the kind of network that a card names.
LOOKS = {
    "swin-classifier": look_with_swin,
    "sequence-classifier": look_with_sequence,
    "segmenter": look_with_segmenter,
}
