"""NIfTI files whose sform, qform and pixdim disagree; right values come from nibabel alone."""

import nibabel
import numpy as np
import pytest

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.nifti import read_nifti
from ICHWeakSegLib.ct.write import write_volume

TRUE = np.array([[-0.9, 0, 0, 100], [0, 0.9, 0, -90], [0, 0, 5, 7], [0, 0, 0, 1.0]])
HU = (np.arange(4 * 5 * 6) - 50).reshape(4, 5, 6).astype(np.int16)


def _save(path, qform, qcode, sform, scode):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(HU.shape)
    header.set_xyzt_units("mm")
    header.set_qform(qform, qcode)
    header.set_sform(sform, scode)
    nibabel.save(nibabel.Nifti1Image(HU, None, header), path)
    return path


def test_an_sform_left_as_identity_gives_way_to_the_qform_that_agrees_with_pixdim(tmp_path):
    ct = read_nifti(_save(tmp_path / "a.nii.gz", TRUE, 1, np.eye(4), 2))
    np.testing.assert_allclose(ct.ijk_to_ras, TRUE, atol=1e-5)
    assert ct.voxel_ml == pytest.approx(0.9 * 0.9 * 5 / 1000, rel=1e-5)
    assert any("sform" in one for one in ct.warnings)


def test_an_sform_that_differs_from_pixdim_is_refused_where_no_qform_decides(tmp_path):
    with pytest.raises(InputError, match="pixdim"):
        read_nifti(_save(tmp_path / "a.nii.gz", TRUE, 0, np.eye(4), 2))


def test_forms_that_agree_are_read_without_a_word(tmp_path):
    assert not read_nifti(_save(tmp_path / "a.nii.gz", TRUE, 1, TRUE, 1)).warnings


@pytest.mark.parametrize("sform", [np.diag([-1.0, 1, 1, 1]) @ TRUE, np.eye(4)], ids=["mirrored", "identity"])
def test_a_result_carries_both_forms_and_codes_of_its_ct(tmp_path, sform):
    ct = read_nifti(_save(tmp_path / "a.nii.gz", TRUE, 1, sform, 2))
    assert any("sform" in one and "qform" in one for one in ct.warnings)
    write_volume(tmp_path / "mask.nii.gz", ct.hu > 0, ct)
    image = nibabel.load(tmp_path / "mask.nii.gz")
    for (found, code), right in ((image.get_qform(coded=True), TRUE), (image.get_sform(coded=True), sform)):
        np.testing.assert_allclose(found, right, atol=1e-5)
        assert code == (1 if right is TRUE else 2)
    np.testing.assert_array_equal(np.asarray(image.dataobj), HU > 0)


def test_a_plain_file_named_gz_is_read_by_its_content(tmp_path):
    plain = _save(tmp_path / "a.nii", TRUE, 1, TRUE, 1)
    named = plain.rename(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(read_nifti(named).hu, HU.T)
