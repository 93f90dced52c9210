"""Rigid registration of two head CTs of one patient, by the skull."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.refine.components import bounding_box

if TYPE_CHECKING:
    import SimpleITK as sitk

WORKING_MM = 2.0
# From water to dense bone: scalp and air move between scans, blood hardly counts beside bone.
WINDOW_HU = (0.0, 300.0)
# The skull lies around the brain; jaw, neck and head rest move.
AROUND_MM = 12.0
MARGIN_MM = 30.0
# Poses that are tried first: pitch, roll and yaw in degrees, shift along the body in mm.
PITCH, ROLL, YAW, SHIFT = (-20, 0, 20), (-12, 0, 12), (-20, 0, 20), (-15, 0, 15)
STARTS = 3
# Of the points of the grid, how many speak for a pose in the trial.
TRIAL_POINTS = 4000
# From coarse to fine: shrink factor, largest step and smallest step in mm, share of voxels (every n-th).
LEVELS = ((3, 2.0, 0.01, 0.3), (2, 1.0, 0.002, 0.2), (1, 1.0, 0.002, 0.03), (1, 0.5, 0.0005, 0.1))
LEAST_AREA = 0.45
# Phantoms of one head, laid over each other: correlation 0.95, distance 1 to 1.7 mm; 3 mm or 4 degrees off: 0.83,
# 2 mm; of different heads: 0.70, 2.3 mm or more.
MOST_DISTANCE_MM = 2.5
LEAST_CORRELATION = 0.85
LEAST_SHARED = 0.5
SEED = 1

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Registration:
    """How the earlier head moves onto the later one.

    Attributes:
        before_to_after: 4x4, RAS mm of the earlier CT to RAS mm of the later one; a rotation and a shift.
        rotation_deg: angle of the rotation.
        shift_mm: how far the brain's middle moves.
        skull_distance_mm: mean distance between the inner tables of the two skulls, over the vault.
        correlation: of the HU of skull and brain, clipped to 0-300.
        shared: share of the later CT's brain that the earlier one shows.
        poor: whether the two should not be laid over each other.
    """

    before_to_after: np.ndarray
    rotation_deg: float
    shift_mm: float
    skull_distance_mm: float
    correlation: float
    shared: float
    poor: bool

    @property
    def quality(self) -> dict[str, float | bool]:
        """Plain values, rounded."""
        return {
            "skull_distance_mm": round(self.skull_distance_mm, 2),
            "correlation": round(self.correlation, 3),
            "shared": round(self.shared, 3),
            "poor": self.poor,
        }


def register(before: Head, after: Head) -> Registration:
    """Lay an earlier head CT onto a later one of the same patient.

    Both are brought to 2 mm, HU are clipped to 0-300, and the mean square of their difference over skull and
    brain is minimised over rotation and shift. 81 poses around equal brain centres are tried, the best three
    refined at 6 mm, the best of these at 4 mm and twice at 2 mm. One thread and a fixed seed: the same CTs give
    the same transform.

    Raises:
        InputError: the two CTs share nothing.
    """
    fixed, moving = _Grid.of(after), _Grid.of(before)
    transform = _search(fixed, moving)
    correlation, shared = _agreement(fixed, moving, transform)
    after_to_before = _matrix(transform)
    before_to_after = np.linalg.inv(after_to_before)
    distance = _skull_distance(fixed, moving, before_to_after)
    turn = before_to_after[:3, :3]
    middle = np.append(moving.centre, 1.0)
    poor = distance > MOST_DISTANCE_MM or correlation < LEAST_CORRELATION or shared < LEAST_SHARED
    return Registration(
        before_to_after=before_to_after,
        rotation_deg=float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))),
        shift_mm=float(np.linalg.norm((before_to_after @ middle - middle)[:3])),
        skull_distance_mm=distance,
        correlation=correlation,
        shared=shared,
        poor=bool(poor),
    )


@dataclass
class _Grid:
    """A head on an isotropic axial grid of `WORKING_MM`.

    Attributes:
        hu: clipped, float32, shape (Z, R, C).
        brain: bool, same shape.
        region: skull and brain, bool, same shape.
        to_ras: 4x4 from (column, row, slice) of the grid.
        centre: of the vault's brain in RAS.
        vault: first and last slice of the vault.
        levels: image and region by shrink factor.
    """

    hu: np.ndarray
    brain: np.ndarray
    region: np.ndarray
    to_ras: np.ndarray
    centre: np.ndarray
    vault: tuple[int, int]
    levels: dict[int, tuple[sitk.Image, sitk.Image]]

    @classmethod
    def of(cls, head: Head) -> _Grid:
        grid = head.grid
        blocks = [max(1, round(WORKING_MM / step)) for step in grid.spacing_mm]
        planes = np.stack([_blocks(grid.slice_hu(s), blocks) for s in range(grid.shape[0])])
        brain = np.stack([_blocks(head.brain[s], blocks) for s in range(grid.shape[0])])
        height = grid.positions_mm - grid.positions_mm[0]
        at = np.interp(np.arange(0, height[-1] + 1e-3, WORKING_MM), height, np.arange(len(height)))
        hu = np.clip(_along_z(planes, at), *WINDOW_HU).astype(np.float32)
        brain = _along_z(brain, at) >= 0.5
        to_ras = grid.ijk_to_ras.copy()
        to_ras[:3, 3] += to_ras[:3, :2] @ [(n - 1) / 2 for n in blocks[::-1]]
        to_ras[:3, 0] *= blocks[1]
        to_ras[:3, 1] *= blocks[0]
        to_ras[:3, 2] *= WORKING_MM / np.linalg.norm(to_ras[:3, 2])
        box = _around(brain, _steps(to_ras))
        hu, brain = np.ascontiguousarray(hu[box]), np.ascontiguousarray(brain[box])
        to_ras[:3, 3] += to_ras[:3, :3] @ [part.start for part in box[::-1]]
        region = ndimage.distance_transform_edt(~brain, sampling=_steps(to_ras)) <= AROUND_MM
        areas = brain.sum(axis=(1, 2))
        vault = np.flatnonzero(areas >= LEAST_AREA * areas.max())
        inside = np.argwhere(brain[vault[0] : vault[-1] + 1])[:, ::-1] + (0, 0, vault[0])
        centre = (to_ras @ [*inside.mean(axis=0), 1.0])[:3]
        levels = _pyramid(_image(hu, to_ras), _image(region.astype(np.uint8), to_ras))
        return cls(hu, brain, region, to_ras, centre, (int(vault[0]), int(vault[-1])), levels)


def _around(brain: np.ndarray, steps: np.ndarray) -> tuple[slice, ...]:
    """The box around a mask with a margin of `MARGIN_MM`."""
    margin = np.ceil(MARGIN_MM / steps).astype(int)
    return tuple(
        slice(max(0, part.start - more), min(size, part.stop + more))
        for part, more, size in zip(bounding_box(brain), margin, brain.shape, strict=True)
    )


def _steps(to_ras: np.ndarray) -> np.ndarray:
    """Spacing of (slice, row, column) in mm."""
    return np.linalg.norm(to_ras[:3, :3], axis=0)[::-1]


def _blocks(plane: np.ndarray, size: list[int]) -> np.ndarray:
    """Means of blocks of pixels, float32."""
    rows, columns = (n // by for n, by in zip(plane.shape, size, strict=True))
    whole = plane[: rows * size[0], : columns * size[1]].astype(np.float32)
    return whole.reshape(rows, size[0], columns, size[1]).mean(axis=(1, 3))


def _along_z(planes: np.ndarray, at: np.ndarray) -> np.ndarray:
    low = np.minimum(at.astype(int), max(0, len(planes) - 2))
    weight = (at - low)[:, None, None].astype(np.float32)
    return planes[low] * (1 - weight) + planes[np.minimum(low + 1, len(planes) - 1)] * weight


def _image(array: np.ndarray, to_ras: np.ndarray) -> sitk.Image:
    import SimpleITK as sitk

    to_lps = _FLIP @ to_ras
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    return image


def _pyramid(image: sitk.Image, region: sitk.Image) -> dict[int, tuple[sitk.Image, sitk.Image]]:
    import SimpleITK as sitk

    levels = {1: (image, region)}
    for factor, *_ in LEVELS:
        if factor > 1:
            smooth = sitk.SmoothingRecursiveGaussian(image, 0.35 * factor * WORKING_MM)
            levels[factor] = sitk.Shrink(smooth, [factor] * 3), sitk.Shrink(region, [factor] * 3)
    return levels


def _search(fixed: _Grid, moving: _Grid) -> sitk.Euler3DTransform:
    import SimpleITK as sitk

    middle = _FLIP[:3, :3] @ fixed.centre
    offset = _FLIP[:3, :3] @ moving.centre - middle
    trial = _Trial(fixed, moving)
    tried = []
    for number, (pitch, roll, yaw, shift) in enumerate(product(PITCH, ROLL, YAW, SHIFT)):
        start = sitk.Euler3DTransform()
        start.SetCenter(middle.tolist())
        start.SetRotation(*np.radians([pitch, roll, yaw]).tolist())
        start.SetTranslation([offset[0], offset[1], offset[2] + shift])
        tried.append((trial(_matrix(start)), number, start))
    tried.sort(key=lambda one: one[:2])
    refined = []
    for _, number, start in tried[:STARTS]:
        found = _descend(fixed, moving, start, *LEVELS[0])
        refined.append((trial(_matrix(found)), number, found))
    found = min(refined, key=lambda one: one[:2])[2]
    for level in LEVELS[1:]:
        found = _descend(fixed, moving, found, *level)
    return found


class _Trial:
    """Mean square difference in a pose, from some points of the later head's coarsest image."""

    def __init__(self, fixed: _Grid, moving: _Grid) -> None:
        blur = 0.35 * LEVELS[0][0]
        places = np.argwhere(fixed.region)
        places = places[:: max(1, len(places) // TRIAL_POINTS)]
        self._values = ndimage.gaussian_filter(fixed.hu, blur)[tuple(places.T)]
        self._points = places[:, ::-1] @ fixed.to_ras[:3, :3].T + fixed.to_ras[:3, 3]
        self._moving = ndimage.gaussian_filter(moving.hu, blur)
        self._to_index = np.linalg.inv(moving.to_ras)

    def __call__(self, after_to_before: np.ndarray) -> float:
        to_index = self._to_index @ after_to_before
        column, row, s = to_index[:3, :3] @ self._points.T + to_index[:3, 3:]
        where = np.stack([s, row, column])
        sizes = np.array(self._moving.shape)[:, None]
        known = ((where >= 0) & (where <= sizes - 1)).all(axis=0)
        # A pose that pushes the head out of the picture is none.
        if known.mean() < LEAST_SHARED:
            return float("inf")
        there = ndimage.map_coordinates(self._moving, where[:, known], order=1, prefilter=False)
        return float(np.mean((there - self._values[known]) ** 2))


def _descend(
    fixed: _Grid,
    moving: _Grid,
    start: sitk.Euler3DTransform,
    shrink: int,
    step: float,
    smallest: float,
    share: float,
) -> sitk.Euler3DTransform:
    import SimpleITK as sitk

    (image, region), (other, _) = fixed.levels[shrink], moving.levels[shrink]
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricFixedMask(region)
    method.SetMetricSamplingStrategy(method.REGULAR)
    # ITK shakes the regular points within their voxels; without a seed by the clock.
    method.SetMetricSamplingPercentage(share, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step, minStep=smallest, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    # Sums of several threads come out a little different each time.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetInitialTransform(sitk.Euler3DTransform(start), inPlace=False)
    try:
        found = method.Execute(image, other)
    except RuntimeError as problem:
        raise InputError(
            "The two CTs cannot be laid over each other: check that both show the same head."
        ) from problem
    return sitk.Euler3DTransform(sitk.CompositeTransform(found).GetBackTransform())


def _matrix(transform: sitk.Euler3DTransform) -> np.ndarray:
    """4x4 in RAS, from the later CT's points to the earlier one's."""
    lps = np.eye(4)
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    lps[:3, :3] = turn
    lps[:3, 3] = centre + transform.GetTranslation() - turn @ centre
    return _FLIP @ lps @ _FLIP


def _agreement(fixed: _Grid, moving: _Grid, transform: sitk.Euler3DTransform) -> tuple[float, float]:
    """Correlation over skull and brain, and the share of the later brain that the earlier CT shows."""
    import SimpleITK as sitk

    moved = sitk.Resample(moving.levels[1][0], fixed.levels[1][0], transform, sitk.sitkLinear, -1.0)
    there = sitk.GetArrayViewFromImage(moved)
    seen = there >= 0
    shared = float(np.count_nonzero(seen & fixed.brain) / np.count_nonzero(fixed.brain))
    both = seen & fixed.region
    if not both.any():
        return 0.0, shared
    return float(np.corrcoef(fixed.hu[both], there[both])[0, 1]), shared


def _skull_distance(fixed: _Grid, moving: _Grid, before_to_after: np.ndarray) -> float:
    """Mean distance of the earlier vault's inner table to the later one's, in mm."""
    low, high = moving.vault
    part = moving.brain[low : high + 1]
    cross = ndimage.generate_binary_structure(3, 1)
    cross[[0, 2]] = False
    border = np.argwhere(part & ~ndimage.binary_erosion(part, cross))[:, ::-1] + (0, 0, low)
    to_fixed = np.linalg.inv(fixed.to_ras) @ before_to_after @ moving.to_ras
    column, row, s = to_fixed[:3, :3] @ border.T + to_fixed[:3, 3:]
    steps = _steps(fixed.to_ras)
    signed = ndimage.distance_transform_edt(fixed.brain, sampling=steps)
    signed -= ndimage.distance_transform_edt(~fixed.brain, sampling=steps)
    inside = (s >= fixed.vault[0]) & (s <= fixed.vault[1])
    if not inside.any():
        return float("inf")
    where = np.stack([s, row, column])[:, inside]
    depth = ndimage.map_coordinates(signed, where, order=1, mode="nearest", prefilter=False)
    # The middle of a border voxel lies about half a step inside the border, of which the distance knows a whole.
    return float(np.abs(depth - steps[1]).mean())
