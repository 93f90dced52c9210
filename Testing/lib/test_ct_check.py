"""Bad input gets one sentence: what, which file, what to do."""

import re
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from heads import axial_affine, head_ct, radius, rotation, world

from ICHWeakSegLib.ct import CT, InputError, check_ct, read_ct, write_volume

CASE = Path(__file__).parents[3] / "shared" / "data" / "cases" / "ctich-091-upper.nii.gz"
RNG = np.random.default_rng(0)


def refused(path, words, series=None):
    """The sentence of a refusal: one line that names the file and what to do."""
    with pytest.raises(InputError, match=words) as caught:
        read_ct(path, series)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert re.search(r"; (give|copy|export|correct|check|close)|: leave", text), text
    return text


def test_missing_and_empty(tmp_path):
    refused(tmp_path / "nowhere.nii.gz", "does not exist")
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.dcm", "a.zip"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, "is an empty file")
    (tmp_path / "empty folder").mkdir()
    refused(tmp_path / "empty folder", "is empty")


@pytest.mark.parametrize("name", ["a.png", "a.txt", "a", "a.gz", "a.img"])
def test_unsupported(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else altogether")
    refused(tmp_path / name, "format that is not supported")


@pytest.mark.parametrize(
    "name", ["a.nii.gz", "a.nii", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.dcm", "a.zip"]
)
def test_rubbish(tmp_path, name):
    (tmp_path / name).write_bytes(RNG.bytes(5000))
    refused(tmp_path / name, "not a readable|truncated|no CT slices")


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("share", [0.0005, 0.5, 0.98])
def test_truncated(tmp_path, ending, share):
    ct = head_ct()
    ct.hu += RNG.integers(-3, 4, ct.hu.shape).astype(np.int16)
    path = tmp_path / f"head{ending}"
    write_volume(path, ct.hu, ct)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, "truncated or damaged|not a readable")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_damaged_byte_in_compressed_data(tmp_path, ending):
    ct = head_ct()
    path = tmp_path / f"head{ending}"
    write_volume(path, ct.hu, ct)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    refused(path, "truncated or damaged")


def test_dimensions(tmp_path):
    flat = RNG.integers(-1000, 1000, (40, 40)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(flat, np.eye(4)), tmp_path / "flat.nii.gz")
    refused(tmp_path / "flat.nii.gz", "is a 2D image")
    nrrd.write(str(tmp_path / "flat.nrrd"), flat)
    refused(tmp_path / "flat.nrrd", "is a 2D image")
    sitk.WriteImage(sitk.GetImageFromArray(flat), str(tmp_path / "flat.mha"))
    refused(tmp_path / "flat.mha", "is a 2D image")
    series = np.zeros((10, 10, 10, 4), np.int16)
    nibabel.save(nibabel.Nifti1Image(series, np.eye(4)), tmp_path / "time.nii.gz")
    refused(tmp_path / "time.nii.gz", "is 4D")
    nrrd.write(str(tmp_path / "time.nrrd"), series)
    refused(tmp_path / "time.nrrd", "is 4D")
    vector = sitk.GetImageFromArray(np.zeros((10, 10, 10, 3), np.uint8), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "colour.mha"))
    refused(tmp_path / "colour.mha", "colour or vector")
    colour = np.zeros((10, 10, 10), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), tmp_path / "colour.nii.gz")
    refused(tmp_path / "colour.nii.gz", "colour or complex")
    for count, words in ((1, "only one slice"), (2, "only 2 slices")):
        ct = head_ct(shape=(count, 56, 60))
        write_volume(tmp_path / "few.nrrd", ct.hu, ct)
        refused(tmp_path / "few.nrrd", words)


def test_a_dimension_of_zero(tmp_path):
    with pytest.raises(InputError, match=r"is empty \(0 x 5 x 5 voxels\)"):
        check_ct(CT(np.zeros((0, 5, 5), np.int16), np.eye(4)))
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 5 0\nencoding: raw\nendian: little\n\n"
    (tmp_path / "zero.nrrd").write_text(header)
    refused(tmp_path / "zero.nrrd", "is empty")


