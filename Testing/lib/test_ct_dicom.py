"""DICOM as it comes: folders, archives, several series, tilt, gaps, and what is no CT."""

import re
import shutil
import tracemalloc
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import dataset, geometry, put_pixels, write_enhanced, write_scout, write_series
from heads import axial_affine, head_ct, rotation
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage, generate_uid

from ICHWeakSegLib.ct import CT, AxialGrid, InputError, read_ct
from ICHWeakSegLib.ct.dicom import read_files, scan_slices
from ICHWeakSegLib.ct.dicom.choice import is_sharp


def assert_same(again: CT, ct: CT, atol: float = 2e-5) -> None:
    np.testing.assert_array_equal(again.hu, ct.hu)
    np.testing.assert_allclose(again.ijk_to_ras, ct.ijk_to_ras, atol=atol)


def one_warning(ct: CT, *words: str) -> None:
    assert len(ct.warnings) == 1, ct.warnings
    for word in words:
        assert word in ct.warnings[0]


def test_a_folder_with_spaces_and_foreign_letters(tmp_path):
    ct = head_ct()
    uid = write_series(
        tmp_path / "Müller Hans 頭" / "sub folder", ct, BodyPartExamined="HEAD", GantryDetectorTilt=0
    )
    (tmp_path / "Müller Hans 頭" / "notes.txt").write_text("no image")
    again = read_ct(tmp_path / "Müller Hans 頭")
    assert_same(again, ct)
    assert again.hu.dtype == np.int16
    assert again.warnings == []
    assert again.slice_positions_mm is None
    assert again.info["series_uid"] == uid
    assert again.info["description"] == "Head 5mm"
    assert again.info["kernel"] == "H31s"
    assert not any("secret" in value.lower() for value in again.info.values())


def test_a_zip_archive(tmp_path):
    ct = head_ct()
    write_series(tmp_path / "in" / "a b", ct)
    shutil.make_archive(str(tmp_path / "head ü"), "zip", tmp_path / "in")
    assert_same(read_ct(tmp_path / "head ü.zip"), ct)


@pytest.mark.parametrize("shuffled", [False, True])
def test_an_enhanced_multi_frame_file(tmp_path, shuffled):
    ct = head_ct(tilt_deg=-20)
    order = np.random.default_rng(3).permutation(28) if shuffled else range(28)
    write_enhanced(tmp_path / "head.dcm", ct, order)
    again = read_ct(tmp_path / "head.dcm")
    assert_same(again, ct)
    one_warning(again, "tilted by 20.0 degrees")


@pytest.mark.parametrize("axes", ["LPS", "LAI", "RPI", "LPI"])
def test_flipped_series_say_nothing(tmp_path, axes):
    ct = head_ct(axes=axes)
    write_series(tmp_path, ct)
    again = read_ct(tmp_path)
    assert again.warnings == []
    np.testing.assert_array_equal(AxialGrid(again).hu, AxialGrid(ct).hu)
    np.testing.assert_allclose(AxialGrid(again).ijk_to_ras, AxialGrid(ct).ijk_to_ras, atol=2e-5)


@pytest.mark.parametrize(("axes", "word"), [("PIR", "sagittal"), ("LIP", "coronal")])
def test_other_planes(tmp_path, axes, word):
    ct = head_ct(shape=(40, 40, 40), spacing=(5, 5, 4.5), axes=axes)
    write_series(tmp_path, ct)
    again = read_ct(tmp_path)
    one_warning(again, word)
    np.testing.assert_array_equal(AxialGrid(again).hu, AxialGrid(ct).hu)


def test_gantry_tilt(tmp_path):
    ct = head_ct(tilt_deg=-20)
    write_series(tmp_path, ct, GantryDetectorTilt=-20)
    again = read_ct(tmp_path)
    assert_same(again, ct)
    one_warning(again, "tilted by 20.0 degrees")
    assert again.info["gantry_tilt_deg"] == "-20"
    assert again.voxel_ml == pytest.approx(0.08)


def test_a_tilt_tag_without_a_tilted_grid_is_not_believed(tmp_path):
    write_series(tmp_path, head_ct(), GantryDetectorTilt=-20)
    assert read_ct(tmp_path).warnings == []


