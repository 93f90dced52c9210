"""Segment and Cancel, with the real worker; what a run survives."""

import os
import sys

import pytest
import slicer
from slicer.util import arrayFromSegmentBinaryLabelmap
from standins import ctk_widgets
from widget_tools import ScriptedWorker, node_ids

from ICHWeakSegSlicer import segmentations


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def scripted(panel, answer):
    """Put a scripted worker behind the panel."""
    worker = ScriptedWorker(answer)
    panel.logic._runner = lambda: worker
    return worker


def silent(request):
    return []


def test_a_click_segments_the_head(warm, add_head):
    node = add_head()
    warm.settle()
    assert warm.parameters.inputVolume is node
    warm.ui.runButton.click()
    assert warm.ui.runButton.text == "&Cancel"
    assert warm.ui.progressBar.visible
    assert not warm.ui.advancedSection.enabled
    warm.finish()
    mask = arrayFromSegmentBinaryLabelmap(warm.segmentation, "hemorrhage", node) != 0
    overlap = 2 * (mask & add_head.truth).sum() / (mask.sum() + add_head.truth.sum())
    assert overlap > 0.8
    assert warm.ui.runButton.text == "&Segment"
    assert not warm.ui.progressBar.visible
    assert warm.ui.advancedSection.enabled
    assert "Finished" in warm.ui.statusLabel.text
    assert warm.segmentation.GetName() in warm.ui.statusLabel.text
    assert warm.ui.resultSection.visible
    assert warm.ui.outputSelector.currentNode() is warm.segmentation
    # Another run goes into the same segmentation.
    before = node_ids(slicer.mrmlScene)
    warm.run()
    assert node_ids(slicer.mrmlScene) == before


def test_cancel_ends_the_worker_and_leaves_the_scene(panel, add_head, wait):
    add_head()
    panel.settle()
    before = node_ids(slicer.mrmlScene)
    panel.ui.runButton.click()
    wait(lambda: panel.logic.client.pid is not None)
    pid = panel.logic.client.pid
    wait(lambda: "Classifying" in panel.ui.statusLabel.text)
    assert alive(pid)
    panel.ui.runButton.click()
    # PythonSlicer is a launcher: its child ends a moment after it.
    wait(lambda: not alive(pid))
    assert not panel.running
    assert "Cancelled" in panel.ui.statusLabel.text
    panel.settle()
    assert node_ids(slicer.mrmlScene) == before
    assert panel.ui.runButton.text == "&Segment"
    assert panel.ui.runButton.enabled
    assert not panel.ui.progressBar.visible


def test_cancel_at_once_never_starts_the_worker(panel, add_head):
    add_head()
    panel.settle()
    worker = scripted(panel, silent)
    panel.ui.runButton.click()
    panel.ui.runButton.click()
    panel.settle()
    assert not worker.requests
    assert "Cancelled" in panel.ui.statusLabel.text


def test_progress_counts_slices_and_tells_the_time_left(panel, add_head, wait, monkeypatch):
    add_head()
    panel.settle()
    clock = [0.0]
    monkeypatch.setattr(panel.widget.status._left, "_clock", lambda: clock[0])
    worker = ScriptedWorker(silent)
    panel.start(worker)
    stage = "classifying and localizing"
    worker.tell({"event": "progress", "stage": stage, "done": 0, "total": 30})
    wait(lambda: panel.ui.statusLabel.text == "Classifying and localizing: 0 of 30 slices")
    clock[0] = 4.0
    worker.tell({"event": "progress", "stage": stage, "done": 10, "total": 30})
    wait(lambda: "10 of 30" in panel.ui.statusLabel.text)
    assert panel.ui.statusLabel.text.endswith("about 8 s left")
    assert (panel.ui.progressBar.value, panel.ui.progressBar.maximum) == (10, 30)
    worker.tell({"event": "progress", "stage": "brain mask", "done": 0, "total": 1})
    wait(lambda: panel.ui.statusLabel.text == "Brain mask ...")
    assert panel.ui.progressBar.maximum == 0
    worker.text = "a line of the log\n"
    wait(lambda: "a line of the log" in panel.ui.logText.plainText)
    panel.ui.runButton.click()
    assert worker.killed


