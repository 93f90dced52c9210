"""Which head CTs a cohort's input holds, told by headers; names and sentences that tell nobody's identity."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from cohorts import write_table
from dicom_series import write_enhanced, write_scout, write_series
from heads import head_ct

from ICHWeakSegLib.cohort import find_cases
from ICHWeakSegLib.cohort.carried_columns import carried_columns
from ICHWeakSegLib.cohort.machine import choose_workers
from ICHWeakSegLib.cohort.names import Names
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.ct.dicom import read_files
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.output.private import Scrubber

SMALL = {"spacing": (4.0, 4.0, 5.0)}


def small(slices=10, **grid):
    return head_ct((slices, 48, 52), **{**SMALL, **grid})


def reasons(found):
    return {part.reason: part.files for part in found.skipped}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Three studies, an enhanced file and volumes, among much that is no head CT."""
    root = tmp_path_factory.mktemp("tree")
    ct = small()
    # One study: soft tissue, bone kernel, a derived projection, scout, all in one folder.
    study = {"StudyInstanceUID": "1.2.3.1", "PatientID": "A"}
    soft = write_series(root / "a", ct, **study)
    write_series(root / "a", ct, **study, SeriesDescription="Head bone", ConvolutionKernel="H70h")
    write_series(
        root / "a", ct, **study, SeriesDescription="Head MIP", ImageType=["DERIVED", "SECONDARY", "MIP"]
    )
    write_scout(root / "a")
    # The same series once more, and one of two slices.
    shutil.copytree(root / "a", root / "z copy", ignore=shutil.ignore_patterns("scout*"))
    write_series(root / "b", ct, skip=range(2, 10), StudyInstanceUID="1.2.3.2")
    write_series(root / "mr", ct, StudyInstanceUID="1.2.3.3", Modality="MR")
    write_series(root / "chest", ct, StudyInstanceUID="1.2.3.4", SeriesDescription="Chest lung")
    # One series whose slices lie in two folders.
    parted = write_series(root / "c1", ct, skip=range(5), StudyInstanceUID="1.2.3.5")
    write_series(root / "c2", ct, skip=range(5, 10), uid=parted, StudyInstanceUID="1.2.3.5")
    write_enhanced(root / "multi.bin", ct)
    (root / "notes.txt").write_text("nothing")
    (root / ".hidden.nii.gz").write_bytes(b"nothing")
    volumes = root / "volumes"
    write_volume(volumes / "one.nii.gz", ct.hu, ct)
    write_volume(volumes / "two.nrrd", ct.hu, ct)
    shutil.copy(volumes / "one.nii.gz", volumes / "one again.nii.gz")
    mask = nibabel.Nifti1Image((ct.hu > 0).astype(np.uint8).transpose(2, 1, 0), ct.ijk_to_ras)
    nibabel.save(mask, volumes / "mask.nii.gz")
    (volumes / "x.seg.nrrd").write_bytes(b"nothing")
    (volumes / "torn.nii.gz").write_bytes((volumes / "one.nii.gz").read_bytes()[:2000])
    return root, soft, parted


def test_tree_of_dicom_and_volumes(tree):
    root, soft, parted = tree
    found = find_cases(root)
    keys = {case.key for case in found.cases}
    by_name = {case.source.name: case for case in found.cases}
    assert {f"series:{soft}", f"series:{parted}"} <= keys
    names = {"a", "tree0", "multi.bin", "one again.nii.gz", "two.nrrd", "torn.nii.gz"}
    assert set(by_name) == names
    assert len(by_name["a"].files) == 10
    # Both folders' slices together, and read as one CT.
    joined = by_name["tree0"]
    assert {Path(name).parent.name for name in joined.files} == {"c1", "c2"}
    assert len(joined.files) == 10
    assert by_name["a"].patient == "A"
    assert by_name["a"].study == "1.2.3.1"
    said = reasons(found)
    assert said.pop("CT localizer") == 1
    assert said.pop("modality MR, not CT") == 10
    assert said.pop("a CT series of only 2 slice(s)") == 2
    assert said.pop("no DICOM and no volume") == 1
    assert said.pop("8-bit values: a mask or picture, not a CT in HU") == 1
    assert said.pop("a segmentation, not a CT") == 1
    assert said.pop("a copy of another file") == 1
    assert said.pop("a copy of another series") == 10
    others = {reason for reason in said if reason.startswith("another series of the study suits better")}
    assert any("sharp kernel" in reason for reason in others)
    assert any("derived" in reason for reason in others)
    (chest,) = said.keys() - others
    assert chest.startswith("no head CT by its header")
    copies = [part for part in found.skipped if part.reason == "a copy of another series"]
    assert {part.copy_of.key for part in copies} <= {f"series:{uid}" for uid in (soft, *_uids(copies))}


def _uids(parts):
    return [part.copy_of.key.removeprefix("series:") for part in parts]


