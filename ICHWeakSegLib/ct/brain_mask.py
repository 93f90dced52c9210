"""Brain mask on head CT: everything inside the inner table of the skull."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from scipy import ndimage

BONE_HU = 180.0
AIR_HU = -300.0
WORKING_MM = 1.0
CLOSING_MM = (0.0, 2.0, 4.0, 7.0, 11.0)
SMALLEST_CAVITY_MM2 = 150.0
STAGE_STEP_MM = 5.0
PAD = 2

# Told how many slices were searched, and of how many; it may raise to stop the work.
Progress = Callable[[int, int], None]


class AxialSlices(Protocol):
    """Axial slices of a CT, inferior to superior; `AxialGrid` is one."""

    spacing_mm: tuple[float, float]
    positions_mm: np.ndarray

    def slice_hu(self, s: int) -> np.ndarray: ...


class BrainMask:
    """The intracranial space, slice by slice, bounded by the skull.

    Every axial slice is closed at growing radii until its bone encloses soft tissue; the slice with the
    largest such cavity is trusted first, and from there the mask is carried up and down, each slice keeping
    the cavities that continue its neighbour. A slice whose skull stays open (craniectomy, base, cut field of
    view) takes its neighbour's region within its own soft tissue. Blood, CSF, calcification, clips and
    drains inside the skull belong to the mask.

    The search runs at about 1 mm; `mask[index]` gives a slice at full resolution on demand, so that a
    CT of many thin slices costs little memory.

    Args:
        slices: axial CT (an `AxialGrid`), slice 0 inferior, rows anterior to posterior.
        progress: told before each slice that is searched, of many thin ones not all, and at the end.
    """

    def __init__(self, slices: AxialSlices, progress: Progress | None = None) -> None:
        self._slices = slices
        spacing = slices.spacing_mm
        positions = np.asarray(slices.positions_mm, float)
        self._factors = tuple(max(1, round(WORKING_MM / step)) for step in spacing)
        self._reach = max(1, round(1.0 / min(spacing)))
        pixel = (spacing[0] * self._factors[0], spacing[1] * self._factors[1])
        # Thin slices say the same thing many times over: work on every n-th and interpolate.
        step = np.median(np.diff(positions)) if len(positions) > 1 else STAGE_STEP_MM
        stride = max(1, int(STAGE_STEP_MM / 2 / max(step, 1e-3)))
        count = len(positions)
        self._chosen = np.arange(stride // 2, count, stride) if count > stride else np.array([count // 2])
        planes: list[_Plane] = []
        for index in self._chosen:
            if progress:
                progress(len(planes), len(self._chosen))
            planes.append(self._plane(index, stride, pixel))
        if progress:
            progress(len(planes), len(planes))
        self._coarse = _carry(planes, positions[self._chosen], pixel)
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._slices.positions_mm)

    @property
    def empty(self) -> bool:
        """Whether no skull-bounded soft tissue was found at all."""
        return not self._coarse.any()

    def __getitem__(self, index: int) -> np.ndarray:
        """Mask of one slice, bool, shape (H, W), up to the inner table."""
        if self._last is None or self._last[0] != index:
            self._last = (int(index), self._fine(int(index)))
        return self._last[1]

    def to_array(self) -> np.ndarray:
        """The whole mask, bool, shape (S, H, W)."""
        return np.stack([self[index] for index in range(len(self))])

    def _plane(self, index: int, stride: int, pixel: tuple[float, float]) -> _Plane:
        group = range(max(0, index - stride // 2), min(len(self), max(0, index - stride // 2) + stride))
        slab = sum(self._slices.slice_hu(s).astype(np.float32) for s in group) / len(group)
        (row, column), (rows, columns) = self._factors, slab.shape
        rows, columns = rows // row, columns // column
        blocks = slab[: rows * row, : columns * column].reshape(rows, row, columns, column)
        # A border of air makes the outside one region, also where the field of view cuts the head.
        return _Plane(np.pad(blocks.mean(axis=(1, 3)), PAD, constant_values=-1000.0), pixel)

    def _fine(self, index: int) -> np.ndarray:
        hu = self._slices.slice_hu(index)
        place = np.interp(index, self._chosen, np.arange(len(self._chosen)))
        low, high = int(np.floor(place)), int(np.ceil(place))
        plane = (1 - (place - low)) * self._coarse[low] + (place - low) * self._coarse[high]
        if not plane.any():
            return np.zeros(hu.shape, bool)
        row, column = (
            (np.arange(size) + 0.5) / factor - 0.5 + PAD
            for size, factor in zip(hu.shape, self._factors, strict=True)
        )
        fine = _sample(plane, row, column) > 0.5
        edge = ndimage.binary_dilation(fine, iterations=self._reach) & ~fine
        fine |= edge & (hu > -30) & (hu < BONE_HU)
        inner = ndimage.binary_erosion(fine, iterations=2 * self._reach)
        return ndimage.binary_fill_holes(fine & ((hu < BONE_HU) | inner))


class _Plane:
    """One slice at working resolution: its bone, its head and the cavities that its bone encloses."""

    def __init__(self, hu: np.ndarray, pixel: tuple[float, float]) -> None:
        self.hu, self.pixel = hu, pixel
        head = ndimage.binary_opening(hu > AIR_HU, iterations=2)
        self.head = ndimage.binary_fill_holes(_largest(head))
        self.bone = _skull(self.head & (hu > BONE_HU), pixel)
        self.cavities, self.radius = self._close()

    def _close(self) -> tuple[np.ndarray, float]:
        """Label image of the enclosed soft-tissue cavities, and the closing radius in mm that it took."""
        area = self.pixel[0] * self.pixel[1]
        hull_area = ndimage.binary_fill_holes(self.head).sum() * area
        best, best_area, best_radius = np.zeros(self.hu.shape, bool), 0.0, 0.0
        for radius in CLOSING_MM:
            wall = _closing(self.bone, radius, self.pixel)
            inside = ndimage.binary_fill_holes(wall) & ~wall
            inside = ndimage.binary_opening(inside, iterations=2) if radius else inside
            cavity = _soft_cavities(inside, self.hu, area)
            found = cavity.sum() * area
            if found > best_area * 1.15:
                best, best_area, best_radius = cavity, found, radius
            if best_area > 0.45 * hull_area:
                break
        if best_area < 0.25 * hull_area and self._surround() > 0.6:
            best, best_radius = self._within_scalp(area), np.inf
        elif best_radius:
            # A wide closing rounds corners off: give them back as far as soft tissue reaches.
            near = ndimage.distance_transform_edt(~best, sampling=self.pixel) <= best_radius / 2 + 1
            best = ndimage.binary_fill_holes(best | (near & self.head & ~self.bone & (self.hu > -30)))
        return best, best_radius

    def _surround(self) -> float:
        """Share of directions, seen from the middle of the head, in which there is bone."""
        rows, columns = np.nonzero(self.bone)
        if not rows.size:
            return 0.0
        middle = ndimage.center_of_mass(self.head)
        angle = np.arctan2(rows - middle[0], columns - middle[1])
        return len(np.unique(((angle + np.pi) / (2 * np.pi) * 36).astype(int) % 36)) / 36

    def _within_scalp(self, area: float) -> np.ndarray:
        """Soft tissue deeper than the skull usually lies: for open sutures, fontanelles, a lost bone flap."""
        depth = ndimage.distance_transform_edt(self.head, sampling=self.pixel)
        inner_table = np.percentile(depth[self.bone], 75)
        deep = self.head & (depth > inner_table) & ~self.bone
        return _soft_cavities(_opening(deep, 3.0, self.pixel), self.hu, area)

    def continuing(self, neighbour: np.ndarray, reach_mm: float) -> np.ndarray:
        """The part of this slice's intracranial space that continues the neighbouring slice's."""
        near = ndimage.distance_transform_edt(~neighbour, sampling=self.pixel) <= reach_mm
        labels, count = ndimage.label(self.cavities)
        kept = np.zeros_like(neighbour)
        for index in range(1, count + 1):
            part = labels == index
            # Soft tissue between the skull and a hand or tube beside it lies near the brain, not under it.
            if (part & neighbour).sum() > 0.4 * part.sum():
                kept |= part & near
        # Thin bridges lead into orbits, ethmoid and mastoid cells: cut them, and judge what is left anew.
        opened = _opening(kept, 3.0, self.pixel)
        return _soft_cavities(opened, self.hu, self.pixel[0] * self.pixel[1])

    def borrowed(self, neighbour: np.ndarray) -> np.ndarray:
        """The neighbour's region within this slice's own soft tissue, for a skull that stays open."""
        soft = self.head & ~self.bone & (self.hu > -30) & (self.hu < BONE_HU)
        part = ndimage.binary_opening(neighbour & soft, iterations=2)
        return ndimage.binary_fill_holes(part)


def _carry(planes: list[_Plane], positions: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    masks = np.zeros((len(planes), *planes[0].hu.shape), bool)
    # A skull that closes by itself is trusted before one that had to be guessed.
    areas = np.array([_largest(p.cavities).sum() / (1 + (p.radius == np.inf)) for p in planes], float)
    if not areas.any():
        return masks
    seed = int(areas.argmax())
    masks[seed] = _largest(planes[seed].cavities)
    for direction in (1, -1):
        borrowed_mm = 0.0
        for index in range(seed + direction, len(planes) if direction > 0 else -1, direction):
            before, gap = masks[index - direction], abs(positions[index] - positions[index - direction])
            if not before.any():
                break
            here = planes[index].continuing(before, reach_mm=2.0 + 0.8 * gap)
            # The base narrows by itself; a sudden loss above it means an open skull.
            shrunk = here.sum() < 0.5 * before.sum()
            if shrunk and borrowed_mm < 40:
                own = planes[index].borrowed(before)
                open_skull = planes[index].radius >= CLOSING_MM[-2] or not here.any()
                if open_skull and own.sum() > 0.6 * before.sum() and planes[index].bone.any():
                    here, borrowed_mm = here | own, borrowed_mm + gap
            masks[index] = here
    return masks


def _sample(plane: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear values of a plane at the crossings of rows and columns (separable, so two 1-D passes)."""

    def pass_over(values: np.ndarray, at: np.ndarray) -> np.ndarray:
        at = np.clip(at, 0, len(values) - 1)
        low = np.minimum(at.astype(int), len(values) - 2)
        weight = (at - low)[:, None].astype(np.float32)
        return values[low] * (1 - weight) + values[low + 1] * weight

    return pass_over(pass_over(plane.astype(np.float32), rows).T, columns).T


