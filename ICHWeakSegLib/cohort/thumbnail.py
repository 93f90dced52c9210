"""A small picture of a case for the gallery: one slice, its blood outlined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.output.preview import OUTLINE, WINDOW

SIDE = 144
_AIR_BELOW_HU = -300.0


def write_thumbnail(path: Path, hu: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float]) -> None:
    """Write a square JPEG of a few kB.

    Args:
        path: target.
        hu, mask: axial slice in radiological view, shape (H, W).
        spacing_mm: row and column step.
    """
    from PIL import Image

    rows, columns = _head(hu)
    low = WINDOW[0] - WINDOW[1] / 2
    grey = np.clip((hu[rows, columns].astype(np.float32) - low) * (255 / WINDOW[1]), 0, 255)
    height, width = (n * step for n, step in zip(grey.shape, spacing_mm, strict=True))
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = np.asarray(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
    blood = Image.fromarray((mask[rows, columns] != 0).astype(np.uint8) * 255)
    blood = np.asarray(blood.resize(size, Image.Resampling.BILINEAR)) > 127
    colours = np.repeat(picture[..., None], 3, axis=2)
    colours[blood & ~ndimage.binary_erosion(blood)] = tuple(bytes.fromhex(OUTLINE[1:]))
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(Image.fromarray(colours), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    with atomic_path(path) as temporary:
        square.save(temporary, format="JPEG", quality=82)


def _head(hu: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the largest body on the slice."""
    labels, count = ndimage.label(ndimage.binary_opening(hu > _AIR_BELOW_HU, iterations=2))
    if not count:
        return slice(None), slice(None)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return ndimage.find_objects(labels)[largest - 1]