def test_not_a_number(tmp_path):
    for value in (np.nan, np.inf):
        for ending in (".nii.gz", ".nrrd", ".mha"):
            ct = head_ct()
            hu = ct.hu.astype(np.float32)
            hu[3, 4, 5] = value
            write_volume(tmp_path / f"bad{ending}", hu, ct)
            refused(tmp_path / f"bad{ending}", "not a number")
    with pytest.raises(InputError, match="not a number"):
        check_ct(CT(np.where(hu > 0, np.nan, hu).astype(np.float32), ct.ijk_to_ras))


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (np.diag([4.0, 4.0, 0.0]), "spacing of zero"),
        (np.array([[4.0, 4.0, 0], [0, 0.01, 0], [0, 0, 5]]), "do not span space"),
        (np.diag([4000.0, 4000, 5000]), "which is no CT"),
        (np.diag([4.0, 4.0, np.nan]), "not a number"),
    ],
)
def test_degenerate_affines(tmp_path, steps, words):
    ct = head_ct()
    ct.ijk_to_ras[:3, :3] = steps
    with pytest.raises(InputError, match=words):
        check_ct(ct)
    image = nibabel.Nifti1Image(ct.hu.T, None)
    image.header.set_sform(ct.ijk_to_ras, code=1)
    image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "bad.nii.gz")
    refused(tmp_path / "bad.nii.gz", words)


def test_series_is_for_dicom_only(tmp_path):
    ct = head_ct()
    write_volume(tmp_path / "a.nrrd", ct.hu, ct)
    refused(tmp_path / "a.nrrd", "leave out the series", series="1.2.3")


HEAD = head_ct()
NOT_HU = {
    "grey values": ((np.clip(HEAD.hu, -20, 100) + 20) * 2, "no value below zero"),
    "without rescale": (HEAD.hu + 1024, "no value below zero"),
    "without rescale, padded": (np.where(HEAD.hu < -900, -1024, HEAD.hu + 1024), "shows no head"),
    "normalised": ((HEAD.hu + 1000) / 2000, "look normalised"),
    "standardised": ((HEAD.hu - HEAD.hu.mean()) / HEAD.hu.std(), "look normalised"),
    "constant": (np.full(HEAD.hu.shape, -1000), "same value"),
    "air": (-1000 + RNG.integers(0, 80, HEAD.hu.shape), "no tissue"),
    "noise": (RNG.integers(-1000, 1000, HEAD.hu.shape), "shows no head"),
}


@pytest.mark.parametrize("name", NOT_HU)
def test_values_that_are_not_hu(tmp_path, name):
    hu, words = NOT_HU[name]
    write_volume(tmp_path / "bad.nrrd", hu.astype(np.float32), HEAD)
    refused(tmp_path / "bad.nrrd", words)


def body(half_axes, bone_mm=0.0, inside=40, shape=(24, 120, 120), spacing=(4, 4, 6)):
    """An ellipsoid of tissue in a shell of bone."""
    affine = axial_affine(shape, spacing)
    points = world(shape, affine)
    hu = np.full(shape, -1000, np.int16)
    half_axes = np.array(half_axes, float)
    hu[radius(points, half_axes) <= 1] = 800 if bone_mm else inside
    hu[radius(points, half_axes - bone_mm) <= 1] = inside
    return CT(hu, affine, source="body"), points


@pytest.mark.parametrize(
    ("ct", "words"),
    [
        (body((80, 95, 90))[0], "no bone around soft tissue"),
        (body((180, 125, 200), 8)[0], "3[0-9]+ mm wide"),
        (body((30, 30, 60), 6)[0], "at most 1[0-9] cm2"),
        (body((75, 95, 90), 6, inside=-700)[0], "shows no head"),
    ],
    ids=["water phantom", "trunk", "small phantom", "skull of air"],
)
def test_things_that_are_no_head(ct, words):
    with pytest.raises(InputError, match=words):
        check_ct(ct)


def test_an_abdomen_with_spine_and_ribs():
    ct, points = body((180, 120, 300))
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    ct.hu[np.hypot(x, y + 85) < 22] = 400
    ribs = (np.abs(radius(points, (172.0, 112.0, 300.0)) - 1) < 0.04) & (y < 40) & (np.sin(z / 5) > 0)
    ct.hu[ribs] = 500
    with pytest.raises(InputError, match="shows no head"):
        check_ct(ct)


