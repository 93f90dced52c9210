"""A whole cohort through the command line: what it leaves, goes on with, refuses and keeps to itself."""

import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import slicerio
from cohorts import write_table
from dicom_series import write_scout, write_series
from phantom_heads import head
from PIL import Image
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT
from ICHWeakSegLib.cli import main
from ICHWeakSegLib.cohort import Stopped, run_batch
from ICHWeakSegLib.cohort.flags import close
from ICHWeakSegLib.cohort.lock import only_run
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.models import OperatingPoint

FILES = {"segmentation.seg.nrrd", "result.json", "slices.csv", "lesions.csv", "preview.png", "thumbnail.jpg"}


def part_of_head(first=-3, slices=6):
    """A few slices around the bleed: quick to segment."""
    whole = head()
    middle = int(whole.blood.sum(axis=(1, 2)).argmax())
    return CT(whole.ct.hu[middle + first :][:slices], whole.ct.ijk_to_ras)


def command(*arguments):
    """Exit status of the command line."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """One run over DICOM, a volume with an uneven header and a torn one, all in folders that name a patient."""
    root = tmp_path_factory.mktemp("batch")
    scans = root / "scans" / "Secret^Name 19500203"
    tags = {"PatientBirthDate": "19500203", "AccessionNumber": "ACC-SECRET-7", "StudyInstanceUID": "1.2.77.1"}
    write_series(scans / "dicom", part_of_head(slices=8), **tags)
    write_scout(scans / "dicom")
    ct = part_of_head()
    write_volume(scans / "Secret Name.nii.gz", ct.hu, ct)
    (scans / "torn Secret.nii.gz").write_bytes((scans / "Secret Name.nii.gz").read_bytes()[:3000])
    # A slice whose pixels are missing: the sentence names its file.
    torn = write_series(scans / "torn", part_of_head(slices=8), **{**tags, "StudyInstanceUID": "1.2.77.2"})
    one = sorted((scans / "torn").iterdir())[2]
    one.write_bytes(one.read_bytes()[:-20000])
    tiny_model(root / "tiny")
    arguments = [root / "scans", "--output", root / "out", "--model", root / "tiny", "--workers", 1]
    status = command("batch", *arguments, "--threads", 1, "--quiet")
    return root, arguments, status, torn


def test_leaves_cases_tables_gallery_and_failures(batch):
    root, _, status, _ = batch
    out = root / "out"
    assert status == 1
    cases = sorted((out / "cases").iterdir())
    assert len(cases) == 2
    rows = table(out / "results.csv")
    assert [row["case"] for row in rows] == [case.name for case in cases]
    for case, row in zip(cases, rows, strict=True):
        assert {path.name for path in case.iterdir()} == FILES
        result = json.loads((case / "result.json").read_text())
        mask = slicerio.read_segmentation(str(case / "segmentation.seg.nrrd"))["voxels"] != 0
        lesions = table(case / "lesions.csv")
        assert result["volume_ml"] > 5
        voxel_ml = 1.8 * 1.8 * 5 / 1000
        assert result["volume_ml"] == pytest.approx(np.count_nonzero(mask) * voxel_ml, abs=0.01)
        assert float(row["volume_ml"]) == pytest.approx(result["volume_ml"], rel=1e-5)
        assert sum(float(lesion["volume_ml"]) for lesion in lesions) == pytest.approx(
            result["volume_ml"], abs=0.02
        )
        assert len(table(case / "slices.csv")) == result["slices"]
        assert Image.open(case / "preview.png").width > 300
        assert Image.open(case / "thumbnail.jpg").size == (144, 144)
        assert (case / "thumbnail.jpg").stat().st_size < 12000
    assert len(table(out / "lesions.csv")) == sum(int(row["lesions"]) for row in rows)
    sentences = {row["sentence"].split("; ")[-1] for row in table(out / "failed.csv")}
    assert len(table(out / "failed.csv")) == 2
    assert any("copy or export it again" in sentence for sentence in sentences)
    assert {row["reason"] for row in table(out / "skipped.csv")} == {"CT localizer"}
    assert Image.open(out / "summary.png").width > 800
    assert " failed: " in (out / "batch.log").read_text()


def test_no_output_byte_names_the_patient(batch):
    root, _, _, torn = batch
    words = [b"secret", b"19500203", b"1.2.77", torn.encode(), str(root).encode().lower()]
    looked_at = 0
    for path in (root / "out").rglob("*"):
        assert "secret" not in path.name.lower()
        if not path.is_file():
            continue
        looked_at += 1
        for form in forms(path):
            found = [word for word in words if word in form.lower()]
            assert not found, (path.name, found)
    assert looked_at > 15


def forms(path):
    """The bytes of a file, and what is packed in it."""
    raw = path.read_bytes()
    yield raw
    if path.name.endswith(".nrrd"):
        header, _, voxels = raw.partition(b"\n\n")
        assert b"encoding: gzip" in header
        yield gzip.decompress(voxels)
    if path.suffix in (".png", ".jpg"):
        yield repr(Image.open(path).info).encode()


def test_again_does_nothing_anew(batch, capsys):
    root, arguments, _, _ = batch
    before = {path: path.stat().st_mtime_ns for path in (root / "out" / "cases").rglob("*")}
    assert command("batch", *arguments) == 1
    said = capsys.readouterr()
    assert said.out.startswith("2 case(s) done, 0 of them now. 1 other file(s) or series left out")
    assert "2 case(s) failed" in said.err
    assert {path: path.stat().st_mtime_ns for path in (root / "out" / "cases").rglob("*")} == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--threshold", 0.3], "threshold the model's own, now 0.3"),
        (["--model", "starter", "--sensitivity", "high"], "sensitivity the model's own, now high"),
        (
            ["--refine", "threshold", "--device", "cpu"],
            "device auto, now cpu; refine the model's own, now thr",
        ),
    ],
)
def test_changed_options_are_refused(batch, capsys, more, words):
    _, arguments, _, _ = batch
    assert command("batch", *arguments, *more) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert "give --output another folder" in said


def test_changed_model_is_refused(batch, tmp_path, capsys):
    root, arguments, _, _ = batch
    tiny_model(tmp_path / "tiny", seed=1)
    changed = [tmp_path / "tiny" if part == root / "tiny" else part for part in arguments]
    assert command("batch", *changed) == 2
    assert "model tiny 0.1 has changed: card sha256, sha256" in capsys.readouterr().err
    # The same weights used in another way are another model too.
    tiny_model(tmp_path / "card" / "tiny", tiny_card("tiny", operating=OperatingPoint(0.5)))
    changed = [tmp_path / "card" / "tiny" if part == root / "tiny" else part for part in arguments]
    assert command("batch", *changed) == 2
    assert "has changed: card sha256" in capsys.readouterr().err


def test_two_runs_at_once_are_refused(batch, capsys):
    root, arguments, _, _ = batch
    with only_run(root / "out"):
        assert command("batch", *arguments) == 2
    assert "Another run is at work" in capsys.readouterr().err


def test_identifiers_only_on_request_and_failed_ones_again(batch):
    root, arguments, _, _ = batch
    source = root / "scans" / "Secret^Name 19500203"
    kept = (source / "torn Secret.nii.gz").read_bytes()
    # Mended, so that it is another CT: done without being asked to retry. The other one is tried again.
    shutil.copy(source / "Secret Name.nii.gz", source / "torn Secret.nii.gz")
    with gzip.open(source / "torn Secret.nii.gz", "rb") as file:
        content = file.read()
    with gzip.open(source / "torn Secret.nii.gz", "wb", compresslevel=1) as file:
        file.write(content)
    log = root / "out" / "batch.log"
    before = len(log.read_text())
    assert command("batch", *arguments, "--keep-identifiers", "--retry-failed", "--quiet") == 1
    assert ", 2 to do" not in log.read_text()[:before]
    assert ", 2 to do" in log.read_text()[before:]
    assert len(table(root / "out" / "failed.csv")) == 1
    assert len(table(root / "out" / "results.csv")) == 3
    mapping = table(root / "out" / "identifiers.csv")
    by_case = {row["case"]: row for row in mapping}
    assert {row["case"] for row in table(root / "out" / "results.csv")} < by_case.keys()
    assert {row["patient_id"] for row in mapping} == {"SECRET-ID", ""}
    assert any(row["source"].endswith("Secret Name.nii.gz") for row in mapping)
    assert (root / "out" / "identifiers.csv").stat().st_mode & 0o777 == 0o600
    assert command("batch", *arguments, "--quiet") == 1
    assert not (root / "out" / "identifiers.csv").exists()
    # Damaged after it was done: its result is of another CT, and no longer counts.
    (source / "torn Secret.nii.gz").write_bytes(kept)
    assert command("batch", *arguments, "--quiet") == 1
    assert len(table(root / "out" / "failed.csv")) == 2
    assert len(table(root / "out" / "results.csv")) == 2


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda root: (root / "in").mkdir(), "No CT was found"),
        (lambda root: write_scout(root / "in"), r"No head CT was found, but CT localizer \(1\)"),
        (lambda root: None, "does not exist"),
    ],
)
def test_nothing_to_do_leaves_nothing(batch, tmp_path, capsys, prepare, words):
    prepare(tmp_path)
    assert command("batch", tmp_path / "in", "--output", tmp_path / "out", "--model", batch[0] / "tiny") == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_foreign_folder_is_left_alone(batch, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert command("batch", batch[0] / "scans", "--output", tmp_path, "--model", batch[0] / "tiny") == 2
    assert "holds other files, such as thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_wrong_options_are_told_before_any_work(batch, tmp_path):
    root = batch[0]
    for wrong, words in (
        ({"threshold": 2.0}, "lies between 0 and 1"),
        ({"method": "guess"}, "The method is one of"),
        ({"workers": 0}, "number of workers"),
        ({"threads": 0}, "number of threads"),
        ({"model": "nowhere"}, "no model 'nowhere'"),
    ):
        with pytest.raises(InputError, match=words):
            run_batch(root / "scans", tmp_path / "out", **{"model": root / "tiny", **wrong})
        assert not (tmp_path / "out").exists()


def test_python_call_with_table_progress_and_cancel(batch, tmp_path):
    root = batch[0]
    volume = root / "scans" / "Secret^Name 19500203" / "Secret Name.nii.gz"
    other = tmp_path / "other.nii.gz"
    ct = part_of_head(-2)
    write_volume(other, ct.hu, ct)
    header = ["ct", "case", "patient", "GCS", "Name"]
    rows = write_table(
        tmp_path / "t.csv",
        header,
        [
            [volume, "first", "p", 7, "Secret"],
            [other, "second", "p", 9, ""],
            ["gone.nii.gz", "third", "", "", ""],
        ],
    )
    seen = []

    def progress(stage, done, total):
        seen.append((stage, done, total))

    def stop():
        return any(done for stage, done, _ in seen if stage == "segmenting")

    options = {"model": root / "tiny", "workers": 1, "threads": 1}
    with pytest.raises(Stopped):
        run_batch(rows, tmp_path / "out", progress=progress, cancelled=stop, **options)
    assert [path.name for path in (tmp_path / "out" / "cases").iterdir() if path.name[0] != "."] == ["first"]
    # The tables tell of what there is.
    assert [row["case"] for row in table(tmp_path / "out" / "results.csv")] == ["first"]
    done = run_batch(rows, tmp_path / "out", **options)
    assert (done.done, done.new, list(done.failed)) == (2, 1, ["third"])
    assert "third does not exist; check the path." in done.failed["third"]
    found = table(tmp_path / "out" / "results.csv")
    assert [(row["case"], row["GCS"]) for row in found] == [("first", "7"), ("second", "9")]
    assert "Name" not in found[0]
    assert found[0]["patient"] == found[1]["patient"] != "p"
    assert done.gallery.is_file()


def test_gallery_is_whole_in_itself(batch):
    page = (batch[0] / "out" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert "@import" not in page
    assert 'lang="en"' in page
    text = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1]
    assert "<" not in text
    data = json.loads(text)
    there = {row["case"] for row in data["rows"] if "failed" not in row["flags"]}
    assert there == {row["case"] for row in table(batch[0] / "out" / "results.csv")}
    for row in data["rows"]:
        assert set(row["flags"]) <= data["flags"].keys()
        if row["folder"]:
            assert (batch[0] / "out" / "cases" / row["folder"] / data["thumbnail"]).is_file()


def chromium():
    return shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.mark.skipif(not chromium(), reason="there is no Chromium")
def test_gallery_in_a_browser_stays_quick(batch, tmp_path):
    """1,500 rows: the browser draws those in view, sorts and filters."""
    from ICHWeakSegLib.cohort.gallery import write_gallery

    result = json.loads(next((batch[0] / "out" / "cases").glob("*/result.json")).read_text())
    results = [
        {**result, "case": f"K{n:04d}", "volume_ml": float(n % 400), "flags": ["tilt"] if n % 10 == 0 else []}
        for n in range(1500)
    ]
    evil = '</script><img src=x onerror="document.title=1">'
    write_gallery(tmp_path, results, [{"case": "bad", "sentence": evil}], "made by <b>nobody</b>")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    # What a user would do, and what came of it, written into the title.
    act = """<script>
    const start = performance.now(), rows = document.querySelectorAll('#rows tr').length;
    [...document.querySelectorAll('th button')].find(b => b.textContent.startsWith('Blood')).click();
    const highest = document.querySelector('#rows tr td.number').textContent;
    document.querySelector('input[value=tilt]').click();
    const tilted = document.getElementById('shown').textContent;
    const sorted = document.querySelector('th[aria-sort]').getAttribute('aria-sort');
    document.title = JSON.stringify({rows, highest, tilted, sorted, ms: performance.now() - start});
    </script>"""
    (tmp_path / "index.html").write_text(page.replace("</body>", act + "</body>"), encoding="utf-8")
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=2000", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run(
        [*command, (tmp_path / "index.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    seen = json.loads(re.search(r"<title>(.*?)</title>", dom)[1])
    assert 0 < seen["rows"] < 200
    assert seen["highest"] == "399.0"
    assert seen["tilted"] == "150 of 1501 cases"
    assert seen["sorted"] == "descending"
    assert seen["ms"] < 1000


def test_close_probabilities():
    assert close(0.5, 0.5)
    assert close(0.6, 0.5)
    assert not close(0.7, 0.5)
    assert close(0.015, 0.01)
    assert not close(0.03, 0.01)
    assert not close(1.0, 0.5)


@pytest.mark.skipif(os.name == "nt", reason="paths are Unicode there")
def test_a_path_that_is_no_utf_8_can_be_held_by_every_text(batch, tmp_path):
    """What is read back: bytes that are no UTF-8 as backslash escapes, everything else as it is."""
    raw = os.fsencode(tmp_path) + b"/Patient M\xfcller \xe5/"
    os.makedirs(raw)
    ct = part_of_head()
    write_volume(tmp_path / "head.nii.gz", ct.hu, ct)
    os.rename(tmp_path / "head.nii.gz", raw + b"h\xe4d.nii.gz")
    with open(raw + b"torn \xff.nii.gz", "wb") as file, open(raw + b"h\xe4d.nii.gz", "rb") as whole:
        file.write(whole.read(3000))
    with open(raw + b"n\xf6tes.txt", "wb") as file:
        file.write(b"nothing")
    out = tmp_path / "out"
    arguments = ["batch", os.fsdecode(raw), "--output", out, "--model", batch[0] / "tiny", "--workers", "1"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, "-m", "ICHWeakSegLib", *arguments, "--threads", "1", "--keep-identifiers"],
        capture_output=True,
        env=environment,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode("utf-8", "replace")
    sources = {row["source"] for row in table(out / "identifiers.csv")}
    folder = f"{tmp_path}/Patient M\\udcfcller \\udce5"
    assert sources == {f"{folder}/h\\udce4d.nii.gz", f"{folder}/torn \\udcff.nii.gz"}
    (skipped,) = table(out / "skipped.csv")
    assert skipped["place"].startswith(folder)
    assert len(table(out / "results.csv")) == 1
    assert len(table(out / "failed.csv")) == 1
    for path in out.rglob("*"):
        if path.suffix in (".csv", ".json", ".html", ".log"):
            path.read_text(encoding="utf-8")
