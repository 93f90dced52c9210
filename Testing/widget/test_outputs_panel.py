"""Where a run writes: never over another CT's result, nor over what somebody edited."""

import numpy as np
import pytest
import slicer
from widget_tools import ScriptedWorker

from ICHWeakSegSlicer import maps, segmentations


def silent(request):
    return []


def edit(segmentationNode, volumeNode):
    """What a brush in Segment Editor does."""
    one = segmentations.ourSegmentIds(segmentationNode)[0]
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, one, volumeNode).copy()
    mask[:, :3, :3] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, one, volumeNode)


def test_the_result_of_a_ct_that_was_deleted_is_left_alone(panel, load_ct, shown_on):
    loaded, segmentation = shown_on(panel)
    other = load_ct(name="Other").node
    panel.settle()
    slicer.mrmlScene.RemoveNode(loaded.node)
    panel.settle()
    assert panel.parameters.inputVolume is other
    assert panel.segmentation is None
    worker = ScriptedWorker(silent)
    panel.start(worker)
    assert panel.widget._job.segmentationNode is None
    assert segmentation.GetScene() is slicer.mrmlScene


def test_the_result_of_another_ct_that_a_script_chose_is_refused(panel, load_ct, shown_on):
    _, segmentation = shown_on(panel)
    panel.parameters.inputVolume = load_ct(name="Other").node
    panel.settle()
    assert panel.segmentation is segmentation
    assert not panel.ui.runButton.enabled
    assert "result of another CT than Other" in panel.ui.reasonLabel.text
    panel.ui.outputSelector.setCurrentNode(None)
    panel.settle()
    assert panel.ui.runButton.enabled


def test_coming_back_to_a_ct_shows_its_result_again(panel, load_ct, shown_on):
    _, segmentation = shown_on(panel)
    load_ct(name="Other")
    panel.settle()
    panel.choose(panel.ui.inputSelector, "Other")
    assert panel.segmentation is None
    assert not panel.ui.resultSection.visible
    panel.choose(panel.ui.inputSelector, "Head CT")
    assert panel.segmentation is segmentation
    assert panel.ui.resultSection.visible


def test_what_was_said_of_a_ct_goes_with_it(panel, load_ct, shown_on):
    shown_on(panel)
    load_ct(name="Other")
    panel.settle()
    panel.widget.status.say("Head CT cannot be used.", True)
    panel.choose(panel.ui.inputSelector, "Other")
    assert not panel.ui.statusLabel.visible


def test_segmenting_again_keeps_what_was_edited(warm, add_head):
    node = add_head()
    warm.settle()
    warm.run()
    first = warm.segmentation
    assert first.GetName() in warm.ui.runButton.toolTip
    edit(first, node)
    before = slicer.util.arrayFromSegmentBinaryLabelmap(first, "hemorrhage", node).copy()
    warm.settle()
    assert "was edited and stays" in warm.ui.runButton.toolTip
    firstMap = maps.mapOf(first)
    warm.run()
    assert warm.segmentation is not first
    assert f"{first.GetName()} keeps your edits" in warm.ui.statusLabel.text
    kept = slicer.util.arrayFromSegmentBinaryLabelmap(first, "hemorrhage", node)
    assert np.array_equal(kept, before)
    # Each has a map of its own.
    assert maps.mapOf(first) is firstMap
    assert maps.mapOf(warm.segmentation) is not firstMap
    # The new one is not edited: the next run goes into it.
    second = warm.segmentation
    warm.run()
    assert warm.segmentation is second


def test_a_chosen_map_is_written(warm, add_head):
    add_head()
    warm.settle()
    mapNode = warm.ui.mapSelector.addNode()
    warm.settle()
    warm.run()
    assert maps.mapOf(warm.segmentation) is mapNode
    assert slicer.util.arrayFromVolume(mapNode).max() > 0.5
    assert not mapNode.GetHideFromEditors()


def test_the_hidden_map_of_a_deleted_result_goes(panel, shown_on):
    _, segmentation = shown_on(panel)
    mapNode = maps.mapOf(segmentation)
    assert mapNode.GetHideFromEditors()
    panel.settle()
    assert mapNode.GetScene() is slicer.mrmlScene
    slicer.mrmlScene.RemoveNode(segmentation)
    panel.settle()
    assert mapNode.GetScene() is None


def test_nothing_is_looked_at_while_another_module_is_open(panel, application, shown_on, monkeypatch):
    loaded, segmentation = shown_on(panel)
    calls = []
    monkeypatch.setattr(panel.widget.result, "show", lambda node: calls.append(node))
    slicer.util.selectModule("SegmentEditor")
    edit(segmentation, loaded.node)
    panel.settle()
    assert calls == []
    slicer.util.selectModule("ICHWeakSeg")
    panel.settle()
    assert calls


def test_the_log_tells_what_was_found(warm, add_head):
    add_head()
    warm.settle()
    warm.run()
    text = warm.ui.logText.plainText
    assert warm.segmentation.GetName() in text
    assert " mL on Head CT" in text


@pytest.mark.parametrize("section", ["Measure", "Report", "Compare"])
def test_removing_files_frees_what_waits_for_the_worker(
    panel, scene, shown_on, monkeypatch, tmp_path, section
):
    from PySide6 import QtWidgets
    from standins.pythonqt import QtWidgets as Widgets

    _loaded, segmentation = shown_on(panel)
    panel.logic._runner = lambda: ScriptedWorker(silent)
    ui = panel.ui
    if section == "Measure":
        ui.measureButton.click()
        button = ui.measureButton
    elif section == "Report":
        path = str(tmp_path / "report.html")
        monkeypatch.setattr(Widgets.QFileDialog, "getSaveFileName", lambda *arguments: path)
        ui.reportButton.click()
        button = ui.reportButton
    else:
        _other, second = shown_on(panel, name="Second")
        panel.parameters.beforeSegmentation, panel.parameters.afterSegmentation = segmentation, second
        panel.settle()
        ui.compareButton.click()
        button = ui.compareButton
    panel.settle()
    monkeypatch.setattr("ICHWeakSegSlicer.panelmodels.askWhatToRemove", lambda parent, models: [])
    ui.removeFilesButton.click()
    panel.settle()
    assert button.enabled
    assert button.text != "Cancel"
    assert not ui.progressBar.visible
    assert not ui.lesionsLabel.visible or "Measuring" not in ui.lesionsLabel.text
    assert isinstance(button, QtWidgets.QPushButton)
