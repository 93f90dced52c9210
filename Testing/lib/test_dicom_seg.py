"""DICOM SEG and SR: read back voxel for voxel, slice for slice."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_series import write_enhanced, write_series
from heads import head_ct
from pydicom.uid import generate_uid

from ICHWeakSegLib.cli import main
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.output import write_result_mask
from ICHWeakSegLib.quantify import measure

pytest.importorskip("highdicom", reason="highdicom is not installed: pip install highdicom")

from highdicom.seg import segread
from highdicom.sr import srread

from ICHWeakSegLib.report.dicom_seg import write_dicom_seg
from ICHWeakSegLib.report.dicom_source import read_source
from ICHWeakSegLib.report.dicom_sr import write_dicom_sr

SHAPE = (12, 48, 52)
SPACING = (4.0, 4.0, 12.0)
UNEVEN = np.cumsum([0, 12, 12, 12, 9, 12, 12, 15, 12, 12, 12, 12.0])
GRIDS = {
    "plain": {},
    "from above": {"axes": "LPI"},
    "tilted": {"tilt_deg": 17.0},
    "flipped rows": {"axes": "RAS"},
    "sagittal": {"axes": "PSR"},
    "uneven": {"positions": UNEVEN},
}
PROVENANCE = {
    "model": "starter",
    "version": "1.0.0",
    "sha256": "ab" * 32,
    "method": "hgi-sam",
    "slice_threshold": 0.42,
    "software": "ICHWeakSeg 0.1.0",
}
IDENTITY = {
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyDate": "20240102",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A77",
    "ReferringPhysicianName": "Doe^Jane",
    "SeriesNumber": 3,
}


def identifiers() -> dict:
    return {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(), **IDENTITY}


def bleeding(**grid):
    """A head with two unlike bleeds, and the CT's masks by subtype; some slices have none."""
    ct = head_ct(SHAPE, spacing=SPACING, **grid)
    rng = np.random.default_rng(1)
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[3:7, 15:24, 18:30] = rng.random((4, 9, 12)) < 0.9
    second[8:10, 30:36, 12:15] = 1
    ct.hu[first != 0], ct.hu[second != 0] = 64, 71
    return ct, {"IPH": first, "SDH": second}


def in_order_of(source, ct, masks):
    """Masks made on `ct` on the voxels of what was read: stacks are read from one end only."""
    backwards = not np.array_equal(source.ct.hu, ct.hu)
    turned = {name: mask[::-1] if backwards else mask for name, mask in masks.items()}
    np.testing.assert_array_equal(source.ct.hu, ct.hu[::-1] if backwards else ct.hu)
    return turned


