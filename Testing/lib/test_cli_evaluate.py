"""`ichweakseg evaluate` and `study`: end to end on made-up heads, stopped and taken up again, and refusals."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cohorts import TINY_OPTIONS, write_table, write_volumes
from phantom_heads import head
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT
from ICHWeakSegLib.cli import main
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.models import MapSettings
from ICHWeakSegLib.output import write_result_mask
from ICHWeakSegLib.training.package import operating_point

ROOT = Path(__file__).parents[2]


def run(*arguments):
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


def refused(capsys, *arguments):
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("ichweakseg: ")
    assert said.err.count("\n") == 1, said.err
    return said.err


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two cases with masks, one of them partly without blood, and two models."""
    folder = tmp_path_factory.mktemp("Fälle to measure")
    case = head()
    middle = int(case.blood.sum(axis=(1, 2)).argmax())
    for name, low in (("one", middle - 3), ("two", middle - 2)):
        hu, blood = case.ct.hu[low : low + 6].copy(), case.blood[low : low + 6].copy()
        hu[:2][blood[:2]] = 33
        blood[:2] = False
        ct = CT(hu, case.ct.ijk_to_ras)
        write_volume(folder / f"{name}.nii.gz", hu, ct)
        write_result_mask(folder / f"{name}.seg.nrrd", blood.astype(np.uint8), ct)
    write_table(folder / "boxes.csv", ["slice", "x0", "y0", "x1", "y1"], [[3, 0, 0, 127, 127]])
    write_table(
        folder / "cases.csv",
        ["case", "ct", "mask", "boxes", "subtype"],
        [
            ["one", " one.nii.gz", "one.seg.nrrd", "boxes.csv", "IPH"],
            [],
            ["two", "two.nii.gz", "two.seg.nrrd", "", ""],
        ],
    )
    tiny_model(folder / "tiny")
    tiny_model(folder / "plain", tiny_card("plain", map=MapSettings("hgi-sam", 0.99, "threshold")), seed=1)
    return folder


def evaluate(place, output, *more):
    models = ("--models", place / "tiny", f"{place / 'tiny'}:grad-cam/threshold", place / "plain")
    return (
        "evaluate",
        place / "cases.csv",
        *models,
        "--output",
        output,
        "--device",
        "cpu",
        "--draws",
        20,
        *more,
    )


def test_end_to_end(place, tmp_path, capsys):
    assert run(*evaluate(place, tmp_path / "out")) == 0
    out = tmp_path / "out"
    assert "2 CTs of 2 patients with 3 system(s)" in capsys.readouterr().out
    patients = rows(out / "patients.csv")
    assert [(row["system"], row["case"]) for row in patients[:2]] == [("tiny", "one"), ("tiny", "two")]
    by_system = {(row["system"], row["case"]): row for row in patients}
    assert float(by_system["tiny", "one"]["oracle_dice"]) > 0.8
    assert float(by_system["plain", "one"]["oracle_dice"]) < 0.2
    slices = rows(out / "slices.csv")
    assert len(slices) == 3 * 12
    assert [row["any"] for row in slices[:6]] == ["0", "0", "1", "1", "1", "1"]
    assert slices[0]["predicted_dice"] == ""
    # Everything lies in the box; the boxed slice alone is judged.
    assert [row["pointing"] for row in slices[:6]] == ["", "", "", "1", "", ""]
    assert slices[3]["energy"] == "1"
    assert {row["kind"] for row in rows(out / "lesions.csv")} == {"true", "found"}
    summary = (out / "summary.md").read_text(encoding="utf-8")
    for words in (
        "Oracle gating",
        "Predicted gating",
        "Empty masks:",
        "| IPH | tiny |",
        "*random point*",
        "p after Holm",
        "default of grad-cam, as published",
        "For research use only",
    ):
        assert words in summary, words
    facts = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
    card = json.loads((place / "tiny" / "model.json").read_text())
    assert facts["systems"]["tiny"]["models"][0]["sha256"] == card["weights"]["sha256"]
    assert facts["bootstrap"]["seed"] == 0
    assert facts["versions"]["monai"]
    for name in ("roc.png", "precision-recall.png", "bland-altman-predicted.png", "bland-altman-oracle.png"):
        with Image.open(out / name) as image:
            assert card["weights"]["sha256"] in image.info["Description"]
            assert image.width > 300


def finished(out: Path) -> list[Path]:
    """Measurements that are whole; a kill may leave a hidden one that was being written."""
    return [path for path in (out / "cases").glob("*.json") if not path.name.startswith(".")]


