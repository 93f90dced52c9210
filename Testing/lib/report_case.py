"""A case with everything that a report can show, made once."""

from __future__ import annotations

from functools import cache

import numpy as np
from phantom_heads import head
from scipy import ndimage

from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.quantify import Entered
from ICHWeakSegLib.report import Case, make_case, pictures_of
from ICHWeakSegLib.report.pictures import Pictures

PROVENANCE = {
    "model": "starter",
    "version": "1.0.0",
    "sha256": "ab12" * 16,
    "method": "hgi-sam",
    "refine": "hu",
    "threshold": 0.05,
    "slice_threshold": 0.42,
    "software": "ICHWeakSeg 0.0.9",
    "device": "cpu",
}
ENTERED = Entered(gcs=9, age=71, ivh=True, location="lobar")
WARNINGS = ["The gantry was tilted by 12.3 degrees.", "Look <b>here</b> & there: @BODY@."]


def ct_and_masks() -> tuple[CT, dict[str, np.ndarray]]:
    """A head with a large bleed on the left, called IPH, and a small one on the right, called SDH."""
    made = head()
    ct = CT(made.ct.hu.copy(), made.ct.ijk_to_ras, source="phantom")
    large, small = made.blood.astype(np.uint8), np.zeros(ct.hu.shape, np.uint8)
    # Columns run to the patient's left.
    small[8:11, 60:66, 34:38] = 1
    small[large != 0] = 0
    ct.hu[small != 0] = 70
    return ct, {"IPH": large, "SDH": small}


def probabilities_of(masks: dict[str, np.ndarray]) -> np.ndarray:
    """0.1 without blood, else by its area, 0.5 to 0.95."""
    area = sum(mask.sum(axis=(1, 2), dtype=float) for mask in masks.values())
    return np.where(area > 0, 0.5 + 0.45 * area / area.max(), 0.1)


def map_of(masks: dict[str, np.ndarray]) -> np.ndarray:
    """Highest in the middle of the blood, 0-1."""
    blurred = ndimage.gaussian_filter(sum(mask.astype(np.float32) for mask in masks.values()), (0.5, 4, 4))
    return blurred / blurred.max()


@cache
def full_case() -> Case:
    """Two lesions, scores, map, curve, warnings, provenance."""
    ct, masks = ct_and_masks()
    return make_case(
        ct,
        masks,
        probabilities=probabilities_of(masks),
        map=map_of(masks),
        provenance=PROVENANCE,
        warnings=WARNINGS,
        entered=ENTERED,
        name="case 7",
    )


@cache
def full_pictures() -> Pictures:
    """The pictures of `full_case`."""
    return pictures_of(full_case())


@cache
def bare_case() -> Case:
    """No blood, and nothing else known."""
    ct, masks = ct_and_masks()
    return make_case(ct, {"hemorrhage": np.zeros_like(masks["IPH"])})


@cache
def bare_pictures() -> Pictures:
    """The pictures of `bare_case`."""
    return pictures_of(bare_case())
