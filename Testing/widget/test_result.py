"""The section about a result: figures, the threshold, and the ways on from there."""

import numpy as np
import pytest
import slicer
from slicer.util import arrayFromSegmentBinaryLabelmap
from slicer_scene import make_result
from standins import ctk_widgets
from widget_tools import ScriptedWorker

from ICHWeakSegSlicer import maps, segmentations, tables


@pytest.fixture
def shown(panel, load_ct):
    """A panel with a result in it that no worker made: the phantom's truth, with its map."""

    def show(masks=None, warnings=()):
        loaded = load_ct()
        result = make_result(loaded, masks, run="r1", map_threshold=0.4)
        result.warnings.extend(warnings)
        segmentation = segmentations.createSegmentationNode(loaded.node)
        segmentations.writeResult(segmentation, loaded.node, result)
        mapNode = maps.createMapNode(loaded.node, True)
        maps.writeMap(mapNode, loaded.node, result.map)
        mapNode.SetAttribute("ICHWeakSeg.run", "r1")
        maps.linkMap(segmentation, mapNode)
        panel.settle()
        panel.widget.result.remember(segmentation, result)
        panel.parameters.outputSegmentation = segmentation
        panel.widget.refresh()
        return loaded, segmentation, result

    return show


def test_volume_and_lesions_are_large_and_right(panel, shown):
    _, _, result = shown(warnings=["The CT is tilted."])
    assert panel.ui.resultSection.visible
    assert f"{result.total.volume_ml:.1f} mL" in panel.ui.volumeLabel.text
    assert "in one lesion" in panel.ui.volumeLabel.text
    assert not panel.ui.detailLabel.visible
    assert "The CT is tilted." in panel.ui.warningsLabel.text
    assert panel.ui.provenanceLabel.text.startswith("tiny 0.1")


def test_showing_a_result_cuts_nothing(panel, shown):
    shown()
    assert panel.ui.thresholdSlider.value == pytest.approx(0.4)
    assert not panel.logic.busy
    panel.widget.refresh()
    assert not panel.logic.busy


def test_no_blood_is_said_and_nothing_to_show_in_3d(panel, shown):
    shown(np.zeros((20, 60, 56), bool))
    assert "No blood found" in panel.ui.volumeLabel.text
    assert not panel.ui.show3DButton.enabled
    assert panel.ui.show3DButton.toolTip == "There is no blood to show."
    assert panel.ui.editorButton.enabled


def test_a_result_of_subtypes_has_a_row_each(panel, shown, load_ct):
    blood = load_ct(name="Other").blood
    half = blood.copy()
    half[: int(np.nonzero(blood)[0].mean()) + 1] = False
    _, _, result = shown({"EDH": blood & ~half, "SDH": half, "IVH": np.zeros_like(blood)})
    assert panel.ui.detailLabel.visible
    text = panel.ui.detailLabel.text
    for segment in result.segments:
        assert segment.name in text
        expected = f"{segment.found.volume_ml:.1f} mL" if segment.found.lesions else "none"
        assert expected in text
    assert f"{result.total.volume_ml:.1f} mL" in panel.ui.volumeLabel.text


def test_a_loaded_scene_shows_its_result_too(panel, shown):
    _, _, result = shown()
    # As after loading: the session knows of no run.
    panel.widget.result.forgetAll()
    panel.widget.refresh()
    assert f"{result.total.volume_ml:.1f} mL" in panel.ui.volumeLabel.text
    assert "in one lesion" in panel.ui.volumeLabel.text


def test_figures_follow_edits_and_the_slider_says_why_not(panel, shown):
    loaded, segmentation, result = shown()
    assert panel.ui.thresholdSlider.enabled
    mask = arrayFromSegmentBinaryLabelmap(segmentation, "hemorrhage", loaded.node)
    mask[: int(np.nonzero(mask)[0].mean()) + 1] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "hemorrhage", loaded.node)
    panel.settle()
    expected = loaded.world.volume_ml(mask)
    assert expected < result.total.volume_ml
    assert f"{expected:.1f} mL" in panel.ui.volumeLabel.text
    assert "Edited" in panel.ui.warningsLabel.text
    assert not panel.ui.thresholdSlider.enabled
    assert "edited" in panel.ui.thresholdSlider.toolTip


