"""Outputs that a run cannot write into are refused before it starts, with one sentence, and stay as they are."""

import numpy as np
import pytest
from conftest import slicer
from slicer.util import arrayFromVolume
from test_logic import node_ids
from test_questions import painted, result_on

from ICHWeakSegLib import InputError
from ICHWeakSegSlicer import segmentations, tables
from ICHWeakSegSlicer.outputs import Outputs, problemWithOutputs

KINDS = {
    "outputSegmentation": "vtkMRMLSegmentationNode",
    "outputMap": "vtkMRMLScalarVolumeNode",
    "outputTable": "vtkMRMLTableNode",
    "outputSliceTable": "vtkMRMLTableNode",
    "outputLesionTable": "vtkMRMLTableNode",
}


@pytest.mark.parametrize("name", KINDS)
def test_the_ct_is_never_an_output(logic, load_ct, scene, name):
    loaded = load_ct()
    before, nodes = arrayFromVolume(loaded.node).copy(), node_ids(scene)
    with pytest.raises(InputError, match="written over the CT: choose another output"):
        logic.start(loaded.node, model="tiny", **{name: loaded.node})
    assert not logic.busy
    np.testing.assert_array_equal(arrayFromVolume(loaded.node), before)
    assert node_ids(scene) == nodes


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("outputSegmentation", "vtkMRMLTableNode"),
        ("outputMap", "vtkMRMLTableNode"),
        ("outputMap", "vtkMRMLLabelMapVolumeNode"),
        ("outputMap", "vtkMRMLVectorVolumeNode"),
        ("outputTable", "vtkMRMLSegmentationNode"),
        ("outputSliceTable", "vtkMRMLScalarVolumeNode"),
        ("outputLesionTable", "vtkMRMLTextNode"),
    ],
)
def test_a_node_of_another_class_is_refused_before_anything_is_written(logic, load_ct, scene, name, kind):
    loaded = load_ct()
    given = {output: scene.AddNewNodeByClass(KINDS[output], output) for output in KINDS if output != name}
    given[name] = scene.AddNewNodeByClass(kind, "wrong one")
    with pytest.raises(InputError, match=r"wrong one is not a .*: choose a .*, or none\."):
        logic.start(loaded.node, model="tiny", **given)
    assert not logic.busy
    if name != "outputSegmentation":
        assert not segmentations.ourSegmentIds(given["outputSegmentation"])


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_node_is_a_sentence(logic, load_ct, name):
    with pytest.raises(InputError, match="'x', which is no node"):
        logic.start(load_ct().node, model="tiny", **{name: "x"})


@pytest.mark.parametrize("name", KINDS)
def test_a_node_of_another_scene_is_refused(logic, load_ct, name):
    elsewhere = slicer.vtkMRMLScene()
    for node in (elsewhere.AddNewNodeByClass(KINDS[name], "foreign"), getattr(slicer, KINDS[name])()):
        with pytest.raises(InputError, match="is not in the scene of Head CT"):
            logic.start(load_ct().node, model="tiny", **{name: node})


def test_one_table_is_not_for_several_outputs(logic, load_ct, scene):
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "one")
    with pytest.raises(InputError, match="one was chosen as output table and as output slice table"):
        logic.start(load_ct().node, model="tiny", outputTable=table, outputSliceTable=table)


def test_a_table_that_now_gets_other_rows_is_not_the_table_of_lesions(logic, load_ct):
    loaded = load_ct()
    first = logic.start(loaded.node, model="tiny").wait()
    table = first.lesionTableNode
    again = logic.start(loaded.node, first.segmentationNode, model="tiny", outputTable=table).wait()
    assert again.lesionTableNode is not table
    assert tables.tableOf(first.segmentationNode) is table


def test_right_outputs_are_no_problem(load_ct, scene):
    given = [scene.AddNewNodeByClass(kind) for kind in KINDS.values()]
    assert problemWithOutputs(Outputs(*given), load_ct().node) == ""
    assert problemWithOutputs(Outputs(), load_ct().node) == ""


def test_outputs_of_the_questions_are_checked_too(logic, load_ct, scene):
    first, second = load_ct(name="First"), load_ct("axial", "linear", "Second")
    before, after = result_on(first), result_on(second)
    own = painted(second, {"mine": second.blood})
    with pytest.raises(InputError, match="written over the CT"):
        logic.measure(before, outputTable=first.node)
    for options, part in (
        ({"outputTable": first.node}, "written over the CT"),
        ({"outputTransform": after}, "is not a linear transform"),
        ({"outputOverlay": own}, "written over painted"),
        ({"outputOverlay": before}, "written over"),
    ):
        with pytest.raises(InputError, match=part):
            logic.followUp(before, after, **options)
    assert own.GetSegmentation().GetNumberOfSegments() == 1
    assert not logic.busy