def test_series_that_rank_alike_are_all_taken(tmp_path):
    for number in (1, 2):
        write_series(tmp_path / str(number), small(), StudyInstanceUID="1.2.3.9", SeriesNumber=number)
    found = find_cases(tmp_path)
    assert len(found.cases) == 2
    assert all("2 series of the study rank alike" in case.notes[0] for case in found.cases)


def test_archive_is_a_case_of_its_own(tmp_path):
    uid = write_series(tmp_path / "in", small())
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "in")
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "damaged.zip").write_bytes(b"PK nothing")
    found = find_cases(tmp_path)
    by_name = {case.source.name: case for case in found.cases}
    assert by_name["packed.zip"].series == uid
    assert by_name["packed.zip"].files == ()
    # It fails with a sentence of its own.
    assert "damaged.zip" in by_name


def test_table_carries_columns_and_checks_ids(tmp_path):
    ct = small()
    write_volume(tmp_path / "one.nii.gz", ct.hu, ct)
    header = ["ct", "case", "patient", "GCS"]
    table = write_table(
        tmp_path / "t.csv", header, [["one.nii.gz", "K1", "P", 7], ["one.nii.gz", "K2", "P", 8]]
    )
    found = find_cases(table)
    (case,) = found.cases
    assert (case.id, case.patient, case.columns) == ("K1", "P", {"GCS": "7"})
    assert case.source == tmp_path / "one.nii.gz"
    assert found.skipped[0].reason == "line 3 of the table repeats a CT of an earlier line"
    rows = [["one.nii.gz", "K1", "", ""], ["two.nii.gz", "k1", "", ""]]
    with pytest.raises(InputError, match="Two cases have the id k1"):
        find_cases(write_table(tmp_path / "t.csv", header, rows))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["path"], ["a.nii"]], "needs a column ct"),
        ([["ct", "case"], ["", "x"]], "Line 2 .* names no CT"),
        ([["ct", "case"], ["a.nii", "../x"]], "cannot be the name of a folder"),
        ([["ct", "case"], ["a.nii", "nul"]], "cannot be the name of a folder"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, rows, words):
    with pytest.raises(InputError, match=words):
        find_cases(write_table(tmp_path / "t.csv", rows[0], rows[1:]))


def test_patterns(tree, tmp_path):
    root = tree[0]
    found = find_cases(str(root / "volumes" / "*o*.nii.gz"))
    assert [case.key for case in found.cases] == ["file:one again.nii.gz", "file:torn.nii.gz"]
    # The pattern's fixed part is where names count from, as with the folder itself.
    deep = find_cases(str(root / "**" / "two.nrrd")).cases[0].key
    assert deep == "file:volumes/two.nrrd"
    assert deep in {case.key for case in find_cases(root).cases}
    with pytest.raises(InputError, match="matches no file"):
        find_cases(str(root / "*.gipl"))
    with pytest.raises(InputError, match="does not exist"):
        find_cases(tmp_path / "nowhere")


def test_a_tree_that_moved_has_the_same_keys(tree, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tree[0], moved)
    assert {case.key for case in find_cases(moved).cases} == {case.key for case in find_cases(tree[0]).cases}


def test_fingerprint_follows_the_content(tree, tmp_path):
    source = tree[0] / "volumes" / "two.nrrd"
    shutil.copy(source, tmp_path)
    before = find_cases(tmp_path / "two.nrrd").cases[0].fingerprint
    assert before == find_cases(source).cases[0].fingerprint
    with open(tmp_path / "two.nrrd", "ab") as file:
        file.write(b"more")
    assert find_cases(tmp_path / "two.nrrd").cases[0].fingerprint != before


def test_names_need_their_salt(tmp_path):
    names = Names.of(tmp_path, True)
    assert names.case("k") == Names.of(tmp_path, False).case("k")
    assert (tmp_path / ".salt").stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    other.mkdir()
    assert Names.of(other, True).case("k") != names.case("k")
    (tmp_path / ".salt").unlink()
    with pytest.raises(InputError, match="cannot be found again"):
        Names.of(tmp_path, False)


def test_scrubber_leaves_no_path_and_no_name():
    scrub = Scrubber("K1", [Path("/data/Jane Doe/ct 1.nii.gz")], ["Doe", "JANE", "x"])
    said = scrub(
        "/data/Jane Doe/ct 1.nii.gz of jane DOE is torn, /data/Jane Doe/Doe 2.raw is too; C:\\x\\y.nii, ok"
    )
    assert said == "K1 of [removed] [removed] is torn, [path] is too; [path], ok"
    archive = Scrubber("K1", [Path("/data/a.zip")])
    assert archive("/data/a.zip/Jane Doe/IM1 is torn (1.2.840.113619.2.55.3)") == "K1 is torn ([uid])"
    plain = "shows no head (32 cm2 of soft tissue); give 1/2"
    assert scrub(plain) == plain


