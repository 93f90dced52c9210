"""From loose frames to stacks: parallel slices of one series and one size, each position once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ICHWeakSegLib.ct.dicom.frames import Frame
from ICHWeakSegLib.ct.geometry import angle_deg

# A shift of less than this along the normal is the same slice.
SAME_POSITION_MM = 0.02
# Directions jitter by a few tenths of a degree in some writers' headers; 8e-3 are just under half a degree.
SAME_DIRECTION = 8e-3
# More repeated positions than this share means several acquisitions, fewer are stray copies.
REPEATED_SHARE = 0.3


@dataclass
class Stack:
    """Frames of one series in the same plane and size, ascending along the normal, positions distinct.

    Attributes:
        key: what `series=` selects: the series UID, or the folder where it is missing, with #1, #2 ... where
            that has several stacks.
        frames: the slices.
        dropped: frames that repeated the position of another and were left out.
        strays: frames of the series with another size, spacing or orientation, too few for a stack.
        siblings: how many frames of the series are in other stacks.
    """

    key: str
    frames: list[Frame]
    dropped: list[Frame] = field(default_factory=list)
    strays: list[Frame] = field(default_factory=list)
    siblings: int = 0

    @property
    def orientation(self) -> np.ndarray:
        """Directions of row and column as most frames have them, LPS, shape (6,)."""
        return np.median([frame.orientation for frame in self.frames], axis=0)

    @property
    def normal(self) -> np.ndarray:
        """Unit normal row x column, LPS."""
        return _normal(self.frames)

    @property
    def positions(self) -> np.ndarray:
        """Position of each slice along the normal in mm."""
        return np.array([frame.position @ self.normal for frame in self.frames])

    @property
    def nominal_spacing(self) -> float:
        """The usual distance of neighbours in mm: the lower median, so that it is one that occurs."""
        gaps = np.sort(np.diff(self.positions))
        return float(gaps[(len(gaps) - 1) // 2]) if len(gaps) else 0.0

    @property
    def is_axial(self) -> bool:
        """Within 35 degrees of the axial plane: gantry tilt and head-holder angle included."""
        return angle_deg(self.normal, np.array([0.0, 0.0, 1.0])) <= 35.0

    def listing(self) -> str:
        """One line for the list of series in an error."""
        first = self.frames[0]
        plane = "axial" if self.is_axial else "not axial"
        kernel = f", kernel {first.kernel}" if first.kernel else ""
        return (
            f"{self.key} ('{first.description or 'no description'}', {len(self.frames)} slices, "
            f"spacing {self.nominal_spacing:.2g} mm, {plane}{kernel})"
        )


def make_stacks(frames: Sequence[Frame]) -> list[Stack]:
    """Group frames by patient, study, series, frame of reference, size, in-plane spacing and orientation.

    A group that shows the same positions again and again is parted into its acquisitions. Frames without
    position, orientation or spacing must have been refused before.
    """
    by_series: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        by_series[frame.series].append(frame)
    by_key: dict[str, list[Stack]] = defaultdict(list)
    for members in by_series.values():
        groups = [group for same in _by_frame_of_reference(members) for group in _parallel(same)]
        parts = [part for group in groups for part in _acquisitions(group)]
        parts.sort(key=len, reverse=True)
        # One or two stray images beside a stack (an unlabelled scout) are no stack of their own.
        whole = [part for part in parts if len(part) >= 3] or parts[:1]
        strays = [frame for part in parts[len(whole) :] for frame in part]
        for part in whole:
            kept, dropped = _distinct(part)
            siblings = sum(map(len, whole)) - len(part)
            by_key[members[0].series[-1]].append(Stack("", kept, dropped, strays, siblings))
    stacks = []
    for uid, same in by_key.items():
        same.sort(key=lambda stack: len(stack.frames) + len(stack.dropped), reverse=True)
        for number, stack in enumerate(same, start=1):
            stack.key = uid if len(same) == 1 else f"{uid}#{number}"
        stacks += same
    return stacks


def _by_frame_of_reference(frames: list[Frame]) -> list[list[Frame]]:
    """Images of one series part where their coordinates have nothing to do with each other."""
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.frame_of_reference].append(frame)
    # Anonymisers that give every image a UID of its own tell nothing by it.
    return [frames] if len(groups) == len(frames) else list(groups.values())


def _normal(frames: Sequence[Frame]) -> np.ndarray:
    turned = np.median([frame.orientation for frame in frames], axis=0)
    normal = np.cross(turned[:3], turned[3:])
    return normal / np.linalg.norm(normal)


def _parallel(frames: list[Frame]) -> list[list[Frame]]:
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _same_plane(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _same_plane(a: Frame, b: Frame) -> bool:
    return (
        (a.rows, a.columns) == (b.rows, b.columns)
        and np.abs(a.orientation - b.orientation).max() < SAME_DIRECTION
        and np.allclose(a.spacing, b.spacing, rtol=1e-3)
    )


_PARTED_BY: tuple[Callable[[Frame], object], ...] = (
    lambda frame: frame.acquisition,
    lambda frame: frame.temporal,
    lambda frame: frame.kernel,
    lambda frame: frame.image_type,
    lambda frame: frame.thickness,
    lambda frame: frame.contrast,
)


def _acquisitions(frames: list[Frame]) -> list[list[Frame]]:
    """Part a group that shows the same positions again and again; left whole if nothing tells them apart."""
    kept, dropped = _distinct(frames)
    if len(dropped) <= REPEATED_SHARE * len(kept):
        return [frames]
    for key in _PARTED_BY:
        groups: dict[object, list[Frame]] = defaultdict(list)
        for frame in frames:
            groups[key(frame)].append(frame)
        parts = list(groups.values())
        # A number that changes with every slice does not tell acquisitions apart, nor does one that changes
        # half way up the head.
        if len(parts) > 1 and min(len(part) for part in parts) >= 3 and _repeat_each_other(parts):
            return [acquisition for part in parts for acquisition in _acquisitions(part)]
    return [frames]


def _repeat_each_other(parts: list[list[Frame]]) -> bool:
    """Whether each part shows positions that another shows too."""
    normal = _normal([frame for part in parts for frame in part])
    places = [np.array([frame.position @ normal for frame in part]) for part in parts]
    for number, own in enumerate(places):
        others = np.concatenate(places[:number] + places[number + 1 :])
        repeated = np.abs(own[:, None] - others).min(axis=1) < SAME_POSITION_MM
        if repeated.mean() <= REPEATED_SHARE:
            return False
    return True


def _distinct(frames: list[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Sorted along the normal; of frames at one position the one with the lowest instance number stays."""
    normal = _normal(frames)
    kept: list[Frame] = []
    dropped: list[Frame] = []
    place = {id(frame): float(frame.position @ normal) for frame in frames}
    for frame in sorted(frames, key=lambda frame: (round(place[id(frame)], 3), frame.instance, frame.index)):
        if kept and place[id(frame)] - place[id(kept[-1])] < SAME_POSITION_MM:
            dropped.append(frame)
        else:
            kept.append(frame)
    return kept, dropped
