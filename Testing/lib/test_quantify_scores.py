"""ICH score and FUNC score over every combination of inputs, against tables written here."""

from __future__ import annotations

import itertools
import json

import pytest

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.quantify import func_score, ich_score

# Every GCS; ages and volumes on both sides of every limit; points as in the publications' tables.
ICH_GCS = {3: 2, 4: 2, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 10: 1, 11: 1, 12: 1, 13: 0, 14: 0, 15: 0}
ICH_AGE = {0: 0, 79: 0, 79.9: 0, 80: 1, 120: 1}
ICH_ML = {0: 0, 29.99: 0, 30: 1, 30.01: 1, 500: 1}
YES = {False: 0, True: 1}
DIED = {0: 0, 1: 13, 2: 26, 3: 72, 4: 97, 5: 100, 6: None}

FUNC_ML = {0: 4, 29.99: 4, 30: 2, 60: 2, 60.01: 0, 500: 0}
FUNC_AGE = {0: 2, 69.9: 2, 70: 1, 79.9: 1, 80: 0, 120: 0}
FUNC_PLACE = {"lobar": 2, "deep": 1, "infratentorial": 0}
FUNC_GCS = {3: 0, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0, 9: 2, 10: 2, 11: 2, 12: 2, 13: 2, 14: 2, 15: 2}
IMPAIRED = {False: 1, True: 0}
INDEPENDENT = [0, 0, 0, 0, 0, 13, 13, 13, 42, 66, 66, 82]


def test_ich_score_over_all_inputs():
    seen = set()
    for (gcs, a), (age, b), (ml, c), (ivh, d), (below, e) in itertools.product(
        ICH_GCS.items(), ICH_AGE.items(), ICH_ML.items(), YES.items(), YES.items()
    ):
        score = ich_score(gcs=gcs, age=age, volume_ml=ml, ivh=ivh, infratentorial=below)
        total = a + b + c + d + e
        seen.add(total)
        assert score.total == score.lowest == score.highest == total
        assert score.missing == ()
        assert score.outcome_percent == DIED[total]
        assert {part.name: part.points for part in score.parts} == {
            "gcs": a,
            "age": b,
            "volume_ml": c,
            "ivh": d,
            "infratentorial": e,
        }
    assert seen == set(range(7))


def test_func_score_over_all_inputs():
    seen = set()
    for (ml, a), (age, b), (place, c), (gcs, d), (impaired, e) in itertools.product(
        FUNC_ML.items(), FUNC_AGE.items(), FUNC_PLACE.items(), FUNC_GCS.items(), IMPAIRED.items()
    ):
        score = func_score(volume_ml=ml, age=age, location=place, gcs=gcs, cognitive_impairment=impaired)
        total = a + b + c + d + e
        seen.add(total)
        assert score.total == total
        assert score.outcome_percent == INDEPENDENT[total]
        assert [part.points for part in score.parts] == [a, b, c, d, e]
    assert seen == set(range(12))


@pytest.mark.parametrize(
    ("score", "full"),
    [
        (ich_score, {"gcs": 9, "age": 71, "volume_ml": 34.0, "ivh": True, "infratentorial": False}),
        (
            func_score,
            {"volume_ml": 34.0, "age": 71, "location": "deep", "gcs": 9, "cognitive_impairment": False},
        ),
    ],
)
def test_missing_inputs_are_named_and_bound_the_total(score, full):
    choices = {
        "gcs": range(3, 16),
        "age": (50, 75, 90),
        "volume_ml": (10, 40, 90),
        "ivh": (True, False),
        "infratentorial": (True, False),
        "location": ("lobar", "deep", "infratentorial"),
        "cognitive_impairment": (True, False),
    }
    for count in range(1, len(full) + 1):
        for left_out in itertools.combinations(full, count):
            given = {name: value for name, value in full.items() if name not in left_out}
            found = score(**given)
            assert found.total is None
            assert found.outcome is None
            assert found.outcome_percent is None
            assert set(found.missing) == set(left_out)
            totals = [
                score(**given, **dict(zip(left_out, values, strict=True))).total
                for values in itertools.product(*(choices[name] for name in left_out))
            ]
            assert (found.lowest, found.highest) == (min(totals), max(totals))
            assert f"{found.lowest} to {found.highest}" in found.text()


def test_what_a_score_says():
    score = ich_score(gcs=9, age=71, volume_ml=34.0, ivh=True, infratentorial=False)
    said = score.to_dict()
    assert json.loads(json.dumps(said)) == said
    assert said["applies_to"].startswith("Applies to spontaneous intraparenchymal hemorrhage")
    assert "research use only" in said["notice"]
    assert "Hemphill" in said["source"]
    assert {part["name"]: part["given"] for part in said["parts"]}["age"] == 71
    text = score.text()
    for words in (
        "ICH score: 3 of 6",
        "72 %",
        "spontaneous",
        "research use",
        "age (years): 71",
        "Stroke 2001",
    ):
        assert words in text
    # A score of 6 was never seen: no figure is made up.
    most = ich_score(gcs=3, age=90, volume_ml=80.0, ivh=True, infratentorial=True)
    assert most.total == 6
    assert most.outcome_percent is None
    assert "No patient" in most.outcome
    best = func_score(volume_ml=5, age=50, location="lobar", gcs=15, cognitive_impairment=False)
    assert "82 %" in best.outcome
    assert "95 % of those who survived" in best.outcome


@pytest.mark.parametrize(
    ("score", "wrong"),
    [
        (ich_score, {"gcs": 2}),
        (ich_score, {"gcs": 16}),
        (ich_score, {"gcs": 9.5}),
        (ich_score, {"gcs": True}),
        (ich_score, {"gcs": float("nan")}),
        (ich_score, {"age": -1}),
        (ich_score, {"age": 121}),
        (ich_score, {"age": "71"}),
        (ich_score, {"volume_ml": -0.1}),
        (ich_score, {"volume_ml": 501}),
        (ich_score, {"volume_ml": float("nan")}),
        (ich_score, {"ivh": 1}),
        (ich_score, {"infratentorial": "no"}),
        (func_score, {"location": "frontal"}),
        (func_score, {"cognitive_impairment": 0}),
        (func_score, {"gcs": 0}),
        (func_score, {"age": float("inf")}),
    ],
)
def test_wrong_inputs_are_refused(score, wrong):
    with pytest.raises(InputError) as problem:
        score(**wrong)
    assert str(problem.value).endswith(".")
