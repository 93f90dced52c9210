"""The grid of a stack: affine with tilt, uneven and missing slices."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ICHWeakSegLib.ct.dicom.stacks import Stack

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Positions written with one decimal are off by up to this much along a tilted normal.
ROUNDING_MM = 0.15


@dataclass
class StackGeometry:
    """Geometry of a stack; see `CT` for the first two attributes."""

    ijk_to_ras: np.ndarray
    slice_positions_mm: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)


def stack_geometry(stack: Stack) -> StackGeometry:
    """Affine from the slice positions, not from the tags for spacing and tilt, which are often wrong.

    Slices count as evenly spaced where none lies further from the straight line through all positions than
    0.15 mm, or 1 % of the step if that is more, and never more than a quarter of the step.
    """
    frame, count = stack.frames[0], len(stack.frames)
    positions, nominal = stack.positions, stack.nominal_spacing
    origins = np.array([each.position for each in stack.frames])
    travel = (origins[-1] - origins[0]) / (positions[-1] - positions[0])
    gaps = np.diff(positions)
    even, step = _on_line(positions, np.arange(count))
    if not even:
        # Slices that are missing leave the others at whole multiples of one step.
        whole, step = _on_line(positions, np.append(0, np.cumsum(np.rint(gaps / nominal))))
        step = step if whole else nominal
    lps = np.eye(4)
    lps[:3, 0] = _unit(stack.orientation[:3]) * frame.spacing[1]
    lps[:3, 1] = _unit(stack.orientation[3:]) * frame.spacing[0]
    lps[:3, 2] = travel * step
    lps[:3, 3] = origins[0]
    geometry = StackGeometry(LPS_TO_RAS @ lps, None if even else positions)
    if not even:
        geometry.warnings.append(_uneven_sentence(gaps, nominal, whole))
    if stack.dropped:
        few = "One slice repeats" if len(stack.dropped) == 1 else f"{len(stack.dropped)} slices repeat"
        geometry.warnings.append(
            f"{few} the position of another: the one with the lower image number was used."
        )
    off = np.linalg.norm(origins - origins[0] - np.outer(positions - positions[0], travel), axis=1).max()
    if off > 1.0:
        geometry.warnings.append(f"Slices are shifted sideways against each other by up to {off:.1f} mm.")
    return geometry


def _on_line(positions: np.ndarray, places: np.ndarray) -> tuple[bool, float]:
    """Whether slices at these places of an even grid lie where they should, and the step of that grid in mm."""
    step = float((positions[-1] - positions[0]) / (places[-1] - places[0]))
    off = np.abs(positions - positions[0] - step * (places - places[0])).max()
    return bool(off <= min(max(0.01 * step, ROUNDING_MM), 0.25 * step)), step


def _uneven_sentence(gaps: np.ndarray, nominal: float, whole: bool) -> str:
    multiple = np.rint(gaps / nominal)
    missing = int((multiple - 1).sum())
    # A stack of two halves with 2.5 and 5 mm also has whole multiples, but nothing is missing there.
    if whole and (multiple > 1).sum() <= max(1, 0.25 * len(gaps)):
        after = ", ".join(str(k + 1) for k in np.flatnonzero(multiple > 1)[:5])
        what = "One slice is missing" if missing == 1 else f"{missing} slices are missing"
        return f"{what} (after slice {after}): the neighbours stand in for it in volumes."
    return (
        f"The slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): "
        "each is measured with its own thickness."
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
