"""The table of lesions in the panel: filled after a run, clicked, measured again."""

import numpy as np
import pytest
import slicer
from slicer.util import arrayFromSegmentBinaryLabelmap, arrayFromVTKMatrix
from standins.pythonqt import QtCore
from widget_tools import ScriptedWorker

from ICHWeakSegSlicer import lesiontables, panellesions

# Two boxes in the brain of the coarse phantom, as (k, j, i); voxels of 4 x 4 x 8 mm.
LARGE = (slice(9, 12), slice(28, 32), slice(16, 21))
SMALL = (slice(14, 15), slice(30, 31), slice(36, 37))


def cells(panel):
    """The table in the panel, row by row."""
    table = panel.ui.lesionsTable
    rows, columns = range(table.rowCount), range(table.columnCount)
    return [[table.item(row, column).text() for column in columns] for row in rows]


def heads(panel):
    table = panel.ui.lesionsTable
    return [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]


@pytest.fixture
def measured(warm, shown_on):
    """The panel with two lesions that the real worker measured."""
    blood = np.zeros((20, 60, 56), bool)
    blood[LARGE] = blood[SMALL] = True
    loaded, segmentation = shown_on(warm, blood)
    warm.ui.measureButton.click()
    warm.finish()
    return warm, loaded, segmentation