def test_oblique(tmp_path):
    ct = head_ct(turn=rotation("R", 12))
    write_series(tmp_path, ct)
    again = read_ct(tmp_path)
    assert_same(again, ct, 1e-4)
    one_warning(again, "oblique", "12.0 degrees")


@pytest.mark.parametrize(
    ("skip", "words"), [((9,), ("One slice is missing",)), ((7, 8), ("2 slices are missing",))]
)
def test_missing_slices(tmp_path, skip, words):
    ct = head_ct()
    write_series(tmp_path, ct, skip=skip)
    again = read_ct(tmp_path)
    one_warning(again, f"after slice {skip[0]}", *words)
    np.testing.assert_array_equal(again.hu, np.delete(ct.hu, skip, axis=0))
    assert np.diff(again.slice_positions_mm).max() == pytest.approx(5 * (1 + len(skip)))
    np.testing.assert_allclose(again.ijk_to_ras[:3, 2], [0, 0, 5], atol=1e-6)
    whole = np.ones(again.hu.shape, bool)
    assert again.volume_ml(whole) == pytest.approx(ct.volume_ml(np.ones(ct.hu.shape, bool)))


@pytest.mark.parametrize("tilt", [0, -20])
def test_uneven_slices(tmp_path, tilt):
    positions = np.concatenate([np.arange(15) * 2.5, 42.5 + np.arange(13) * 7.5]) - 60
    shape = (28, 56, 60)
    affine = axial_affine(shape, spacing=(4, 4, 2.5), tilt_deg=tilt)
    affine[2, 3] = -60
    ct = head_ct(shape=shape, affine=affine, positions=positions)
    write_series(tmp_path, ct)
    again = read_ct(tmp_path)
    assert len(again.warnings) == 1 + bool(tilt)
    assert "unevenly spaced (2.50 to 7.50 mm)" in again.warnings[0]
    assert_same(again, ct)
    np.testing.assert_allclose(np.diff(again.slice_positions_mm), np.diff(positions), atol=1e-4)
    np.testing.assert_allclose(again.slice_voxel_ml(), ct.slice_voxel_ml(), rtol=1e-4)
    np.testing.assert_allclose(np.diff(AxialGrid(again).positions_mm), np.diff(positions), atol=1e-4)


def test_rounding_of_positions_is_not_unevenness(tmp_path):
    ct = head_ct()
    uneven = CT(ct.hu, ct.ijk_to_ras, -67.5 + 5 * np.arange(28) + np.tile([0.0, 0.02], 14))
    write_series(tmp_path, uneven)
    again = read_ct(tmp_path)
    assert again.warnings == []
    assert again.slice_positions_mm is None


@pytest.mark.parametrize("skip", [(), (40,)])
def test_positions_with_one_decimal_are_even_slices_of_their_true_step(tmp_path, skip):
    ct = head_ct((161, 28, 30), spacing=(8, 8, 0.625))
    write_series(tmp_path, ct, skip=skip)
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.ImagePositionPatient = [round(float(value), 1) for value in data.ImagePositionPatient]
        data.save_as(path)
    again = read_ct(tmp_path)
    # 160 steps of 0.625 mm are 100 mm; both ends are rounded by at most 0.05 mm.
    assert again.ijk_to_ras[2, 2] == pytest.approx(0.625, abs=0.1 / 160)
    if skip:
        one_warning(again, "One slice is missing (after slice 40)")
    else:
        assert again.warnings == []
        assert again.slice_positions_mm is None


def test_a_repeated_slice(tmp_path):
    ct = head_ct()
    uid = write_series(tmp_path, ct)
    copy = head_ct()
    copy.hu[:] = 20
    write_series(tmp_path, copy, skip=set(range(28)) - {5}, first=101, uid=uid)
    again = read_ct(tmp_path)
    assert_same(again, ct)
    one_warning(again, "One slice repeats")


def test_two_acquisitions_in_one_series(tmp_path):
    ct = head_ct()
    uid = write_series(tmp_path, ct, AcquisitionNumber=1)
    other = head_ct()
    other.hu[other.hu == 35] = 44
    write_series(tmp_path, other, first=101, uid=uid, AcquisitionNumber=2)
    with pytest.raises(InputError, match=rf"2 CT series that could be meant.*{uid}#1.*{uid}#2"):
        read_ct(tmp_path)
    assert_same(read_ct(tmp_path, series=f"{uid}#2"), other)


