"""What is said when a NIfTI file cannot hold a CT's grid as other programs need it."""

import numpy as np
import pytest
import SimpleITK as sitk

from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.ct.write import write_volume, writing_warnings

HU = np.zeros((4, 5, 6), np.int16)
STRAIGHT = np.diag([0.5, 0.5, 5, 1.0])
TILTED = STRAIGHT.copy()
TILTED[1, 2] = 5 * np.tan(np.radians(18))


@pytest.mark.parametrize("affine", [STRAIGHT, TILTED], ids=["straight", "tilted"])
def test_a_nifti_that_itk_cannot_open_is_announced_and_no_other(tmp_path, affine):
    ct = CT(HU, affine)
    path = tmp_path / "mask.nii.gz"
    write_volume(path, HU.astype(np.uint8), ct)
    try:
        sitk.ReadImage(str(path))
        opens = True
    except RuntimeError:
        opens = False
    said = writing_warnings(path, ct)
    assert bool(said) is not opens
    assert all(".seg.nrrd" in sentence for sentence in said)
    assert not writing_warnings(tmp_path / "mask.seg.nrrd", ct)


def test_a_nifti_of_uneven_slices_is_announced():
    ct = CT(HU, STRAIGHT, slice_positions_mm=np.array([0, 5, 10, 25.0]))
    (said,) = writing_warnings("mask.nii", ct)
    assert "uneven" in said
