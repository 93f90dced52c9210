"""What is measured on: CSV and folders, masks on the CT's voxels, and what is refused."""

import nibabel
import numpy as np
import pytest
from cohorts import bleeding_ct, write_slice_pairs, write_table, write_volumes

from ICHWeakSegLib.ct import CT, write_volume
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.truth import read_truth
from ICHWeakSegLib.evaluation.cases import read_cases
from ICHWeakSegLib.output import write_result_mask


@pytest.fixture
def folder(tmp_path):
    ct, _ = bleeding_ct(True)
    folder = tmp_path / "Fälle with blanks"
    (folder / "sub").mkdir(parents=True)
    write_volume(folder / "sub" / "head 1.nii.gz", ct.hu, ct)
    write_result_mask(folder / "mask 1.nii.gz", (ct.hu == 75).astype(np.uint8), ct)
    return folder


def table(folder, header, *rows):
    return write_table(folder / "cases.csv", header.split(","), [row.split(",") for row in rows])


def test_csv_with_relative_paths_and_blanks(folder):
    path = table(
        folder,
        " Case , CT ,Mask,patient,subtype,any",
        " one , sub/head 1.nii.gz ,mask 1.nii.gz,007,IPH;intraventricular,",
        ",,,,,",
        f"two,{folder / 'sub' / 'head 1.nii.gz'},,,,0",
    )
    one, two = read_cases(path)
    assert (one.name, one.patient, one.subtypes, one.blood) == ("one", "7", ("IPH", "IVH"), None)
    assert one.mask == folder / "mask 1.nii.gz"
    assert (two.name, two.patient, two.mask, two.blood) == ("two", "two", None, False)
    assert np.array_equal(one.read().hu, two.read().hu)


def test_slice_labels_as_rows_and_as_a_file(folder):
    ct = "sub/head 1.nii.gz"
    by_row = table(
        folder, "case,ct,slice,any,epidural", f"a,{ct},1,1,1", f"a,{ct},0,0,0", f"b,{ct},0,1,", f"b,{ct},1,0,"
    )
    first, second = read_cases(by_row)
    assert first.labels[:, :2].tolist() == [[0, 0], [1, 1]]
    assert np.isnan(first.labels[:, 2:]).all()
    assert second.labels[:, 0].tolist() == [1, 0]
    write_table(
        folder / "labels of all.csv", ["case", "slice", "any"], [["x", 0, 0], ["a", 0, 0], ["a", 1, 1]]
    )
    write_table(folder / "b.csv", ["slice", "x0", "y0", "x1", "y1"], [[1, 2, 3, 4, 5]])
    (case,) = read_cases(table(folder, "case,ct,labels,boxes", f"a,{ct},labels of all.csv,b.csv"))
    assert case.labels[:, 0].tolist() == [0, 1]
    assert case.boxes == {1: [(2, 3, 4, 5)]}


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("case,path", "a,x", "column ct"),
        ("case,ct", "a,", "path of the CT is missing"),
        ("case,ct", "a,nowhere.nii.gz", "nowhere.nii.gz"),
        ("ct,mask", "{ct},nowhere.nii.gz", "column mask"),
        ("ct,subtype", "{ct},stroke", "stroke"),
        ("ct,any", "{ct},maybe", "0 or 1"),
        ("ct,slice,any", "{ct},1,1", "numbered 0 to 0"),
        ("ct,slice,any", "{ct},low,1", "whole number"),
    ],
)
def test_wrong_rows_are_told(folder, header, row, words):
    with pytest.raises(InputError, match=words) as problem:
        read_cases(table(folder, header, row.replace("{ct}", "sub/head 1.nii.gz")))
    assert str(problem.value).count("\n") == 0
    assert "cases.csv" in str(problem.value)


def test_a_case_named_twice(folder):
    ct = "sub/head 1.nii.gz"
    with pytest.raises(InputError, match="a is named twice"):
        read_cases(table(folder, "case,ct", f"a,{ct}", f"a,{ct}"))
    with pytest.raises(InputError, match="patient of a differs"):
        read_cases(table(folder, "case,ct,patient,slice,any", f"a,{ct},p,0,1", f"a,{ct},q,1,1"))


def test_neither_csv_nor_folder(tmp_path):
    with pytest.raises(InputError, match="neither"):
        read_cases(tmp_path / "nothing.csv")


def test_volumes_with_masks_and_boxes_beside(tmp_path):
    data = write_volumes(tmp_path / "data", 2)
    ct, _ = bleeding_ct(True, seed=1)
    (data / "masks").mkdir()
    write_result_mask(data / "masks" / "head 1.seg.nrrd", (ct.hu == 75).astype(np.uint8), ct)
    write_table(
        data / "boxes.csv", ["volume", "slice", *("x0", "y0", "x1", "y1")], [["head 1.nii.gz", 6, 1, 1, 5, 5]]
    )
    none, some = read_cases(data)
    assert (none.patient, none.mask, none.boxes) == ("p0", None, {})
    assert (some.patient, some.mask.name, list(some.boxes)) == ("p1", "head 1.seg.nrrd", [6])