@pytest.mark.parametrize("apart_by", ["PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
def test_two_heads_with_one_series_uid_are_two_series(tmp_path, apart_by):
    first, second = head_ct(), head_ct()
    second.ijk_to_ras[2, 3] += 2.5
    second.hu[second.hu == 35] = 44
    uid = write_series(tmp_path, first, **{apart_by: "1.2.1"})
    write_series(tmp_path, second, first=101, uid=uid, **{apart_by: "1.2.2"})
    with pytest.raises(InputError, match=rf"2 CT series that could be meant.*{uid}#1.*{uid}#2"):
        read_ct(tmp_path)
    both = [read_ct(tmp_path, series=f"{uid}#{number}") for number in (1, 2)]
    both.sort(key=lambda ct: ct.ijk_to_ras[2, 3])
    assert_same(both[0], first)
    assert_same(both[1], second)


@pytest.mark.parametrize("empty", [True, False])
def test_without_a_series_uid_the_folder_is_the_series(tmp_path, empty):
    first, second = head_ct(), head_ct()
    second.ijk_to_ras[2, 3] += 2.5
    for name, ct in (("a", first), ("b", second)):
        write_series(tmp_path / name, ct)
        for path in (tmp_path / name).glob("*.dcm"):
            data = pydicom.dcmread(path)
            data.SeriesInstanceUID = ""
            if not empty:
                del data.SeriesInstanceUID
            data.save_as(path)
    with pytest.raises(InputError, match="2 CT series that could be meant"):
        read_ct(tmp_path)
    assert_same(read_ct(tmp_path, series=str(tmp_path / "b")), second)
    assert_same(read_ct(tmp_path / "a"), first)


def test_a_frame_of_reference_of_every_slice_tells_nothing(tmp_path):
    ct = head_ct()
    write_series(tmp_path, ct)
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.FrameOfReferenceUID = generate_uid()
        data.save_as(path)
    assert_same(read_ct(tmp_path), ct)


def test_two_halves_of_one_scan_are_one_stack(tmp_path):
    ct = head_ct()
    uid = write_series(tmp_path, ct, skip=range(14, 28), AcquisitionNumber=1)
    write_series(tmp_path, ct, skip=range(14), uid=uid, first=2, AcquisitionNumber=2)
    again = read_ct(tmp_path)
    assert_same(again, ct)
    assert again.warnings == []


def test_a_head_with_two_thicknesses_exported_twice_is_one_head(tmp_path):
    ct = head_ct()
    uid = write_series(tmp_path / "a", ct, skip=range(14, 28), SliceThickness=3)
    write_series(tmp_path / "a", ct, skip=range(14), uid=uid, SliceThickness=5)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b").glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.save_as(path)
    again = read_ct(tmp_path)
    assert_same(again, ct)
    one_warning(again, "28 slices repeat the position of another")


def test_an_unlabelled_scout_in_the_series(tmp_path):
    ct = head_ct()
    uid = write_series(tmp_path, ct)
    write_scout(tmp_path, uid)
    path = tmp_path / "scout.dcm"
    scout = pydicom.dcmread(path)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    scout.save_as(path)
    again = read_ct(tmp_path)
    assert_same(again, ct)
    one_warning(again, "1 image of the series was not used (1 of another size")


def upper_slices(folder, count):
    """Path and data set of the last slices of a series of 28."""
    for path in sorted(folder.glob("*.dcm")):
        data = pydicom.dcmread(path)
        if data.InstanceNumber > 28 - count:
            yield path, data


@pytest.mark.parametrize(
    ("count", "tag", "value", "words"),
    [
        (
            6,
            "ImagePositionPatient",
            None,
            "6 images of the series were not used (6 without ImagePositionPatient)",
        ),
        (
            2,
            "PixelSpacing",
            [5.1, 5.1],
            "2 images of the series were not used (2 of another size, pixel size",
        ),
        (
            1,
            "ImageType",
            ["ORIGINAL", "PRIMARY", "LOCALIZER"],
            "1 image of the series was not used (1 CT localizer)",
        ),
    ],
)
def test_every_image_of_the_series_that_is_not_used_is_counted(tmp_path, count, tag, value, words):
    ct = head_ct()
    write_series(tmp_path, ct)
    for path, data in upper_slices(tmp_path, count):
        setattr(data, tag, value)
        data.save_as(path)
    again = read_ct(tmp_path)
    np.testing.assert_array_equal(again.hu, ct.hu[:-count])
    one_warning(again, words)


@pytest.mark.parametrize("bytes_left", [400, 600, 700, 760])
def test_a_header_that_is_cut_off_is_refused(tmp_path, bytes_left):
    write_series(tmp_path, head_ct())
    path = sorted(tmp_path.glob("*.dcm"))[3]
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(InputError, match=rf"{path.name} is a CT image whose header is cut off"):
        read_ct(tmp_path)


@pytest.mark.parametrize("which", ["first", "last"])
def test_jitter_of_the_orientation_does_not_part_a_series(tmp_path, which):
    ct = head_ct()
    write_series(tmp_path, ct)
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        if data.InstanceNumber in ((1, 2) if which == "first" else (27, 28)):
            angle = np.deg2rad(0.2)
            data.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(angle), 6), round(np.sin(angle), 6)]
            data.save_as(path)
    again = read_ct(tmp_path)
    assert_same(again, ct)
    assert again.warnings == []


