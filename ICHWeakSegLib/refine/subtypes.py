"""A mask parted into subtypes of hemorrhage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def split_subtypes(mask: np.ndarray, subtypes: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """One mask a subtype; together they are the whole mask, and none overlap.

    Args:
        mask: nonzero is blood, shape (K, J, I).
        subtypes: which subtype blood would be in each voxel, 1-based index into `names`, 0 where nothing is
            known; uint8, shape (K, J, I). There blood goes to the subtype that most of the other blood is.
        names: of the subtypes.

    Returns:
        name -> uint8 mask of shape (K, J, I), in the order of `names`.
    """
    blood = mask != 0
    counts = np.bincount(subtypes[blood], minlength=len(names) + 1)
    known = (
        counts[1:] if counts[1:].any() else [np.count_nonzero(subtypes == n + 1) for n in range(len(names))]
    )
    most = int(np.argmax(known)) + 1
    masks = {}
    for number, name in enumerate(names, start=1):
        own = blood & (subtypes == number)
        if number == most and counts[0]:
            own |= blood & (subtypes == 0)
        masks[name] = own.view(np.uint8)
    return masks