def test_identifying_columns_are_not_carried():
    columns = {
        "GCS": "7",
        "Patient Name": "x",
        "DOB": "y",
        "MRN": "z",
        "accession": "a",
        "path": "b",
        "site": "c",
    }
    assert carried_columns(columns) == {"GCS": "7", "site": "c"}


def test_number_of_workers():
    assert choose_workers(8, 3) == 3
    assert 1 <= choose_workers("auto", 100) <= 100
    for wrong in (0, -1, "many", True):
        with pytest.raises(InputError, match="number of workers"):
            choose_workers(wrong, 3)


def test_a_link_to_a_patients_folder_is_followed(tmp_path):
    store, scans = tmp_path / "store", tmp_path / "scans"
    write_series(store / "patient 1" / "ct", small(), StudyInstanceUID="1.2.3.21")
    ct = small()
    write_volume(store / "patient 2" / "head.nii.gz", ct.hu, ct)
    scans.mkdir()
    (scans / "one").symlink_to(store / "patient 1")
    (scans / "two").symlink_to(store / "patient 2")
    found = find_cases(scans)
    assert not found.skipped
    assert sorted(case.key.partition(":")[0] for case in found.cases) == ["file", "series"]
    (volume,) = (case for case in found.cases if case.key.startswith("file:"))
    assert volume.key == "file:two/head.nii.gz"
    (series,) = (case for case in found.cases if case.key.startswith("series:"))
    assert len(series.files) == 10
    assert all((series.source / name).is_file() for name in series.files)


def test_links_in_a_circle_end_and_are_told(tmp_path):
    ct, scans = small(), tmp_path / "up" / "scans"
    write_volume(scans / "b" / "head.nii.gz", ct.hu, ct)
    (scans / "a").symlink_to("b")
    (scans / "b" / "back").symlink_to(scans)
    (scans / "b" / "self").symlink_to(".")
    (scans / "b" / "up").symlink_to(tmp_path / "up")
    found = find_cases(scans)
    # By its real name, although the link's comes first.
    assert [case.key for case in found.cases] == ["file:b/head.nii.gz"]
    assert {part.source.name for part in found.skipped} == {"a", "back", "self", "up"}
    assert {part.reason for part in found.skipped} == {
        "a link to a folder that is searched already or that holds it"
    }


def test_two_folders_that_link_to_each_other_are_searched_once(tmp_path):
    ct = small()
    for name in ("x", "y"):
        write_volume(tmp_path / name / "head.nii.gz", ct.hu + (name == "y"), ct)
    (tmp_path / "x" / "other").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "other").symlink_to(tmp_path / "x")
    found = find_cases(tmp_path / "x")
    assert [case.key for case in found.cases] == ["file:head.nii.gz", "file:other/head.nii.gz"]
    assert [part.source.parent.name for part in found.skipped] == ["other"]


def test_a_link_to_the_output_is_not_searched(tmp_path):
    ct = small()
    write_volume(tmp_path / "out" / "map.nii.gz", ct.hu, ct)
    write_volume(tmp_path / "scans" / "head.nii.gz", ct.hu, ct)
    (tmp_path / "scans" / "results").symlink_to(tmp_path / "out")
    found = find_cases(tmp_path / "scans", leave_out=[tmp_path / "out"])
    assert [case.key for case in found.cases] == ["file:head.nii.gz"]


@pytest.mark.parametrize(
    "gone", [(), ("SeriesInstanceUID",), ("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID")]
)
def test_patients_whose_uids_were_made_equal_or_removed_are_cases_of_their_own(tmp_path, gone):
    for number, patient in enumerate(("A", "B")):
        tags = {"PatientID": patient, "StudyInstanceUID": f"1.2.{number + 1}"}
        write_series(tmp_path / patient, small(), uid="1.2.3.444444", **tags)
        for path in (tmp_path / patient).glob("*.dcm") if gone else ():
            data = pydicom.dcmread(path)
            for name in gone:
                delattr(data, name)
            if "SOPInstanceUID" in gone:
                del data.file_meta.MediaStorageSOPInstanceUID
            data.save_as(path, enforce_file_format=False)
    found = find_cases(tmp_path)
    assert sorted((case.patient, len(case.files)) for case in found.cases) == [("A", 10), ("B", 10)]
    assert len({case.key for case in found.cases}) == len({case.fingerprint for case in found.cases}) == 2
    assert found.skipped == []


def test_images_that_are_left_out_of_a_series_go_along_with_its_case(tmp_path):
    uid = write_series(tmp_path, small())
    write_series(tmp_path, small(), uid=uid, first=101, skip=range(1, 10))
    path = sorted(tmp_path.glob("*.dcm"))[3]
    data = pydicom.dcmread(path)
    data.PixelSpacing = [4.5, 4.5]
    data.save_as(path)
    (case,) = find_cases(tmp_path).cases
    assert sorted(case.files) == sorted(path.name for path in tmp_path.glob("*.dcm"))
    warnings = " ".join(read_files([case.source / name for name in case.files]).warnings)
    assert "1 image of the series was not used" in warnings
