"""Shape of a lesion: sphericity from its surface, irregularity from its outline.

Counting voxel faces, or the usual estimate on the voxels themselves, depends on the slice thickness (up to a
third too small or an eighth too large on 5 mm slices). The lesion is therefore first brought onto an isotropic
grid by interpolating its signed distance (Raya & Udupa, IEEE Trans Med Imaging 1990;9:32-42), and its surface
measured there by Crofton's formula as ITK does it (Lehmann & Legland, Insight Journal 2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

FINEST_MM = 0.5
MOST_SAMPLES = 500_000
# Fewer slices than this say nothing about a shape in space.
FEWEST_SLICES = 3


def sphericity(
    lesion: np.ndarray, pixel_mm: tuple[float, float], positions_mm: Sequence[float]
) -> float | None:
    """Surface of the ball of the same volume, divided by the lesion's surface (Wadell, J Geol 1935;43:250).

    Args:
        lesion: bool, shape (S, H, W), axial; its slices follow each other.
        pixel_mm: row and column step in mm.
        positions_mm: of the slices along their normal, shape (S,), ascending.

    Returns:
        1 for a ball, less for everything else; None for a lesion on fewer than 3 slices.
    """
    slices = np.flatnonzero(lesion.any(axis=(1, 2)))
    if len(slices) < FEWEST_SLICES:
        return None
    surface, volume = _boundary(lesion, (None, *pixel_mm), np.asarray(positions_mm, float))
    if surface == 0:
        return None
    return min(1.0, float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface))


def irregularity(plane: np.ndarray, pixel_mm: tuple[float, float]) -> float | None:
    """Perimeter squared by 4 pi times area of a slice of a lesion (Cox, J Paleontol 1927;1:179, inverted).

    Args:
        plane: bool, shape (H, W).
        pixel_mm: row and column step in mm.

    Returns:
        1 for a disc, more for everything else; None for a lesion that is too small to have an outline.
    """
    perimeter, area = _boundary(plane, pixel_mm, None)
    if area == 0:
        return None
    return max(1.0, float(perimeter**2 / (4 * np.pi * area)))


def _boundary(
    body: np.ndarray, step_mm: tuple[float | None, ...], positions_mm: np.ndarray | None
) -> tuple[float, float]:
    """Surface and volume in mm of a body, or perimeter and area of a plane one."""
    import SimpleITK as sitk

    body = np.pad(body, 2)
    if positions_mm is not None:
        first, last = np.diff(positions_mm[:2])[0], np.diff(positions_mm[-2:])[0]
        before = positions_mm[0] - first * np.array([2, 1])
        after = positions_mm[-1] + last * np.array([1, 2])
        positions_mm = np.concatenate([before, positions_mm, after])
    lines = [np.arange(size) * (step or 1.0) for size, step in zip(body.shape, step_mm, strict=True)]
    if positions_mm is not None:
        lines[0] = positions_mm - positions_mm[0]
    extent = np.array([line[-1] for line in lines])
    fine = max(FINEST_MM, float((extent.prod() / MOST_SAMPLES) ** (1 / body.ndim)))
    # Pixels much finer than the grid cost time and bring nothing.
    thin = [max(1, round(fine / float(np.diff(line).max()))) for line in lines]
    body = body[tuple(slice(None, None, n) for n in thin)]
    lines = [line[::n] for line, n in zip(lines, thin, strict=True)]
    steps = [float(np.diff(line).mean()) for line in lines]
    distance = ndimage.distance_transform_edt(body, sampling=steps)
    distance -= ndimage.distance_transform_edt(~body, sampling=steps)
    # Not exactly half way between voxels, where rounding would decide.
    start = 0.37 * fine
    index = [np.interp(np.arange(start, line[-1], fine), line, np.arange(len(line))) for line in lines]
    even = ndimage.map_coordinates(
        distance.astype(np.float32), np.meshgrid(*index, indexing="ij"), order=1, prefilter=False
    )
    image = sitk.GetImageFromArray((even > 0).astype(np.uint8))
    image.SetSpacing([fine] * body.ndim)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.Execute(image)
    if not statistics.HasLabel(1):
        return 0.0, 0.0
    return float(statistics.GetPerimeter(1)), float(statistics.GetPhysicalSize(1))