def test_a_killed_run_goes_on(place, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ICHWeakSegLib", *map(str, evaluate(place, out))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    deadline = time.monotonic() + 120
    while not finished(out) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in finished(out)}
    assert 1 <= len(kept) < 6
    assert not (out / "summary.md").exists()
    assert run(*evaluate(place, out)) == 0
    assert len(finished(out)) == 6
    # What was finished was not measured again, and gives what a run in one go gives.
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert run(*evaluate(place, tmp_path / "whole")) == 0
    for name in ("slices.csv", "patients.csv", "lesions.csv", "summary.md"):
        assert (out / name).read_text() == (tmp_path / "whole" / name).read_text(), name


def test_another_threshold_of_the_card_is_measured_anew(place, tmp_path):
    model = tmp_path / "tiny"
    shutil.copytree(place / "tiny", model)
    command = ("evaluate", place / "cases.csv", "--models", model, "--output", tmp_path / "out", "--draws", 5)
    assert run(*command) == 0
    card = json.loads((model / "model.json").read_text())
    card["operating_point"]["probability"] = 1.0
    (model / "model.json").write_text(json.dumps(card))
    before = (tmp_path / "out" / "summary.md").read_text()
    assert run(*command) == 0
    assert (tmp_path / "out" / "summary.md").read_text() != before
    assert {row["positive"] for row in rows(tmp_path / "out" / "patients.csv")} == {"0"}


def test_no_option_tunes_on_the_cases(capsys):
    assert run("evaluate", "--help") == 0
    said = capsys.readouterr().out
    assert "--sensitivity" in said
    assert "threshold" not in said.lower().replace("grad-cam/threshold", "").replace("thresholds come", "")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--models", "no-such-model"), "no model 'no-such-model'"),
        (("--models", "starter:magic"), "behind the colon"),
        ((), "nothing to measure"),
        (("--models", "starter", "--draws", 0), "--draws"),
        (("--models", "starter", "--threads", 0), "--threads"),
        (("--models", "starter", "--labels", "l.csv"), "leave out --labels"),
        (("--models", "starter", "--sensitivity", 0.01), "0.01"),
        (("--folds-run", "."), "holds no folds"),
        (("--folds-run", ".", ".:either"), "name their run with --folds-beside"),
        (("--models", "starter", "--folds-beside", "."), "with a mode"),
    ],
)
def test_refusals(place, tmp_path, capsys, more, words):
    said = refused(capsys, "evaluate", place / "cases.csv", "--output", tmp_path / "out", *more)
    assert words in said
    assert not (tmp_path / "out").exists()


