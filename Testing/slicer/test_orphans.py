"""Hidden nodes of a result that was deleted go; nobody else's do, and none while the scene is in between."""

import pytest
from conftest import slicer
from test_logic import begun, node_ids
from test_questions import result_on

from ICHWeakSegSlicer import maps, segmentations
from ICHWeakSegSlicer.orphans import removeOrphans


@pytest.fixture
def result(logic, load_ct):
    """A result with subtypes, and its map."""
    return logic.segment(load_ct().node, model="many", lesionTable=False)


def hidden(segmentation):
    """Its map and its partition."""
    return [segmentation.GetNodeReference(role) for role in (maps.MAP_ROLE, segmentations.SUBTYPES_ROLE)]


def test_a_deleted_result_leaves_nothing_behind(result, scene):
    nodes = hidden(result)
    display = nodes[0].GetDisplayNode()
    assert all(node.GetHideFromEditors() for node in nodes)
    removeOrphans(scene)
    assert all(node.GetScene() is scene for node in nodes)
    scene.RemoveNode(result)
    removeOrphans(scene)
    assert [node.GetScene() for node in (*nodes, display)] == [None] * 3


def test_the_next_run_takes_those_away_that_were_left(logic, load_ct, result, scene):
    nodes, before = hidden(result), node_ids(scene)
    scene.RemoveNode(result)
    logic.segment(load_ct().node, model="tiny", lesionTable=False)
    assert all(node.GetScene() is None for node in nodes)
    # One volume more, its display, segmentation, map; the two hidden ones of the first run have gone.
    volumes = [one for one in node_ids(scene) - before if one.startswith("vtkMRMLScalarVolumeNode")]
    assert len(volumes) == 2


def test_a_run_that_keeps_no_map_takes_the_earlier_one_away(logic, load_ct, scene):
    loaded = load_ct()
    segmentation = logic.segment(loaded.node, model="tiny")
    earlier = maps.mapOf(segmentation)
    logic.segment(loaded.node, segmentation, model="tiny", keepMap=False)
    assert earlier.GetScene() is None


def test_what_somebody_can_see_or_made_himself_stays(load_ct, scene):
    loaded = load_ct()
    segmentation = result_on(loaded)
    shown = maps.mapOf(segmentation)
    shown.SetHideFromEditors(False)
    own = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "own")
    own.SetHideFromEditors(True)
    scene.RemoveNode(segmentation)
    removeOrphans(scene)
    assert shown.GetScene() is own.GetScene() is scene


def test_a_map_that_two_refer_to_stays_with_one_of_them(load_ct, scene):
    segmentation = result_on(load_ct())
    mapNode = maps.mapOf(segmentation)
    copy = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "copy")
    copy.Copy(segmentation)
    scene.RemoveNode(segmentation)
    removeOrphans(scene)
    assert maps.mapOf(copy) is mapNode
    scene.RemoveNode(copy)
    removeOrphans(scene)
    assert mapNode.GetScene() is None


def test_nothing_goes_while_the_scene_is_in_between(load_ct, scene):
    segmentation = result_on(load_ct())
    mapNode = maps.mapOf(segmentation)
    scene.RemoveNode(segmentation)
    for state in (scene.BatchProcessState, scene.ImportState, scene.CloseState):
        scene.StartState(state)
        removeOrphans(scene)
        assert mapNode.GetScene() is scene
        scene.EndState(state)
    removeOrphans(scene)
    assert mapNode.GetScene() is None


def test_nothing_goes_that_undo_may_need(load_ct, scene):
    scene.SetUndoOn()
    segmentation = result_on(load_ct())
    mapNode = maps.mapOf(segmentation)
    segmentation.SetUndoEnabled(True)
    scene.SaveStateForUndo(segmentation)
    scene.RemoveNode(segmentation)
    removeOrphans(scene)
    assert mapNode.GetScene() is scene
    scene.ClearUndoStack()
    scene.SetUndoOff()
    removeOrphans(scene)
    assert mapNode.GetScene() is None


def test_the_map_of_a_running_job_stays(logic, load_ct, scene):
    loaded = load_ct()
    segmentation = result_on(loaded)
    mapNode = maps.mapOf(segmentation)
    job = logic.start(loaded.node, model="tiny", outputMap=mapNode)
    begun(logic, job)
    scene.RemoveNode(segmentation)
    removeOrphans(scene)
    assert mapNode.GetScene() is scene
    assert job.wait().state == "finished"
    assert maps.mapOf(job.segmentationNode) is mapNode


def test_a_saved_scene_keeps_its_maps(make_scene, load_ct, scene, tmp_path):
    segmentation = result_on(load_ct())
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    other = make_scene().scene
    # As the panel does, with every node that comes.
    other.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, lambda *_: removeOrphans(other))
    assert other.ReadFromMRB(path)
    removeOrphans(other)
    assert maps.mapOf(other.GetFirstNodeByName(segmentation.GetName())) is not None
