"""From an axial CT to a network's input images, and from its maps back to axial slices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct import framing
from ICHWeakSegLib.ct.windows import apply_windows

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.brain_mask import AxialSlices, BrainMask

# Wider than brain windows, narrow enough that bone and air do not leak into brain when pixels are averaged.
BRAIN_CROP_RANGE_HU = (-100.0, 200.0)
FULL_RANGE_HU = (-1024.0, 3071.0)
# Slabs that the median of the brain is taken from, at most.
MOST_SAMPLED = 40


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its input; part of the model's card.

    Attributes:
        size: side of the square input in pixels.
        windows: (level, width) in HU, one a channel.
        framing: `resize-crop` (whole slice, shorter way to `resize`, central square) or `brain-crop`
            (a square of `size` x `pixel_mm` around the brain).
        scaling: `fixed` or `observed`, see `apply_windows`.
        blank_outside_brain: set everything outside the inner table to 0.
        slice_mm: slab thickness that the model learned from; thinner slices are averaged to it. None: as is.
        brain_hu: shift each case's HU so that its median inside the skull is this. None: as is.
        extra: settings of a newer version, kept and not used.
    """

    size: int
    windows: tuple[tuple[float, float], ...]
    framing: str = "brain-crop"
    resize: int | None = None
    pixel_mm: float | None = None
    scaling: str = "fixed"
    blank_outside_brain: bool = False
    slice_mm: float | None = None
    brain_hu: float | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.framing == "resize-crop":
            if not self.resize or self.resize < self.size:
                raise ValueError("Framing 'resize-crop' needs 'resize', at least as large as 'size'.")
        elif self.framing == "brain-crop":
            if not self.pixel_mm or self.pixel_mm <= 0:
                raise ValueError("Framing 'brain-crop' needs a positive 'pixel_mm'.")
        else:
            raise ValueError(f"Framing is 'resize-crop' or 'brain-crop', not {self.framing!r}.")

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Preprocessing:
        """What `dataclasses.asdict` gave and JSON kept, where windows have become lists."""
        return cls(**{**stored, "windows": tuple(map(tuple, stored["windows"]))})

    def images(self, hu: np.ndarray, brain: np.ndarray) -> np.ndarray:
        """Channels (C, size, size) in 0-1 of a cropped slice (size, size) and its brain mask."""
        channels = apply_windows(hu, self.windows, self.scaling)
        if self.blank_outside_brain:
            channels *= brain
        return channels


@dataclass(frozen=True)
class _Survey:
    """What one pass over the slabs' brain masks tells.

    Attributes:
        areas: pixels of brain in each slab, shape (slabs,).
        boxes: first and last row, first and last column of the brain in each slab, shape (slabs, 4).
        median_hu: median HU inside the skull; None without a brain.
    """

    areas: np.ndarray
    boxes: np.ndarray
    median_hu: float | None


# HGI-SAM on CT-ICH (arXiv 2304.04902), with the windows' own limits.
HGI_SAM_INPUT = Preprocessing(384, ((40, 120), (80, 340), (700, 3200)), "resize-crop", resize=422)