def test_a_mask_of_another_case_names_the_case(place, tmp_path, capsys):
    ct = head().ct
    write_result_mask(
        tmp_path / "m.nii.gz", np.ones(ct.hu.shape, np.uint8), CT(ct.hu, np.diag([9.0, 9, 9, 1]))
    )
    write_table(tmp_path / "c.csv", ["case", "ct", "mask"], [["bad", place / "one.nii.gz", "m.nii.gz"]])
    said = refused(
        capsys, "evaluate", tmp_path / "c.csv", "--models", place / "tiny", "--output", tmp_path / "out"
    )
    assert "Case bad" in said
    assert "another grid" in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A cohort of eight and a cross-validated training of two folds."""
    folder = tmp_path_factory.mktemp("folds")
    data = write_volumes(folder / "data", 8)
    command = (
        "train",
        "classifier",
        data,
        "--output",
        folder / "run",
        "--name",
        "n",
        "--valid",
        0,
        "--folds",
        2,
    )
    training = ("--epochs", 2, "--samples", 16, "--batch", 8, "--patience", 0, "--quiet")
    assert run(*command, *training, *TINY_OPTIONS) == 0
    return folder


def test_each_fold_measures_the_patients_it_did_not_see(trained, tmp_path):
    out = tmp_path / "out"
    command = ("evaluate", trained / "data", "--folds-run", trained / "run", "--output", out, "--draws", 10)
    assert run(*command, "--device", "cpu") == 0
    facts = json.loads((out / "provenance.json").read_text())
    (system,) = facts["systems"].values()
    assert system["cross_validated"]
    for number, model in enumerate(system["models"]):
        place = trained / "run" / model["model"].removeprefix("run-")
        fold = json.loads((place / "run.json").read_text())
        assert model["patients"] == sorted(fold["valid"]), number
        assert not set(model["patients"]) & set(fold["train"])
        assert "other folds" in model["slice_threshold_from"]
        others = [
            tuple(row)
            for other in (trained / "run").glob("fold-*")
            if other.name != place.name
            for row in json.loads((other / "scores.json").read_text())
        ]
        assert not {row[0] for row in others} & {f"head {name[1:]}.nii.gz" for name in fold["valid"]}
        assert model["slice_threshold"] == operating_point(others).probability
    # The pipeline gives what the training said of its held-out slices, but for weights kept in 16 bits.
    scores = {
        (name, plane): value
        for place in (trained / "run").glob("fold-*")
        for name, plane, _, value in json.loads((place / "scores.json").read_text())
    }
    measured = {
        (row["case"], int(row["slice"])): float(row["probability"]) for row in rows(out / "slices.csv")
    }
    assert measured.keys() == scores.keys()
    assert max(abs(measured[key] - scores[key]) for key in scores) < 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folds: folds[0].update(train=[*folds[0]["train"], folds[0]["valid"][0]]), "was trained on"),
        (
            lambda folds: folds[0].update(valid=[folds[1]["valid"][0]], train=[]),
            "no patient may be in two folds",
        ),
        (lambda folds: folds[0].update(valid=folds[0]["valid"][1:]), "holds out no patient"),
    ],
)
def test_patients_in_the_wrong_fold_are_refused(trained, tmp_path, capsys, change, words):
    shutil.copytree(trained / "run", tmp_path / "run")
    files = [tmp_path / "run" / f"fold-{n}" / "run.json" for n in (0, 1)]
    folds = [json.loads(file.read_text()) for file in files]
    change(folds)
    for file, fold in zip(files, folds, strict=True):
        file.write_text(json.dumps(fold))
    command = ("evaluate", trained / "data", "--folds-run", tmp_path / "run", "--output", tmp_path / "out")
    assert words in refused(capsys, *command)


def test_an_unfinished_fold_is_refused(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / "fold-1" / "scores.json").unlink()
    command = ("evaluate", trained / "data", "--folds-run", tmp_path / "run", "--output", tmp_path / "out")
    assert "not finished" in refused(capsys, *command)


@pytest.fixture(scope="module")
def beside(trained):
    """A cross-validated training of segmentation networks on the same cohort."""
    (trained / "masks").mkdir()
    for number in (1, 3, 5, 7):
        image = nibabel.load(trained / "data" / f"head {number}.nii.gz")
        blood = (np.asarray(image.dataobj) == 75).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(blood, image.affine), trained / "masks" / f"head {number}.nii.gz")
    command = ("train", "segmenter", trained / "data", "--output", trained / "unet", "--name", "u")
    masks = ("--on", "masks", "--masks", trained / "masks", "--size", 32, "--pixel-mm", 6)
    network = ("--override", "channels=[4,8]", "--override", "strides=[2]", "--rate", 0.01)
    training = ("--epochs", 1, "--steps", 2, "--valid", 0, "--folds", 2, "--folds-only", "--quiet")
    assert run(*command, *masks, *network, *training, "--device", "cpu", "--threads", 1) == 0
    for file in (trained / "unet").glob("fold-*/network.safetensors"):
        weights = load_file(file)
        (last,) = (key for key, value in weights.items() if key.endswith("bias") and value.shape == (1,))
        # Blood everywhere: a network that finds none would show nothing.
        weights[last] += 20
        save_file(weights, file)
    return trained / "unet"


def test_each_fold_pairs_a_classifier_with_its_segmentation_network(trained, beside, tmp_path):
    # Folds may be numbered otherwise: the patients count.
    swapped = tmp_path / "swapped"
    for number in (0, 1):
        shutil.copytree(beside / f"fold-{number}", swapped / f"fold-{1 - number}")
    out = tmp_path / "out"
    runs = (trained / "run", f"{trained / 'run'}:either", f"{trained / 'run'}:threshold/network")
    command = ("evaluate", trained / "data", "--folds-run", *runs, "--folds-beside", swapped)
    assert run(*command, "--output", out, "--draws", 10, "--device", "cpu", "--quiet") == 0
    systems = json.loads((out / "provenance.json").read_text())["systems"]
    names = ["run (2-fold)", "run (2-fold):either", "run (2-fold):threshold/network"]
    assert list(systems) == names
    for alone, either, network in zip(*(systems[name]["models"] for name in names), strict=True):
        assert either["patients"] == alone["patients"] == network["patients"]
        assert either["sha256"] == alone["sha256"]
        assert either["slice_threshold"] == alone["slice_threshold"]
        assert "mode" not in alone
        assert (either["mode"], network["mode"]) == ("either", "network")
        # The second network is that of the fold that held out the same patients.
        package = out / "folds" / either["model"]
        (place,) = [
            fold
            for fold in beside.glob("fold-*")
            if sorted(json.loads((fold / "run.json").read_text())["valid"]) == either["patients"]
        ]
        trained_weights = load_file(place / "network.safetensors")
        for key, value in load_file(package / "segmenter.safetensors").items():
            assert torch.equal(value, trained_weights[key].to(value.dtype)), key
    by_case = {(row["system"], row["case"]): row for row in rows(out / "patients.csv")}
    found = [[float(by_case[name, f"head {n}.nii.gz"]["predicted_ml"]) for n in range(8)] for name in names]
    assert all(both >= max(one, other) for one, both, other in zip(*found, strict=True))
    assert sum(found[1]) > 2 * sum(found[0]) > 0
    # The slices are the classifier's.
    scores = [
        [row["probability"] for row in rows(out / "slices.csv") if row["system"] == name] for name in names
    ]
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("run:either", "run", "holds no segmentation networks"),
        ("unet:either", "unet", "leave out the mode"),
        ("run:both", "other", "hold out different patients (fold-"),
        ("run:map", "nowhere", "holds no folds"),
    ],
)
def test_runs_that_make_no_pairs_are_refused(trained, beside, tmp_path, capsys, first, second, words):
    # The same networks, but for two patients who changed places.
    shutil.copytree(beside, tmp_path / "other")
    files = [tmp_path / "other" / f"fold-{number}" / "run.json" for number in (0, 1)]
    folds = [json.loads(file.read_text()) for file in files]
    one, two = (sorted(fold["valid"])[0] for fold in folds)
    for file, fold in zip(files, folds, strict=True):
        for part in ("train", "valid"):
            fold[part] = [{one: two, two: one}.get(patient, patient) for patient in fold[part]]
        file.write_text(json.dumps(fold))
    second = tmp_path / second if second == "other" else trained / second
    command = ("evaluate", trained / "data", "--folds-run", trained / first, "--folds-beside", second)
    assert words in refused(capsys, *command, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


STUDY = ("--epochs", 1, "--samples", 8, "--batch", 4, "--draws", 10, *TINY_OPTIONS)


def test_label_efficiency(trained, tmp_path):
    out = tmp_path / "out"
    amounts = ("--shares", 0.5, 1, "--patients", 3, "--seeds", 2)
    command = ("study", "label-efficiency", trained / "data", "--output", out, *amounts, *STUDY)
    assert run(*command) == 0
    runs = rows(out / "runs.csv")
    assert [(row["kind"], row["amount"]) for row in runs] == [
        *[("share", "0.5")] * 2,
        *[("share", "1")] * 2,
        *[("patients", "3")] * 2,
    ]
    half, whole = (int(runs[n]["positive_slices"]) for n in (0, 2))
    assert 0 < half < whole
    assert runs[4]["patients"] == "3"
    curve = {(row["kind"], row["amount"], row["figure"]): row for row in rows(out / "curve.csv")}
    assert 0 <= float(curve["share", "1", "slice AUC"]["value"]) <= 1
    # A fifth of eight patients is held out of each run.
    trained_on = [json.loads((f / "run.json").read_text())["train"] for f in (out / "runs").iterdir()]
    assert sorted(map(len, trained_on)) == [3, 3, 6, 6, 6, 6]
    with Image.open(out / "curve.png") as image:
        assert image.width > 300
    # The same command again trains nothing and says the same.
    kept = {path: path.stat().st_mtime_ns for path in (out / "cases").glob("*.json")}
    text = (out / "summary.md").read_text()
    assert run(*command) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "cases").glob("*.json")} == kept
    assert (out / "summary.md").read_text() == text


def test_strategies(trained, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(trained / "data", data)
    table = rows(data / "labels.csv")
    lines = [[row["volume"], row["slice"], row["any"], row["any"], 0, row["patient"]] for row in table]
    write_table(data / "labels.csv", ["volume", "slice", "any", "epidural", "subdural", "patient"], lines)
    out = tmp_path / "out"
    assert run("study", "strategies", data, "--output", out, "--folds", 2, *STUDY) == 0
    facts = json.loads((out / "provenance.json").read_text())
    assert list(facts["systems"]) == ["binary (2-fold)", "subtypes (2-fold)"]
    splits = [json.loads((out / name / "fold-0" / "run.json").read_text()) for name in ("binary", "subtypes")]
    assert splits[0]["valid"] == splits[1]["valid"]
    assert "| subtypes (2-fold) | EDH |" in (out / "summary.md").read_text()


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("label-efficiency", ("--shares", 0), "above 0"),
        ("label-efficiency", ("--patients", 50), "50 patients"),
        ("label-efficiency", ("--seeds", 0), "at least one seed"),
        ("label-efficiency", ("--patience", 3), "fixed number of epochs"),
        ("strategies", ("--strategies", "binary"), "two strategies"),
        ("strategies", (), "no labels of subtypes"),
        ("strategies", ("--folds", 1), "--folds"),
    ],
)
def test_study_refusals(trained, tmp_path, capsys, kind, more, words):
    said = refused(capsys, "study", kind, trained / "data", "--output", tmp_path / "o", *STUDY, *more)
    assert words in said
    assert not list(tmp_path.rglob("network.safetensors"))
