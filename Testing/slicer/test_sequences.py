"""CTs of a sequence: items that fail, browsing, a cancel in the middle; and what is no list of CTs."""

import numpy as np
import pytest
from conftest import add_volume
from test_logic import node_ids
from test_segmentations import voxels

from ICHWeakSegLib import InputError
from ICHWeakSegLib.segment import Cancelled
from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.placing import nodesOf


@pytest.fixture
def play(scene):
    """Makes a sequence of nodes and a browser that plays it."""

    def make(*nodes):
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Follow-up")
        sequence.SetIndexName("day")
        for day, node in enumerate(nodes):
            sequence.SetDataNodeAtValue(node, str(day))
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Player")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        return browser

    return make


@pytest.fixture
def air(scene):
    """A volume that is no head."""
    return add_volume(scene, np.full((5, 40, 40), -1000, np.int16), np.diag([-4, -4, 8, 1.0]), "Air")


def days(sequence):
    return [sequence.GetNthIndexValue(number) for number in range(sequence.GetNumberOfDataNodes())]


def voxels_shown(scene_setup, browser, found, item):
    """How many voxels of blood the browser shows for an item."""
    browser.SetSelectedItemNumber(item)
    scene_setup.logics["vtkSlicerSequencesLogic"].UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(found)
    return sum(voxels(shown, one)[0].shape[1] for one in segmentations.ourSegmentIds(shown))


def test_an_item_that_failed_shows_no_neighbours_segmentation(logic, load_ct, scene_setup, play, air, scene):
    loaded, table = load_ct(), scene.AddNewNodeByClass("vtkMRMLTableNode", "No CT")
    browser = play(loaded.node, air, table, loaded.node)
    problems, cases = [], []
    found = logic.segmentMany(
        browser,
        model="tiny",
        onError=lambda node, sentence: problems.append((node, sentence)),
        onCase=lambda *case: cases.append(case),
    )
    assert days(found) == ["0", "3"]
    assert [node for node, _ in problems] == [browser, browser]
    assert "Follow-up day 1 has the same value" in problems[0][1]
    assert problems[1][1] == "Follow-up day 2 is not a CT volume: take it out of the sequence."
    assert cases == [(number, 4) for number in range(4)]
    there = voxels_shown(scene_setup, browser, found, 0)
    assert there > 0
    # There and back.
    wanted = {0: there, 1: 0, 2: 0, 3: there}
    for item in (1, 0, 2, 3, 2, 1, 0):
        assert voxels_shown(scene_setup, browser, found, item) == wanted[item], item


def test_a_cancel_in_the_middle_keeps_what_is_finished(logic, load_ct, scene_setup, play, scene):
    loaded = load_ct()
    browser = play(loaded.node, loaded.node, loaded.node)
    cases = []

    def progressed(*step):
        if len(cases) == 2:
            logic._queue[0].cancel()

    with pytest.raises(Cancelled):
        logic.segmentMany(
            browser, model="tiny", onCase=lambda *case: cases.append(case), onProgress=progressed
        )
    (found,) = [node for node in nodesOf(scene, "vtkMRMLSequenceNode") if "hemorrhage" in node.GetName()]
    assert days(found) == ["0"]
    assert voxels_shown(scene_setup, browser, found, 0) > 0
    assert voxels_shown(scene_setup, browser, found, 1) == 0
    shown = browser.GetProxyNode(found)
    assert segmentations.referenceVolume(shown) is browser.GetProxyNode(browser.GetMasterSequenceNode())
    assert not logic.busy


def test_a_cancel_at_the_first_leaves_nothing(logic, load_ct, play, scene):
    browser = play(load_ct().node)
    before = node_ids(scene)
    with pytest.raises(Cancelled):
        logic.segmentMany(browser, model="tiny", onProgress=lambda *step: logic._queue[0].cancel())
    assert node_ids(scene) == before


def test_a_scene_that_is_closed_in_the_middle_ends_it(logic, load_ct, play, scene):
    browser = play(load_ct().node, load_ct().node)
    cases = []

    def progressed(*step):
        if len(cases) == 2 and scene.GetNumberOfNodes() > 10:
            scene.Clear(False)

    with pytest.raises(InputError, match="removed from the scene"):
        logic.segmentMany(
            browser,
            model="tiny",
            onCase=lambda *case: cases.append(case),
            onProgress=progressed,
            onError=lambda *_: None,
        )
    assert cases == [(0, 2), (1, 2)]
    assert nodesOf(scene, "vtkMRMLSegmentationNode") == nodesOf(scene, "vtkMRMLSequenceNode") == []


def test_sequences_without_a_ct(logic, load_ct, play, air, scene):
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    with pytest.raises(InputError, match="Player has no CT volumes"):
        logic.segmentMany(play(table, table), model="tiny")
    browser = play(air)
    before = node_ids(scene)
    with pytest.raises(InputError, match="same value"):
        logic.segmentMany(browser, model="tiny", onError=lambda *_: None)
    assert node_ids(scene) == before


def test_what_is_no_list_of_cts_is_a_sentence(logic, load_ct, play, scene):
    loaded = load_ct()
    sequence = play(loaded.node).GetMasterSequenceNode()
    for given, part in (
        (sequence, "Follow-up is a sequence: give the sequence browser node"),
        (loaded.node, "Head CT is one node: give a list"),
        (None, "no CT to segment"),
        ("Head CT", "no CT to segment"),
        (7, "no CT to segment"),
        ([None], "No volume is chosen"),
        (["Head CT"], "is not a volume node"),
    ):
        with pytest.raises(InputError, match=part):
            logic.segmentMany(given, model="tiny")
    assert not logic.busy