class TestSeg:
    @pytest.mark.parametrize("grid", GRIDS)
    def test_every_frame_lies_on_its_slice(self, grid, tmp_path):
        ct, made = bleeding(**GRIDS[grid])
        write_series(tmp_path / "ct", ct, **identifiers())
        source = read_source(tmp_path / "ct")
        masks = in_order_of(source, ct, made)
        write_dicom_seg(tmp_path / "seg.dcm", source, masks, PROVENANCE)
        by_uid = {header.SOPInstanceUID: k for k, header in enumerate(source.headers)}

        # By pydicom alone, from the bits.
        read = pydicom.dcmread(tmp_path / "seg.dcm")
        assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
        found = {1: np.zeros(SHAPE, np.uint8), 2: np.zeros(SHAPE, np.uint8)}
        pixels = read.pixel_array.reshape(-1, *SHAPE[1:])
        for bits, group in zip(pixels, read.PerFrameFunctionalGroupsSequence, strict=True):
            origin = group.DerivationImageSequence[0].SourceImageSequence[0]
            k = by_uid[origin.ReferencedSOPInstanceUID]
            place = group.PlanePositionSequence[0].ImagePositionPatient
            np.testing.assert_allclose(place, source.headers[k].ImagePositionPatient, atol=1e-4)
            found[group.SegmentIdentificationSequence[0].ReferencedSegmentNumber][k] = bits
        np.testing.assert_array_equal(found[1], masks["IPH"])
        np.testing.assert_array_equal(found[2], masks["SDH"])
        shared = read.SharedFunctionalGroupsSequence[0]
        turned = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        np.testing.assert_allclose(turned, source.headers[0].ImageOrientationPatient)
        np.testing.assert_allclose(shared.PixelMeasuresSequence[0].PixelSpacing, [4.0, 4.0], atol=1e-4)

        # And by highdicom.
        uids = [header.SOPInstanceUID for header in source.headers]
        both = segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
            uids, assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(both[..., 0], masks["IPH"])
        np.testing.assert_array_equal(both[..., 1], masks["SDH"])

    def test_geometry_of_the_volume(self, tmp_path):
        ct, masks = bleeding()
        write_series(tmp_path / "ct", ct, **identifiers())
        source = read_source(tmp_path / "ct")
        write_dicom_seg(tmp_path / "seg.dcm", source, in_order_of(source, ct, masks))
        volume = segread(tmp_path / "seg.dcm").get_volume(segment_numbers=[1], combine_segments=True)
        inside = np.argwhere(volume.array == 1)
        lps = volume.map_indices_to_reference(inside)
        k, j, i = np.nonzero(masks["IPH"])
        ras = np.stack([i, j, k, np.ones_like(i)], 1) @ ct.ijk_to_ras.T
        np.testing.assert_allclose(
            np.unique((lps * [-1, -1, 1]).round(3), axis=0), np.unique(ras[:, :3].round(3), axis=0), atol=2e-3
        )

    def test_shuffled_multi_frame_file(self, tmp_path):
        ct, masks = bleeding()
        order = np.random.default_rng(2).permutation(len(ct.hu))
        write_enhanced(tmp_path / "ct.dcm", ct, order)
        with_ids = pydicom.dcmread(tmp_path / "ct.dcm")
        for tag, value in identifiers().items():
            setattr(with_ids, tag, value)
        with_ids.save_as(tmp_path / "ct.dcm")
        source = read_source(tmp_path / "ct.dcm")
        masks = in_order_of(source, ct, masks)
        write_dicom_seg(tmp_path / "seg.dcm", source, masks)
        frames = [source.header_of(k)[1] for k in range(len(ct.hu))]
        back = segread(tmp_path / "seg.dcm").get_pixels_by_source_frame(
            source.headers[0].SOPInstanceUID, frames, assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(back[..., 0], masks["IPH"])
        np.testing.assert_array_equal(back[..., 1], masks["SDH"])

    def test_segments_say_what_and_by_whom(self, tmp_path):
        ct, masks = bleeding()
        write_series(tmp_path / "ct", ct, **identifiers())
        write_dicom_seg(tmp_path / "seg.dcm", read_source(tmp_path / "ct"), masks, PROVENANCE)
        read = pydicom.dcmread(tmp_path / "seg.dcm")
        first, second = read.SegmentSequence
        assert (first.SegmentLabel, second.SegmentLabel) == ("IPH", "SDH")
        assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "50960005"
        assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert first.AnatomicRegionSequence[0].CodeValue == "12738006"
        assert second.AnatomicRegionSequence[0].CodeValue == "18545000"
        assert first.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("ICHWeakSeg starter", "1.0.0")
        assert "sha256=" + "ab" * 32 in algorithm.AlgorithmParameters
        assert "slice_threshold=0.42" in algorithm.AlgorithmParameters
        assert read.SoftwareVersions == "ICHWeakSeg 0.1.0"

    def test_the_ct_gives_patient_and_study(self, tmp_path):
        ct, masks = bleeding()
        ids = identifiers()
        write_series(tmp_path / "ct", ct, **ids)
        write_dicom_seg(tmp_path / "seg.dcm", read_source(tmp_path / "ct"), masks)
        read = pydicom.dcmread(tmp_path / "seg.dcm")
        for tag in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientBirthDate", "AccessionNumber"):
            assert read[tag].value == ids[tag]
        assert read.PatientName == "Secret^Name"
        assert read.SeriesInstanceUID != ids["StudyInstanceUID"]
        assert read.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"

    def test_no_blood_is_a_result(self, tmp_path):
        ct, _ = bleeding()
        write_series(tmp_path / "ct", ct, **identifiers())
        write_dicom_seg(tmp_path / "seg.dcm", read_source(tmp_path / "ct"), {"hemorrhage": np.zeros(SHAPE)})
        read = pydicom.dcmread(tmp_path / "seg.dcm")
        assert not read.pixel_array.any()
        assert read.SegmentSequence[0].SegmentLabel == "Intracranial hemorrhage"

    def test_refusals(self, tmp_path):
        ct, masks = bleeding()
        uids = identifiers()
        write_series(tmp_path / "ct", ct, **uids)
        source = read_source(tmp_path / "ct")
        with pytest.raises(InputError, match="on the CT's voxels"):
            write_dicom_seg(tmp_path / "a.dcm", source, {"IPH": masks["IPH"][1:]})
        with pytest.raises(InputError, match="no mask"):
            write_dicom_seg(tmp_path / "a.dcm", source, {})
        assert not (tmp_path / "a.dcm").exists()
        del uids["FrameOfReferenceUID"]
        write_series(tmp_path / "bare", ct, **uids)
        with pytest.raises(InputError, match="FrameOfReferenceUID"):
            read_source(tmp_path / "bare")


def rewrite(folder, change):
    """Change the headers of a written series: `change(data, k)` in the order of InstanceNumber."""
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        change(data, int(data.InstanceNumber) - 1)
        data.save_as(path)


class TestRealLifeHeaders:
    """What hospitals' exports hold; the right values are what pydicom reads and what was put in."""

    @pytest.fixture
    def written(self, tmp_path):
        def write(change, **grid):
            ct, made = bleeding(**grid)
            write_series(tmp_path / "ct", ct, **identifiers())
            with pydicom.config.disable_value_validation():
                rewrite(tmp_path / "ct", change)
            source = read_source(tmp_path / "ct")
            masks = in_order_of(source, ct, made)
            seg = write_dicom_seg(tmp_path / "seg.dcm", source, masks)
            write_dicom_sr(tmp_path / "sr.dcm", source, seg, masks, measure(source.ct, masks))
            read = pydicom.dcmread(tmp_path / "seg.dcm")
            assert read.pixel_array.sum() == sum(mask.sum() for mask in masks.values())
            return source, read, pydicom.dcmread(tmp_path / "sr.dcm")

        return write

    @pytest.mark.parametrize(
        ("sets", "name"),
        [
            (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
            (
                ["ISO 2022 IR 13", "ISO 2022 IR 87"],
                "\uff94\uff8f\uff80\uff9e^\uff80\uff9b\uff73=\u5c71\u7530^\u592a\u90ce",
            ),
            ("ISO_IR 100", "M\u00fcller^J\u00f6rg"),
            ("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"),
        ],
    )
    def test_a_name_of_any_character_set_is_utf_8_in_what_is_written(self, sets, name, written, tmp_path):
        def change(data, k):
            data.SpecificCharacterSet, data.PatientName = sets, name

        for read in written(change)[1:]:
            assert read.SpecificCharacterSet == "ISO_IR 192"
            assert str(read.PatientName) == name
        assert name.encode("utf-8") in (tmp_path / "seg.dcm").read_bytes()

    def test_a_misspelt_character_set_is_no_obstacle(self, written):
        def change(data, k):
            data.SpecificCharacterSet = "ISO-IR 6"

        source, *both = written(change)
        assert source.blanked == ()
        for read in both:
            assert (read.PatientName, read.PatientID) == ("Secret^Name", "SECRET-ID")

    @pytest.mark.parametrize("thickness", [None, "", "0"])
    @pytest.mark.parametrize("tilt", [0.0, 17.0])
    def test_a_thickness_that_is_not_known_is_the_distance_of_the_slices(self, thickness, tilt, written):
        def change(data, k):
            data.SliceThickness = thickness
            if thickness is None:
                del data.SliceThickness

        source, read, _ = written(change, tilt_deg=tilt)
        # By the positions along the normal of the planes.
        first, second = (np.array(header.ImagePositionPatient, float) for header in source.headers[:2])
        turned = np.array(source.headers[0].ImageOrientationPatient, float)
        distance = abs((second - first) @ np.cross(turned[:3], turned[3:]))
        measures = read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        assert float(measures.SliceThickness) == pytest.approx(distance, abs=1e-3)

    def test_a_thickness_that_is_known_stays(self, written):
        read = written(lambda data, k: None)[1]
        assert read.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 5

    @pytest.mark.parametrize(
        ("keyword", "value"),
        [
            ("PatientBirthDate", "0000"),
            ("PatientBirthDate", "19500230"),
            ("StudyDate", "yesterday"),
            ("StudyTime", "25:70"),
            ("PatientSex", "W"),
        ],
    )
    def test_a_value_that_nobody_may_write_is_left_empty_and_told(self, keyword, value, written):
        def change(data, k):
            data[keyword]._value = value

        source, *both = written(change)
        assert source.blanked == (keyword,)
        for read in both:
            assert not read.get(keyword)
            assert read.AccessionNumber == "A77"

    @pytest.mark.parametrize(
        ("keyword", "said"),
        [("StudyInstanceUID", "2 studies"), ("FrameOfReferenceUID", "2 frames of reference")],
    )
    def test_slices_of_two_studies_or_frames_of_reference_are_counted(self, keyword, said):
        from ICHWeakSegLib.report.dicom_source import _check_shared

        headers = [pydicom.Dataset() for _ in range(4)]
        for k, header in enumerate(headers):
            header.StudyInstanceUID, header.FrameOfReferenceUID, header.SOPInstanceUID = (
                "1.2",
                "1.3",
                f"1.4.{k}",
            )
        setattr(headers[3], keyword, "1.9")
        with pytest.raises(InputError, match=said):
            _check_shared(tuple(headers), "ct")

    @pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
    def test_a_folder_of_two_studies_or_frames_of_reference_ends_in_one_sentence(self, keyword, tmp_path):
        ct, _ = bleeding()
        write_series(tmp_path / "ct", ct, **identifiers())
        rewrite(tmp_path / "ct", lambda data, k: setattr(data, keyword, f"1.2.3.{k % 2}"))
        with pytest.raises(InputError):
            read_source(tmp_path / "ct")

    def test_one_instance_uid_on_all_slices_is_refused(self, tmp_path):
        ct, _ = bleeding()
        write_series(tmp_path / "ct", ct, **identifiers())
        rewrite(tmp_path / "ct", lambda data, k: setattr(data, "SOPInstanceUID", "1.2.3.4"))
        with pytest.raises(InputError, match="SOPInstanceUID"):
            read_source(tmp_path / "ct")


class TestReport:
    @pytest.fixture
    def written(self, tmp_path):
        ct, masks = bleeding()
        write_series(tmp_path / "ct", ct, **identifiers())
        source = read_source(tmp_path / "ct")
        masks = in_order_of(source, ct, masks)
        made = write_dicom_seg(tmp_path / "seg.dcm", source, masks, PROVENANCE)
        quantities = measure(source.ct, masks)
        write_dicom_sr(tmp_path / "sr.dcm", source, made, masks, quantities, PROVENANCE)
        return source, masks, quantities, tmp_path

    def test_segments_and_lesions(self, written):
        source, masks, quantities, folder = written
        report = srread(folder / "sr.dcm").content
        groups = report.get_volumetric_roi_measurement_groups()
        assert [group.tracking_identifier for group in groups] == ["IPH", "SDH"]
        for group, (name, mask) in zip(groups, masks.items(), strict=True):
            volume, density = (item.value for item in group.get_measurements())
            assert volume == pytest.approx(source.ct.volume_ml(mask), abs=1e-3)
            assert density == {"IPH": 64, "SDH": 71}[name]
        reference = groups[1].referenced_segment
        assert reference.referenced_sop_instance_uid == pydicom.dcmread(folder / "seg.dcm").SOPInstanceUID
        assert reference.referenced_segment_numbers == [2]
        lesions = report.get_image_measurement_groups()
        assert len(lesions) == len(quantities.lesions) == 2
        for group, lesion in zip(lesions, quantities.lesions, strict=True):
            assert group.tracking_identifier == f"Lesion {lesion.number}, {lesion.subtype}"
            volume, density = group.get_measurements()
            assert volume.value == pytest.approx(lesion.volume_ml, abs=1e-3)
            assert volume.unit.value == "mL"
            assert density.value == pytest.approx(lesion.mean_hu, abs=0.01)
            assert density.unit.value == "[hnsf'U]"
            # The slice that it names shows the lesion.
            k = [header.SOPInstanceUID for header in source.headers].index(
                group.source_images[0].referenced_sop_instance_uid
            )
            assert masks[lesion.subtype][k].any()

    def test_standard_is_kept(self, written):
        if shutil.which("dciodvfy") is None:
            pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
        for name in ("seg.dcm", "sr.dcm"):
            said = subprocess.run(
                ["dciodvfy", "-new", written[3] / name], capture_output=True, text=True, check=False
            )
            text = said.stderr + said.stdout
            assert ("Segmentation" if name == "seg.dcm" else "ComprehensiveSR") in text
            assert "Error" not in text, text


class TestCommand:
    def run(self, *arguments) -> int:
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            return end.code or 0
        return 0

    def test_from_a_segmentation(self, tmp_path, capsys):
        ct, masks = bleeding()
        write_series(tmp_path / "ct", ct, **identifiers())
        source = read_source(tmp_path / "ct")
        masks = in_order_of(source, ct, masks)
        write_result_mask(tmp_path / "m.seg.nrrd", masks, source.ct, PROVENANCE)
        out = tmp_path / "neu" / "seg.dcm"
        status = self.run(
            *("dicom-seg", tmp_path / "ct", tmp_path / "m.seg.nrrd", "--output", out),
            *("--sr", tmp_path / "neu" / "sr.dcm"),
        )
        assert status == 0
        said = capsys.readouterr()
        assert f"{source.ct.volume_ml(masks['IPH'] | masks['SDH']):.1f} mL" in said.out
        assert said.err == ""
        algorithm = pydicom.dcmread(out).SegmentSequence[1].SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == "ICHWeakSeg starter"
        uids = [header.SOPInstanceUID for header in source.headers]
        back = segread(out).get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
        np.testing.assert_array_equal(back[..., 1], masks["SDH"])
        assert sorted(path.name for path in out.parent.iterdir()) == ["seg.dcm", "sr.dcm"]

    def test_refusals(self, tmp_path, capsys):
        ct, masks = bleeding()
        write_result_mask(tmp_path / "ct.nii.gz", ct.hu > 0, ct)
        write_result_mask(tmp_path / "m.nii.gz", masks["IPH"], ct)
        from ICHWeakSegLib.ct import write_volume

        write_volume(tmp_path / "hu.nii.gz", ct.hu, ct)
        out = tmp_path / "seg.dcm"
        assert self.run("dicom-seg", tmp_path / "hu.nii.gz", tmp_path / "m.nii.gz", "-o", out) == 2
        assert "no DICOM" in capsys.readouterr().err
        assert self.run("dicom-seg", tmp_path / "hu.nii.gz", tmp_path / "m.nii.gz", "-o", "a.nii.gz") == 2
        assert ".dcm" in capsys.readouterr().err
        assert self.run("dicom-seg", tmp_path, tmp_path / "m.nii.gz", "-o", out, "--sr", out) == 2
        assert "same name" in capsys.readouterr().err
        assert not out.exists()
