"""`ichweakseg report` and `segment --report`: from files to a page that names nobody."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from dicom_series import write_series
from report_case import PROVENANCE, ct_and_masks, map_of, probabilities_of
from test_report import Read, pages
from tiny_models import tiny_model

from ICHWeakSegLib.cli import main
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.output import write_result_mask, write_slice_scores

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A CT under a name that tells whose it is, and what a run has left of it."""
    folder = tmp_path_factory.mktemp("report")
    ct, masks = ct_and_masks()
    write_volume(folder / "Miller Ann.nii.gz", ct.hu, ct)
    case = folder / "cases" / "3f2a"
    case.mkdir(parents=True)
    write_result_mask(case / "segmentation.seg.nrrd", masks, ct, PROVENANCE)
    scores = [{"slice": s, "probability": p} for s, p in enumerate(probabilities_of(masks))]
    write_slice_scores(case / "slices.csv", scores)
    said = {"case": "3f2a", "warnings": ["Told by the batch."], "provenance": PROVENANCE | {"device": "cuda"}}
    (case / "result.json").write_text(json.dumps(said))
    write_volume(folder / "map.nii.gz", map_of(masks).astype(np.float32), ct)
    tiny_model(folder / "tiny")
    return folder


def run(*arguments) -> int:
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture(scope="module")
def written(files):
    """The page of a batch's case, and its PDF."""
    out = files / "out"
    status = run(
        *("report", files / "Miller Ann.nii.gz", files / "cases" / "3f2a", "--map", files / "map.nii.gz"),
        *("--html", out / "a.html", "--pdf", out / "a.pdf", "--gcs", "9", "--age", "71", "--quiet"),
    )
    assert status == 0
    return out


