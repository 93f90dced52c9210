"""`ichweakseg quantify`, `score`, `follow-up`, and the lesions of `segment`."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
from heads import axial_affine, rotation
from phantom_heads import head, on_grid
from PIL import Image
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib.cli import main
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.models import find as find_module
from ICHWeakSegLib.output import write_result_mask
from ICHWeakSegLib.quantify import measure
from ICHWeakSegLib.quantify.lesion import columns


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Köpfe 头")
    case = head()
    write_volume(folder / "ct.nii.gz", case.ct.hu, case.ct)
    write_result_mask(folder / "mask.seg.nrrd", case.blood, case.ct)
    write_result_mask(folder / "mask.nii.gz", case.blood, case.ct)
    write_result_mask(folder / "empty.nii.gz", np.zeros_like(case.blood), case.ct)
    halves = {"IPH": case.blood.copy(), "IVH": case.blood.copy()}
    halves["IPH"][10:], halves["IVH"][:10] = False, False
    write_result_mask(folder / "subtypes.seg.nrrd", halves, case.ct)
    tiny_model(folder / "models" / "tiny")
    tiny_model(folder / "models" / "many", tiny_card("many", "subtypes"))
    return folder


@pytest.fixture(autouse=True)
def models(files, monkeypatch):
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(files / "models"))
    monkeypatch.setattr(find_module, "bundled_folders", list)


def run(*arguments):
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


def refused(capsys, *arguments, words=""):
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("ichweakseg: ")
    assert said.err.count("\n") == 1, said.err
    assert words in said.err


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


class TestQuantify:
    @pytest.mark.parametrize("mask", ["mask.seg.nrrd", "mask.nii.gz"])
    def test_json_and_csv(self, files, mask, tmp_path, capsys):
        out = tmp_path / "neu" / "lesions.csv"
        assert run("quantify", files / "ct.nii.gz", files / mask, "--csv", out, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        case = head()
        expected = measure(case.ct, {"hemorrhage": case.blood})
        assert found["total"]["volume_ml"] == pytest.approx(case.blood_ml, abs=1e-3)
        # The file's affine is of 32-bit numbers.
        for row, other in zip(found["lesions"], expected.rows(), strict=True):
            assert row == pytest.approx(other, abs=0.011)
        assert found["files"] == {"lesions": str(out)}
        rows = rows_of(out)
        assert list(rows[0]) == columns()
        assert [float(row["volume_ml"]) for row in rows] == [row["volume_ml"] for row in found["lesions"]]
        assert rows[0]["subtype"] == ""
        assert [path.name for path in out.parent.iterdir()] == ["lesions.csv"]

    def test_words(self, files, capsys):
        assert run("quantify", files / "ct.nii.gz", files / "subtypes.seg.nrrd") == 0
        said = capsys.readouterr().out
        assert "39.8 mL of blood in 1 lesion(s)" in said
        assert "IPH" in said or "IVH" in said
        assert "left" in said
        assert "research use only" in said

    def test_subtypes(self, files, capsys):
        assert run("quantify", files / "ct.nii.gz", files / "subtypes.seg.nrrd", "--json") == 0
        total = json.loads(capsys.readouterr().out)["total"]
        assert total["IPH_ml"] > 1
        assert total["IPH_ml"] + total["IVH_ml"] == pytest.approx(total["volume_ml"], abs=0.01)

    def test_empty_mask(self, files, tmp_path, capsys):
        out = tmp_path / "a.csv"
        assert run("quantify", files / "ct.nii.gz", files / "empty.nii.gz", "--csv", out) == 0
        assert "No blood" in capsys.readouterr().out
        assert out.read_text(encoding="utf-8") == ",".join(columns()) + "\n"

    def test_refusals(self, files, tmp_path, capsys):
        ct, mask = files / "ct.nii.gz", files / "mask.nii.gz"
        refused(capsys, "quantify", ct, files / "none.nii.gz", words="no mask")
        refused(capsys, "quantify", files / "none.nii.gz", mask, words="does not exist")
        refused(capsys, "quantify", ct, mask, "--csv", tmp_path / "a.txt", words="--csv")
        image = nibabel.load(mask)
        nibabel.save(
            nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine * 1.1), tmp_path / "b.nii.gz"
        )
        refused(capsys, "quantify", ct, tmp_path / "b.nii.gz", words="another grid")


class TestScore:
    GIVEN = ("score", "--gcs", 9, "--age", 71, "--ivh", "yes", "--infratentorial", "no")

    def test_words(self, capsys):
        assert run(*self.GIVEN, "--volume", 34) == 0
        said = capsys.readouterr().out
        assert "ICH score: 3 of 6. 72 %" in said
        assert "FUNC score: no total, missing location, cognitive impairment before; 5 to 8" in said
        assert "spontaneous intraparenchymal hemorrhage" in said
        assert "research use only" in said

    def test_json(self, capsys):
        more = ("--volume", 34, "--location", "deep", "--cognitive-impairment", "no", "--json")
        assert run(*self.GIVEN, *more) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["ich_score"]["total"] == 3
        assert found["func_score"]["total"] == 2 + 1 + 1 + 2 + 1
        assert found["volume_from"] == "entered"

    def test_place(self, capsys):
        assert run("score", "--infratentorial", "yes", "--json") == 0
        func = json.loads(capsys.readouterr().out)["func_score"]
        assert "location" not in func["missing"]
        assert run("score", "--location", "lobar", "--json") == 0
        ich = json.loads(capsys.readouterr().out)["ich_score"]
        assert "infratentorial" not in ich["missing"]
        refused(capsys, "score", "--location", "lobar", "--infratentorial", "yes", words="contradict")

    def test_result(self, tmp_path, capsys):
        file = tmp_path / "r.json"
        file.write_text(json.dumps({"volume_ml": 34.2}))
        assert run(*self.GIVEN, "--result", file) == 0
        said = capsys.readouterr().out
        assert "34.2 mL, all blood of the result" in said
        assert "ICH score: 3 of 6" in said
        file.write_text(json.dumps({"volume_ml": 34.2, "subtypes_ml": {"IPH": 12.0, "IVH": 22.2}}))
        assert run(*self.GIVEN, "--result", file, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["ich_score"]["total"] == 2
        assert "IPH" in found["volume_from"]
        for text in ("[1]", "{", '{"volume_ml": "a"}', "{}"):
            file.write_text(text)
            refused(capsys, "score", "--result", file, words="no result")
        refused(capsys, "score", "--result", tmp_path / "none.json", words="cannot be read")

    def test_out_of_range(self, capsys):
        refused(capsys, "score", "--gcs", 2, words="3 to 15")
        refused(capsys, "score", "--age", 130, words="0 to 120")
        refused(capsys, "score", "--volume", -1, words="mL")
        refused(capsys, "score", "--age", "nan", words="0 to 120")


class TestSegment:
    def test_lesions(self, files, tmp_path, capsys):
        out, table = tmp_path / "a.nii.gz", tmp_path / "lesions.csv"
        arguments = ("segment", files / "ct.nii.gz", "-o", out, "--model", "many", "--device", "cpu")
        assert run(*arguments, "--lesions", table, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["files"] == {"segmentation": str(out), "lesions": str(table)}
        assert len(found["lesion_table"]) == found["lesions"] >= 1
        assert sum(row["volume_ml"] for row in found["lesion_table"]) == pytest.approx(
            found["volume_ml"], abs=0.01 * found["lesions"]
        )
        rows = rows_of(table)
        assert len(rows) == found["lesions"]
        assert list(rows[0]) == columns(("EDH", "IPH", "IVH", "SAH", "SDH"))
        assert {row["subtype"] for row in rows} <= {"EDH", "IPH", "IVH", "SAH", "SDH"}

    def test_targets_are_checked(self, files, tmp_path, capsys):
        arguments = ("segment", files / "ct.nii.gz", "-o", tmp_path / "a.nii.gz", "--model", "tiny")
        refused(capsys, *arguments, "--lesions", tmp_path / "a.xlsx", words="--lesions")
        same = tmp_path / "s.csv"
        refused(capsys, *arguments, "--lesions", same, "--slice-scores", same, words="same name")
        assert list(tmp_path.iterdir()) == []


class TestFollowUp:
    @pytest.fixture(scope="class")
    def second(self, files):
        """Turned by 8 degrees about S; half of the blood is gone."""
        shape = (34, 128, 128)
        scanner = axial_affine(shape, (1.8, 1.8, 5.0))
        scanner[:3, 3] += (0, 0, 25)
        move = np.eye(4)
        move[:3, :3] = rotation("S", 8)
        case = on_grid(shape, np.linalg.inv(move) @ scanner)
        case.ct.ijk_to_ras = scanner
        case.blood[: int(np.median(np.nonzero(case.blood)[0]))] = False
        write_volume(files / "ct2.nii.gz", case.ct.hu, case.ct)
        write_result_mask(files / "mask2.nii.gz", case.blood, case.ct)
        return case

    def test_masks(self, files, second, tmp_path, capsys):
        out = tmp_path / "neuer Ordner"
        masks = ("--masks", files / "mask.seg.nrrd", files / "mask2.nii.gz")
        arguments = ("follow-up", files / "ct.nii.gz", files / "ct2.nii.gz", *masks, "--output", out)
        assert run(*arguments, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        names = ["follow-up.json", "follow-up.png", "lesions.csv", "overlay.nii.gz"]
        assert sorted(path.name for path in out.iterdir()) == names
        assert json.loads((out / "follow-up.json").read_text(encoding="utf-8")) == found
        assert found["change_ml"] == pytest.approx(second.blood_ml - head().blood_ml, abs=0.01)
        assert found["expansion"] is False
        assert found["registration"]["rotation_deg"] == pytest.approx(8, abs=0.5)
        overlay = nibabel.load(out / "overlay.nii.gz")
        np.testing.assert_allclose(overlay.affine, second.ct.ijk_to_ras, atol=1e-4)
        labels = np.asarray(overlay.dataobj).T
        np.testing.assert_array_equal(labels >= 2, second.blood)
        assert set(np.unique(labels)) == {0, 1, 2, 3} or set(np.unique(labels)) == {0, 1, 3}
        assert {row["scan"] for row in rows_of(out / "lesions.csv")} == {"before", "after"}
        with Image.open(out / "follow-up.png") as picture:
            assert min(picture.size) > 300

    def test_model(self, files, second, tmp_path, capsys):
        arguments = ("follow-up", files / "ct.nii.gz", files / "ct2.nii.gz", "--output", tmp_path / "o")
        assert run(*arguments, "--model", "tiny", "--device", "cpu", "--threads", 1) == 0
        said = capsys.readouterr().out
        assert "mL before" in said
        assert "research use only" in said
        found = json.loads((tmp_path / "o" / "follow-up.json").read_text(encoding="utf-8"))
        assert found["provenance"]["model"] == "tiny"

    def test_refusals(self, files, second, tmp_path, capsys):
        both = ("follow-up", files / "ct.nii.gz", files / "ct2.nii.gz")
        taken = tmp_path / "file"
        taken.write_text("")
        refused(capsys, *both, "--output", taken, words="give a folder")
        swapped = ("--masks", files / "mask2.nii.gz", files / "mask.nii.gz")
        refused(capsys, *both, *swapped, "--output", tmp_path / "o", words="another grid")
        assert not (tmp_path / "o").exists()