def test_boxes_of_slice_pairs_use_the_slices_own_numbers(tmp_path):
    ct, labels = bleeding_ct(True)
    data = write_slice_pairs(tmp_path / "pairs", {"007": ct.hu[:4]})
    write_table(
        data / "slices.csv", ["patient", "slice", "any"], [["007", n + 1, labels[n]] for n in range(1, 4)]
    )
    write_table(data / "boxes.csv", ["patient", "slice", *("x0", "y0", "x1", "y1")], [["7", 3, 1, 1, 5, 5]])
    (case,) = read_cases(data)
    assert (case.numbers, list(case.boxes)) == ([2, 3, 4], [1])
    write_table(data / "boxes.csv", ["patient", "slice", *("x0", "y0", "x1", "y1")], [["7", 1, 1, 1, 5, 5]])
    with pytest.raises(InputError, match="no such slice"):
        read_cases(data)


def test_a_change_of_truth_changes_the_fingerprint(folder):
    ct = "sub/head 1.nii.gz"
    (before,) = read_cases(table(folder, "ct,mask", f"{ct},mask 1.nii.gz"))
    first = before.fingerprint()
    (again,) = read_cases(folder / "cases.csv")
    assert again.fingerprint() == first
    volume = again.read()
    write_result_mask(folder / "mask 1.nii.gz", np.zeros(volume.hu.shape, np.uint8), volume)
    assert read_cases(folder / "cases.csv")[0].fingerprint() != first


def test_masks_on_the_cts_voxels(tmp_path):
    ct, _ = bleeding_ct(True)
    truth = np.zeros(ct.hu.shape, bool)
    truth[2:4, 10:20, 5:9] = True
    for name in ("m.nii.gz", "m.nrrd", "m.seg.nrrd"):
        write_result_mask(tmp_path / name, truth.astype(np.uint8), ct)
        assert np.array_equal(read_truth(tmp_path / name, ct), truth), name
    # Cropped, as Slicer saves segmentations, and flipped, as other tools write them.
    part = CT(ct.hu[1:6, 8:25, 3:12], ct.ijk_to_ras.copy())
    part.ijk_to_ras[:3, 3] += ct.ijk_to_ras[:3, :3] @ (3, 8, 1)
    write_result_mask(tmp_path / "part.seg.nrrd", truth[1:6, 8:25, 3:12].astype(np.uint8), part)
    assert np.array_equal(read_truth(tmp_path / "part.seg.nrrd", ct), truth)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = truth.shape[2] - 1
    image = nibabel.Nifti1Image(truth[:, :, ::-1].transpose(2, 1, 0).astype(np.uint8), ct.ijk_to_ras @ flip)
    nibabel.save(image, tmp_path / "flipped.nii.gz")
    assert np.array_equal(read_truth(tmp_path / "flipped.nii.gz", ct), truth)


def test_masks_on_other_voxels_are_refused(tmp_path):
    ct, _ = bleeding_ct(True)
    other = CT(ct.hu, ct.ijk_to_ras @ np.diag([1.1, 1, 1, 1]))
    write_result_mask(tmp_path / "scaled.nii.gz", np.ones(ct.hu.shape, np.uint8), other)
    with pytest.raises(InputError, match="another grid"):
        read_truth(tmp_path / "scaled.nii.gz", ct)
    moved = CT(ct.hu, ct.ijk_to_ras.copy())
    moved.ijk_to_ras[:3, 3] += ct.ijk_to_ras[:3, :3] @ (5, 0, 0)
    write_result_mask(tmp_path / "moved.nii.gz", np.ones(ct.hu.shape, np.uint8), moved)
    with pytest.raises(InputError, match="reaches beyond"):
        read_truth(tmp_path / "moved.nii.gz", ct)
    for name, values in (("ct", ct.hu), ("soft", np.random.default_rng(0).random(ct.hu.shape))):
        image = nibabel.Nifti1Image(values.transpose(2, 1, 0).astype(np.float32), ct.ijk_to_ras)
        nibabel.save(image, tmp_path / f"{name}.nii.gz")
        with pytest.raises(InputError, match="is an image"):
            read_truth(tmp_path / f"{name}.nii.gz", ct)
    (tmp_path / "mask.png").write_bytes(b"1")
    with pytest.raises(InputError, match="format"):
        read_truth(tmp_path / "mask.png", ct)