RIVALS = [
    {"SeriesDescription": "Head bone", "ConvolutionKernel": "H60s"},
    {"SeriesDescription": "Head 5mm", "ConvolutionKernel": "BONEPLUS"},
    {"SeriesDescription": "Thorax 5mm", "BodyPartExamined": "CHEST"},
    {"SeriesDescription": "Head CTA", "ContrastBolusAgent": "Iomeron"},
    {"SeriesDescription": "Head MIP", "ImageType": ["DERIVED", "SECONDARY", "MIP"]},
    {"SeriesDescription": "5mm", "ConvolutionKernel": "H31s"},
]


@pytest.mark.parametrize("tags", RIVALS)
def test_the_soft_tissue_head_series_is_chosen(tmp_path, tags):
    ct = head_ct()
    other = head_ct(shape=(20, 56, 60), spacing=(4, 4, 6))
    write_series(tmp_path / "a", other, **tags)
    uid = write_series(tmp_path / "b", ct)
    write_scout(tmp_path / "c")
    again = read_ct(tmp_path)
    assert again.info["series_uid"] == uid
    one_warning(again, "2 CT series were found", "'Head 5mm' with 28 slices")


def test_thick_slices_win_over_thin_ones(tmp_path):
    uid = write_series(tmp_path, head_ct())
    write_series(tmp_path, head_ct(shape=(120, 20, 20), spacing=(11, 11, 0.9)), SeriesDescription="Head 0.9")
    assert read_ct(tmp_path).info["series_uid"] == uid


def test_equal_series_are_listed_and_can_be_selected(tmp_path):
    first, second = write_series(tmp_path, head_ct()), write_series(tmp_path, head_ct())
    with pytest.raises(InputError) as caught:
        read_ct(tmp_path)
    text = str(caught.value)
    assert "--series" in text
    assert "'Head 5mm', 28 slices, spacing 5 mm" in text
    assert first in text
    assert second in text
    again = read_ct(tmp_path, series=second)
    assert again.info["series_uid"] == second
    assert again.warnings == []
    with pytest.raises(InputError, match=rf"has no CT series 1\.2\.3 .*{first}"):
        read_ct(tmp_path, series="1.2.3")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"ContrastBolusAgent": "IOMERON 400"}, "contrast medium"),
        ({"SeriesDescription": "HEAD 5.0 POST CONTRAST"}, "contrast medium"),
        ({"ConvolutionKernel": "H60s"}, "sharp kernel for bone or lung (H60s)"),
        ({"SeriesDescription": "Head bone", "ConvolutionKernel": ""}, "sharp kernel for bone"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection or rendering"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER"]}, "is derived by its header"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VNC"]}, "spectral or parameter map"),
        ({"SeriesDescription": "Head MonoE 40keV"}, "spectral or parameter map"),
    ],
)
def test_the_only_series_is_taken_with_a_warning_where_it_is_no_plain_head_ct(tmp_path, tags, words):
    ct = head_ct()
    write_series(tmp_path, ct, **tags)
    again = read_ct(tmp_path)
    assert_same(again, ct)
    one_warning(again, words)