@pytest.mark.parametrize("kind", ["input", "memory", "missing", "bug"])
def test_an_error_is_told_in_the_panel_without_a_popup(panel, add_head, wait, kind):
    add_head()
    panel.settle()
    before = node_ids(slicer.mrmlScene)
    scripted(panel, lambda request: [{"event": "error", "kind": kind, "sentence": f"A {kind} problem."}])
    panel.ui.runButton.click()
    wait(lambda: not panel.running)
    assert panel.ui.statusLabel.text == f"A {kind} problem."
    assert panel.ui.statusLabel.styleSheet
    assert f"A {kind} problem." in panel.ui.logText.plainText
    assert panel.ui.runButton.text == "&Segment"
    assert node_ids(slicer.mrmlScene) == before
    assert not ctk_widgets.ctkMessageBox.shown


def test_a_crash_is_told_and_the_next_run_works(panel, add_head, wait):
    add_head()
    panel.settle()
    worker = ScriptedWorker(silent)
    panel.start(worker)
    worker.ended = -9
    wait(lambda: not panel.running)
    assert "ended by the system" in panel.ui.statusLabel.text
    assert panel.ui.runButton.enabled


def test_no_python_for_the_worker_is_one_sentence(panel, add_head, wait, monkeypatch):
    add_head()
    panel.settle()
    monkeypatch.setattr(slicer.app, "slicerHome", "/nowhere")
    panel.ui.runButton.click()
    wait(lambda: not panel.running)
    assert "PythonSlicer" in panel.ui.statusLabel.text
    assert not panel.running
    assert panel.ui.runButton.text == "&Segment"


def test_the_advanced_settings_reach_the_worker(panel, add_head):
    node = add_head()
    outputs = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    panel.settle()
    worker = ScriptedWorker(silent)
    panel.choose(panel.ui.methodSelector, "Grad-CAM")
    panel.choose(panel.ui.refineSelector, "Map alone")
    panel.choose(panel.ui.deviceSelector, "CPU")
    assert not panel.ui.sensitivitySpin.enabled
    panel.ui.sensitivityCheck.click()
    panel.ui.mapThresholdCheck.click()
    panel.settle()
    assert panel.ui.sensitivitySpin.enabled
    panel.ui.sensitivitySpin.value = 0.95
    panel.ui.mapThresholdSpin.value = 0.3
    panel.ui.outputSelector.setCurrentNode(outputs)
    panel.settle()
    assert panel.parameters.outputSegmentation is outputs
    panel.start(worker)
    assert worker.requests[0]["options"] == {
        "model": "starter",
        "method": "grad-cam",
        "refine": "threshold",
        "device": "cpu",
        "sensitivity": 0.95,
        "threshold": 0.3,
    }
    assert panel.widget._job.segmentationNode is outputs
    assert panel.widget._job.volumeNode is node


def test_what_was_chosen_is_saved_with_the_scene(panel, add_head):
    add_head()
    panel.settle()
    panel.choose(panel.ui.methodSelector, "LayerCAM")
    panel.ui.sensitivityCheck.click()
    panel.ui.sensitivitySpin.value = 0.8
    node = slicer.mrmlScene.GetSingletonNode("ICHWeakSeg", "vtkMRMLScriptedModuleNode")
    assert node.GetParameter("method") == "layer-cam"
    assert node.GetParameter("useSensitivity") == "True"
    assert float(node.GetParameter("sensitivity")) == 0.8
    assert node.GetNodeReference("inputVolume").GetName() == "Head CT"


def test_closing_the_scene_stops_the_run(panel, add_head):
    add_head()
    panel.settle()
    worker = ScriptedWorker(silent)
    panel.start(worker)
    slicer.mrmlScene.Clear(0)
    assert worker.killed
    assert not panel.running
    assert "scene was closed" in panel.ui.statusLabel.text
    panel.settle()
    assert panel.ui.runButton.text == "&Segment"
    assert not panel.ui.runButton.enabled
    # The panel is as good as new.
    node = add_head("Next head")
    panel.settle()
    assert panel.parameters.inputVolume is node
    assert panel.ui.runButton.enabled