def with_table(ct):
    """A table, a head holder of dense plastic and a pillow, all of them touching the head."""
    points = world(ct.hu.shape, ct.ijk_to_ras)
    x, y = points[..., 0], points[..., 1]
    air = ct.hu < -900
    ct.hu[air & (np.abs(y + 100) < 8)] = -100
    ct.hu[air & (np.hypot(x, y) > 92) & (np.hypot(x, y) < 100) & (y < 0)] = 130
    return ct


def part(slices=slice(None), rows=slice(None), columns=slice(None), **grid):
    """A head of which only some slices, rows or columns were recorded."""
    ct = head_ct(**grid)
    affine = ct.ijk_to_ras.copy()
    starts = [
        cut.indices(size)[0] for cut, size in zip((columns, rows, slices), ct.hu.shape[::-1], strict=True)
    ]
    affine[:3, 3] += affine[:3, :3] @ starts
    return CT(ct.hu[slices, rows, columns], affine, source="part")


def craniectomy():
    ct = head_ct()
    points = world(ct.hu.shape, ct.ijk_to_ras)
    flap = (points[..., 0] > 40) & (np.abs(points[..., 1]) < 55) & (points[..., 2] > -10)
    ct.hu[flap & (ct.hu == 1000)] = 40
    return ct


def with_shoulders():
    """Head and neck down to shoulders of 420 mm."""
    shape = (60, 110, 110)
    affine = axial_affine(shape, (4, 4, 5))
    points = world(shape, affine) - (0, 0, 60)
    ct = head_ct(shape=shape, affine=affine)
    ct.hu[:] = -1000
    ct.hu[radius(points, (210.0, 110.0, 70.0), (0, 0, -190)) <= 1] = 50
    ct.hu[(np.hypot(points[..., 0], points[..., 1]) < 55) & (points[..., 2] < -50)] = 50
    ct.hu[radius(points, (72.0, 92.0, 80.0)) <= 1] = 1000
    ct.hu[radius(points, (65.0, 85.0, 73.0)) <= 1] = 35
    return ct


HEADS = {
    "plain": head_ct,
    "infant": lambda: body((45, 55, 50), 3, 25, (24, 60, 60), (2, 2, 4))[0],
    "upper slices": lambda: part(slices=slice(16, None)),
    "lower slices": lambda: part(slices=slice(0, 14)),
    "three slices": lambda: part(slices=slice(14, 17)),
    "cut at the front": lambda: part(rows=slice(14, None)),
    "cut at the left": lambda: part(columns=slice(18, None)),
    "cut at two sides": lambda: part(rows=slice(0, 44), columns=slice(0, 44)),
    "on a table": lambda: with_table(head_ct()),
    "tilted": lambda: head_ct(tilt_deg=-25),
    "tilted and flipped": lambda: head_ct(tilt_deg=25, axes="RAI"),
    "oblique": lambda: head_ct(turn=rotation("R", 30) @ rotation("A", 15)),
    "sagittal": lambda: head_ct(shape=(40, 40, 40), spacing=(5, 5, 5), axes="PIR"),
    "craniectomy": craniectomy,
    "with shoulders": with_shoulders,
    "thin": lambda: head_ct(shape=(120, 128, 128), spacing=(1.8, 1.8, 1.25)),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_accepted(name):
    check_ct(HEADS[name]())


@pytest.mark.parametrize(("low", "high"), [(-20, 100), (-900, 2300), (-80, 300), (-1000, 80)])
def test_clipped_windows_are_accepted(low, high):
    ct = with_table(head_ct())
    ct.hu = np.clip(ct.hu, low, high)
    check_ct(ct)


@pytest.mark.skipif(not CASE.exists(), reason=f"{CASE} is not here")
def test_the_example_case_is_read():
    ct = read_ct(CASE)
    assert ct.hu.shape == (16, 512, 512)
    assert ct.hu.dtype == np.int16
    assert ct.warnings == []
