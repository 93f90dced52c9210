"""The prognosis section: hidden without a model, fields shared with the scores, a forecast by the real worker."""

import pytest
import slicer
from prognosis_models import small_cohort, tiny_prognosis_model
from widget_tools import Panel, ScriptedWorker

from ICHWeakSegLib import InputError
from ICHWeakSegSlicer.panelprognosis import answerText


@pytest.fixture(scope="module")
def own_models(tmp_path_factory):
    """A folder of own models with a tiny one of random weights for prognosis."""
    folder = tmp_path_factory.mktemp("models")
    cohort = small_cohort(tmp_path_factory.mktemp("cohort"), patients=3)
    tiny_prognosis_model(folder / "outcome", cohort)
    return folder


@pytest.fixture
def forecasting(application, own_models, monkeypatch, add_head):
    """The panel with that model installed, a CT, and the section open."""
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(own_models))
    panel = Panel(application)
    add_head()
    panel.settle()
    panel.ui.prognosisSection.collapsed = False
    panel.settle()
    return panel


def test_without_a_model_the_section_is_hidden_and_training_is_told(panel):
    assert not panel.ui.prognosisSection.visible
    panel.ui.advancedSection.collapsed = False
    assert panel.ui.prognosisHintLabel.visible
    assert "ichweakseg train prognosis" in panel.ui.prognosisHintLabel.text


def test_with_a_model_it_is_there(forecasting):
    ui = forecasting.ui
    assert ui.prognosisSection.visible
    assert not ui.prognosisHintLabel.visible
    assert ui.prognosisModelSelector.itemText(0) == "outcome"
    assert ui.prognosisButton.enabled, ui.prognosisButton.toolTip


def test_a_forecast_with_the_real_worker(forecasting):
    panel, ui = forecasting, forecasting.ui
    ui.prognosisAgeSpin.value, ui.prognosisGcsSpin.value = 71, 9
    panel.choose(ui.prognosisSexSelector, "female")
    ui.prognosisHistoryEdit.text = "Hypertension."
    ui.prognosisHistoryEdit.editingFinished.emit()
    ui.prognosisButton.click()
    assert ui.prognosisButton.text == "Cancel"
    panel.finish()
    text = ui.prognosisLabel.text
    assert "probability of a poor outcome (modified Rankin" in text, ui.statusLabel.text
    assert "ICH score: no total, missing:" in text
    assert "No interval" in text
    assert "research use only" in text.lower()
    assert panel.parameters.history == "Hypertension."
    # The same age and coma scale serve the scores.
    ui.scoresSection.collapsed = False
    panel.settle()
    assert (ui.scoreAgeSpin.value, ui.scoreGcsSpin.value) == (71, 9)
    # An answer about other fields is no answer.
    ui.prognosisAgeSpin.value = 40
    assert "probability" not in ui.prognosisLabel.text
    ui.prognosisAgeSpin.value = 71
    assert "probability" in ui.prognosisLabel.text


def test_fields_change_the_forecast_from_the_console(forecasting):
    node = forecasting.parameters.inputVolume
    one = forecasting.logic.prognosis(node, "outcome", age=30, gcs=15)
    other = forecasting.logic.prognosis(
        node, "outcome", age=90, gcs=3, volumeMl=45, ivh=True, location="deep"
    )
    assert one["modalities"] == ["ct", "text"]
    assert one["probability"] != other["probability"]
    # GCS 3-4: 2, 30 mL or more: 1, ventricles: 1, 80 years or more: 1.
    assert other["ich_score"]["total"] == 5
    with pytest.raises(InputError, match="3 to 15"):
        forecasting.logic.prognosis(node, "outcome", gcs=1)
    with pytest.raises(InputError, match="not for prognosis"):
        forecasting.logic.prognosis(node, "starter")


def test_cancel(forecasting, wait):
    worker = ScriptedWorker(lambda request: [])
    forecasting.logic._runner = lambda: worker
    forecasting.ui.prognosisButton.click()
    wait(lambda: worker.requests)
    assert worker.requests[0]["do"] == "prognosis"
    assert worker.requests[0]["clinical"]["gcs"] is None
    forecasting.ui.prognosisButton.click()
    assert worker.killed
    assert not forecasting.logic.busy
    assert forecasting.ui.prognosisButton.text == "Forecast"


def test_an_error_is_a_sentence(forecasting, wait):
    worker = ScriptedWorker(lambda request: [{"event": "error", "kind": "input", "sentence": "No skull."}])
    forecasting.logic._runner = lambda: worker
    forecasting.ui.prognosisButton.click()
    wait(lambda: "No skull." in forecasting.ui.statusLabel.text)
    assert forecasting.ui.prognosisButton.enabled


def test_the_interval_and_the_scores_in_words():
    part = {"name": "gcs", "words": "Glasgow Coma Scale", "given": 9, "points": 1, "rule": ""}
    score = {"name": "ICH score", "total": 2, "missing": [], "parts": [part], "outcome": "26 % died."}
    text = answerText(
        {
            "probability": 0.374,
            "outcome": {"words": "mRS 4-6"},
            "interval": {"low": 0.21, "high": 0.44, "merged": 0.35, "held_out_cases": 60},
            "ich_score": score,
            "func_score": {**score, "name": "FUNC score", "total": None, "missing": ["gcs"]},
            "notices": ["<later> fields"],
            "provenance": {"model": "mine", "version": "1.0"},
            "notice": "For research use only.",
        }
    )
    assert "37 %" in text
    assert "60 held-out cases: 35 %, interval 21 to 44 %" in text
    assert "ICH score: 2. 26 % died." in text
    assert "FUNC score: no total, missing: Glasgow Coma Scale." in text
    assert "&lt;later&gt;" in text


def test_a_history_that_is_being_typed_survives_a_refresh(forecasting, add_head):
    from PySide6 import QtTest

    panel, edit = forecasting, forecasting.ui.prognosisHistoryEdit
    QtTest.QTest.keyClicks(edit, "Hyperten")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Another")
    panel.settle()
    panel.widget.refresh()
    assert edit.text == "Hyperten"
    QtTest.QTest.keyClicks(edit, "sion.")
    edit.editingFinished.emit()
    assert panel.parameters.history == "Hypertension."
    # It is of this CT alone: another one begins without, also in the next scene with the same ID.
    QtTest.QTest.keyClicks(edit, " Fall.")
    first = panel.parameters.inputVolume.GetID()
    slicer.mrmlScene.Clear()
    panel.settle()
    add_head()
    panel.settle()
    assert panel.parameters.inputVolume.GetID() == first
    assert edit.text == ""