def add_axial_view():
    """An axial slice view of the scene."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientation("Axial")
    view.SetDimensions(400, 400, 1)
    view.SetFieldOfView(400, 400, 1)
    return view


def height(view):
    return arrayFromVTKMatrix(view.GetSliceToRAS())[2, 3]


def test_a_run_fills_the_table(warm, add_head):
    add_head()
    warm.settle()
    warm.run()
    table = lesiontables.lesionTableOf(warm.segmentation)
    assert table.GetName() == "Head CT hemorrhage lesions"
    assert warm.ui.lesionsTable.visible
    assert len(cells(warm)) == lesiontables.lesionCount(table) >= 1
    volume = table.GetTable().GetColumnByName("Volume (mL)").GetValue(0)
    assert cells(warm)[0][1] == f"{volume:.1f}"
    assert not warm.ui.lesionsLabel.visible
    # The same table again after the next run, not a second one.
    warm.run()
    assert lesiontables.lesionTableOf(warm.segmentation) is table


def test_without_a_measurement_it_says_so(panel, shown_on):
    shown_on(panel, np.ones((20, 60, 56), bool) & False)
    assert not panel.ui.lesionsTable.visible
    assert "not been measured yet" in panel.ui.lesionsLabel.text
    assert "lesions" in panel.ui.measureButton.text


def test_rows_are_what_was_measured(measured):
    panel, _, _ = measured
    assert heads(panel) == ["", "mL", "ABC/2", "mm", "HU", "Slices", "Side"]
    (first, second) = cells(panel)
    assert (first[0], first[1], first[5], first[6]) == ("1", "7.7", "3", "right")
    assert (second[0], second[1], second[5], second[6]) == ("2", "0.13", "1", "left")
    assert panel.ui.measureButton.enabled


def test_a_click_on_a_row_moves_the_slices(measured):
    panel, _, _ = measured
    view = add_axial_view()
    panel.ui.lesionsTable.cellClicked.emit(1, 0)
    assert height(view) == pytest.approx(8 * 14 - 40)
    panel.ui.lesionsTable.cellClicked.emit(0, 3)
    assert height(view) == pytest.approx(8 * 10 - 40)


def test_arrow_keys_move_the_slices_too(measured):
    panel, _, _ = measured
    view = add_axial_view()
    panel.ui.lesionsTable.setCurrentCell(0, 0)
    assert height(view) == pytest.approx(8 * 10 - 40)
    panel.ui.lesionsTable.setFocus()
    from PySide6 import QtTest

    QtTest.QTest.keyClick(panel.ui.lesionsTable, QtCore.Qt.Key.Key_Down)
    assert height(view) == pytest.approx(8 * 14 - 40)


def test_a_click_counts_the_transform_that_came_later(measured):
    panel, loaded, _ = measured
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[2, 3] = 25
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    loaded.node.SetAndObserveTransformNodeID(transform.GetID())
    view = add_axial_view()
    panel.ui.lesionsTable.cellClicked.emit(0, 0)
    assert height(view) == pytest.approx(8 * 10 - 40 + 25)


def test_an_edit_asks_for_a_new_measurement(measured):
    panel, loaded, segmentation = measured
    mask = arrayFromSegmentBinaryLabelmap(segmentation, "hemorrhage", loaded.node)
    mask[SMALL] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, "hemorrhage", loaded.node)
    panel.settle()
    assert "measure again" in panel.ui.lesionsLabel.text
    assert len(cells(panel)) == 2
    panel.ui.measureButton.click()
    assert not panel.ui.measureButton.enabled
    panel.finish()
    assert len(cells(panel)) == 1
    assert not panel.ui.lesionsLabel.visible


def test_a_new_threshold_is_measured_once_the_slider_rests(measured, wait):
    panel, _, segmentation = measured
    assert panellesions.REST_MS > 100
    panel.widget.lesions._rest.setInterval(20)
    before = cells(panel)
    panel.ui.thresholdSlider.value = 0.65
    table = lesiontables.lesionTableOf(segmentation)
    wait(lambda: cells(panel) != before and lesiontables.isUpToDate(table, segmentation))
    assert 0 < float(cells(panel)[0][1]) < float(before[0][1])
    # Where nothing is left, no row is.
    panel.ui.thresholdSlider.value = 0.98
    wait(lambda: not cells(panel) and lesiontables.isUpToDate(table, segmentation))
    assert not panel.ui.lesionsTable.visible
    panel.finish()


def test_measuring_from_the_console_shows(panel, shown_on, shared_worker):
    blood = np.zeros((20, 60, 56), bool)
    blood[LARGE] = True
    _, segmentation = shown_on(panel, blood)
    if not shared_worker:
        shared_worker.append(panel.logic.client)
    panel.logic._client = shared_worker[0]
    panel.logic.measure(segmentation)
    panel.settle()
    panel.logic._client = None
    assert [row[1] for row in cells(panel)] == ["7.7"]


def test_an_error_of_a_measurement_reaches_the_panel(panel, shown_on, wait):
    shown_on(panel, np.ones((20, 60, 56), bool))
    worker = ScriptedWorker(lambda request: [{"event": "error", "kind": "bug", "sentence": "It broke."}])
    panel.logic._runner = lambda: worker
    panel.ui.measureButton.click()
    wait(lambda: "It broke." in panel.ui.statusLabel.text)
    panel.settle()
    assert panel.ui.measureButton.enabled
    assert worker.requests[0]["do"] == "measure"


def test_the_button_waits_while_a_run_is_under_way(panel, shown_on):
    shown_on(panel, np.ones((20, 60, 56), bool))
    panel.logic._runner = lambda: ScriptedWorker(lambda request: [])
    panel.ui.runButton.click()
    for button in (panel.ui.measureButton, panel.ui.reportButton):
        assert not button.enabled
        assert "under way" in button.toolTip
    panel.ui.runButton.click()
    assert panel.ui.measureButton.enabled


def test_the_ct_gone_says_why_not(panel, shown_on):
    loaded, _ = shown_on(panel, np.ones((20, 60, 56), bool))
    slicer.mrmlScene.RemoveNode(loaded.node)
    panel.settle()
    assert not panel.ui.measureButton.enabled
    assert "load it to measure" in panel.ui.measureButton.toolTip


def test_closing_the_scene_while_measuring_is_survived(panel, shown_on, wait):
    shown_on(panel, np.ones((20, 60, 56), bool))
    worker = ScriptedWorker(lambda request: [])
    panel.logic._runner = lambda: worker
    panel.ui.measureButton.click()
    wait(lambda: worker.requests)
    slicer.mrmlScene.Clear(False)
    wait(lambda: not panel.logic.busy)
    panel.settle()
    assert not panel.ui.resultSection.visible
    assert panel.widget.lesions.table is None


def test_a_table_that_is_chosen_later_takes_the_next_measurement(measured):
    panel, _, segmentation = measured
    table = panel.ui.lesionTableSelector.addNode()
    panel.settle()
    panel.ui.measureButton.click()
    panel.finish()
    assert lesiontables.lesionTableOf(segmentation) is table
    assert len(cells(panel)) == 2


def test_a_chosen_lesion_table_takes_the_rows(warm, add_head):
    add_head()
    warm.settle()
    table = warm.ui.lesionTableSelector.addNode()
    warm.run()
    assert warm.parameters.outputLesionTable is table
    assert lesiontables.lesionTableOf(warm.segmentation) is table
    assert cells(warm)


def test_a_narrow_panel_hides_no_row(measured):
    panel, *_ = measured
    table = panel.ui.lesionsTable
    for width in (700, 300):
        panel.widget.parent.resize(width, 900)
        panel.application.processEvents()
        panel.widget.refresh()
        panel.application.processEvents()
        last = table.visualItemRect(table.item(table.rowCount - 1, 0))
        assert last.bottom() <= table.viewport().height, width
