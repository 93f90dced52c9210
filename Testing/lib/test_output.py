"""Results as files: segmentation, label map, slice scores, preview."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import slicerio
from PIL import Image

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.output import (
    check_output_path,
    write_preview,
    write_result_mask,
    write_seg_nrrd,
    write_slice_scores,
)
from ICHWeakSegLib.output.preview import pick_slices
from ICHWeakSegLib.output.provenance import header_text, provenance_fields

SHAPE = (4, 6, 8)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHEARED = np.array([[-0.5, 0, 0, 100], [0, -0.5, -1.8, 90], [0, 0, 5, -40], [0, 0, 0, 1.0]])
PROVENANCE = {
    "model": "tiny",
    "version": "0.1",
    "sha256": "cd" * 32,
    "method": "hgi-sam",
    "threshold": 0.05,
    "device": None,
}


@pytest.fixture
def ct() -> CT:
    return CT(np.zeros(SHAPE, np.int16), SHEARED.copy())


@pytest.fixture
def mask() -> np.ndarray:
    found = np.zeros(SHAPE, bool)
    found[1:3, 2:4, 3:7] = True
    return found


class TestSegNrrd:
    def test_segment_and_geometry(self, tmp_path, ct, mask):
        path = write_seg_nrrd(tmp_path / "Fall Müller 脑.seg.nrrd", mask, ct, PROVENANCE)
        read = slicerio.read_segmentation(str(path))
        assert read["voxels"].dtype == np.uint8
        np.testing.assert_array_equal(read["voxels"].transpose(2, 1, 0), mask)
        np.testing.assert_array_equal(read["ijkToLPS"], RAS_TO_LPS @ SHEARED)
        (segment,) = read["segments"]
        assert segment["id"] == "hemorrhage"
        assert segment["name"] == "Intracranial hemorrhage"
        assert segment["labelValue"] == 1
        assert segment["terminology"]["category"] == [
            "SCT",
            "49755003",
            "Morphologically Altered Structure",
        ]
        assert segment["terminology"]["type"] == ["SCT", "50960005", "Hemorrhage"]
        assert segment["terminology"]["anatomicRegion"] == ["SCT", "12738006", "Brain"]

    def test_provenance(self, tmp_path, ct, mask):
        read = slicerio.read_segmentation(str(write_seg_nrrd(tmp_path / "a.seg.nrrd", mask, ct, PROVENANCE)))
        assert read["ICHWeakSeg_model"] == "tiny"
        assert read["ICHWeakSeg_sha256"] == "cd" * 32
        assert read["ICHWeakSeg_threshold"] == "0.05"
        assert "ICHWeakSeg_device" not in read
        assert read["segments"][0]["tags"]["ICHWeakSeg.version"] == "0.1"

    def test_empty_mask_is_a_result(self, tmp_path, ct):
        read = slicerio.read_segmentation(str(write_seg_nrrd(tmp_path / "a.seg.nrrd", np.zeros(SHAPE), ct)))
        assert [segment["id"] for segment in read["segments"]] == ["hemorrhage"]
        assert read["voxels"].shape == SHAPE[::-1]
        assert not read["voxels"].any()

    def test_subtypes_share_a_layer(self, tmp_path, ct, mask):
        masks = {"EDH": mask, "IVH": np.zeros(SHAPE, bool), "SDH": np.roll(mask, 1, axis=0) & ~mask}
        read = slicerio.read_segmentation(str(write_seg_nrrd(tmp_path / "a.seg.nrrd", masks, ct)))
        assert read["voxels"].ndim == 3
        assert [s["name"] for s in read["segments"]] == ["EDH", "IVH", "SDH"]
        assert [s["labelValue"] for s in read["segments"]] == [1, 2, 3]
        np.testing.assert_array_equal(read["voxels"].transpose(2, 1, 0) == 3, masks["SDH"])

    def test_overlapping_subtypes_get_layers(self, tmp_path, ct, mask):
        masks = {"EDH": mask, "IPH": np.roll(mask, 1, axis=2)}
        read = slicerio.read_segmentation(str(write_seg_nrrd(tmp_path / "a.seg.nrrd", masks, ct)))
        assert read["voxels"].shape == (2, *SHAPE[::-1])
        for layer, name in enumerate(masks):
            assert read["segments"][layer]["layer"] == layer
            np.testing.assert_array_equal(read["voxels"][layer].transpose(2, 1, 0), masks[name])

    def test_wrong_shape(self, tmp_path, ct):
        with pytest.raises(ValueError, match="shape"):
            write_seg_nrrd(tmp_path / "a.seg.nrrd", np.zeros((2, 2, 2)), ct)
        assert list(tmp_path.iterdir()) == []

    def test_failure_leaves_no_file(self, tmp_path, ct, mask, monkeypatch):
        def full_disk(file, *args, **kwargs):
            Path(file).write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(slicerio, "write_segmentation", full_disk)
        with pytest.raises(InputError, match="disk is full"):
            write_result_mask(tmp_path / "a.seg.nrrd", mask, ct)
        assert list(tmp_path.iterdir()) == []


class TestProvenanceFields:
    def test_any_text_becomes_one_ascii_line(self):
        assert header_text("é\n b|c  \\d 脑") == "e b/c /d ?"
        assert provenance_fields({"model name": "x", "none": None, "p": 0.1 + 0.2}) == {
            "ICHWeakSeg_model_name": "x",
            "ICHWeakSeg_p": "0.3",
        }

    def test_non_ascii_provenance_is_written(self, tmp_path, ct, mask):
        path = write_seg_nrrd(tmp_path / "a.seg.nrrd", mask, ct, {"model": "modèle|2\nx"})
        assert slicerio.read_segmentation(str(path))["ICHWeakSeg_model"] == "modele/2 x"


class TestLabelMap:
    @pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
    def test_zero_and_one_on_the_grid(self, tmp_path, ct, mask, ending):
        import SimpleITK as sitk

        ct.ijk_to_ras = np.array([[-0.5, 0, 0, 100], [0, -0.5, 0, 90], [0, 0, 5, -40], [0, 0, 0, 1.0]])
        path = write_result_mask(tmp_path / "neu" / f"a{ending}", mask * 7, ct, PROVENANCE)
        image = sitk.ReadImage(str(path))
        assert image.GetPixelID() == sitk.sitkUInt8
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), mask)
        np.testing.assert_allclose(image.GetSpacing(), (0.5, 0.5, 5), rtol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), (-100, -90, -40), rtol=1e-5)

    def test_provenance_is_in_the_file(self, tmp_path, ct, mask):
        import nibabel
        import nrrd

        header = nrrd.read_header(str(write_result_mask(tmp_path / "a.nrrd", mask, ct, PROVENANCE)))
        assert header["ICHWeakSeg_model"] == "tiny"
        np.testing.assert_allclose(header["space directions"], (RAS_TO_LPS @ SHEARED)[:3, :3].T)
        image = nibabel.load(write_result_mask(tmp_path / "a.nii.gz", mask, ct, PROVENANCE))
        assert image.header["descrip"] == b"ICHWeakSeg tiny 0.1"
        (extension,) = image.header.extensions
        assert json.loads(extension.get_content())["ICHWeakSeg_sha256"] == "cd" * 32
        np.testing.assert_allclose(image.affine, SHEARED, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), mask)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "a.nrrd"]

    def test_subtypes_are_put_together(self, tmp_path, ct, mask):
        import nibabel

        masks = {"EDH": mask, "IPH": np.roll(mask, 1, axis=2)}
        path = write_result_mask(tmp_path / "a.nii.gz", masks, ct)
        found = np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0)
        np.testing.assert_array_equal(found, masks["EDH"] | masks["IPH"])


class TestOutputPath:
    @pytest.mark.parametrize("name", ["a.png", "a.nii.bz2", "a", ".nii.gz", "a.seg.nrrd.txt", "a.mha"])
    def test_unknown_ending_lists_the_known(self, tmp_path, name):
        with pytest.raises(InputError, match=r"\.seg\.nrrd, \.nii\.gz, \.nii, \.nrrd"):
            check_output_path(tmp_path / name)

    def test_ok_makes_nothing(self, tmp_path):
        assert check_output_path(tmp_path / "new" / "A.NII.GZ") == tmp_path / "new" / "A.NII.GZ"
        assert list(tmp_path.iterdir()) == []

    def test_a_folder(self, tmp_path):
        (tmp_path / "a.nii").mkdir()
        with pytest.raises(InputError, match="that is a folder"):
            check_output_path(tmp_path / "a.nii")

    def test_a_file_in_the_way(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(InputError, match="is not a folder"):
            check_output_path(tmp_path / "file" / "a.nii")

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_write_protected(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match="write-protected"):
            check_output_path(tmp_path / "a.nii")


class TestScores:
    def test_from_inferior_to_superior(self, tmp_path):
        rows = [
            {"slice": 2, "EDH": 0.5, "probability": np.float32(0.25)},
            {"slice": 0, "EDH": 0.0, "probability": 1},
            {"slice": 1, "EDH": 1e-9, "probability": 0.125},
        ]
        path = write_slice_scores(tmp_path / "scores.csv", rows)
        assert path.read_bytes() == (
            b"slice,probability,EDH\n0,1.000000,0.000000\n1,0.125000,0.000000\n2,0.250000,0.500000\n"
        )
        with path.open(newline="") as stream:
            assert [row["slice"] for row in csv.DictReader(stream)] == ["0", "1", "2"]

    def test_no_rows(self, tmp_path):
        assert write_slice_scores(tmp_path / "s.csv", []).read_text() == "slice,probability\n"

    @pytest.mark.parametrize("rows", [[{"probability": 1}], [{"slice": 1, "probability": 1}, {"slice": 2}]])
    def test_rows_that_do_not_agree(self, tmp_path, rows):
        with pytest.raises(ValueError, match="expected"):
            write_slice_scores(tmp_path / "s.csv", rows)
        assert list(tmp_path.iterdir()) == []


def head(slices=6, size=96):
    """A round head in HU with a bleed on the patient's left, seen on the image's right."""
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    r = np.hypot(x, y)
    image = np.full((size, size), -1000, np.int16)
    image[r < 36] = 1000
    image[r < 33] = 30
    blood = np.hypot(x - 14, y + 4) < 7
    hu = np.stack([image] * slices)
    mask = np.zeros(hu.shape, bool)
    mask[2:4] = blood
    hu[mask] = 70
    return hu, mask


def amber_places(path):
    """Pixels of the outline's colour: rows and columns of the picture."""
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    near = np.abs(picture - np.array([255, 176, 0])).max(axis=-1) < 40
    return np.nonzero(near), picture.shape