def test_renaming_a_segment_shows(panel, shown, load_ct):
    blood = load_ct(name="Other").blood
    _, segmentation, _ = shown({"EDH": blood, "SDH": np.zeros_like(blood)})
    segmentation.GetSegmentation().GetSegment("EDH").SetName("<left> bleed")
    panel.settle()
    assert "&lt;left&gt; bleed" in panel.ui.detailLabel.text


def test_the_ct_gone_leaves_the_result_readable(panel, shown):
    loaded, _, _ = shown()
    panel.widget.result.forgetAll()
    slicer.mrmlScene.RemoveNode(loaded.node)
    panel.settle()
    assert "? mL" in panel.ui.volumeLabel.text
    assert "not in the scene any more" in panel.ui.warningsLabel.text
    assert not panel.ui.thresholdSlider.enabled
    panel.ui.editorButton.click()
    assert slicer.modules.SegmentEditorWidget.editor.source is None


def test_a_segment_beyond_the_ct_is_named_and_gives_no_volume(panel, shown):
    _, segmentation, _ = shown()
    shift = np.eye(4)
    shift[0, 3] = 500
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    moved.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
    panel.widget.result.forgetAll()
    segmentation.SetAndObserveTransformNodeID(moved.GetID())
    panel.settle()
    assert "? mL" in panel.ui.volumeLabel.text
    assert "reaches beyond its CT" in panel.ui.warningsLabel.text
    assert "not in the scene" not in panel.ui.warningsLabel.text


def test_the_threshold_cuts_again_with_the_real_worker(warm, add_head):
    node = add_head()
    warm.settle()
    warm.choose(warm.ui.refineSelector, "Map alone")
    warm.settle()
    warm.run()
    before = arrayFromSegmentBinaryLabelmap(warm.segmentation, "hemorrhage", node).sum()
    assert warm.ui.thresholdSlider.value == pytest.approx(warm.logic.thresholdOf(warm.segmentation), abs=0.01)
    text = warm.ui.volumeLabel.text
    for value in (0.5, 0.6, 0.7, 0.8):
        warm.ui.thresholdSlider.value = value
    warm.finish()
    after = arrayFromSegmentBinaryLabelmap(warm.segmentation, "hemorrhage", node).sum()
    assert 0 < after < before
    assert warm.ui.volumeLabel.text != text
    assert warm.logic.thresholdOf(warm.segmentation) == pytest.approx(0.8)
    assert warm.ui.thresholdSlider.value == pytest.approx(0.8)
    # And once more: a cut of a cut.
    assert warm.ui.thresholdSlider.enabled, warm.ui.thresholdSlider.toolTip
    warm.ui.thresholdSlider.value = 0.1
    warm.finish()
    assert arrayFromSegmentBinaryLabelmap(warm.segmentation, "hemorrhage", node).sum() > after


def test_moving_the_slider_fast_asks_the_worker_for_the_first_and_the_last(panel, shown, wait):
    shown()
    worker = ScriptedWorker(lambda request: [])
    panel.logic._runner = lambda: worker
    panel.ui.thresholdSlider.value = 0.2
    wait(lambda: worker.requests)
    for value in (0.3, 0.4, 0.5):
        panel.ui.thresholdSlider.value = value
    worker.tell({"event": "error", "kind": "bug", "sentence": "No."})
    wait(lambda: len(worker.requests) == 2)
    assert [request["threshold"] for request in worker.requests] == [0.2, 0.5]


def test_an_error_of_a_cut_reaches_the_panel(panel, shown, wait):
    shown()
    worker = ScriptedWorker(
        lambda request: [{"event": "error", "kind": "input", "sentence": "It cannot be cut."}]
    )
    panel.logic._runner = lambda: worker
    panel.ui.thresholdSlider.value = 0.6
    wait(lambda: "It cannot be cut." in panel.ui.statusLabel.text)
    panel.settle()
    assert panel.ui.statusLabel.styleSheet
    # The slider goes back to where the mask was cut.
    assert panel.ui.thresholdSlider.value == pytest.approx(0.4)


