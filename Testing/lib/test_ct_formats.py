"""NIfTI, NRRD and MetaImage: what is written is read back, grid and all."""

import tracemalloc

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from heads import head_ct, rotation

from ICHWeakSegLib.ct import CT, InputError, read_ct, write_volume
from ICHWeakSegLib.ct.geometry import tilt_deg

GRIDS = {
    "plain": {},
    "oblique": {"turn": rotation("R", 12) @ rotation("A", -7)},
    "sagittal": {"axes": "ASR", "shape": (40, 40, 40), "spacing": (5, 5, 4.5)},
    "coronal": {"axes": "RIA", "shape": (40, 40, 40), "spacing": (5, 5, 5.5)},
    "sheared": {"tilt_deg": -20},
    **{a + b + c: {"axes": a + b + c} for a in "RL" for b in "AP" for c in "SI"},
}
ENDINGS = [".nii.gz", ".nii", ".nrrd", ".mha"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", GRIDS)
def test_round_trip(tmp_path, name, ending):
    ct = head_ct(**GRIDS[name])
    path = tmp_path / f"Schädel 頭 {name}{ending}"
    if name == "sheared" and ending == ".mha":
        with pytest.raises(InputError, match=r"sheared grid.*write \.nii\.gz or \.nrrd"):
            write_volume(path, ct.hu, ct)
        assert list(tmp_path.iterdir()) == []
        return
    write_volume(path, ct.hu, ct)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    again = read_ct(path)
    assert again.hu.dtype == np.int16
    np.testing.assert_array_equal(again.hu, ct.hu)
    np.testing.assert_allclose(again.ijk_to_ras, ct.ijk_to_ras, atol=2e-5)
    assert again.voxel_ml == pytest.approx(ct.voxel_ml, rel=1e-5)
    assert again.slice_positions_mm is None
    sentences = {
        "oblique": "oblique",
        "sagittal": "sagittal",
        "coronal": "coronal",
        "sheared": "tilted by 20.0",
    }
    assert len(again.warnings) == (name in sentences)
    assert all(sentences[name] in sentence for sentence in again.warnings)


def test_other_libraries_agree_on_the_grid(tmp_path):
    ct = head_ct(turn=rotation("S", 9), axes="RAS")
    for ending in ENDINGS:
        write_volume(tmp_path / f"ct{ending}", ct.hu, ct)
        image = sitk.ReadImage(str(tmp_path / f"ct{ending}"))
        point = image.TransformIndexToPhysicalPoint((3, 5, 7))
        expected = ct.ijk_to_ras @ (3, 5, 7, 1)
        np.testing.assert_allclose(point, expected[:3] * (-1, -1, 1), atol=1e-3)


def test_a_sheared_sform_has_no_qform(tmp_path):
    ct = head_ct(tilt_deg=-20)
    write_volume(tmp_path / "ct.nii.gz", ct.hu, ct)
    header = nibabel.load(tmp_path / "ct.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    ct = head_ct()
    write_volume(tmp_path / "ct.nii.gz", ct.hu, ct)
    header = nibabel.load(tmp_path / "ct.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("source", "target", "stored"),
    [
        (bool, None, "uint8"),
        (np.int64, None, "int32"),
        (np.float64, None, "float32"),
        (np.uint8, np.int16, "int16"),
    ],
)
def test_types_in_the_file(tmp_path, ending, source, target, stored):
    ct = head_ct()
    path = tmp_path / f"mask{ending}"
    write_volume(path, (ct.hu == 35).astype(source), ct, dtype=target)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert array.dtype == stored
    np.testing.assert_array_equal(array, ct.hu == 35)


def test_writing_refuses_what_it_cannot_do(tmp_path):
    ct = head_ct()
    with pytest.raises(InputError, match="not supported"):
        write_volume(tmp_path / "mask.png", ct.hu, ct)
    with pytest.raises(ValueError, match="shape"):
        write_volume(tmp_path / "mask.nrrd", ct.hu[1:], ct)


def test_whole_floats_become_int16_and_others_float32(tmp_path):
    ct = head_ct()
    for name, hu, dtype in [("whole", ct.hu.astype(float), "int16"), ("parts", ct.hu + 0.25, "float32")]:
        for ending in (".nii.gz", ".nrrd", ".mha"):
            write_volume(tmp_path / f"{name}{ending}", hu, ct, dtype=np.float64)
            again = read_ct(tmp_path / f"{name}{ending}")
            assert again.hu.dtype == dtype
            np.testing.assert_array_equal(again.hu, hu)


def test_nifti_slope_is_applied_once(tmp_path):
    ct = head_ct()
    image = nibabel.Nifti1Image((ct.hu.T + 1024).astype(np.int16), ct.ijk_to_ras)
    image.header.set_slope_inter(1, -1024)
    # nibabel forgets the slope of an image made in memory unless the stored values are written as they are.
    path = tmp_path / "ct.nii"
    nibabel.save(image, path)
    with open(path, "r+b") as file:
        file.seek(112)
        file.write(np.array([1, -1024], "<f4").tobytes())
        file.seek(352)
        file.write((ct.hu.T + 1024).astype("<i2").tobytes(order="F"))
    np.testing.assert_array_equal(read_ct(path).hu, ct.hu)


def test_padding_becomes_air(tmp_path):
    ct = head_ct()
    hu = ct.hu.copy()
    hu[:, :3], hu[:, -3:], hu[:, :, :2] = -3024, -2000, -1500
    write_volume(tmp_path / "ct.nrrd", hu, ct)
    again = read_ct(tmp_path / "ct.nrrd").hu
    assert again.min() == -1024
    assert (again[hu < -1024] == -1024).all()
    np.testing.assert_array_equal(again[hu >= -1024], hu[hu >= -1024])


def test_nrrd_in_ras_and_detached_and_raw(tmp_path):
    ct = head_ct(axes="RAS")
    ras = {"space": "RAS", "space directions": ct.ijk_to_ras[:3, :3].T, "space origin": ct.ijk_to_ras[:3, 3]}
    for encoding in ("raw", "gzip", "bz2"):
        nrrd.write(str(tmp_path / "a.nrrd"), ct.hu, {**ras, "encoding": encoding}, index_order="C")
        nrrd.write(str(tmp_path / "b.nhdr"), ct.hu, {**ras, "encoding": encoding}, index_order="C")
        for name in ("a.nrrd", "b.nhdr"):
            again = read_ct(tmp_path / name)
            np.testing.assert_array_equal(again.hu, ct.hu)
            np.testing.assert_allclose(again.ijk_to_ras, ct.ijk_to_ras, atol=1e-9)


def test_a_sheared_metaimage_is_read(tmp_path):
    ct = head_ct(tilt_deg=-20)
    lps = np.diag([-1, -1, 1, 1]) @ ct.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(ct.hu)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "ct.mha"), True)
    again = read_ct(tmp_path / "ct.mha")
    np.testing.assert_allclose(again.ijk_to_ras, ct.ijk_to_ras, atol=1e-4)
    assert tilt_deg(again.ijk_to_ras) == pytest.approx(20, abs=1e-3)


