"""`ichweakseg prognosis` and `evaluate` with packages of prognosis, as a user runs them."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from prognosis_models import rows_of, small_cohort, tiny_prognosis_model

from ICHWeakSegLib import cli
from ICHWeakSegLib.models import load_model
from ICHWeakSegLib.prognosis.assess import assess
from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.cohort_table import read_prognosis_cohort
from ICHWeakSegLib.prognosis.outcome import OutcomeRule
from ICHWeakSegLib.prognosis.picture import words
from ICHWeakSegLib.prognosis.simulated_cohort import read_truth_probabilities
from ICHWeakSegLib.prognosis.venn_abers import venn_abers

PATIENTS = 20
FIELDS = ["--age", "84", "--sex", "female", "--gcs", "6", "--onset-hours", "2.5", "--history", "hypertension"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A simulated cohort and a model that says to have learned from all of it but the last 10."""
    folder = tmp_path_factory.mktemp("prognosis")
    table = small_cohort(folder / "cohort", PATIENTS)
    names = [case.name for case in read_prognosis_cohort(table).cases]
    tiny_prognosis_model(folder / "seen-some", table, names[:10], names[:8])
    tiny_prognosis_model(folder / "seen-all", table, names)
    return folder


def run(*arguments: object) -> int:
    try:
        cli.main([str(part) for part in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def a_ct(home):
    return home / "cohort" / "ct" / "sim3-0015.nii.gz"


def told(capsys, *arguments: object) -> dict:
    assert run("prognosis", *arguments, "--json", "--device", "cpu", "--threads", "1") == 0
    return json.loads(capsys.readouterr().out)


def test_ct_and_text_together_and_alone(home, capsys):
    model = ["--model", home / "seen-all"]
    both = told(capsys, a_ct(home), *model, *FIELDS)
    image = told(capsys, a_ct(home), *model)
    text = told(capsys, *model, *FIELDS)
    assert [found["modalities"] for found in (both, image, text)] == [["ct", "text"], ["ct"], ["text"]]
    assert len({found["probability"] for found in (both, image, text)}) == 3
    assert both["outcome"]["words"] == "modified Rankin Scale 4 to 6"
    assert "Glasgow Coma Scale 6, coma, severe." in both["text"]
    assert sum(both["slice_weights"]) == pytest.approx(1, abs=1e-3)
    assert sum(token["weight"] for token in both["tokens"]) == pytest.approx(1, abs=1e-3)
    assert both["blood_ml"] >= 0
    assert image["tokens"] == []
    assert text["slice_weights"] == []
    assert text["blood_ml"] is None
    assert any("CT only" in sentence for sentence in image["notices"])
    assert any("no CT" in sentence for sentence in text["notices"])
    # Other fields, another forecast; the same, the same.
    assert told(capsys, a_ct(home), *model, *FIELDS) == both
    assert (
        told(capsys, *model, "--gcs", "15")["probability"]
        != told(capsys, *model, "--gcs", "3")["probability"]
    )


def test_the_interval_is_that_of_the_held_out_cases_of_the_same_kind(home, capsys):
    cases = read_prognosis_cohort(home / "cohort" / "cohort.csv", rule=OutcomeRule("mrs")).cases
    rows = rows_of(cases)
    for arguments, column in (
        ((a_ct(home), *FIELDS), "probability"),
        (FIELDS, "text_only"),
        ((a_ct(home),), "image_only"),
    ):
        found = told(capsys, *arguments, "--model", home / "seen-all")
        wanted = venn_abers(
            found["probability"], [row[column] for row in rows], [row["outcome"] for row in rows]
        )
        assert found["interval"]["held_out_cases"] == PATIENTS
        assert found["interval"]["low"] == pytest.approx(wanted.low, abs=1e-3)
        assert found["interval"]["high"] == pytest.approx(wanted.high, abs=1e-3)
    few = told(capsys, "--gcs", "6", "--model", home / "seen-some")
    assert few["interval"] is None
    assert any("8 held-out cases" in sentence for sentence in few["notices"])


def test_the_scores_stand_beside(home, capsys):
    known = ["--volume", "34", "--ivh", "yes", "--location", "lobar", "--cognitive-impairment", "no"]
    found = told(capsys, "--age", "71", "--gcs", "9", *known, "--model", home / "seen-all")
    assert found["ich_score"]["total"] == 3
    assert found["func_score"]["total"] == 8
    assert found["volume_from"] == "given"
    assert found["notice"].startswith("For research use only")
    # What the network sees, where no volume is given.
    model = told(capsys, a_ct(home), "--gcs", "9", "--model", home / "seen-all")
    assert model["volume_from"] == "model"
    assert model["volume_ml"] == model["blood_ml"]
    assert set(model["ich_score"]["missing"]) == {"age", "ivh", "infratentorial"}
    assert run("prognosis", "--gcs", "9", "--model", home / "seen-all") == 0
    printed = capsys.readouterr().out
    assert "Probability of a poor outcome (modified Rankin Scale 4 to 6): 0." in printed
    assert "ICH score: no total" in printed
    assert "research use only" in printed.lower()


def test_fields_from_files_and_the_command_line(home, tmp_path, capsys):
    path = tmp_path / "one.json"
    path.write_text(
        json.dumps({"age": 84, "sex": "female", "gcs": 6, "onset_hours": 2.5, "history": "hypertension"})
    )
    model = ["--model", home / "seen-all"]
    typed = told(capsys, *model, *FIELDS)
    assert told(capsys, *model, "--clinical", path) == typed
    path.write_text(
        json.dumps({"age": 84, "sex": "female", "gcs": 15, "onset_hours": 2.5, "history": "hypertension"})
    )
    assert told(capsys, *model, "--clinical", path, "--gcs", "6")["probability"] == typed["probability"]
    table = home / "cohort" / "cohort.csv"
    case = next(case for case in read_prognosis_cohort(table).cases if case.name == "sim3-0015")
    found = told(capsys, *model, "--clinical", table, "--case", "sim3-0015")
    wanted = assess(load_model(home / "seen-all"), None, case.clinical, device="cpu")
    assert found["probability"] == pytest.approx(wanted.prognosis.probability, abs=1e-4)


def test_the_picture_and_the_file(home, tmp_path, capsys):
    for name, arguments in (("both", (a_ct(home), *FIELDS)), ("ct", (a_ct(home),)), ("text", FIELDS)):
        picture, out = tmp_path / f"{name}.png", tmp_path / f"{name}.json"
        how = ["--model", home / "seen-all", "--picture", picture, "-o", out, "--quiet"]
        assert run("prognosis", *arguments, *how) == 0
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
            facts = json.loads(image.text["Description"])
        assert facts["model"] == "seen-all"
        assert facts["probability"] == pytest.approx(json.loads(out.read_text())["probability"], abs=1e-3)
        # Slices are dark and large, words are blue.
        dark = (pixels.max(axis=2) < 60).mean()
        assert (dark > 0.2) == (name != "text")
        assert pixels.shape[0] > (700 if name != "text" else 150)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give a CT, admission fields, or both"),
        (["--gcs", "2"], "from 3 to 15"),
        (["--age", "old"], "from 0 to 120"),
        (["--gcs", "9", "--location", "lobar", "--infratentorial", "yes"], "contradicts"),
        (["--gcs", "9", "--volume", "-3"], "0 to 500"),
        (["--gcs", "9", "--picture", "x.jpg"], "--picture writes .png"),
        (["--gcs", "9", "-o", "x.txt"], "--output writes .json"),
        (["--clinical", "nowhere.json"], "no file nowhere.json"),
        (["nowhere.nii.gz"], "nowhere.nii.gz"),
        (["--gcs", "9", "--threads", "0"], "at least 1"),
    ],
)
def test_wrong_input_is_one_sentence(home, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert run("prognosis", "--model", home / "seen-all", *arguments) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_for_prognosis_is_named(capsys):
    assert run("prognosis", "--gcs", "9", "--model", "starter") == 2
    assert "is not for prognosis" in capsys.readouterr().err


def test_a_model_that_learned_later_knowledge_is_marked_at_each_use(home, tmp_path, capsys):
    table = tmp_path / "leaky.csv"
    with open(home / "cohort" / "cohort.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["icu_days"] = number
        row["ct"] = str(home / "cohort" / row["ct"])
        row["mask"] = str(home / "cohort" / row["mask"])
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    names = [row["case"] for row in rows]
    model = tiny_prognosis_model(tmp_path / "leaky", table, names, leaks=("icu_days",))
    found = told(capsys, "--gcs", "9", "--model", model)
    assert any("known only after admission (icu_days)" in s and "not given" in s for s in found["notices"])
    given = tmp_path / "one.json"
    given.write_text(json.dumps({"gcs": 9, "ICU days": 12}))
    more = told(capsys, "--clinical", given, "--model", model)
    assert "icu days: 12." in more["text"]
    assert more["probability"] != found["probability"]
    # A model without the mark does not see it.
    clean = told(capsys, "--clinical", given, "--model", home / "seen-all")
    assert "icu" not in clean["text"]
    assert any("icu_days" in sentence for sentence in clean["notices"])
    out = tmp_path / "evaluation"
    assert run("evaluate", table, "--models", model, "--output", out, "--draws", 50, "--quiet") == 0
    assert "known only after admission (icu_days)" in (out / "summary.md").read_text()
    # Without such a model such a column is refused.
    assert run("evaluate", table, "--models", home / "seen-all", "--output", tmp_path / "no", "--quiet") == 2
    assert "only after admission" in capsys.readouterr().err


def read(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def evaluated(home, tmp_path_factory):
    """The evaluation of the model that has seen some."""
    out = tmp_path_factory.mktemp("evaluated") / "evaluation"
    assert run(*evaluation(home / "cohort" / "cohort.csv", out, home / "seen-some")) == 0
    return out


def evaluation(table, out, *models) -> list[object]:
    return ["evaluate", table, "--models", *models, "--output", out, "--draws", 50, "--quiet"]


def test_evaluation_never_measures_on_patients_that_a_model_learned_from(home, evaluated, capsys):
    out, table = evaluated, home / "cohort" / "cohort.csv"
    rows = read(out / "cases.csv")
    names = [f"sim3-{number:04d}" for number in range(PATIENTS)]
    # Of the 10 that it learned from 8 have held-out forecasts.
    assert [row["case"] for row in rows] == [*names[:8], *names[10:]]
    outcome = {
        case.name: case.outcome for case in read_prognosis_cohort(table, rule=OutcomeRule("mrs")).cases
    }
    for row in rows[:8]:
        assert row["held_out"] == "seen-some"
        assert float(row["seen-some: CT and text"]) == pytest.approx(0.3 + 0.4 * outcome[row["case"]])
        assert float(row["seen-some: text only"]) == pytest.approx(0.32 + 0.4 * outcome[row["case"]])
    assert all(row["held_out"] == "" for row in rows[8:])
    # The others are what `prognosis` says.
    last = rows[-1]
    model, case = load_model(home / "seen-some"), read_prognosis_cohort(table).cases[-1]
    for way, (ct, clinical) in {
        "CT and text": (case.ct, case.clinical),
        "CT only": (case.ct, None),
        "text only": (None, case.clinical),
    }.items():
        wanted = assess(model, ct, clinical, device="cpu").prognosis.probability
        assert float(last[f"seen-some: {way}"]) == pytest.approx(wanted, abs=1e-4)
    truth = read_truth_probabilities(table)
    assert float(last["best possible (true probability)"]) == pytest.approx(truth[last["case"]], abs=1e-5)
    known = json.loads((home / "cohort" / "truth.json").read_text())["cases"]
    assert float(last["volume_ml"]) == pytest.approx(known[last["case"]]["iph_ml"], rel=1e-4)
    summary = (out / "summary.md").read_text()
    for part in (
        "18 cases of 18 patients",
        "Left out: 2 cases",
        "10 cases that it never saw, 8 by the held-out",
    ):
        assert part in summary
    for part in (
        "ICH score",
        "FUNC score",
        "| seen-some: CT only |",
        "says nothing about medicine",
        "research use",
    ):
        assert part in summary
    facts = json.loads((out / "provenance.json").read_text())
    assert facts["left_out_cases"].keys() == {names[8], names[9]}
    assert facts["volume_from"] == {"mask (IPH)": 18}
    for name in ("roc", "calibration", "decision-curve"):
        with Image.open(out / f"{name}.png") as image:
            assert image.size[0] > 500
    systems = {row["system"]: row for row in read(out / "systems.csv")}
    assert float(systems["ICH score"]["auc_low"]) <= float(systems["ICH score"]["auc"])
    # What is finished is not computed again, and gives the same.
    stamps = {path: path.stat().st_mtime_ns for path in (out / "cases").iterdir()}
    assert len(stamps) == 10
    assert run(*evaluation(table, out, home / "seen-some")) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "cases").iterdir()} == stamps
    assert (out / "summary.md").read_text() == summary
    capsys.readouterr()


def test_a_ct_that_a_model_learned_from_is_known_under_another_name(home, evaluated, tmp_path, capsys):
    rows = read(home / "cohort" / "cohort.csv")
    table = tmp_path / "renamed.csv"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for number, row in enumerate(rows):
            paths = {column: str(home / "cohort" / row[column]) for column in ("ct", "mask")}
            writer.writerow({**row, **paths, "case": f"other-{number}", "patient": f"other-{number}"})
    out = tmp_path / "evaluation"
    # The same CT and fields: what was found before still holds.
    shutil.copytree(evaluated / "cases", out / "cases")
    assert run(*evaluation(table, out, home / "seen-some")) == 0
    assert len(list((out / "cases").iterdir())) == 10
    assert [row["case"] for row in read(out / "cases.csv")] == [
        f"other-{number}" for number in range(10, PATIENTS)
    ]
    # Nothing is left of a cohort that was all learned from.
    assert run(*evaluation(table, tmp_path / "no", home / "seen-all")) == 2
    shown = capsys.readouterr().err
    assert "leaves 0 cases to measure (20 left out" in shown
    assert not (tmp_path / "no" / "summary.md").exists()


def test_two_models_are_compared_on_the_same_cases(home, evaluated, tmp_path, capsys):
    out, table = tmp_path / "evaluation", home / "cohort" / "cohort.csv"
    shutil.copytree(evaluated / "cases", out / "cases")
    assert run(*evaluation(table, out, home / "seen-some", home / "seen-all")) == 0
    assert len(read(out / "cases.csv")) == 18
    assert len(read(out / "systems.csv")) == 9
    assert "| seen-some: CT and text | seen-all: CT and text |" in (out / "summary.md").read_text()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--models", "{home}/seen-all", "starter"], "evaluate them in two commands"),
        (["--models", "{home}/seen-all", "{home}/seen-all"], "named twice"),
        (["--models", "{home}/seen-all", "{tmp}/gos"], "evaluate them in two commands"),
        (
            ["--models", "{home}/seen-all", "--sensitivity", "high"],
            "--sensitivity is not for models of prognosis",
        ),
        (["--models", "{home}/seen-all", "--folds-run", "x"], "--folds-run is not for models of prognosis"),
    ],
)
def test_evaluations_that_make_no_sense(home, tmp_path, capsys, arguments, sentence):
    if any("gos" in part for part in arguments):
        table = tmp_path / "gos.csv"
        text = (home / "cohort" / "cohort.csv").read_text().replace(",mrs\n", ",outcome\n")
        lines = text.splitlines()
        for number, line in enumerate(lines[1:], start=1):
            lines[number] = line[: line.rindex(",")] + f",{number % 2}"
        table.write_text(
            "\n".join(lines)
            .replace(",ct/", f",{home}/cohort/ct/")
            .replace(",masks/", f",{home}/cohort/masks/")
        )
        tiny_prognosis_model(tmp_path / "gos", table, outcome=OutcomeRule("label"))
    arguments = [part.format(home=home, tmp=tmp_path) for part in arguments]
    table = home / "cohort" / "cohort.csv"
    assert run("evaluate", table, *arguments, "--output", tmp_path / "out", "--quiet") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out" / "summary.md").exists()