def _skull(bone: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """Bone without small pieces (calcification, clips, drains, fingers beside the head) that lie apart."""
    labels, count = ndimage.label(bone, structure=np.ones((3, 3)))
    if count < 2:
        return bone
    area = np.bincount(labels.ravel()) * pixel[0] * pixel[1]
    return bone & (area > max(60.0, 0.04 * area[1:].max()))[labels]


def _closing(mask: np.ndarray, radius: float, pixel: tuple[float, float]) -> np.ndarray:
    if not radius or not mask.any():
        return mask
    pad = int(np.ceil(radius / min(pixel))) + 1
    wide = np.pad(mask, pad)
    grown = ndimage.distance_transform_edt(~wide, sampling=pixel) <= radius
    closed = ndimage.distance_transform_edt(grown, sampling=pixel) > radius
    return closed[pad:-pad, pad:-pad] | mask


def _opening(mask: np.ndarray, radius: float, pixel: tuple[float, float]) -> np.ndarray:
    kept = ndimage.distance_transform_edt(mask, sampling=pixel) > radius
    return mask & (ndimage.distance_transform_edt(~kept, sampling=pixel) <= radius + 0.5)


def _soft_cavities(inside: np.ndarray, hu: np.ndarray, area: float) -> np.ndarray:
    """Enclosed regions that hold brain, not air (sinuses), fat (orbits, scalp) or marrow."""
    labels, count = ndimage.label(inside)
    kept = np.zeros_like(inside)
    for index in range(1, count + 1):
        part = labels == index
        if part.sum() * area < SMALLEST_CAVITY_MM2:
            continue
        values = hu[part]
        foreign = max((values < -30).mean(), (values > BONE_HU).mean())
        if -10 < np.median(values) < 110 and foreign < 0.15:
            kept |= part
    return ndimage.binary_fill_holes(kept)


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()
