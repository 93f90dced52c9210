"""The head's mid-sagittal plane, from the symmetry of the space inside the skull."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage, optimize

PIXEL_MM, SLICE_MM = 1.5, 4.0
# How far from the brain's border distances tell something.
REACH_MM = 12.0
# Slices of the vault: lower down the mask ends where the skull is open, on each side elsewhere.
LEAST_AREA = 0.45
TRIED_DEG = (0.0, -12.0, 12.0, -24.0, 24.0, -36.0, 36.0)
LEAST_KNOWN = 0.4
MOST_TURN_DEG = 45.0
MOST_POINTS = 5000


class AxialView(Protocol):
    """Axial slices with their place in space; `AxialGrid` is one."""

    ijk_to_ras: np.ndarray
    spacing_mm: tuple[float, float]
    positions_mm: np.ndarray


class Planes(Protocol):
    """Masks of axial slices, bool, shape (H, W); a `BrainMask` or an array (S, H, W) is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Midplane:
    """The mid-sagittal plane.

    Attributes:
        point: a point of it in RAS mm, shape (3,).
        normal: unit normal towards the patient's right, shape (3,).
        asymmetry_mm: by how much the brain's outline and its mirror image differ (root mean square).
    """

    point: np.ndarray
    normal: np.ndarray
    asymmetry_mm: float

    def right_of(self, ras: np.ndarray) -> np.ndarray:
        """Distance of points (n, 3) from the plane in mm, positive to the patient's right."""
        return (ras - self.point) @ self.normal


def find_midplane(view: AxialView, brain: Planes) -> Midplane | None:
    """The plane about which the brain mask is most symmetric.

    The mask is bounded by the inner table of the skull, so that blood, oedema and a shifted brain do not move
    the plane. Distances to the border are compared between points and their mirror images, and the plane is the
    one with the smallest differences.

    Args:
        view: the axial slices.
        brain: masks of the slices.

    Returns:
        The plane; None where there is no brain.
    """
    space = _Space.of(view, brain)
    if space is None:
        return None
    turns = np.radians(TRIED_DEG)
    start = turns[np.argmin([space.unlikeness(np.array([turn, 0.0, 0.0])) for turn in turns])]
    best = optimize.minimize(
        space.unlikeness,
        np.array([start, 0.0, 0.0]),
        method="Nelder-Mead",
        options={"initial_simplex": _simplex(start), "xatol": 1e-3, "fatol": 1e-4, "maxiter": 300},
    )
    normal, point = space.plane(best.x)
    return Midplane(point, normal, float(best.fun))


def _simplex(turn: float) -> np.ndarray:
    # Angles in radians; the shift in units of 100 mm, so that all three weigh alike.
    return np.array([[turn, 0, 0], [turn + 0.15, 0, 0], [turn, 0.1, 0], [turn, 0, 0.08]])