def test_nifti_units_and_missing_orientation(tmp_path):
    ct = head_ct()
    image = nibabel.Nifti1Image(ct.hu.T, np.diag([0.001, 0.001, 0.001, 1]) @ ct.ijk_to_ras)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "m.nii")
    np.testing.assert_allclose(read_ct(tmp_path / "m.nii").ijk_to_ras, ct.ijk_to_ras, atol=1e-4)
    image = nibabel.Nifti1Image(ct.hu.T, None)
    image.header.set_zooms((4, 4, 5))
    nibabel.save(image, tmp_path / "none.nii")
    again = read_ct(tmp_path / "none.nii")
    assert "does not say how the patient lies" in again.warnings[0]
    np.testing.assert_allclose(again.spacing, (4, 4, 5))


def test_a_time_axis_of_one_is_no_obstacle(tmp_path):
    ct = head_ct()
    nibabel.save(nibabel.Nifti1Image(ct.hu.T[..., None], ct.ijk_to_ras), tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_ct(tmp_path / "ct.nii.gz").hu, ct.hu)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_reading_holds_little_more_than_the_int16_volume(tmp_path, ending, dtype):
    shape = (60, 256, 256)
    ct = head_ct(shape=shape, spacing=(0.9, 0.9, 2.5))
    ct = CT(ct.hu, ct.ijk_to_ras)
    write_volume(tmp_path / f"ct{ending}", ct.hu, ct, dtype=dtype)
    size = ct.hu.nbytes
    read_ct(tmp_path / f"ct{ending}")
    tracemalloc.start()
    try:
        again = read_ct(tmp_path / f"ct{ending}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(again.hu, ct.hu)
    assert peak < 1.7 * size
