"""Masks of blood from a file, by subtype where the file says which."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.truth import read_truth
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.models.card import SUBTYPES

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_masks(path: str | Path, ct: CT) -> dict[str, np.ndarray]:
    """The masks in a file, on the CT's voxels.

    A `.seg.nrrd` whose segments are all named EDH, IPH, IVH, SAH or SDH, on the CT's own grid as this package
    writes it, gives one mask a segment; any other file gives all that is not 0 as `hemorrhage`.

    Returns:
        Name to mask, uint8, shape (K, J, I) of `ct`.

    Raises:
        InputError: as `ct.truth.read_truth`.
    """
    whole = read_truth(path, ct)
    found = {}
    if Path(path).name.lower().endswith(".seg.nrrd"):
        found = _by_subtype(Path(path), ct)
    # A segment that was cut or moved would not add up.
    if found and np.array_equal(np.logical_or.reduce(list(found.values())), whole):
        return {name: mask.astype(np.uint8) for name, mask in found.items()}
    return {"hemorrhage": whole.astype(np.uint8)}


def _by_subtype(path: Path, ct: CT) -> dict[str, np.ndarray]:
    import slicerio

    read = slicerio.read_segmentation(str(path))
    names = [str(segment.get("name", "")).upper() for segment in read["segments"]]
    voxels = np.asarray(read["voxels"])
    same = voxels.shape[-3:] == ct.hu.shape[::-1] and np.allclose(
        _LPS_TO_RAS @ np.asarray(read["ijkToLPS"], float), ct.ijk_to_ras, atol=1e-3
    )
    if not same or not names or not set(names) <= set(SUBTYPES) or len(set(names)) < len(names):
        return {}
    layers = voxels if voxels.ndim == 4 else voxels[None]
    return {
        name: (layers[int(segment.get("layer", 0))] == int(segment["labelValue"])).transpose(2, 1, 0)
        for name, segment in zip(names, read["segments"], strict=True)
    }