@dataclass
class _Space:
    """The vault's brain as signed distances within each slice.

    Attributes:
        points: RAS mm, in and around the brain, shape (n, 3).
        values: distance to the brain's border at the points in mm, positive inside, at most `REACH_MM`.
        distance: the same of all pixels, shape (S, H, W).
        ras_to_index: 4x4, from RAS to column, row and position along the normal in mm.
        positions: of the slices, shape (S,).
        centre: mean of the brain in RAS.
    """

    points: np.ndarray
    values: np.ndarray
    distance: np.ndarray
    ras_to_index: np.ndarray
    positions: np.ndarray
    centre: np.ndarray

    @classmethod
    def of(cls, view: AxialView, brain: Planes) -> _Space | None:
        positions = np.asarray(view.positions_mm, float)
        step = float(np.median(np.diff(positions))) if len(positions) > 1 else SLICE_MM
        every = max(1, round(SLICE_MM / step))
        blocks = [max(1, round(PIXEL_MM / size)) for size in view.spacing_mm]
        chosen = np.arange(every // 2, len(positions), every)
        planes = np.stack([_blocks(brain[int(s)], blocks) for s in chosen])
        areas = planes.sum(axis=(1, 2))
        if not areas.any():
            return None
        # One run of slices: what lies beyond a gap is no vault.
        runs, _ = ndimage.label(areas >= LEAST_AREA * areas.max())
        vault = runs == runs[areas.argmax()]
        planes, positions = planes[vault], positions[chosen[vault]] - view.positions_mm[0]
        pixel = [size * n for size, n in zip(view.spacing_mm, blocks, strict=True)]
        # Mirrored points may lie beyond the picture's edge.
        rim = int(np.ceil(REACH_MM / min(pixel)))
        planes = np.pad(planes, ((0, 0), (rim, rim), (rim, rim)))
        distance = np.stack([_signed_distance(plane, pixel) for plane in planes])
        to_ras = np.eye(4)
        to_ras[:3, 0] = view.ijk_to_ras[:3, 0] * blocks[1]
        to_ras[:3, 1] = view.ijk_to_ras[:3, 1] * blocks[0]
        to_ras[:3, 2] = view.ijk_to_ras[:3, 2] / np.linalg.norm(view.ijk_to_ras[:3, 2])
        # The middle of the first block, and then the rim.
        first = [(n - 1) / 2 for n in blocks[::-1]]
        to_ras[:3, 3] = view.ijk_to_ras[:3, :2] @ first + view.ijk_to_ras[:3, 3]
        to_ras[:3, 3] -= rim * (to_ras[:3, 0] + to_ras[:3, 1])

        def in_ras(which: np.ndarray) -> np.ndarray:
            s, row, column = which
            return np.stack([column, row, positions[s]], 1) @ to_ras[:3, :3].T + to_ras[:3, 3]

        near = np.stack(np.nonzero(distance > -REACH_MM))
        near = near[:, :: max(1, near.shape[1] // MOST_POINTS)]
        return cls(
            points=in_ras(near),
            values=distance[tuple(near)],
            distance=distance,
            ras_to_index=np.linalg.inv(to_ras),
            positions=positions,
            centre=in_ras(np.stack(np.nonzero(planes))).mean(axis=0),
        )

    def plane(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit normal and a point, from the turn about S, the roll about A (rad) and the shift (100 mm)."""
        turn, roll, shift = parameters
        normal = np.array([np.cos(turn) * np.cos(roll), np.sin(turn) * np.cos(roll), np.sin(roll)])
        return normal, self.centre + 100.0 * shift * normal

    def unlikeness(self, parameters: np.ndarray) -> float:
        """Root mean square difference in mm between the distances of points and of their mirror images."""
        if np.abs(parameters[:2]).max() > np.radians(MOST_TURN_DEG):
            return 1e3
        normal, point = self.plane(parameters)
        mirrored = self.points - 2 * np.outer((self.points - point) @ normal, normal)
        column, row, position = (mirrored @ self.ras_to_index[:3, :3].T + self.ras_to_index[:3, 3]).T
        s = np.interp(position, self.positions, np.arange(len(self.positions)))
        # What a rolled head mirrors beyond the vault's end slices says nothing.
        known = (position >= self.positions[0]) & (position <= self.positions[-1])
        if known.mean() < LEAST_KNOWN:
            return 1e3
        where = np.stack([s, row, column])[:, known]
        there = ndimage.map_coordinates(self.distance, where, order=1, mode="nearest", prefilter=False)
        return float(np.sqrt(np.mean((there - self.values[known]) ** 2)))


def _blocks(plane: np.ndarray, size: list[int]) -> np.ndarray:
    """A mask on blocks of pixels: those that it fills by half."""
    rows, columns = (n // by for n, by in zip(plane.shape, size, strict=True))
    whole = plane[: rows * size[0], : columns * size[1]]
    return whole.reshape(rows, size[0], columns, size[1]).mean(axis=(1, 3)) >= 0.5


def _signed_distance(plane: np.ndarray, pixel: list[float]) -> np.ndarray:
    inner = ndimage.distance_transform_edt(plane, sampling=pixel)
    outer = ndimage.distance_transform_edt(~plane, sampling=pixel)
    return np.clip(inner - outer, -REACH_MM, REACH_MM).astype(np.float32)