def test_the_slider_waits_while_a_run_is_under_way(panel, shown):
    shown()
    panel.logic._runner = lambda: ScriptedWorker(lambda request: [])
    assert panel.ui.thresholdSlider.enabled
    panel.ui.runButton.click()
    assert not panel.ui.thresholdSlider.enabled
    assert "under way" in panel.ui.thresholdSlider.toolTip
    panel.ui.runButton.click()
    assert panel.ui.thresholdSlider.enabled


def test_segment_editor_opens_on_the_result(panel, shown):
    loaded, segmentation, _ = shown()
    panel.ui.editorButton.click()
    editor = slicer.modules.SegmentEditorWidget.editor
    assert panel.application.selector.opened[-1] == "SegmentEditor"
    assert editor.segmentation is segmentation
    assert editor.source is loaded.node
    assert editor.segment == "hemorrhage"


def test_segment_statistics_opens_on_the_result(panel, shown):
    loaded, segmentation, _ = shown()
    panel.ui.statisticsButton.click()
    statistics = slicer.modules.SegmentStatisticsWidget
    assert panel.application.selector.opened[-1] == "SegmentStatistics"
    assert statistics.segmentationSelector.node is segmentation
    assert statistics.scalarSelector.node is loaded.node


def test_a_slicer_without_the_module_or_the_main_window_says_so(panel, shown, monkeypatch):
    shown()
    monkeypatch.delattr(slicer.modules, "segmenteditor")
    panel.ui.editorButton.click()
    assert "no module SegmentEditor" in panel.ui.statusLabel.text
    monkeypatch.setattr(panel.application, "topLevelWidgets", lambda: [])
    panel.ui.statisticsButton.click()
    assert "without Slicer's main window" in panel.ui.statusLabel.text


def test_show_in_3d_follows_and_sets_the_display(panel, shown):
    _, segmentation, _ = shown()
    display = segmentation.GetDisplayNode()
    assert panel.ui.show3DButton.checked == bool(display.GetVisibility3D())
    panel.ui.show3DButton.checked = True
    panel.ui.show3DButton.click()
    assert not display.GetVisibility3D()
    display.SetVisibility3D(True)
    panel.settle()
    assert panel.ui.show3DButton.checked


def test_show_map_lays_it_over_the_ct_and_takes_it_away(panel, shown):
    loaded, segmentation, _ = shown()
    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetBackgroundVolumeID(loaded.node.GetID())
    panel.ui.showMapButton.click()
    mapNode = maps.mapOf(segmentation)
    assert composite.GetForegroundVolumeID() == mapNode.GetID()
    assert panel.ui.showMapButton.checked
    panel.settle()
    # The map never becomes a CT to choose.
    assert panel.ui.inputSelector.findText(mapNode.GetName()) < 0
    panel.ui.showMapButton.click()
    assert composite.GetForegroundVolumeID() in (None, "")
    assert not panel.ui.showMapButton.checked


def test_a_map_that_no_view_can_show_is_told(panel, shown):
    shown()
    panel.ui.showMapButton.click()
    assert "show the CT in one first" in panel.ui.statusLabel.text
    assert not panel.ui.showMapButton.checked


def test_without_a_map_the_buttons_say_why(panel, shown):
    _, segmentation, _ = shown()
    slicer.mrmlScene.RemoveNode(maps.mapOf(segmentation))
    panel.settle()
    assert not panel.ui.showMapButton.enabled
    assert "not kept" in panel.ui.showMapButton.toolTip
    assert not panel.ui.thresholdSlider.enabled
    assert "not kept" in panel.ui.thresholdSlider.toolTip


def test_a_table_chosen_after_the_run_is_filled(panel, shown):
    _, segmentation, _ = shown()
    table = panel.ui.tableSelector.addNode()
    panel.settle()
    assert panel.parameters.outputTable is table
    assert table.GetNumberOfColumns() > 1
    assert tables.tableOf(segmentation) is table


def test_a_table_with_something_in_it_is_left_alone(panel, shown):
    shown()
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "The user's own")
    column = table.AddColumn()
    column.SetName("mine")
    panel.ui.tableSelector.setCurrentNode(table)
    panel.settle()
    assert [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())] == ["mine"]


def test_nothing_here_opens_a_popup(panel, shown):
    shown()
    for button in ("editorButton", "statisticsButton", "show3DButton", "showMapButton"):
        getattr(panel.ui, button).click()
    assert not ctk_widgets.ctkMessageBox.shown
