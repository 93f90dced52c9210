"""The blood in space, under a translucent skull: rays are cast through a coarse, even grid.

No surface is meshed: NumPy and SciPy do it within seconds, without a display and without sorting triangles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.output.segments import HEMORRHAGE_STYLE, segment_style
from ICHWeakSegLib.refine.components import bounding_box
from ICHWeakSegLib.report.case import Case

STEP_MM = 1.5
PIXEL_MM = 1.0
BONE_HU = 250.0
_SOFT_HU = 200.0
# After smoothing, a lesion of a slice or two still reaches this.
_BLOOD_LEVEL = 0.3
_BONE_LEVEL = 0.4
_BACKGROUND = np.array([0.045, 0.055, 0.07])
_BONE = np.array([0.93, 0.90, 0.84])
_LIGHT = np.array([-0.45, 0.55, 0.70])
# Directions in (superior, posterior, left), as the axes of an axial volume run.
_DIRECTIONS = {
    "R": (0, 0, -1),
    "L": (0, 0, 1),
    "A": (0, -1, 0),
    "P": (0, 1, 0),
    "S": (1, 0, 0),
    "I": (-1, 0, 0),
}


@dataclass(frozen=True)
class View:
    """A picture of the scene.

    Attributes:
        words: from where.
        rgb: uint8, shape (H, W, 3).
        letters: sides of the patient at the picture's (left, right, top, bottom); empty where none fits.
    """

    words: str
    rgb: np.ndarray
    letters: tuple[str, str, str, str]


def render(case: Case) -> list[View]:
    """The case from the front, turned to the side with more blood, and from above."""
    bone, bloods, colors = _volumes(case)
    total = case.quantities.total
    right = (total.right_ml or 0.0) > (total.left_ml or 0.0)
    side = "right" if right else "left"
    return [
        _view(f"from the front, {side} and above", bone, bloods, colors, 40.0 if right else -40.0, 20.0),
        _view("from above", bone, bloods, colors, 0.0, 90.0),
    ]


def _volumes(case: Case) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Bone and one field a class, 0-1, on an even grid (superior, posterior, left), and the classes' colours."""
    grid = case.grid
    masks = {name: grid.from_native(mask) for name, mask in case.masks.items() if mask.any()}
    bone = np.stack([_coarse(np.clip((grid.slice_hu(s) - BONE_HU) / _SOFT_HU + 0.5, 0, 1), grid.spacing_mm)
                     for s in range(grid.shape[0])])  # fmt: skip
    bone = _largest(_even(bone, case))
    fields, colors = [], []
    for name, mask in masks.items():
        field = _even(
            np.stack([_coarse((plane != 0).astype(np.float32), grid.spacing_mm) for plane in mask]), case
        )
        fields.append(_smooth(field, case))
        style = segment_style(name)
        colors.append(np.array((style if len(masks) > 1 or name != "hemorrhage" else HEMORRHAGE_STYLE).color))
    return _smooth(bone, case), fields, colors


def _smooth(field: np.ndarray, case: Case) -> np.ndarray:
    """More along thick slices, whose steps would show as terraces."""
    gaps = np.diff(case.grid.positions_mm)
    thickness = float(np.median(gaps)) if len(gaps) else 0.0
    return ndimage.gaussian_filter(field, (max(0.8, 0.6 * thickness / STEP_MM), 0.8, 0.8))


