"""Cohort table, admission fields, text, outcome rule and leakage."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.admission_file import read_admission
from ICHWeakSegLib.prognosis.admission_text import DEFAULT_TEMPLATE, admission_text, check_template
from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.cohort_table import read_prognosis_cohort
from ICHWeakSegLib.prognosis.identity import case_identity, file_hash
from ICHWeakSegLib.prognosis.leakage import is_simulated_truth, known_later, later_words
from ICHWeakSegLib.prognosis.outcome import OutcomeRule
from ICHWeakSegLib.prognosis.score_facts import ScoreFacts


def write_cohort(folder: Path, columns: list[str], *rows: list[object]) -> Path:
    """A CSV whose CTs exist; the contents of the CTs are not read here."""
    for row in rows:
        for column, value in zip(columns, row, strict=False):
            if column.lower() in ("ct", "mask") and value:
                (folder / str(value)).write_bytes(b"ct")
    path = folder / "cohort.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def refusal(folder: Path, columns: list[str], *rows: list[object], **how: object) -> str:
    with pytest.raises(InputError) as found:
        read_prognosis_cohort(write_cohort(folder, columns, *rows), **how)
    return str(found.value)


def test_a_whole_row(tmp_path):
    columns = [
        "Case",
        "CT",
        "patient",
        "mask",
        "Age",
        "Sex",
        "GCS",
        "onset hours",
        "history",
        "IVH",
        "location",
        "mRS",
    ]
    row = [
        "a",
        "a.nii.gz",
        "p1",
        "m.nii.gz",
        "71.5",
        "F",
        "9",
        "2.5",
        "hypertension,\nsmoker",
        "yes",
        "Deep",
        "5",
    ]
    cohort = read_prognosis_cohort(write_cohort(tmp_path, columns, row))
    (case,) = cohort.cases
    assert case.name == "a"
    assert case.patient == "p1"
    assert case.ct == tmp_path / "a.nii.gz"
    assert case.mask == tmp_path / "m.nii.gz"
    assert case.clinical == Clinical(71.5, "female", 9, 2.5, "hypertension, smoker")
    assert case.facts == ScoreFacts(ivh=True, infratentorial=False, location="deep")
    assert (case.outcome, cohort.scale, cohort.leaking, cohort.warnings) == (5.0, "mrs", (), ())


def test_what_is_missing_is_none(tmp_path):
    columns = ["case", "ct", "age", "sex", "gcs", "onset_hours", "history", "gos"]
    rows = [["a", "a.nii", "", "NA", "unknown", "?", "", ""], ["b", "b.nii"]]
    cohort = read_prognosis_cohort(write_cohort(tmp_path, columns, *rows))
    assert [case.clinical for case in cohort.cases] == [Clinical(), Clinical()]
    assert not cohort.cases[0].clinical.known
    assert [case.outcome for case in cohort.cases] == [None, None]
    assert cohort.cases[0].patient == "a"
    assert cohort.cases[0].mask is None


@pytest.mark.parametrize(
    ("column", "value", "range_"),
    [
        ("age", "-3", "years from 0 to 120"),
        ("age", "171", "years from 0 to 120"),
        ("age", "71 years", "years from 0 to 120"),
        ("age", "nan", None),
        ("age", "inf", "years from 0 to 120"),
        ("sex", "2", "female, male"),
        ("gcs", "2", "points from 3 to 15"),
        ("gcs", "16", "points from 3 to 15"),
        ("gcs", "9.5", "whole number of points from 3 to 15"),
        ("onset_hours", "-1", "hours from 0 to 720"),
        ("onset_hours", "2,5", "hours from 0 to 720"),
        ("history", "x" * 4001, "at most 4000 characters"),
        ("mrs", "7", "from 0 to 6"),
        ("mrs", "2.5", "from 0 to 6"),
        ("mrs", "poor", "from 0 to 6"),
        ("gos", "0", "from 1 to 5"),
        ("outcome", "2", "from 0 to 1"),
        ("ivh", "maybe", "yes or no"),
        ("location", "frontal", "lobar, deep, infratentorial"),
        ("mask", "", None),
    ],
)
def test_errors_name_file_line_column_and_range(tmp_path, column, value, range_):
    path = write_cohort(tmp_path, ["case", "ct", column], ["a", "a.nii", ""], ["b", "b.nii", value])
    if range_ is None:
        # nan and blank are not known rather than wrong.
        assert len(read_prognosis_cohort(path).cases) == 2
        return
    with pytest.raises(InputError) as found:
        read_prognosis_cohort(path)
    for part in (str(path), "line 3", f"column {column}", range_):
        assert part in str(found.value)


def test_the_line_is_the_files_own_after_texts_with_line_breaks(tmp_path):
    columns, first = ["case", "ct", "history", "gcs"], ["a", "a.nii", "one\ntwo\nthree", "99"]
    assert "line 2, column gcs" in refusal(tmp_path, columns, first)
    rows = [[*first[:3], "9"], ["b", "b.nii", "", "99"]]
    assert "line 5, column gcs" in refusal(tmp_path, columns, *rows)


def test_files_and_names(tmp_path):
    assert "line 2, column ct" in refusal(tmp_path, ["case", "ct"], ["a", ""])
    assert "line 2, column case" in refusal(tmp_path, ["case", "ct"], ["", "a.nii"])
    assert "was named in line 2" in refusal(tmp_path, ["case", "ct"], ["a", "a.nii"], ["a", "b.nii"])
    assert "column ct is missing" in refusal(tmp_path, ["case", "age"], ["a", "1"])
    assert "age is there twice" in refusal(tmp_path, ["case", "ct", "age", " Age"], ["a", "a.nii", "1", "2"])
    assert "has 4 values for 2 columns" in refusal(tmp_path, ["case", "ct"], ["a", "a.nii", "x", "y"])
    assert "no cases" in refusal(tmp_path, ["case", "ct"])
    path = tmp_path / "gone.csv"
    path.write_text("case,ct\na,nowhere.nii\n")
    with pytest.raises(InputError, match=r"gone\.csv, line 2, column ct: there is no .*nowhere\.nii"):
        read_prognosis_cohort(path)
    path.write_bytes(b"case,ct\na,\xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        read_prognosis_cohort(path)
    with pytest.raises(InputError, match="no cohort"):
        read_prognosis_cohort(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "column",
    [
        *("length_of_stay", "LOS", "Length of Stay (days)", "hospital days", "ICU_days", "LengthOfStay"),
        *("surgery", "EVD", "evd_placed", "Craniotomy", "hematoma evacuation", "treatment", "DNR order"),
        *("ventilation_days", "days on ventilator", "intubated", "icp_max", "pneumonia"),
        *(
            "discharge_mrs",
            "GCS at discharge",
            "discharge destination",
            "gcs_24h",
            "mRS_3_months",
            "mrs 90d",
            "GOSE",
        ),
        *("mortality_30d", "in-hospital mortality", "died", "survived", "date_of_death", "deathDate"),
        *(
            "expansion_24h",
            "hematoma growth",
            "follow_up_volume",
            "FU volume",
            "volume_24_h",
            "repeat CT",
            "24h NIHSS",
        ),
        *("outcome_90d", "final_outcome", "worst_gcs"),
    ],
)
def test_what_is_known_later_is_refused_by_name(tmp_path, column):
    assert known_later(column), column
    columns, row = ["case", "ct", "mrs", column], ["a", "a.nii", "3", "5"]
    sentence = refusal(tmp_path, columns, row)
    assert "only after admission" in sentence
    assert "--allow-leakage" in sentence
    cohort = read_prognosis_cohort(write_cohort(tmp_path, columns, row), allow_leakage=True)
    (name,) = cohort.leaking
    assert cohort.cases[0].leaked == {name: "5"}
    assert name.replace("_", " ") + ": 5." in admission_text(
        cohort.cases[0].clinical, leaked=cohort.cases[0].leaked
    )


@pytest.mark.parametrize(
    "column",
    [
        *("case", "ct", "age", "gcs", "onset_hours", "history", "mask", "hospital", "scanner", "weight_kg"),
        *("gcs_on_admission", "premorbid_mrs", "blood_pressure", "hypertension", "anticoagulants", "nihss"),
    ],
)
def test_what_is_known_on_admission_is_not(column):
    assert known_later(column) is None


@pytest.mark.parametrize("column", ["true_probability", "True Prob", "p_true", "oracle", "prob_true"])
def test_the_truth_of_a_simulation_is_never_a_column(tmp_path, column):
    assert is_simulated_truth(column)
    sentence = refusal(tmp_path, ["case", "ct", column], ["a", "a.nii", "0.3"], allow_leakage=True)
    assert "the answer itself" in sentence


def test_misspelled_columns_are_refused_and_foreign_ones_named(tmp_path):
    assert "rename it to onset_hours" in refusal(tmp_path, ["case", "ct", "onset_hour"], ["a", "a.nii", "2"])
    assert "rename it to gcs" in refusal(tmp_path, ["case", "ct", "GCS admission"], ["a", "a.nii", "9"])
    cohort = read_prognosis_cohort(write_cohort(tmp_path, ["case", "ct", "scanner"], ["a", "a.nii", "X"]))
    assert "scanner" in cohort.warnings[0]
    assert "not used" in cohort.warnings[0]


def test_a_history_that_sounds_later_is_pointed_out(tmp_path):
    rows = [
        ["a", "a.nii", "underwent craniotomy and evacuation, died on day 3"],
        ["b", "b.nii", "hypertension"],
    ]
    cohort = read_prognosis_cohort(write_cohort(tmp_path, ["case", "ct", "history"], *rows))
    assert len(cohort.warnings) == 1
    assert "line 2, column history: craniotomy, evacuation, died" in cohort.warnings[0]
    assert later_words("atrial fibrillation") == ()


def test_one_outcome_of_several_must_be_chosen(tmp_path):
    columns, row = ["case", "ct", "mrs", "gos"], ["a", "a.nii", "5", "4"]
    assert "several outcomes (mrs, gos)" in refusal(tmp_path, columns, row)
    path = write_cohort(tmp_path, columns, row)
    assert read_prognosis_cohort(path, scale="gos").cases[0].outcome == 4
    assert read_prognosis_cohort(path, rule=OutcomeRule("mrs")).cases[0].outcome == 1
    assert read_prognosis_cohort(path, rule=OutcomeRule("gos")).cases[0].outcome == 0
    assert "no column outcome" in refusal(tmp_path, columns, row, scale="label")
    assert read_prognosis_cohort(write_cohort(tmp_path, ["case", "ct"], ["a", "a.nii"])).scale is None


def test_outcome_rules():
    assert [OutcomeRule("mrs").poor(value) for value in range(7)] == [0, 0, 0, 0, 1, 1, 1]
    assert [OutcomeRule("mrs", 3).poor(value) for value in range(7)] == [0, 0, 0, 1, 1, 1, 1]
    assert [OutcomeRule("gos").poor(value) for value in range(1, 6)] == [1, 1, 1, 0, 0]
    assert [OutcomeRule("label").poor(value) for value in (0, 1, None)] == [0, 1, None]
    assert OutcomeRule("mrs").words == "modified Rankin Scale 4 to 6"
    assert OutcomeRule("mrs", 6).words == "modified Rankin Scale 6"
    assert OutcomeRule("gos").words == "Glasgow Outcome Scale 1 to 3"
    assert OutcomeRule.from_dict(json.loads(json.dumps(OutcomeRule("gos", 2).to_dict()))) == OutcomeRule(
        "gos", 2
    )
    for scale, cut in (
        ("mrs", 0),
        ("mrs", 7),
        ("gos", 5),
        ("gos", 0),
        ("mrs", 2.5),
        ("mrs", True),
        ("nihss", 4),
    ):
        with pytest.raises(InputError):
            OutcomeRule(scale, cut)
    with pytest.raises(InputError, match="from 0 to 6, not 7"):
        OutcomeRule("mrs").poor(7)


def test_the_text_says_number_and_band_and_leaves_out_what_is_missing():
    whole = Clinical(84, "female", 6, 2.5, "Hypertension, apixaban.")
    text = admission_text(whole)
    assert text == (
        "Glasgow Coma Scale 6, coma, severe. Aged 84 years, in the eighties, very old. Woman. "
        "CT 2.5 hours after onset, very early. History: Hypertension, apixaban."
    )
    for field, words in (
        ("gcs", "Glasgow"),
        ("age", "Aged"),
        ("sex", "Woman"),
        ("onset_hours", "onset"),
        ("history", "History"),
    ):
        without = replace(whole, **{field: "" if field == "history" else None})
        assert words not in admission_text(without)
        assert len(admission_text(without)) < len(text)
    assert admission_text(Clinical()) == admission_text(None) == ""
    bands = {admission_text(Clinical(gcs=gcs)).partition(", ")[2] for gcs in range(3, 16)}
    assert len(bands) == 4
    assert "15, awake" in admission_text(Clinical(gcs=15))


def test_another_template_is_checked():
    own = json.loads(json.dumps(DEFAULT_TEMPLATE))
    assert check_template(own) == DEFAULT_TEMPLATE
    own["sentences"] = [{"field": "age", "text": "{value}-year-old."}]
    assert admission_text(Clinical(age=70, gcs=9), check_template(own)) == "70-year-old."
    for wrong in (
        {},
        {"sentences": []},
        {"sentences": [{"field": "weight", "text": "{value}"}]},
        {"sentences": [{"field": "age", "text": "{name}"}]},
        {"sentences": [{"field": "age"}]},
        {"sentences": [{"field": "age", "text": "{value}", "bands": [[50, "old"], [0, "young"]]}]},
        {"sentences": [{"field": "age", "text": "{value}"}, {"field": "age", "text": "{value}"}]},
    ):
        with pytest.raises(InputError):
            check_template(wrong)


def test_identity_hides_names_and_knows_the_content(tmp_path):
    rows = [["a", "a.nii", "p1"], ["b", "b.nii", "p1"]]
    one, other = read_prognosis_cohort(write_cohort(tmp_path, ["case", "ct", "patient"], *rows)).cases
    first, second = case_identity(one), case_identity(other)
    assert first["patient"] == second["patient"] != first["case"] != second["case"]
    assert first["ct"] == second["ct"]
    assert "p1" not in str(first)
    other.ct.write_bytes(b"another ct")
    assert case_identity(other)["ct"] != first["ct"]
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"ct")
    before = file_hash(folder)
    (folder / "2.dcm").write_bytes(b"more")
    assert file_hash(folder) != before


def test_fields_of_one_patient_from_a_file(tmp_path):
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"age": 71, "GCS": 9, "sex": None, "location": "lobar", "ICU days": 4}))
    found = read_admission(path)
    assert found.clinical == Clinical(age=71, gcs=9)
    assert found.facts.location == "lobar"
    assert found.leaked == {}
    assert "icu_days" in found.warnings[0]
    assert read_admission(path, leaks=("icu_days",)).leaked == {"icu_days": "4"}
    # What is typed goes before the file, even where the file is wrong there.
    path.write_text(json.dumps({"age": 710, "gcs": 9}))
    assert read_admission(path, {"age": "72", "gcs": None}).clinical == Clinical(age=72, gcs=9)
    with pytest.raises(InputError, match=r"one\.json, column age: the age is a number of years"):
        read_admission(path)
    path.write_text(json.dumps({"ages": 71}))
    with pytest.raises(InputError, match="no field ages"):
        read_admission(path)
    for text in ("[1]", "{", '"x"'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"one\.json"):
            read_admission(path)
    with pytest.raises(InputError, match=r"The Glasgow Coma Scale on admission .* 3 to 15, not '2'"):
        read_admission(None, {"gcs": "2"})
    with pytest.raises(InputError, match="--case"):
        read_admission(None, {}, case="a")


def test_fields_of_one_patient_from_a_row_of_a_cohort(tmp_path):
    rows = [["a", "a.nii", "61", "3"], ["b", "b.nii", "62", "4"]]
    path = write_cohort(tmp_path, ["case", "ct", "age", "mrs"], *rows)
    assert read_admission(path, case="b").clinical == Clinical(age=62)
    # The outcome of a cohort is no field.
    assert read_admission(path, case="b").warnings == ()
    with pytest.raises(InputError, match="2 rows: name one with --case"):
        read_admission(path)
    with pytest.raises(InputError, match="no row of the case c"):
        read_admission(path, case="c")
    with pytest.raises(InputError, match=r"\.json or \.csv"):
        read_admission(write_cohort(tmp_path, ["case", "ct"], ["a", "a.nii"]).rename(tmp_path / "x.txt"))


def test_facts_that_contradict_each_other(tmp_path):
    assert ScoreFacts.from_fields({"location": "infratentorial"}).infratentorial is True
    assert ScoreFacts.from_fields({"infratentorial": True}).location == "infratentorial"
    assert ScoreFacts.from_fields({"infratentorial": "no"}).location is None
    row = ["a", "a.nii", "lobar", "yes"]
    assert "contradicts" in refusal(tmp_path, ["case", "ct", "location", "infratentorial"], row)
