"""Cohorts: three layouts of files, what is refused and how, and splits by patient."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from cohorts import SMALL, bleeding_ct, write_rsna, write_slice_pairs, write_table, write_volumes
from heads import head_ct

from ICHWeakSegLib.ct import AxialGrid
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.training.cache import crop_case
from ICHWeakSegLib.training.cases import CLASSES, Case, read_cohort, split_patients

# RSNA's identifiers are not what DICOM asks for.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

VOLUME_COLUMNS = ["volume", "slice", "any"]


def refused(data, labels=None) -> str:
    with pytest.raises(InputError) as error:
        read_cohort(data, labels)
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# Slice pairs


def test_slice_pairs_give_hu_and_labels_in_the_order_of_slice_numbers(tmp_path):
    hu = np.full((3, 20, 24), -900, np.int16)
    hu[:, 2:18, 2:18] = 1200
    hu[:, 5:15, 5:15] = np.array([30, 40, 70])[:, None, None]
    data = write_slice_pairs(tmp_path, {"7": hu, "12": hu[:2]})
    write_table(
        data / "slices.csv",
        ["patient", "slice", "any", "epidural", "subdural", "fracture"],
        [
            [7, 3, 1, 0, 1, 0],
            [7, 1, 0, 0, 0, 1],
            [12, 1, 0, 0, 0, 0],
            [7, 2, 1, 1, 0, 0],
            [12, 2, 0, 0, 0, 0],
        ],
    )
    first, second = read_cohort(data)
    assert (first.patient, first.name, second.patient) == ("7", "patient-7", "12")
    assert first.labels.shape == (3, len(CLASSES))
    assert first.labels.dtype == np.float32
    assert first.labels[:, 0].tolist() == [0, 1, 1]
    assert first.labels[:, CLASSES.index("EDH")].tolist() == [0, 1, 0]
    assert first.labels[:, CLASSES.index("SDH")].tolist() == [0, 0, 1]
    assert np.isnan(first.labels[:, CLASSES.index("IVH")]).all(), "a column that is not there is unknown"
    ct = first.read()
    assert np.abs(ct.hu[:, 10, 10] - (30, 40, 70)).max() <= 1
    assert np.abs(ct.hu[:, 3, 3] - 1200).max() <= 7, "bone comes from the wide window"
    assert np.abs(ct.hu[:, 0, 0] + 900).max() <= 7, "so does air"
    assert np.diag(ct.ijk_to_ras)[2] > 0, "slices rise to superior"


def test_slice_pairs_as_jpeg_and_without_bone(tmp_path):
    hu = np.full((2, 32, 32), 40, np.int16)
    data = write_slice_pairs(tmp_path, {"1": hu}, ending="jpg", bone=False)
    write_table(data / "slices.csv", ["patient", "slice", "any"], [["001", 1, 0], ["1", 2, 1]])
    (case,) = read_cohort(data)
    assert case.labels[:, 0].tolist() == [0, 1]
    assert np.abs(case.read().hu - 40).max() <= 3


def test_slice_pairs_of_a_head_can_be_cropped(tmp_path):
    hu = head_ct((4, 260, 260), spacing=(0.8, 0.8, 12.0)).hu
    data = write_slice_pairs(tmp_path, {"1": hu})
    write_table(data / "slices.csv", ["patient", "slice", "any"], [[1, n, int(n == 2)] for n in range(1, 5)])
    crop = crop_case(read_cohort(data)[0], SMALL)
    assert crop.hu.shape == crop.brain.shape == (4, 32, 32)
    assert crop.labels[:, 0].tolist() == [0, 1, 0, 0]


def test_missing_odd_and_broken_images_are_named(tmp_path):
    hu = np.full((2, 16, 16), 40, np.int16)
    data = write_slice_pairs(tmp_path, {"1": hu, "2": hu})
    write_table(
        data / "slices.csv", ["patient", "slice", "any"], [[1, 1, 0], [1, 3, 0], [2, 1, 0], [2, 2, 0]]
    )
    first, second = read_cohort(data)
    with pytest.raises(InputError, match=r"no image 001_03\.jpg or \.png"):
        first.read()
    write_slice_pairs(tmp_path, {"2": np.full((1, 8, 8), 40, np.int16)})
    with pytest.raises(InputError, match=r"002_02 .*differs in size"):
        second.read()
    (data / "bone" / "002_01.png").unlink()
    (data / "brain" / "002_01.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"002_01\.png cannot be read"):
        second.read()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([["1", "1", "0"], ["1", "2", "yes"]], "line 3, column any: a label is 0 or 1, not 'yes'"),
        ([["1", "1", "2"]], "line 2, column any: a label is 0 or 1, not '2'"),
        ([["1", "1", ""]], "line 2: the label 'any' is missing"),
        ([["1", "1", "0"], ["1", "1", "0"]], "line 3: slice 1 of patient 1 is named twice"),
        ([["1", "1", "0"], ["001", "1", "0"]], "line 3: slice 1 of patient 1 is named twice"),
        ([["1", "1.5", "0"]], "line 2, column slice: '1.5' is no whole number"),
        ([["1", "inf", "0"]], "line 2, column slice: 'inf' is no whole number"),
        ([["John", "1", "0"]], "line 2, column patient: 'John' is no whole number"),
    ],
)
def test_wrong_rows_of_slice_pairs(tmp_path, rows, sentence):
    (tmp_path / "brain").mkdir()
    write_table(tmp_path / "slices.csv", ["patient", "slice", "any"], rows)
    assert sentence in refused(tmp_path)


# Volumes


@pytest.mark.parametrize("axes", ["LPS", "LPI", "RAS", "ASR"])
def test_labels_of_volumes_count_from_the_inferior_axial_slice(tmp_path, axes):
    _, labels = bleeding_ct(True)
    assert labels[:5].sum() < labels[5:].sum(), "the bleed is not in the middle"
    data = write_volumes(tmp_path, patients=2, **({"axes": axes} if axes != "ASR" else {}))
    if axes == "ASR":  # sagittal: the axial slices run along another axis of the file
        import nibabel

        image = nibabel.load(data / "head 1.nii.gz")
        flip = nibabel.orientations.axcodes2ornt(("A", "S", "R"))
        turned = image.as_reoriented(
            nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(image.affine), flip)
        )
        nibabel.save(turned, data / "head 1.nii.gz")
    case = read_cohort(data)[1]
    grid = AxialGrid(case.read())
    assert case.labels[:, 0].tolist() == labels.tolist()
    bleeding = [bool((np.abs(grid.slice_hu(s) - 75) < 3).any()) for s in range(grid.shape[0])]
    assert bleeding == labels.astype(bool).tolist()


def test_volumes_of_one_name_in_two_folders_stay_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ct.nii").touch()
    write_table(
        tmp_path / "x.csv", ["Volume", "Slice", "Any", "EDH"], [["a/ct.nii", 0, 1, 1], ["b/ct.nii", 0, 0, ""]]
    )
    first, second = read_cohort(tmp_path)
    assert (first.name, second.name) == ("a/ct.nii", "b/ct.nii")
    assert first.patient != second.patient
    assert first.labels[0, CLASSES.index("EDH")] == 1
    assert np.isnan(second.labels[0, CLASSES.index("EDH")])


def test_volume_with_another_number_of_slices_is_named(tmp_path):
    data = write_volumes(tmp_path, patients=1)
    write_table(data / "labels.csv", VOLUME_COLUMNS, [["head 0.nii.gz", n, 0] for n in range(9)])
    with pytest.raises(InputError, match=r"head 0\.nii\.gz has 10 axial slices and 9 labels"):
        crop_case(read_cohort(data)[0], SMALL)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([["other.nii", 0, 0]], "names the volume other.nii, which is not in"),
        ([["a.nii", 1, 0], ["a.nii", 2, 0]], "must be numbered 0 to 1, each once"),
        ([["a.nii", 0, 0], ["a.nii", 0, 1]], "line 3: slice 0 of a.nii is named twice"),
        ([["", 0, 0]], "line 2: the name of the volume is missing"),
        ([["a.nii", "-1", 0]], "'-1' is no whole number"),
        ([["a.nii", "0", "0.5"]], "not '0.5'"),
    ],
)
def test_wrong_rows_of_volumes(tmp_path, rows, sentence):
    (tmp_path / "a.nii").touch()
    write_table(tmp_path / "labels.csv", VOLUME_COLUMNS, rows)
    assert sentence in refused(tmp_path)


def test_a_volume_belongs_to_one_patient(tmp_path):
    (tmp_path / "a.nii").touch()
    rows = [["a.nii", 0, 0, "x"], ["a.nii", 1, 0, "y"]]
    write_table(tmp_path / "labels.csv", [*VOLUME_COLUMNS, "patient"], rows)
    assert "belongs to patient y, before to x" in refused(tmp_path)


# RSNA 2019


def test_rsna_sorts_slices_by_position_and_takes_patients_from_headers(tmp_path):
    rows, truth = [], {}
    for number in range(3):
        ct, labels = bleeding_ct(number > 0, axes="LPI" if number == 1 else "LPS", seed=number)
        rows += write_rsna(tmp_path / "images", number, ct, labels, "ID_same" if number else None)
        truth[f"ID_series{number}"] = labels
    np.random.default_rng(0).shuffle(rows)
    rows.append(rows[0])  # the published table repeats some rows
    table = write_table(tmp_path / "stage_2_train.csv", ["ID", "Label"], rows)
    cases = {case.name: case for case in read_cohort(tmp_path / "images", table)}
    assert set(cases) == set(truth)
    assert [cases[f"ID_series{n}"].patient for n in range(3)] == ["ID_patient0", "ID_same", "ID_same"]
    for name, case in cases.items():
        assert case.labels[:, 0].tolist() == truth[name].tolist()
        assert case.labels[:, CLASSES.index("IPH")].tolist() == truth[name].tolist()
        assert (case.labels[:, CLASSES.index("SDH")] == 0).all()
        grid = AxialGrid(case.read())
        blood = [(np.abs(grid.slice_hu(s) - 75) < 3).any() for s in range(grid.shape[0])]
        assert blood == truth[name].astype(bool).tolist()


def test_rsna_slice_without_label_is_unknown_and_a_blank_patient_is_alone(tmp_path):
    rows = []
    for number in (0, 1):
        ct, labels = bleeding_ct(True)
        rows += write_rsna(tmp_path / "images", number, ct, labels, "")
    dropped = rows[3 * 6][0].rpartition("_")[0]
    kept = [row for row in rows if not row[0].startswith(dropped)]
    first, second = read_cohort(tmp_path / "images", write_table(tmp_path / "l.csv", ["ID", "Label"], kept))
    assert np.isnan(first.labels[3]).all()
    assert np.isnan(first.labels[:, 0]).sum() == 1
    assert first.read().hu.shape[0] == len(first.labels)
    assert first.patient != second.patient


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([["ID_1_tumour", 0]], "line 2: expected ID_xxx_<any|epidural|...> and 0 or 1, not 'ID_1_tumour'"),
        ([["ID_1_any", "maybe"]], "not 'ID_1_any' and 'maybe'"),
        ([["ID_1_any", 0], ["ID_1_any", 1]], "line 3: ID_1_any is named twice with different labels"),
        ([["ID_1_any", 0]], "has no CT slices"),
    ],
)
def test_wrong_rows_of_rsna(tmp_path, rows, sentence):
    write_table(tmp_path / "labels.csv", ["ID", "Label"], rows)
    assert sentence in refused(tmp_path)


def test_rsna_files_that_the_table_does_not_name(tmp_path):
    ct, labels = bleeding_ct(False, slices=3)
    write_rsna(tmp_path / "images", 0, ct, labels)
    table = write_table(tmp_path / "labels.csv", ["ID", "Label"], [["ID_x_any", 0]])
    assert "No DICOM file in" in refused(tmp_path / "images", table)


# Any layout


def test_no_folder_no_table_no_rows_no_layout(tmp_path):
    assert "There is no data folder" in refused(tmp_path / "nowhere")
    assert "holds no CSV files: say which one has the labels (--labels)" in refused(tmp_path)
    assert "There is no label file" in refused(tmp_path, tmp_path / "labels.csv")
    table = tmp_path / "labels.csv"
    table.write_text("")
    assert "has no rows" in refused(tmp_path)
    table.write_text("patient,slice,any\n")
    assert "has no rows" in refused(tmp_path)
    table.write_text("patient,slice,blood\n1,1,0\n")
    assert "fits no known layout" in refused(tmp_path)
    assert "it has blood, patient, slice" in refused(tmp_path)
    table.write_text("patient,slice,any\n1,1,0\n")
    assert "has no folder 'brain'" in refused(tmp_path)
    table.write_text("volume,any\na.nii,0\n")
    assert "fits no known layout" in refused(tmp_path)
    table.write_bytes("volume,slice,any\nSchädel.nii,0,1\n".encode("latin-1"))
    assert "no CSV text in UTF-8" in refused(tmp_path)
    table.write_bytes(b"PK\x03\x04\x00\x00 a spreadsheet")
    refused(tmp_path)
    (tmp_path / "other.csv").touch()
    assert "holds 2 CSV files" in refused(tmp_path)


def test_a_row_longer_than_the_header_and_an_excel_mark_are_taken(tmp_path):
    (tmp_path / "a.nii").touch()
    (tmp_path / "l.csv").write_text("\ufeffVolume, Slice ,ANY\na.nii,0,1,note,more\n", encoding="utf-8")
    (case,) = read_cohort(tmp_path)
    assert case.labels[0, 0] == 1


# Splits


def cases_of(positive: int, negative: int, each: int = 2) -> list[Case]:
    cases = []
    for number in range(positive + negative):
        labels = np.zeros((4, 6), np.float32)
        labels[1, 0] = number < positive
        labels[2, 0] = np.nan
        # Several CTs of a patient, of which only one shows blood.
        cases += [
            Case(f"{number}-{k}", f"p{number}", labels if k == 0 else 0 * labels, lambda: None)
            for k in range(each)
        ]
    return cases


def test_no_patient_is_in_two_folds_and_positives_are_spread():
    cases = cases_of(13, 22)
    parts = split_patients(cases, 5, seed=3)
    assert set().union(*parts) == {case.patient for case in cases}
    assert sum(map(len, parts)) == 35
    assert all(a.isdisjoint(b) for a, b in pairwise([*parts, parts[0]]))
    positive = [sum(int(name[1:]) < 13 for name in part) for part in parts]
    assert max(positive) - min(positive) <= 1
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_split_depends_on_the_seed_alone():
    cases = cases_of(6, 9)
    assert split_patients(cases, 3, 1) == split_patients(cases[::-1], 3, 1)
    assert split_patients(cases, 3, 1) != split_patients(cases, 3, 2)


def test_fewer_patients_than_folds():
    with pytest.raises(InputError, match="4 patients cannot be split into 5 parts: give fewer --folds"):
        split_patients(cases_of(2, 2), 5, 0, "give fewer --folds")