def _coarse(plane: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Means over blocks of pixels, so that none is passed over later."""
    rows, columns = (max(1, int(STEP_MM / step)) for step in spacing_mm)
    height, width = plane.shape[0] // rows, plane.shape[1] // columns
    cut = plane[: height * rows, : width * columns].astype(np.float32)
    return cut.reshape(height, rows, width, columns).mean(axis=(1, 3))


def _even(volume: np.ndarray, case: Case) -> np.ndarray:
    """Onto cubes of STEP_MM, with a rim of nothing."""
    blocks = [max(1, int(STEP_MM / step)) for step in case.grid.spacing_mm]
    steps = [block * step for block, step in zip(blocks, case.grid.spacing_mm, strict=True)]
    positions = case.grid.positions_mm - case.grid.positions_mm[0]
    if len(positions) > 1:
        slices = np.interp(np.arange(0, positions[-1] + 1e-3, STEP_MM), positions, np.arange(len(positions)))
    else:
        slices = np.zeros(1)
    lines = [slices] + [
        np.arange(0, (size - 1) * step + 1e-3, STEP_MM) / step
        for size, step in zip(volume.shape[1:], steps, strict=True)
    ]
    # Axis by axis: three interpolations along lines cost less than one in space.
    for axis, line in enumerate(lines):
        low = np.clip(np.floor(line).astype(int), 0, max(0, volume.shape[axis] - 2))
        share = (line - low).astype(np.float32).reshape([-1 if other == axis else 1 for other in range(3)])
        high = np.minimum(low + 1, volume.shape[axis] - 1)
        volume = volume.take(low, axis) * (1 - share) + volume.take(high, axis) * share
    return np.pad(volume, 2)


def _largest(bone: np.ndarray) -> np.ndarray:
    """The skull without head rest, tubes and teeth's streaks."""
    labels, count = ndimage.label(bone > _BONE_LEVEL)
    if not count:
        return bone
    keep = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return bone * ndimage.binary_dilation(keep, iterations=2)


def _view(
    words: str,
    bone: np.ndarray,
    bloods: list[np.ndarray],
    colors: list[np.ndarray],
    turn_deg: float,
    raise_deg: float,
) -> View:
    """Look from `turn_deg` to the patient's right of the front, `raise_deg` above the horizon."""
    turn, up_angle = np.radians([turn_deg, raise_deg])
    front, right, above = (np.array(_DIRECTIONS[letter], float) for letter in "ARS")
    level = np.cos(turn) * front + np.sin(turn) * right
    toward = np.cos(up_angle) * level + np.sin(up_angle) * above
    up = np.cos(up_angle) * above - np.sin(up_angle) * level
    # The patient's front is on top where one looks from straight above.
    if raise_deg == 90:
        up = front
    across = _cross(up, toward)
    axes = np.stack([toward, up, across])
    shape, matrix, offset = _rays(bone.shape, axes)
    inside, normals, _ = _hit(bone, _BONE_LEVEL, axes, shape, matrix, offset)
    picture = np.broadcast_to(_BACKGROUND, (*shape[1:], 3)).copy()
    picture[inside] += 0.13 * _BONE
    nearest = np.full(shape[1:], np.inf)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    for field, color in zip(bloods, colors, strict=True):
        seen, facing, depth = _hit(field, _BLOOD_LEVEL, axes, shape, matrix, offset)
        front_most = seen & (depth < nearest)
        nearest[front_most] = depth[front_most]
        shade = 0.30 + 0.75 * np.clip(facing @ light, 0, 1) + 0.15 * np.clip(facing[..., 2], 0, 1)
        picture[front_most] = (color * shade[..., None])[front_most]
    edge = 1 - np.clip(np.abs(normals[..., 2]), 0, 1)
    opacity = np.where(inside, 0.16 + 0.60 * edge**2, 0)[..., None]
    shade = 0.45 + 0.60 * np.clip(normals @ light, 0, 1)[..., None]
    picture = picture * (1 - opacity) + opacity * _BONE * shade
    rgb = (255 * np.clip(picture, 0, 1)).astype(np.uint8)
    return View(words, _cropped(rgb, inside | np.isfinite(nearest)), _letters(axes))


def _cross(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The cross product as it is in RAS, where directions are (superior, posterior, left)."""
    as_ras = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]], float)
    return as_ras.T @ np.cross(as_ras @ one, as_ras @ other)


def _rays(size: tuple[int, ...], axes: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray, np.ndarray]:
    """Samples along rays (depth, row, column) as an affine map to voxels."""
    half = np.array(size) * STEP_MM / 2
    reach = np.abs(axes) @ half
    counts = np.ceil(2 * reach / np.array([STEP_MM, PIXEL_MM, PIXEL_MM])).astype(int) + 1
    # Away from the eye, down, to the right.
    steps = np.stack([-axes[0] * STEP_MM, -axes[1] * PIXEL_MM, axes[2] * PIXEL_MM], axis=1)
    start = axes[0] * reach[0] + axes[1] * reach[1] - axes[2] * reach[2]
    return tuple(counts.tolist()), steps / STEP_MM, (start + half) / STEP_MM - 0.5


def _hit(field, level, axes, shape, matrix, offset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rays first meet a surface: bool (H, W), its normal to (right, up, eye), (H, W, 3), and its depth."""
    normals, depth = np.zeros((*shape[1:], 3)), np.full(shape[1:], np.inf)
    start, counts = _reach(field > level, shape, matrix, offset)
    along = ndimage.affine_transform(field, matrix, matrix @ start + offset, counts, np.float32, order=1)
    above = along > level
    rows, columns = np.nonzero(above.any(axis=0))
    at = above.argmax(axis=0)[rows, columns]
    here, before = along[at, rows, columns], along[np.maximum(at - 1, 0), rows, columns]
    fine = at - np.where(at > 0, (here - level) / np.maximum(here - before, 1e-6), 0) + start[0]
    rows, columns = rows + start[1], columns + start[2]
    places = matrix @ np.stack([fine, rows, columns]) + offset[:, None]
    slopes = np.stack([
        ndimage.map_coordinates(ndimage.gaussian_filter1d(field, 1.0, axis=axis, order=1), places, order=1)
        for axis in range(3)
    ])  # fmt: skip
    slopes /= np.maximum(np.linalg.norm(slopes, axis=0), 1e-6)
    normals[rows, columns] = -(axes[[2, 1, 0]] @ slopes).T
    depth[rows, columns] = fine
    return np.isfinite(depth), normals, depth


def _reach(
    inside: np.ndarray, shape: tuple[int, int, int], matrix: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, tuple[int, ...]]:
    """The block of samples, its start and size, that holds a body: most rays meet no blood."""
    box = bounding_box(inside)
    if box is None:
        return np.zeros(3, int), (1, 1, 1)
    corners = np.array(list(product(*((part.start - 1, part.stop) for part in box))), float).T
    samples = np.linalg.solve(matrix, corners - offset[:, None])
    low = np.clip(np.floor(samples.min(axis=1)).astype(int) - 1, 0, np.array(shape) - 1)
    high = np.clip(np.ceil(samples.max(axis=1)).astype(int) + 2, low + 1, shape)
    return low, tuple((high - low).tolist())


def _cropped(rgb: np.ndarray, inside: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return rgb
    # Room for the letters of the sides.
    margin = 16
    return rgb[
        max(0, rows[0] - margin) : rows[-1] + 1 + margin,
        max(0, columns[0] - margin) : columns[-1] + 1 + margin,
    ]


def _letters(axes: np.ndarray) -> tuple[str, str, str, str]:
    found = []
    for way in (-axes[2], axes[2], axes[1], -axes[1]):
        letter, share = max(
            ((name, float(np.dot(way, vector))) for name, vector in _DIRECTIONS.items()),
            key=lambda item: item[1],
        )
        found.append(letter if share > 0.7 else "")
    return tuple(found)