def test_closing_the_scene_while_another_module_is_shown(panel, add_head):
    add_head()
    panel.settle()
    slicer.util.selectModule("SegmentEditor")
    slicer.mrmlScene.Clear(0)
    panel.settle()
    assert panel.parameters is None
    assert not panel.ui.runButton.enabled
    node = add_head()
    slicer.util.selectModule("ICHWeakSeg")
    assert panel.parameters.inputVolume is node


@pytest.mark.parametrize("what", ["CT", "segmentation", "parameters"])
def test_deleting_a_node_during_a_run(warm, add_head, what):
    node = add_head()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    warm.settle()
    warm.parameters.outputSegmentation = segmentation
    warm.settle()
    warm.ui.runButton.click()
    gone = {"CT": node, "segmentation": segmentation, "parameters": warm.parameters.parameterNode}[what]
    slicer.mrmlScene.RemoveNode(gone)
    warm.finish()
    if what == "CT":
        assert "removed from the scene" in warm.ui.statusLabel.text
        assert warm.ui.inputSelector.currentText == "Load a head CT first"
        assert not warm.ui.runButton.enabled
    else:
        # The result goes into a segmentation all the same.
        assert "Finished" in warm.ui.statusLabel.text
        results = [
            one
            for one in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
            if segmentations.ourSegmentIds(one)
        ]
        assert len(results) == 1
        assert warm.ui.resultSection.visible
        assert warm.ui.runButton.enabled


def test_a_result_that_comes_right_after_the_parameters_went(warm, add_head, wait):
    add_head()
    warm.settle()
    warm.ui.runButton.click()
    # The panel has had no time to look at the scene again.
    warm.widget._settling.setInterval(600_000)
    slicer.mrmlScene.RemoveNode(warm.parameters.parameterNode)
    wait(lambda: not warm.running)
    assert segmentations.ourSegmentIds(warm.segmentation)
    assert warm.parameters.parameterNode.GetScene() is slicer.mrmlScene
    assert warm.ui.resultSection.visible
    warm.widget._settling.stop()


def test_deleting_the_result_hides_it(warm, add_head):
    add_head()
    warm.settle()
    warm.run()
    assert warm.ui.resultSection.visible
    slicer.mrmlScene.RemoveNode(warm.segmentation)
    warm.settle()
    assert warm.segmentation is None
    assert not warm.ui.resultSection.visible
    assert warm.ui.runButton.enabled


def test_reloading_the_module_stops_the_run(panel, add_head, wait):
    add_head()
    panel.settle()
    worker = ScriptedWorker(silent)
    old, before = panel.widget, sys.modules["ICHWeakSegSlicer.logic"]
    panel.start(worker)
    old.onReload()
    assert worker.killed
    assert old.logic is None
    assert sys.modules["ICHWeakSegSlicer.logic"] is not before
    new = slicer.modules.ICHWeakSegWidget
    assert new is not old
    assert type(new).__module__ == "ICHWeakSeg"
    wait(lambda: new.ui.runButton.enabled)
    assert new.ui.runButton.text == "&Segment"
    # Nothing of the old panel listens any more.
    add_head("Another")
    wait(lambda: new.ui.inputSelector.findText("Another") >= 0)


def test_quitting_slicer_ends_the_worker(panel, add_head):
    add_head()
    panel.settle()
    worker = ScriptedWorker(silent)
    panel.start(worker)
    panel.application.quit()
    assert worker.killed
    assert panel.logic is None


def test_another_ct_does_not_write_over_the_first_ones_result(warm, add_head):
    first = add_head("First")
    warm.settle()
    warm.run()
    result = warm.segmentation
    second = add_head("Second")
    warm.settle()
    warm.choose(warm.ui.inputSelector, "Second")
    warm.settle()
    assert warm.parameters.inputVolume is second
    assert warm.segmentation is None
    assert not warm.ui.resultSection.visible
    warm.choose(warm.ui.inputSelector, "First")
    warm.settle()
    assert warm.parameters.inputVolume is first
    # Nothing was chosen in between: the user finds the result again by choosing it.
    warm.ui.outputSelector.setCurrentNode(result)
    warm.settle()
    assert warm.ui.resultSection.visible
