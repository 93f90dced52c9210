"""Choosing the CT and the model; why a run cannot start."""

import json
import shutil

import numpy as np
import slicer
from slicer_scene import add_volume

from ICHWeakSegLib.models.find import bundled_folders


def texts(selector):
    return [selector.itemText(n) for n in range(selector.count)]


def own_models(tmp_path):
    folder = tmp_path / "data" / "ICHWeakSeg" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def copy_starter(folder, name):
    target = folder / name
    shutil.copytree(bundled_folders()[0] / "starter", target)
    card = json.loads((target / "model.json").read_text())
    card["name"] = name
    (target / "model.json").write_text(json.dumps(card))
    return target


def test_nothing_loaded_says_what_to_do(panel):
    assert texts(panel.ui.inputSelector) == ["Load a head CT first"]
    assert panel.ui.reasonLabel.visible
    assert "load a head CT" in panel.ui.reasonLabel.text
    assert not panel.ui.runButton.enabled
    assert panel.ui.runButton.toolTip == panel.ui.reasonLabel.text


def test_cts_come_first_and_one_is_chosen(panel, add_head):
    mr = add_head("A scan of MR", modality="MR")
    ct = add_head("The CT", modality="CT")
    panel.parameters.inputVolume = None
    panel.settle()
    assert texts(panel.ui.inputSelector) == ["The CT", "A scan of MR"]
    assert panel.parameters.inputVolume is ct
    assert panel.ui.runButton.enabled
    assert not panel.ui.reasonLabel.visible
    panel.choose(panel.ui.inputSelector, "A scan of MR")
    assert panel.parameters.inputVolume is mr
    assert "MR" in panel.ui.reasonLabel.text
    assert not panel.ui.runButton.enabled
    assert panel.ui.runButton.toolTip == panel.ui.reasonLabel.text


def test_renaming_and_removing_a_volume_shows(panel, add_head):
    first, _ = add_head("First"), add_head("Second")
    panel.settle()
    first.SetName("Renamed")
    panel.settle()
    assert sorted(texts(panel.ui.inputSelector)) == ["Renamed", "Second"]
    slicer.mrmlScene.RemoveNode(first)
    panel.settle()
    assert texts(panel.ui.inputSelector) == ["Second"]


def test_a_volume_that_becomes_usable_is_noticed(panel, scene, add_head):
    ct = add_head()
    flat = add_volume(scene, add_head.truth[:1].astype(np.int16), np.eye(4), "Flat")
    panel.settle()
    panel.choose(panel.ui.inputSelector, "Flat")
    assert "3D CT" in panel.ui.reasonLabel.text
    flat.SetAndObserveImageData(ct.GetImageData())
    panel.settle()
    assert not panel.ui.reasonLabel.visible
    assert panel.ui.runButton.enabled


def test_a_volume_that_a_script_chose_is_shown_with_its_reason(panel, scene, add_head):
    add_head()
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    panel.settle()
    assert "Labels" not in texts(panel.ui.inputSelector)
    panel.parameters.inputVolume = labels
    panel.settle()
    assert panel.ui.inputSelector.currentText == "Labels"
    assert "label map" in panel.ui.reasonLabel.text
    assert not panel.ui.runButton.enabled


def test_the_map_over_the_ct_is_refused(panel, add_head):
    node = add_head()
    panel.settle()
    panel.ui.mapSelector.setCurrentNode(node)
    panel.settle()
    assert not panel.ui.runButton.enabled
    assert "over the CT" in panel.ui.runButton.toolTip


def test_the_models_card_is_shown_on_demand(panel):
    assert panel.ui.modelSelector.currentText == "starter"
    assert not panel.ui.modelText.visible
    assert panel.ui.modelText.plainText == ""
    panel.ui.modelDetailsButton.click()
    assert panel.ui.modelText.visible
    text = panel.ui.modelText.plainText
    for part in ("CT-ICH", "64 patients", "auc", "Licence", "CC BY 4.0", "Limits", "Research use only"):
        assert part.lower() in text.lower()
    panel.ui.modelDetailsButton.click()
    assert not panel.ui.modelText.visible


def test_own_models_broken_and_hidden_ones(panel, add_head, tmp_path):
    add_head()
    folder = own_models(tmp_path)
    copy_starter(folder, "mine")
    hidden = copy_starter(folder, "starter")
    broken = copy_starter(folder, "broken")
    (broken / "model.json").write_text("{")
    panel.widget.enter()
    panel.settle()
    names = texts(panel.ui.modelSelector)
    assert names[0] == "starter"
    assert "mine" in names
    panel.choose(panel.ui.modelSelector, "mine")
    assert panel.parameters.model == "mine"
    assert panel.ui.runButton.enabled
    panel.choose(panel.ui.modelSelector, "starter (own, folder starter)")
    assert panel.parameters.model == str(hidden)
    panel.choose(panel.ui.modelSelector, "broken")
    assert not panel.ui.runButton.enabled
    assert "model.json" in panel.ui.reasonLabel.text
    panel.ui.modelDetailsButton.click()
    assert panel.ui.modelText.plainText == panel.ui.reasonLabel.text


def test_a_scene_that_asks_for_a_model_that_is_not_here(panel, add_head):
    add_head()
    panel.parameters.model = "elsewhere"
    panel.settle()
    assert panel.ui.modelSelector.currentText == "elsewhere (not installed)"
    assert not panel.ui.runButton.enabled
    assert "elsewhere is not installed" in panel.ui.reasonLabel.text
    panel.choose(panel.ui.modelSelector, "starter")
    assert panel.ui.runButton.enabled


def test_outputs_are_made_on_demand_and_none_by_looking(panel, add_head):
    add_head()
    panel.settle()
    selectors = (panel.ui.outputSelector, panel.ui.mapSelector, panel.ui.tableSelector)
    assert [selector.currentNode() for selector in selectors] == [None, None, None]
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    made = [selector.addNode() for selector in selectors]
    panel.settle()
    parameters = panel.parameters
    assert [parameters.outputSegmentation, parameters.outputMap, parameters.outputTable] == made
    # A map that was just made is no CT.
    assert panel.parameters.inputVolume is not made[1]