@pytest.mark.parametrize(
    "tags",
    [
        {"ContrastBolusAgent": "NONE"},
        {"SeriesDescription": "Head without contrast"},
        {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]},
        {"RescaleType": "HU"},
        {"RescaleType": "US"},
    ],
)
def test_a_plain_head_ct_says_nothing(tmp_path, tags):
    write_series(tmp_path, head_ct(), **tags)
    assert read_ct(tmp_path).warnings == []


def test_values_in_another_unit_are_refused(tmp_path):
    write_series(tmp_path, head_ct(), RescaleType="Z_EFF")
    with pytest.raises(InputError, match=r"has no CT slices but CT map in Z_EFF, not in HU \(28\)"):
        read_ct(tmp_path)


def test_kernels():
    sharp = ["H60s", "J70h", "FC30", "BONEPLUS", "YC", "D", "EDGE", "LUNG"]
    soft = ["H31s", "Hr40f", "FC26", "STANDARD", "SOFT", "DETAIL", "UB", "B", ""]
    assert [kernel for kernel in sharp + soft if is_sharp(kernel)] == sharp


def test_rescale_of_each_slice(tmp_path):
    ct = head_ct()
    write_series(tmp_path, ct, slope=np.tile([1.0, 0.5], 14), intercept=-1000)
    np.testing.assert_array_equal(read_ct(tmp_path).hu, ct.hu)


@pytest.mark.parametrize("which", [range(28), (9,)])
@pytest.mark.parametrize("empty", [True, False])
def test_a_rescale_may_be_missing_everywhere_but_not_in_some_slices(tmp_path, which, empty):
    ct = head_ct()
    write_series(tmp_path, ct, intercept=0.0)
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        if data.InstanceNumber - 1 in which:
            if empty:
                data.RescaleSlope = data.RescaleIntercept = None
            else:
                del data.RescaleSlope, data.RescaleIntercept
        data.save_as(path)
    if len(which) == 28:
        np.testing.assert_array_equal(read_ct(tmp_path).hu, ct.hu)
    else:
        with pytest.raises(InputError, match=r"no RescaleSlope while other slices.*1 of 28 slices"):
            read_ct(tmp_path)


@pytest.mark.parametrize("text", [b"0,95", b"1\\1 ", b"nan ", b"0 "])
def test_a_malformed_rescale_is_refused(tmp_path, text):
    write_series(tmp_path, head_ct())
    tag = Tag("RescaleSlope")
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        data[tag] = RawDataElement(tag, "DS", len(text), text, 0, False, True)
        data.save_as(path)
    with pytest.raises(
        InputError, match=f"RescaleSlope '{re.escape(text.decode().strip())}'.*no usable number"
    ):
        read_ct(tmp_path)


def test_values_stored_with_a_sign_that_the_header_denies_are_refused(tmp_path):
    ct = head_ct()
    for path, data, plane in stored_series(tmp_path, ct, ct.hu, intercept=0.0):
        put_pixels(data, plane)
        data.PixelRepresentation = 0
        data.save_as(path)
    with pytest.raises(InputError, match=r"values of up to 6\d{4} HU.*sign"):
        read_ct(tmp_path)


def test_each_frame_of_a_compressed_enhanced_ct_has_its_own_rescale(tmp_path):
    ct = head_ct()
    write_enhanced(tmp_path / "raw.dcm", ct)
    data = pydicom.dcmread(tmp_path / "raw.dcm")
    del data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    fragments = []
    for k, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        rescale = pydicom.Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024 - 10 * k, "HU"
        group.PixelValueTransformationSequence = [rescale]
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(tmp_path / "pixels.dcm"))
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        stored = (ct.hu[k].astype(np.int32) + 1024 + 10 * k).astype(np.uint16)
        writer.Execute(sitk.GetImageFromArray(stored[None]))
        compressed = pydicom.dcmread(tmp_path / "pixels.dcm")
        fragments += pydicom.encaps.generate_frames(compressed.PixelData, number_of_frames=1)
    for tag in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        data[tag] = compressed[tag]
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    data.PixelData = pydicom.encaps.encapsulate(fragments)
    (tmp_path / "jpeg").mkdir()
    data.save_as(tmp_path / "jpeg" / "ct.dcm")
    np.testing.assert_array_equal(read_ct(tmp_path / "jpeg" / "ct.dcm").hu, ct.hu)


