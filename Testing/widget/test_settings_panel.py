"""Method, refinement and sensitivity: what the chosen model knows."""

import json

import pytest
from test_inputs import copy_starter, own_models, texts

from ICHWeakSegLib.localize.methods import default_thresholds
from ICHWeakSegLib.refine.refine_maps import REFINEMENTS


def own_model(tmp_path, name, **changes):
    """A copy of the starter whose card says something else."""
    folder = copy_starter(own_models(tmp_path), name)
    card = json.loads((folder / "model.json").read_text())
    for key, value in changes.items():
        card[key] = {**card[key], **value} if isinstance(value, dict) else value
    (folder / "model.json").write_text(json.dumps(card))


@pytest.mark.parametrize("kind", ["swin-classifier", "sequence-classifier", "segmenter", "sc-network"])
def test_the_methods_are_the_librarys(panel, kind):
    from ICHWeakSegSlicer.panelsettings import METHODS, METHODS_OF, OWN
    from ICHWeakSegSlicer.panelsettings import REFINEMENTS as NAMED

    assert set(METHODS_OF[kind]) == set(default_thresholds(kind, "binary"))
    assert set(METHODS_OF[kind]) <= set(METHODS)
    assert set(NAMED) == set(REFINEMENTS)
    assert OWN[""]


def test_the_default_model_offers_its_own_and_those_of_the_classifier(panel, add_head):
    add_head()
    panel.settle()
    assert texts(panel.ui.methodSelector) == [
        "The model's own",
        "The network's own probability",
        "HGI-SAM",
        "Swin-SAM",
        "Grad-CAM",
        "LayerCAM",
        "HiResCAM",
    ]
    panel.choose(panel.ui.methodSelector, "HGI-SAM")
    assert panel.ui.runButton.enabled


def test_another_model_that_does_not_know_the_method_takes_its_own(panel, add_head, tmp_path):
    own_model(tmp_path, "alone", map={"further": ""})
    add_head()
    panel.widget.enter()
    panel.settle()
    panel.choose(panel.ui.methodSelector, "HGI-SAM")
    panel.choose(panel.ui.modelSelector, "alone")
    panel.settle()
    assert texts(panel.ui.methodSelector) == ["The model's own", "The network's own probability"]
    assert panel.parameters.method == ""
    assert panel.ui.runButton.enabled


def test_a_scene_with_a_method_that_the_model_does_not_know_says_so(panel, add_head, tmp_path):
    own_model(tmp_path, "alone", map={"further": ""})
    add_head()
    panel.parameters.model = "alone"
    panel.settle()
    panel.parameters.method = "swin-sam"
    panel.settle()
    assert not panel.ui.runButton.enabled
    assert "alone does not know the method Swin-SAM" in panel.ui.reasonLabel.text
    panel.choose(panel.ui.methodSelector, "The model's own")
    assert panel.ui.runButton.enabled


def test_the_sensitivity_stays_where_the_model_was_measured(panel, add_head, tmp_path):
    add_head()
    panel.settle()
    spin = panel.ui.sensitivitySpin
    assert (spin.minimum, spin.maximum) == (0.5, 0.98)
    panel.ui.sensitivityCheck.click()
    spin.value = 1.0
    panel.settle()
    assert panel.parameters.sensitivity == 0.98
    assert panel.ui.runButton.enabled


def test_a_model_without_a_table_has_no_sensitivity_to_choose(panel, add_head, tmp_path):
    own_model(tmp_path, "fixed", operating_point={"table": []})
    add_head()
    panel.widget.enter()
    panel.settle()
    panel.ui.sensitivityCheck.click()
    panel.choose(panel.ui.modelSelector, "fixed")
    panel.settle()
    assert not panel.parameters.useSensitivity
    assert not panel.ui.sensitivityCheck.enabled
    assert "fixed was not measured" in panel.ui.sensitivityCheck.toolTip
    assert panel.ui.runButton.enabled


def test_the_map_threshold_begins_at_the_models_own(panel, add_head):
    add_head()
    panel.settle()
    assert panel.ui.mapThresholdSpin.value == pytest.approx(0.4)
    panel.ui.mapThresholdCheck.click()
    panel.ui.mapThresholdSpin.value = 0.2
    panel.settle()
    assert panel.parameters.mapThreshold == pytest.approx(0.2)
    panel.choose(panel.ui.modelSelector, "starter-hgi-sam")
    panel.settle()
    # The user's own stays.
    assert panel.parameters.mapThreshold == pytest.approx(0.2)
