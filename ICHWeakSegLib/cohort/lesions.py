"""The rows of a result's lesions, as `quantify` measures them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.brain_mask import BrainMask
    from ICHWeakSegLib.segment import Result


def lesion_rows(result: Result, brain: BrainMask) -> list[dict[str, Any]]:
    """A row of plain values for each lesion."""
    from ICHWeakSegLib.quantify import measure

    return measure(result.ct, result.masks, brain=brain).rows()