class TestPreview:
    def test_outline_is_drawn_once_per_positive_slice(self, tmp_path):
        hu, mask = head()
        path = write_preview(
            tmp_path / "p.png", hu, mask, (5, 1, 1), probabilities=[0.1] * 6, model="tiny 0.1", case="a$b$c"
        )
        (_, columns), (_, width, _) = amber_places(path)
        assert len(columns) > 100
        # Two tiles side by side, blood right of the middle of each: the patient's left.
        side = np.unique(np.floor(columns / (width / 2)))
        assert list(side) == [0, 1]
        within = columns % (width / 2) / (width / 2)
        assert within.min() > 0.5

    def test_no_blood(self, tmp_path):
        hu, mask = head()
        path = write_preview(tmp_path / "p.png", hu, mask & False, (5, 1, 1))
        (rows, _), shape = amber_places(path)
        assert len(rows) == 0
        assert shape[0] > 200

    def test_same_result_same_file(self, tmp_path):
        hu, mask = head()
        for name in ("a.png", "b.png"):
            write_preview(tmp_path / name, hu, mask, (5, 1, 1), provenance=PROVENANCE)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        assert Image.open(tmp_path / "a.png").text["ICHWeakSeg_model"] == "tiny"

    @pytest.mark.parametrize("shape", [(1, 40, 40), (30, 20, 60), (3, 8, 8)])
    def test_strange_inputs_still_give_a_picture(self, tmp_path, shape):
        hu = np.full(shape, -1024, np.int16)
        for mask in (np.zeros(shape, bool), np.ones(shape, bool)):
            path = write_preview(tmp_path / "p.png", hu, mask, (5, 0.5, 0.5))
            assert Image.open(path).size[0] > 200

    def test_global_state_of_matplotlib_is_left_alone(self, tmp_path):
        import sys

        before = "matplotlib.pyplot" in sys.modules
        hu, mask = head()
        write_preview(tmp_path / "p.png", hu, mask, (5, 1, 1))
        assert ("matplotlib.pyplot" in sys.modules) == before

    def test_wrong_shape(self, tmp_path):
        with pytest.raises(ValueError, match="do not go together"):
            write_preview(tmp_path / "p.png", np.zeros((2, 4, 4)), np.zeros((3, 4, 4)), (5, 1, 1))

    def test_picks_spread_and_largest(self):
        areas = np.zeros(40, int)
        areas[5:35] = 10
        areas[17] = 50
        picked = pick_slices(areas, 12)
        assert len(picked) == 12
        assert 17 in picked
        assert picked == sorted(set(picked))
        assert max(np.diff(picked)) <= 6
        assert pick_slices(areas, 100) == list(range(5, 35))
        assert pick_slices(areas * 0, 12) == []
