"""Diameters of a lesion on axial slices, and ABC/2.

Kothari et al., The ABCs of measuring intracerebral hemorrhage volumes. Stroke 1996;27:1304-1305,
doi 10.1161/01.STR.27.8.1304.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

# Shares of the largest area from which on a slice counts as a half and as a whole one (Kothari 1996).
HALF_SLICE, WHOLE_SLICE = 0.25, 0.75
# Steps of the search for the widest place, as a share of a pixel.
_STEP = 0.25


@dataclass(frozen=True)
class Diameters:
    """A, B and C of ABC/2 and the largest diameter.

    Attributes:
        a_mm: largest diameter on the slice with the largest area.
        b_mm: largest diameter at 90 degrees to A on that slice.
        c_slices: slices weighted by their area: 1, 0.5 or 0 (Kothari's C, before the thickness).
        c_mm: the same times each slice's own thickness.
        height_mm: thickness of all slices of the lesion together.
        abc2_ml: A x B x C / 2, C as `c_mm`.
        abc2_unweighted_ml: A x B x height / 2.
        diameter_mm: largest diameter on any axial slice.
        largest_slice: index of the slice with the largest area.
    """

    a_mm: float
    b_mm: float
    c_slices: float
    c_mm: float
    height_mm: float
    abc2_ml: float
    abc2_unweighted_ml: float
    diameter_mm: float
    largest_slice: int


def diameters(lesion: np.ndarray, pixel_mm: tuple[float, float], thickness_mm: Sequence[float]) -> Diameters:
    """Measure one lesion.

    Args:
        lesion: bool, shape (S, H, W), axial; not empty.
        pixel_mm: row and column step in mm.
        thickness_mm: of each slice, shape (S,); a slice reaches half way to its neighbours.
    """
    areas = np.array([np.count_nonzero(plane) for plane in lesion], float)
    thickness = np.asarray(thickness_mm, float)
    with_blood = np.flatnonzero(areas)
    largest = int(areas.argmax())
    ends = {int(s): _farthest(lesion[s], pixel_mm) for s in with_blood}
    a = _length(ends[largest])
    b = _across(lesion[largest], pixel_mm, ends[largest])
    share = areas / areas.max()
    weight = np.where(share > WHOLE_SLICE, 1.0, np.where(share >= HALF_SLICE, 0.5, 0.0))
    c = float(weight @ thickness)
    height = float(thickness[with_blood].sum())
    return Diameters(
        a_mm=a,
        b_mm=b,
        c_slices=float(weight.sum()),
        c_mm=c,
        height_mm=height,
        abc2_ml=a * b * c / 2000.0,
        abc2_unweighted_ml=a * b * height / 2000.0,
        diameter_mm=max(_length(pair) for pair in ends.values()),
        largest_slice=largest,
    )


def _farthest(plane: np.ndarray, pixel_mm: tuple[float, float]) -> np.ndarray:
    """The two points of a lesion's outline that are farthest apart, in mm, shape (2, 2) as (row, column)."""
    points = _outline(plane) * pixel_mm
    hull = points[ConvexHull(points).vertices]
    apart = ((hull[:, None] - hull[None]) ** 2).sum(-1)
    return hull[list(np.unravel_index(apart.argmax(), apart.shape))]


def _outline(plane: np.ndarray) -> np.ndarray:
    """Points a quarter of a pixel outside the lesion's outermost pixel centres, shape (n, 2) in pixels.

    The largest of many diameters of a round lesion lies nearly between centres, that of a square one half a pixel
    beyond them on either side: a quarter is wrong by at most half a pixel in sum for both.
    """
    padded = np.pad(plane, 1).astype(np.int8)
    places = []
    for axis in range(2):
        change = np.diff(padded, axis=axis)
        for sign, inside, beyond in ((1, 0.0, -0.25), (-1, -1.0, 0.25)):
            found = np.argwhere(change == sign).astype(float)
            # The border of zeros moved the other axis by one.
            found[:, 1 - axis] -= 1
            found[:, axis] += inside + beyond
            places.append(found)
    return np.concatenate(places)


def _length(pair: np.ndarray) -> float:
    return float(np.linalg.norm(pair[1] - pair[0]))


def _across(plane: np.ndarray, pixel_mm: tuple[float, float], ends: np.ndarray) -> float:
    """Largest diameter at right angles to the line between `ends`, in mm, from outline to outline."""
    along = (ends[1] - ends[0]) / _length(ends)
    aside = np.array([-along[1], along[0]])
    step = _STEP * min(pixel_mm)
    points = _outline(plane) * pixel_mm - ends[0]
    on, off = points @ along, points @ aside
    wide = max(pixel_mm)
    u = np.arange(on.min() - wide, on.max() + wide, step)
    v = np.arange(off.min() - wide, off.max() + wide, step)
    places = ends[0] + u[:, None, None] * along + v[None, :, None] * aside
    index = np.moveaxis(places / pixel_mm, -1, 0)
    inside = ndimage.map_coordinates(plane.astype(np.float32), index, order=1) >= 0.5
    hit = inside.any(axis=1)
    if not hit.any():
        # A single pixel, seen askew.
        return float(min(pixel_mm))
    first, last = inside.argmax(axis=1), inside.shape[1] - inside[:, ::-1].argmax(axis=1)
    return float((last - first)[hit].max() * step)