def test_odd_slopes_keep_their_fractions(tmp_path):
    ct = head_ct()
    write_series(tmp_path, ct, slope=0.3, intercept=-1000)
    again = read_ct(tmp_path)
    assert again.hu.dtype == np.float32
    assert np.abs(again.hu - ct.hu).max() < 0.16


def stored_series(folder, ct, stored, **tags):
    """Write a series and replace its stored values."""
    write_series(folder, ct, **tags)
    for path in folder.glob("*.dcm"):
        data = pydicom.dcmread(path)
        yield path, data, stored[data.InstanceNumber - 1]


@pytest.mark.parametrize("padding", [-2000, 63536, None])
def test_padding_is_air(tmp_path, padding):
    ct = head_ct()
    values = ct.hu.copy()
    values[:, :4] = -2000
    for path, data, plane in stored_series(tmp_path, ct, values, intercept=0.0):
        put_pixels(data, plane)
        if padding is not None:
            data.add_new((0x0028, 0x0120), "US" if padding > 0 else "SS", padding)
        data.save_as(path)
    again = read_ct(tmp_path).hu
    assert (again[:, :4] == -1024).all()
    np.testing.assert_array_equal(again[:, 4:], ct.hu[:, 4:])


@pytest.mark.parametrize(("in_corner", "expected"), [(True, -1024), (False, 35)])
def test_padding_within_the_tissue_range_counts_if_it_fills_a_corner(tmp_path, in_corner, expected):
    ct = head_ct()
    values = ct.hu.astype(np.int32) + 1024
    if in_corner:
        values[:, :3] = 1059
    for path, data, plane in stored_series(tmp_path, ct, values):
        put_pixels(data, plane, signed=False)
        data.add_new((0x0028, 0x0120), "US", 1059)
        data.save_as(path)
    if in_corner:
        with pytest.raises(InputError, match="shows no head"):
            read_ct(tmp_path)
    else:
        np.testing.assert_array_equal(read_ct(tmp_path).hu, ct.hu)


def test_run_length_compression(tmp_path):
    ct = head_ct()
    write_series(tmp_path, ct)
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.compress(pydicom.uid.RLELossless)
        data.save_as(path)
    assert_same(read_ct(tmp_path), ct)


def test_lossless_jpeg_is_decoded_by_itk(tmp_path):
    ct = head_ct()
    write_series(tmp_path / "raw", ct)
    (tmp_path / "jpeg").mkdir()
    for path in (tmp_path / "raw").glob("*.dcm"):
        data = pydicom.dcmread(path)
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(tmp_path / "pixels.dcm"))
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(data.pixel_array[None]))
        compressed = pydicom.dcmread(tmp_path / "pixels.dcm")
        assert compressed.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        for tag in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"):
            data[tag] = compressed[tag]
        data.save_as(tmp_path / "jpeg" / path.name)
    assert_same(read_ct(tmp_path / "jpeg"), ct)


def test_a_compression_that_nothing_decodes(tmp_path):
    write_series(tmp_path, head_ct())
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\x0a" + bytes(200)])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        data.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
        data.save_as(path)
    with pytest.raises(
        InputError, match=r"is compressed as High-Throughput JPEG 2000.*cannot be decoded here"
    ):
        read_ct(tmp_path)


def test_truncated_pixels(tmp_path):
    write_series(tmp_path, head_ct())
    path = sorted(tmp_path.glob("*.dcm"))[4]
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match=rf"{path.name} is truncated or damaged"):
        read_ct(tmp_path)


def test_truncated_multi_frame(tmp_path):
    path = tmp_path / "head.dcm"
    write_enhanced(path, head_ct())
    path.write_bytes(path.read_bytes()[:-30000])
    with pytest.raises(InputError, match=r"head\.dcm is truncated"):
        read_ct(path)