class TestCaseOfABatch:
    def test_all_is_found(self, written):
        read = Read((written / "a.html").read_text(encoding="utf-8"))
        words = " ".join(read.all("body")[0]["text"].split())
        assert "Intracranial hemorrhage on head CT: 3f2a" in words
        assert "Told by the batch." in words
        assert "Device cuda" in words.replace("Devicecuda", "Device cuda")
        assert "starter 1.0.0" in words
        assert "By subtype: IPH" in words
        assert "threshold 0.42" in words
        assert "Localization map over slice" in " ".join(one["alt"] for one in read.all("img"))
        assert "ICH score: no total" in words
        assert sorted(path.name for path in written.iterdir()) == ["a.html", "a.pdf"]
        assert pages((written / "a.pdf").read_bytes()) == 1

    def test_nobody_is_named(self, written):
        for path in written.iterdir():
            assert b"Miller" not in path.read_bytes()

    @pytest.mark.skipif(
        shutil.which("pdftotext") is None, reason="pdftotext (poppler-utils) is not installed"
    )
    def test_the_pdf_says_the_same(self, written):
        said = subprocess.run(
            ["pdftotext", "-layout", written / "a.pdf", "-"], capture_output=True, check=True
        )
        words = " ".join(said.stdout.decode().split())
        for sentence in ("Told by the batch.", "starter 1.0.0", "By subtype: IPH", "ICH score: no total"):
            assert sentence in words
        assert "Miller" not in words

    def test_in_a_browser(self, written, tmp_path):
        browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
        if browser is None:
            pytest.skip("no Chromium is installed")
        start = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        start += [f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer"]
        page = (written / "a.html").as_uri()
        shot, printed = tmp_path / "shot.png", tmp_path / "print.pdf"
        for option in (f"--screenshot={shot}", f"--print-to-pdf={printed}"):
            subprocess.run(
                [*start, "--window-size=1200,1900", option, page],
                capture_output=True,
                check=True,
                timeout=120,
            )
        # It fits on one sheet of A4.
        assert pages(printed.read_bytes()) == 1
        from PIL import Image

        seen = np.asarray(Image.open(shot).convert("RGB")).astype(int)
        assert seen.shape == (1900, 1200, 3)
        amber = (seen[..., 0] > 200) & (abs(seen[..., 1] - 176) < 40) & (seen[..., 2] < 60)
        # The outlines of six slices, in a row below the head.
        assert amber[200:700].sum() > 300
        assert (seen[0, :5] == 255).all()


class TestDicom:
    def test_identity_is_left_out_or_kept(self, tmp_path, capsys):
        ct, _ = ct_and_masks()
        uid = write_series(tmp_path / "Secret", ct, skip=(4,), SeriesDescription="Secret^Name head")
        from ICHWeakSegLib.ct import read_ct

        read = read_ct(tmp_path / "Secret")
        assert read.warnings
        mask = np.zeros(read.hu.shape, np.uint8)
        mask[9:12, 60:70, 80:90] = 1
        write_result_mask(tmp_path / "m.seg.nrrd", mask, read, PROVENANCE)
        page = tmp_path / "a.html"
        options = ("report", tmp_path / "Secret", tmp_path / "m.seg.nrrd", "--html", page)
        assert run(*options) == 0
        text = page.read_text(encoding="utf-8")
        said = capsys.readouterr()
        assert "missing" in text
        for word in ("Secret", "SECRET", uid, str(tmp_path)):
            assert word not in text
            assert word not in said.err
        assert run(*options, "--keep-identifiers", "--quiet") == 0
        text = page.read_text(encoding="utf-8")
        assert "<dt>Patient</dt><dd>Secret^Name</dd>" in text
        assert "<dt>Patient ID</dt><dd>SECRET-ID</dd>" in text


class TestSegmentsFirst:
    def test_report_of_a_model(self, files, tmp_path, capsys):
        page = tmp_path / "a.html"
        assert run("report", files / "Miller Ann.nii.gz", "--model", files / "tiny", "--html", page) == 0
        assert "mL of blood" in capsys.readouterr().out
        words = page.read_text(encoding="utf-8")
        assert "tiny 0.1" in words
        assert "Localization map over slice" in words

    def test_segment_writes_one_too(self, files, tmp_path):
        page = tmp_path / "neu" / "a.html"
        status = run(
            *("segment", files / "Miller Ann.nii.gz", "-o", tmp_path / "m.nii.gz", "--model", files / "tiny"),
            *("--report", page, "--quiet"),
        )
        assert status == 0
        words = page.read_text(encoding="utf-8")
        assert "tiny 0.1" in words
        assert "Miller" not in words


class TestRefusals:
    @pytest.fixture
    def refused(self, files, tmp_path, capsys):
        ct, mask = files / "Miller Ann.nii.gz", files / "cases" / "3f2a" / "segmentation.seg.nrrd"

        def check(words, *arguments, given=(ct, mask)):
            assert run("report", *given, *arguments) == 2
            said = capsys.readouterr()
            assert words in said.err
            assert said.err.count("\n") == 1
            assert not list(tmp_path.iterdir())

        return check, tmp_path / "a.html", ct

    def test_sentences(self, refused, files):
        check, page, ct = refused
        check("nothing to write")
        check(".html", "--html", page.with_suffix(".txt"))
        check("give one of them", "--html", page, "--model", "starter")
        check("belongs to a MASK", "--html", page, "--map", files / "map.nii.gz", given=(ct,))
        check("3 to 15", "--html", page, "--gcs", "2")
        check("0 to 120", "--html", page, "--age", "140", given=(ct,))
        check("no table of slice scores", "--html", page, "--slice-scores", files / "cases/3f2a/result.json")
        check("is no JSON", "--html", page, "--result", files / "cases/3f2a/slices.csv")
        check("another grid", "--html", page, "--map", files / "half.nii.gz")
        check("case's folder", "--html", page, given=(ct, files / "tiny"))

    @pytest.fixture(autouse=True)
    def half_a_map(self, files):
        if not (files / "half.nii.gz").exists():
            ct, masks = ct_and_masks()
            from dataclasses import replace

            small = replace(ct, hu=ct.hu[:20])
            write_volume(files / "half.nii.gz", map_of(masks)[:20].astype(np.float32), small)


class TestStored:
    def test_provenance_of_every_format(self, tmp_path):
        from ICHWeakSegLib.report.stored import read_provenance

        ct, masks = ct_and_masks()
        for name in ("a.seg.nrrd", "a.nrrd", "a.nii.gz"):
            write_result_mask(tmp_path / name, masks["IPH"], ct, PROVENANCE)
            facts = read_provenance(tmp_path / name)
            assert facts["model"] == "starter", name
            assert facts["sha256"] == PROVENANCE["sha256"], name
            assert float(facts["slice_threshold"]) == 0.42, name
        write_volume(tmp_path / "other.nii.gz", masks["IPH"], ct)
        assert read_provenance(tmp_path / "other.nii.gz") == {}

    def test_tags_stay_where_fields_are_gone(self, tmp_path):
        import nrrd

        from ICHWeakSegLib.report.stored import read_provenance

        ct, masks = ct_and_masks()
        write_result_mask(tmp_path / "a.seg.nrrd", masks, ct, PROVENANCE)
        array, header = nrrd.read(str(tmp_path / "a.seg.nrrd"))
        kept = {key: value for key, value in header.items() if not key.startswith("ICHWeakSeg_")}
        nrrd.write(str(tmp_path / "b.seg.nrrd"), array, kept)
        facts = read_provenance(tmp_path / "b.seg.nrrd")
        assert facts["model"] == "starter"
        assert facts["slice_threshold"] == "0.42"