class NetworkInput:
    """A CT as a sequence of network inputs ("slabs"), one for each slice or group of thin slices.

    Args:
        slices: the axial CT.
        brain: brain mask, a `BrainMask` or a bool array of shape (S, H, W).
        preprocessing: the model's wishes.
    """

    def __init__(
        self, slices: AxialSlices, brain: BrainMask | np.ndarray, preprocessing: Preprocessing
    ) -> None:
        self.slices, self.brain, self.preprocessing = slices, brain, preprocessing
        positions = np.asarray(slices.positions_mm, float)
        step = float(np.median(np.diff(positions))) if len(positions) > 1 else np.inf
        thickness = preprocessing.slice_mm
        per_slab = max(1, round(thickness / step)) if thickness and np.isfinite(step) and step > 0 else 1
        count = len(positions)
        self.groups = [range(low, min(low + per_slab, count)) for low in range(0, count, per_slab)]

    def __len__(self) -> int:
        return len(self.groups)

    def group_of(self, index: int) -> int:
        """The slab that holds axial slice `index`."""
        return index // len(self.groups[0])

    @property
    def median_brain_hu(self) -> float | None:
        """Median HU inside the skull over a spread of slices; None without a brain."""
        return self._survey.median_hu

    @property
    def hu_shift(self) -> float:
        """What is added to HU so that the case's brain lies where the model wants it."""
        wanted, found = self.preprocessing.brain_hu, self.median_brain_hu
        return 0.0 if wanted is None or found is None else wanted - found

    @cached_property
    def frame(self) -> framing.Frame:
        shape, wishes = self.slices.slice_hu(0).shape, self.preprocessing
        if wishes.framing == "resize-crop":
            return framing.resize_crop(shape, wishes.resize, wishes.size)
        return framing.centred(
            shape, self.slices.spacing_mm, self._brain_centre(shape), wishes.size, wishes.pixel_mm
        )

    def _brain_centre(self, shape: tuple[int, int]) -> tuple[float, float]:
        areas, boxes = self._survey.areas, self._survey.boxes
        if not areas.any():
            return (shape[0] - 1) / 2, (shape[1] - 1) / 2
        # Small sections near the base and vertex lie off centre: the wide ones decide.
        wide = boxes[areas >= 0.5 * areas.max()]
        return (wide[:, 0].min() + wide[:, 1].max()) / 2, (wide[:, 2].min() + wide[:, 3].max()) / 2

    @cached_property
    def _survey(self) -> _Survey:
        """One look at the brain of each slab: a brain mask at full resolution takes time to make."""
        middles = [group[len(group) // 2] for group in self.groups]
        every = -(-len(middles) // MOST_SAMPLED)
        areas, boxes, values = np.zeros(len(middles), int), np.zeros((len(middles), 4), int), []
        for number, middle in enumerate(middles):
            brain = self.brain[middle]
            areas[number] = np.count_nonzero(brain)
            if areas[number]:
                rows, columns = np.flatnonzero(brain.any(axis=1)), np.flatnonzero(brain.any(axis=0))
                boxes[number] = rows[0], rows[-1], columns[0], columns[-1]
                if number % every == 0:
                    values.append(self.slices.slice_hu(middle)[brain][::7])
        return _Survey(areas, boxes, float(np.median(np.concatenate(values))) if values else None)

    def slab_has_brain(self, index: int) -> bool:
        """Whether the slab's brain mask holds anything."""
        return bool(self._survey.areas[index])

    def slab(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean HU (float32) and brain mask (bool) of a slab, each of shape (H, W)."""
        group = self.groups[index]
        brain = self.brain[group[len(group) // 2]]
        if len(group) == 1:
            return self.slices.slice_hu(group[0]), brain
        total = np.zeros(brain.shape, np.float32)
        for slice_index in group:
            total += self.slices.slice_hu(slice_index)
        return total / len(group), brain

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Cropped HU (size, size), shifted as the card asks, and brain mask of a slab."""
        hu, brain = self.slab(index)
        limits = BRAIN_CROP_RANGE_HU if self.preprocessing.framing == "brain-crop" else FULL_RANGE_HU
        clipped = np.clip(hu + np.float32(self.hu_shift), *limits)
        return self.frame.crop(clipped, limits[0]), self.frame.crop(brain) > 0.5

    def batch(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images (B, C, size, size) in 0-1 and brain masks (B, size, size) of these slabs."""
        images, masks = zip(*(self._image(index) for index in indices), strict=True)
        return np.stack(images), np.stack(masks)

    def _image(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        wishes = self.preprocessing
        if wishes.framing == "brain-crop":
            small, mask = self.crop(index)
            return wishes.images(small, mask), mask
        # As the reference does: windows on the whole slice, then resize.
        hu, brain = self.slab(index)
        windowed = apply_windows(hu + np.float32(self.hu_shift), wishes.windows, wishes.scaling)
        mask = self.frame.crop(brain) > 0.5
        image = self.frame.crop(windowed)
        return image * mask if wishes.blank_outside_brain else image, mask
