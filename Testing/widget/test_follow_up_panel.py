"""The follow-up section: two CTs chosen, compared by the real worker, overlay, cancel."""

import numpy as np
import pytest
import slicer
from widget_tools import ScriptedWorker, node_ids

from ICHWeakSegSlicer import followups, segmentations


@pytest.fixture
def two(warm, shown_on):
    """The panel with the section open and two scans of a head, the later one turned and with more blood."""
    first, before = shown_on(warm, None, "First")
    grown = first.blood.copy()
    k = np.nonzero(first.blood.any((1, 2)))[0]
    grown[k[-1] + 1] = first.blood[k[-1]]
    second, after = shown_on(warm, grown, "Second", "linear")
    warm.ui.followUpSection.collapsed = False
    warm.settle()
    return warm, (first, before), (second, after)


def test_the_section_is_closed_at_first_and_offers_the_result(two):
    panel, _, (_, after) = two
    assert panel.parameters.afterSegmentation is after
    assert not panel.ui.compareButton.enabled
    assert "Choose the segmentation of the baseline CT." in panel.ui.followUpLabel.text
    assert not panel.ui.showOverlayButton.enabled


def test_closed_at_first(panel):
    assert panel.ui.followUpSection.collapsed


def test_two_scans_are_compared(two):
    panel, (first, before), (_second, after) = two
    panel.ui.beforeSegmentationSelector.setCurrentNode(before)
    panel.settle()
    assert panel.ui.compareButton.enabled, panel.ui.compareButton.toolTip
    panel.ui.compareButton.click()
    assert panel.ui.compareButton.text == "Cancel"
    panel.finish()
    assert panel.ui.compareButton.text == "Compare"
    old = first.world.volume_ml(first.blood)
    assert f"{old:.1f} mL before" in panel.ui.followUpLabel.text
    assert "First to Second" in panel.ui.followUpLabel.text
    assert "Compared" in panel.ui.statusLabel.text
    table = panel.parameters.followUpTable
    _transform, overlay = followups.outputsOf(table)
    assert not overlay.GetDisplayNode().GetVisibility()
    panel.ui.showOverlayButton.click()
    assert overlay.GetDisplayNode().GetVisibility()
    panel.settle()
    assert panel.ui.showOverlayButton.checked
    # Once more: the same nodes.
    nodes = node_ids(slicer.mrmlScene)
    panel.ui.compareButton.click()
    panel.finish()
    assert node_ids(slicer.mrmlScene) == nodes
    # Figures of masks that have changed are told to be old.
    assert "has changed since" not in panel.ui.followUpLabel.text
    one = segmentations.ourSegmentIds(before)[0]
    kept = slicer.util.arrayFromSegmentBinaryLabelmap(before, one, first.node).copy()
    less = kept.copy()
    less[: less.shape[0] // 2] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(less, before, one, first.node)
    panel.widget.refresh()
    assert "has changed since" in panel.ui.followUpLabel.text
    slicer.util.updateSegmentBinaryLabelmapFromArray(kept, before, one, first.node)
    panel.widget.refresh()
    assert "has changed since" not in panel.ui.followUpLabel.text
    # Those of another pair are not shown at all.
    panel.ui.beforeSegmentationSelector.setCurrentNode(None)
    panel.settle()
    assert "mL before" not in panel.ui.followUpLabel.text
    assert "Choose the segmentation of the baseline CT." in panel.ui.followUpLabel.text
    # The other way round is another comparison.
    panel.ui.beforeSegmentationSelector.setCurrentNode(after)
    panel.ui.afterSegmentationSelector.setCurrentNode(before)
    panel.settle()
    panel.ui.compareButton.click()
    panel.finish()
    assert panel.parameters.followUpTable is not table


def test_cancel_leaves_the_scene(two, wait):
    panel, (_, before), _ = two
    panel.parameters.beforeSegmentation = before
    panel.settle()
    worker = ScriptedWorker(lambda request: [])
    kept, panel.logic._client = panel.logic._client, None
    panel.logic._runner = lambda: worker
    nodes = node_ids(slicer.mrmlScene)
    panel.ui.compareButton.click()
    wait(lambda: worker.requests)
    assert worker.requests[0]["do"] == "follow-up"
    panel.ui.compareButton.click()
    assert worker.killed
    assert not panel.logic.busy
    assert node_ids(slicer.mrmlScene) == nodes
    assert "Cancelled" in panel.ui.statusLabel.text
    assert panel.ui.compareButton.text == "Compare"
    panel.logic._client = kept


def test_an_error_is_a_sentence(two, wait):
    panel, (_, before), _ = two
    panel.parameters.beforeSegmentation = before
    panel.settle()
    worker = ScriptedWorker(lambda request: [{"event": "error", "kind": "input", "sentence": "No skull."}])
    kept, panel.logic._client = panel.logic._client, None
    panel.logic._runner = lambda: worker
    panel.ui.compareButton.click()
    wait(lambda: "No skull." in panel.ui.statusLabel.text)
    assert not panel.ui.progressBar.visible
    panel.logic._client = kept


def test_closing_the_scene_stops_it(two, wait):
    panel, (_, before), _ = two
    panel.parameters.beforeSegmentation = before
    panel.settle()
    worker = ScriptedWorker(lambda request: [])
    kept, panel.logic._client = panel.logic._client, None
    panel.logic._runner = lambda: worker
    panel.ui.compareButton.click()
    wait(lambda: worker.requests)
    slicer.mrmlScene.Clear(False)
    panel.settle()
    assert not panel.logic.busy
    assert panel.ui.compareButton.text == "Compare"
    panel.logic._client = kept
