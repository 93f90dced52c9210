"""The grid of a stack: affine with tilt, uneven and missing slices."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ICHWeakSegLib.ct.dicom.stacks import Stack

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass
class StackGeometry:
    """Geometry of a stack; see `CT` for the first two attributes."""

    ijk_to_ras: np.ndarray
    slice_positions_mm: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)


def stack_geometry(stack: Stack) -> StackGeometry:
    """Affine from the slice positions, not from the tags for spacing and tilt, which are often wrong.

    Slices count as evenly spaced within 1 % of the usual spacing or 0.05 mm.
    """
    frame, count = stack.frames[0], len(stack.frames)
    positions, nominal = stack.positions, stack.nominal_spacing
    origins = np.array([each.position for each in stack.frames])
    travel = (origins[-1] - origins[0]) / (positions[-1] - positions[0])
    gaps = np.diff(positions)
    tolerance = max(0.01 * nominal, 0.05)
    even = bool((np.abs(gaps - nominal) <= tolerance).all())
    step = (positions[-1] - positions[0]) / (count - 1) if even else nominal
    lps = np.eye(4)
    lps[:3, 0] = _unit(frame.orientation[:3]) * frame.spacing[1]
    lps[:3, 1] = _unit(frame.orientation[3:]) * frame.spacing[0]
    lps[:3, 2] = travel * step
    lps[:3, 3] = origins[0]
    geometry = StackGeometry(LPS_TO_RAS @ lps, None if even else positions)
    if not even:
        geometry.warnings.append(_uneven_sentence(gaps, nominal, tolerance))
    if stack.dropped:
        few = "One slice repeats" if len(stack.dropped) == 1 else f"{len(stack.dropped)} slices repeat"
        geometry.warnings.append(
            f"{few} the position of another: the one with the lower image number was used."
        )
    off = np.linalg.norm(origins - origins[0] - np.outer(positions - positions[0], travel), axis=1).max()
    if off > 1.0:
        geometry.warnings.append(f"Slices are shifted sideways against each other by up to {off:.1f} mm.")
    return geometry


def _uneven_sentence(gaps: np.ndarray, nominal: float, tolerance: float) -> str:
    multiple = np.rint(gaps / nominal)
    whole = np.abs(gaps - multiple * nominal) <= tolerance * np.maximum(multiple, 1)
    missing = int((multiple - 1).sum())
    # A stack of two halves with 2.5 and 5 mm also has whole multiples, but nothing is missing there.
    if whole.all() and (multiple > 1).sum() <= max(1, 0.25 * len(gaps)):
        after = ", ".join(str(k + 1) for k in np.flatnonzero(multiple > 1)[:5])
        what = "One slice is missing" if missing == 1 else f"{missing} slices are missing"
        return f"{what} (after slice {after}): the neighbours stand in for it in volumes."
    return (
        f"The slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): "
        "each is measured with its own thickness."
    )


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
