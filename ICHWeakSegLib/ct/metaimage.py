"""Reading a CT from MetaImage (MHA, MHD) through ITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.hu import HUVolume
from ICHWeakSegLib.ct.shape import check_grid, require_3d
from ICHWeakSegLib.ct.volume import CT

SLABS = 8
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_metaimage(path: Path) -> CT:
    """Read `.mha` or `.mhd`, slab by slab.

    Raises:
        InputError: truncated or damaged, not 3D, a vector image, NaN or without a usable grid.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path} is not a readable MetaImage file; export it again.") from error
    size = reader.GetSize()
    if reader.GetNumberOfComponents() > 1:
        raise InputError(f"{path} is a colour or vector image, not a CT; give a CT in HU.")
    require_3d(size, path)
    shape = size[:3]
    dimension = len(size)
    spacing = np.array(reader.GetSpacing())[:3]
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3] * spacing
    affine[:3, 3] = reader.GetOrigin()[:3]
    affine = LPS_TO_RAS @ affine
    check_grid(shape, affine, path)
    volume = HUVolume(shape[::-1], str(path))
    try:
        # Few slabs: ITK starts to decompress from the beginning for each of them.
        for start in range(0, shape[2], -(-shape[2] // SLABS)):
            count = min(-(-shape[2] // SLABS), shape[2] - start)
            reader.SetExtractIndex([0, 0, start, *[0] * (dimension - 3)])
            reader.SetExtractSize([*shape[:2], count, *[1] * (dimension - 3)])
            # The image must outlive the view on its memory.
            slab = reader.Execute()
            for n, plane in enumerate(sitk.GetArrayViewFromImage(slab).reshape(count, *shape[1::-1])):
                volume.put(start + n, plane)
    except RuntimeError as error:
        raise InputError(f"{path} is truncated or damaged; copy or export it again.") from error
    return CT(volume.hu, affine, source=str(path), info={"format": "MetaImage"})