def test_what_is_no_ct(tmp_path):
    ct = head_ct()
    write_series(tmp_path / "mr", ct, Modality="MR", SOPClassUID=MRImageStorage)
    with pytest.raises(InputError, match=r"has no CT slices but MR \(28\)"):
        read_ct(tmp_path / "mr")
    write_series(tmp_path / "sc", ct, SOPClassUID=SecondaryCaptureImageStorage)
    with pytest.raises(InputError, match=r"CT secondary capture \(28\)"):
        read_ct(tmp_path / "sc")
    write_scout(tmp_path / "scout")
    with pytest.raises(InputError, match=r"CT localizer \(1\)"):
        read_ct(tmp_path / "scout")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("no image")
    with pytest.raises(InputError, match=r"not DICOM \(1\)"):
        read_ct(tmp_path / "text")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="is empty"):
        read_ct(tmp_path / "none")
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(InputError, match="not a readable zip archive"):
        read_ct(tmp_path / "bad.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(InputError, match="is empty"):
        read_ct(tmp_path / "empty.zip")


def test_single_and_few_slices(tmp_path):
    write_series(tmp_path, head_ct())
    path = next(tmp_path.glob("*.dcm"))
    with pytest.raises(InputError, match="is a single slice; give the folder"):
        read_ct(path)
    write_series(tmp_path / "few", head_ct(), skip=range(2, 28))
    with pytest.raises(InputError, match="has only 2 slices"):
        read_ct(tmp_path / "few")


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_a_place(tmp_path, tag):
    write_series(tmp_path, head_ct())
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        delattr(data, tag)
        data.save_as(path)
    with pytest.raises(InputError, match=tag):
        read_ct(tmp_path)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "RGB"])
def test_inverted_and_colour_images(tmp_path, photometric):
    write_series(tmp_path, head_ct(), PhotometricInterpretation=photometric)
    with pytest.raises(InputError, match=f"is a {photometric} image, not a CT slice"):
        read_ct(tmp_path)


def test_bare_headers_as_of_public_challenges(tmp_path):
    ct = head_ct()
    write_series(tmp_path, ct)
    for path in tmp_path.glob("*.dcm"):
        data = pydicom.dcmread(path)
        for tag in ("SOPClassUID", "ImageType", "SeriesDescription", "InstanceNumber", "SliceThickness"):
            delattr(data, tag)
        data.save_as(path)
    assert_same(read_ct(tmp_path), ct)


def test_files_without_preamble(tmp_path):
    ct = head_ct()
    write_series(tmp_path / "a", ct)
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a").glob("*.dcm"):
        data = pydicom.dcmread(path)
        del data.file_meta
        data.preamble = None
        data.save_as(tmp_path / "b" / path.stem, implicit_vr=True, little_endian=True)
    assert_same(read_ct(tmp_path / "b"), ct)


def test_scan_of_a_cohort(tmp_path):
    ct = head_ct()
    up, down = (
        write_series(tmp_path, ct, PatientID="one"),
        write_series(tmp_path, head_ct(axes="RPI"), PatientID="two"),
    )
    found = scan_slices(tmp_path)
    assert set(found) == {up, down}
    for uid in (up, down):
        heights = [pydicom.dcmread(item.path).ImagePositionPatient[2] for item in found[uid]]
        assert heights == sorted(heights)
    assert {item.patient for item in found[down]} == {"two"}
    assert_same(read_files([item.path for item in found[up]][::-1]), ct)


def test_memory_of_a_series(tmp_path):
    ct = head_ct(shape=(60, 256, 256), spacing=(0.9, 0.9, 2.5))
    write_series(tmp_path / "series", ct)
    write_enhanced(tmp_path / "frames.dcm", ct)
    for path in (tmp_path / "series", tmp_path / "frames.dcm"):
        tracemalloc.start()
        try:
            again = read_ct(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        np.testing.assert_array_equal(again.hu, ct.hu)
        assert peak < 1.5 * ct.hu.nbytes


def test_dicomdir_and_reports_are_passed_over(tmp_path):
    ct = head_ct()
    write_series(tmp_path, ct)
    report = dataset("1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", SeriesInstanceUID=generate_uid())
    report.save_as(tmp_path / "report.dcm")
    assert_same(read_ct(tmp_path), ct)
    assert len(geometry(ct)[2]) == 28
