"""Which lesions come close to something: the skull, the ventricles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

# The partial-volume rim of the inner table is about one pixel wide, and blood there cannot be told from bone.
TOUCH_MM = 1.5


def lesions_near(
    labels: np.ndarray,
    thing: Callable[[int], np.ndarray],
    pixel_mm: tuple[float, float],
    within_mm: float = TOUCH_MM,
) -> set[int]:
    """Numbers of the lesions that reach within `within_mm` of a thing on an axial slice.

    The distance is measured in the slice, from edge to edge: through thick slices it would mean little.

    Args:
        labels: lesion numbers, 0 elsewhere, shape (S, H, W).
        thing: mask of a slice by its index, bool, shape (H, W); only slices with a lesion are asked for.
        pixel_mm: row and column step in mm.
        within_mm: greatest distance.
    """
    near: set[int] = set()
    margin = [int(np.ceil(within_mm / step)) + 1 for step in pixel_mm]
    for s, plane in enumerate(labels):
        if not plane.any():
            continue
        rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
        box = (
            slice(max(0, rows[0] - margin[0]), rows[-1] + margin[0] + 1),
            slice(max(0, columns[0] - margin[1]), columns[-1] + margin[1] + 1),
        )
        there = thing(s)[box]
        if not there.any():
            continue
        # The transform measures between centres: edges are half a pixel nearer on either side.
        gap = ndimage.distance_transform_edt(~there, sampling=pixel_mm) - float(np.mean(pixel_mm))
        near |= set(np.unique(plane[box][gap <= within_mm]).tolist())
    return near - {0}
