"""Two CTs of one patient: how much the blood changed, and both masks on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.quantify.lesion import Quantities
from ICHWeakSegLib.quantify.measure import measure
from ICHWeakSegLib.quantify.moved import moved_mask
from ICHWeakSegLib.quantify.register import Registration, register

# Expansion (Brott et al., Stroke 1997;28:1-5: a third; Dowlatshahi et al., Neurology 2011;76:1238-1244: 6 mL).
EXPANSION_ML = 6.0
EXPANSION_PERCENT = 33.0
RULE = "more than 6 mL or more than 33 % (Brott 1997; Dowlatshahi 2011)"
# Values of the overlay.
ONLY_BEFORE, ONLY_AFTER, BOTH = 1, 2, 3
NOTICE = "For research use only."


@dataclass(frozen=True)
class FollowUp:
    """What changed between two CTs.

    Attributes:
        before, after: what was measured on each CT, on its own voxels.
        change_ml: volume after minus volume before.
        change_percent: the same by the volume before; None where there was no blood before.
        expansion: whether the blood grew by more than 6 mL or more than 33 %.
        registration: how the earlier head moves onto the later one, and how well.
        before_on_after: the earlier mask on the later CT's grid, uint8, shape (K, J, I).
        overlay: 1 blood only before, 2 only after, 3 both, uint8, same shape.
        warnings: sentences.
    """

    before: Quantities
    after: Quantities
    change_ml: float
    change_percent: float | None
    expansion: bool
    registration: Registration
    before_on_after: np.ndarray = field(repr=False)
    overlay: np.ndarray = field(repr=False)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        percent = self.change_percent
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "change_ml": round(self.change_ml, 3),
            "change_percent": None if percent is None else round(percent, 1),
            "expansion": self.expansion,
            "expansion_rule": RULE,
            "registration": {
                "before_to_after": np.round(self.registration.before_to_after, 6).tolist(),
                "rotation_deg": round(self.registration.rotation_deg, 2),
                "shift_mm": round(self.registration.shift_mm, 2),
                **self.registration.quality,
            },
            "overlay_values": {"only before": ONLY_BEFORE, "only after": ONLY_AFTER, "both": BOTH},
            "warnings": list(self.warnings),
            "notice": NOTICE,
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row a lesion of either CT: `scan` (before, after), then the columns of `Quantities.rows`."""
        both = (("before", self.before), ("after", self.after))
        return [{"scan": scan} | row for scan, quantities in both for row in quantities.rows()]

    def sentence(self) -> str:
        """The result in words."""
        before, after = self.before.total.volume_ml, self.after.total.volume_ml
        percent = "" if self.change_percent is None else f", {self.change_percent:+.0f} %"
        verdict = "expansion" if self.expansion else "no expansion"
        return (
            f"{before:.1f} mL before, {after:.1f} mL after: {self.change_ml:+.1f} mL{percent}; "
            f"{verdict} by the rule {RULE}."
        )


def follow_up(
    ct_before: CT,
    masks_before: Mapping[str, np.ndarray],
    ct_after: CT,
    masks_after: Mapping[str, np.ndarray],
) -> FollowUp:
    """Compare the blood on two CTs of one patient.

    Volumes are measured on each CT's own voxels; the registration only lays one mask over the other. The same
    input gives the same result.

    Args:
        ct_before: the earlier CT.
        masks_before: its masks, as for `measure`.
        ct_after: the later CT.
        masks_after: its masks.

    Raises:
        InputError: a mask is not on its CT's voxels, or a CT shows no skull with brain inside.

    Example:
        >>> change = follow_up(first, {"hemorrhage": mask1}, second, {"hemorrhage": mask2})
        >>> change.change_ml, change.expansion, change.registration.poor
    """
    blood_before, blood_after = _union(masks_before), _union(masks_after)
    heads = Head.of(ct_before), Head.of(ct_after)
    before = measure(ct_before, masks_before, brain=heads[0].brain)
    after = measure(ct_after, masks_after, brain=heads[1].brain)
    registration = register(*heads)
    moved = moved_mask(blood_before, ct_before, ct_after, registration.before_to_after)
    overlay = np.where(blood_after, np.where(moved, BOTH, ONLY_AFTER), np.where(moved, ONLY_BEFORE, 0))
    change = after.total.volume_ml - before.total.volume_ml
    percent = 100.0 * change / before.total.volume_ml if before.total.volume_ml else None
    warnings = [*before.warnings, *after.warnings]
    if registration.poor:
        warnings.append(
            "The two CTs do not lie well over each other "
            f"(correlation {registration.correlation:.2f}, skulls {registration.skull_distance_mm:.1f} mm apart): "
            "check that both show the same head, and do not trust the overlay."
        )
    return FollowUp(
        before=before,
        after=after,
        change_ml=change,
        change_percent=percent,
        expansion=is_expansion(before.total.volume_ml, after.total.volume_ml),
        registration=registration,
        before_on_after=moved,
        overlay=overlay.astype(np.uint8),
        warnings=tuple(warnings),
    )


def is_expansion(before_ml: float, after_ml: float) -> bool:
    """Whether blood grew by more than 6 mL or more than 33 %; without blood before, by the mL alone."""
    change = after_ml - before_ml
    return change > EXPANSION_ML or (before_ml > 0 and 100.0 * change / before_ml > EXPANSION_PERCENT)


def _union(masks: Mapping[str, np.ndarray]) -> np.ndarray:
    if not masks:
        raise InputError("There is no mask to compare: give one for each CT.")
    return np.logical_or.reduce([np.asarray(mask) != 0 for mask in masks.values()])