def test_without_an_outcome_a_model_of_prognosis_is_measured_as_a_segmenter(home, tmp_path, capsys):
    table = tmp_path / "masks.csv"
    rows = read(home / "cohort" / "cohort.csv")[-2:]
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "ct", "mask"])
        writer.writerows(
            [row["case"], *(home / "cohort" / row[name] for name in ("ct", "mask"))] for row in rows
        )
    out = tmp_path / "evaluation"
    arguments = ["--models", home / "seen-all", "--output", out, "--draws", 20, "--quiet"]
    assert run("evaluate", table, *arguments) == 0
    assert "Dice" in (out / "summary.md").read_text()
    assert {row["system"] for row in read(out / "patients.csv")} == {"seen-all"}
    capsys.readouterr()


def test_pieces_of_tokenizers_become_words():
    text = "Aged 84 years, GCS 6. CT 2.5 hours after onset."
    weights = [1.0] * 30
    bert = "[CLS] aged 84 years , gc ##s 6 . ct 2 . 5 hours after on ##set . [SEP]"
    clip = (
        "<|startoftext|> aged</w> 8 4</w> years</w> ,</w> g cs</w> 6</w> .</w> ct</w> 2</w> .</w> 5</w> hours</w> "
        "after</w> onset</w> .</w> <|endoftext|>"
    )
    small = "aged 8 4 years , gcs 6 . ct 2 . 5 hours after onset ."
    for tokens in (small.split(), bert.split(), clip.split()):
        found, summed = words(tokens, weights[: len(tokens)], text)
        assert found == text.split()
        special = sum(token.startswith(("[", "<|")) for token in tokens)
        assert sum(summed) == len(tokens) - special


def test_assess_needs_something(home):
    with pytest.raises(ValueError, match="give a CT"):
        assess(load_model(home / "seen-all"), None, Clinical())
