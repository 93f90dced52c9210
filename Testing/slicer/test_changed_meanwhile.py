"""What the user does while the worker is at work: the result of what was there before is not written over it."""

import numpy as np
import pytest
from conftest import add_linear_transform
from slicer.util import arrayFromVolume, arrayFromVolumeModified, updateVolumeFromArray
from test_logic import begun, edit, node_ids
from test_questions import result_on
from test_segmentations import mask_of

from ICHWeakSegSlicer import lesiontables, maps, segmentations


def put_under_transform(loaded):
    transform = add_linear_transform(loaded.node.GetScene(), np.diag([1.5, 1, 1, 1.0]))
    loaded.node.SetAndObserveTransformNodeID(transform.GetID())


def replace_voxels(loaded):
    updateVolumeFromArray(loaded.node, np.where(loaded.blood, 20, loaded.hu).astype(np.int16))


def paint_voxels(loaded):
    arrayFromVolume(loaded.node)[0] = 0
    arrayFromVolumeModified(loaded.node)


def take_slices_away(loaded):
    updateVolumeFromArray(loaded.node, loaded.hu[:10].copy())


def take_voxels_away(loaded):
    loaded.node.SetAndObserveImageData(None)


def widen(loaded):
    loaded.node.SetSpacing(5, 5, 8)


CHANGES = [put_under_transform, replace_voxels, paint_voxels, take_slices_away, take_voxels_away, widen]


@pytest.fixture
def turned(load_ct):
    """A CT under a transform that can be changed."""
    return load_ct("axial", "linear")


def turn(loaded):
    loaded.node.GetParentTransformNode().SetMatrixTransformToParent(None)


@pytest.mark.parametrize("change", CHANGES)
def test_a_ct_that_changed_while_it_was_segmented(logic, load_ct, scene, change):
    loaded = load_ct()
    job = logic.start(loaded.node, model="tiny")
    begun(logic, job)
    change(loaded)
    before = node_ids(scene)
    assert job.wait().state == "failed"
    assert job.error == "Head CT was changed while it was segmented; segment it again."
    assert node_ids(scene) == before


def test_a_ct_that_changed_before_the_worker_had_it(logic, load_ct, scene):
    loaded = load_ct()
    job = logic.start(loaded.node, model="tiny")
    paint_voxels(loaded)
    assert job.wait().state == "failed"
    assert "was changed while it was segmented" in job.error


def test_a_transform_that_changed_while_its_ct_was_segmented(logic, turned):
    job = logic.start(turned.node, model="tiny")
    begun(logic, job)
    turn(turned)
    assert "was changed while" in job.wait().error


def test_a_name_or_a_display_is_no_change(logic, load_ct):
    loaded = load_ct()
    job = logic.start(loaded.node, model="tiny")
    begun(logic, job)
    loaded.node.SetName("Another name")
    loaded.node.GetDisplayNode().SetWindowLevel(80, 40)
    loaded.node.GetImageData().GetScalarRange()
    assert job.wait().state == "finished"


@pytest.mark.parametrize("change", CHANGES)
def test_a_ct_that_changed_while_its_map_was_cut(logic, load_ct, scene, change):
    loaded = load_ct()
    segmentation = result_on(loaded, refine="threshold")
    before, nodes = mask_of(segmentation).copy(), node_ids(scene)
    job = logic.startThreshold(segmentation, 0.6)
    logic.poll()
    change(loaded)
    assert job.wait().state == "failed"
    assert job.error == "Head CT was changed while its map was cut; cut it again."
    np.testing.assert_array_equal(mask_of(segmentation), before)
    assert {one for one in node_ids(scene) - nodes if "Transform" not in one} == set()


def test_a_ct_without_voxels_is_a_sentence_for_a_cut(logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded)
    take_voxels_away(loaded)
    job = logic.startThreshold(segmentation, 0.6)
    logic.poll()
    assert job.state == "failed"
    assert "holds no voxels" in job.error


def test_a_ct_that_changed_while_its_lesions_were_measured(logic, load_ct, scene):
    loaded = load_ct()
    segmentation = result_on(loaded)
    job = logic.startMeasure(segmentation)
    logic.poll()
    put_under_transform(loaded)
    before = node_ids(scene)
    assert job.wait().error == "Head CT was changed while it was measured; measure it again."
    assert lesiontables.lesionTableOf(segmentation) is None
    assert node_ids(scene) == before


@pytest.mark.parametrize("which", [0, 1])
def test_a_ct_that_changed_while_two_were_compared(logic, load_ct, scene, which):
    scans = load_ct(name="First"), load_ct("axial", "linear", "Second")
    job = logic.startFollowUp(*[result_on(one) for one in scans])
    logic.poll()
    paint_voxels(scans[which])
    before = node_ids(scene)
    name = scans[which].node.GetName()
    assert job.wait().error == f"{name} was changed while it was compared; compare again."
    assert node_ids(scene) == before


def test_a_ct_that_changed_while_its_report_was_made(logic, load_ct, tmp_path):
    loaded = load_ct()
    job = logic.startReport(result_on(loaded), tmp_path / "report.html")
    logic.poll()
    paint_voxels(loaded)
    assert job.wait().error == "Head CT was changed while its report was made; make the report again."
    assert list(tmp_path.glob("*.html")) == []


# Edits, other runs, deleted nodes


def test_an_edit_while_a_cut_is_under_way_stays(logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded, refine="threshold")
    job = logic.startThreshold(segmentation, 0.6)
    logic.poll()
    edit(segmentation, loaded)
    edited = mask_of(segmentation).copy()
    assert job.wait().state == "failed"
    assert "edited" in job.error
    np.testing.assert_array_equal(mask_of(segmentation), edited)
    # Somebody who said so beforehand gets the cut.
    job = logic.startThreshold(segmentation, 0.6, overwriteEdits=True)
    logic.poll()
    edit(segmentation, loaded)
    assert job.wait().state == "finished"
    assert mask_of(segmentation)[0, 0, 0] == 0


def test_an_edit_while_a_cut_waits_stays(logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded)
    job = logic.startThreshold(segmentation, 0.6)
    edit(segmentation, loaded)
    logic.poll()
    assert "edited" in job.error


def test_overwriting_edits_leaves_the_other_reasons(logic, load_ct, scene):
    loaded = load_ct()
    segmentation = result_on(loaded)
    edit(segmentation, loaded)
    assert "edited" in logic.canRecut(segmentation)
    assert logic.canRecut(segmentation, overwriteEdits=True) == ""
    mapNode = maps.mapOf(segmentation)
    mapNode.SetAttribute("ICHWeakSeg.run", "of another one")
    for part, spoil in (
        ("another run", lambda: None),
        ("map was not kept", lambda: scene.RemoveNode(mapNode)),
        ("not in the scene", lambda: scene.RemoveNode(loaded.node)),
    ):
        spoil()
        assert part in logic.canRecut(segmentation, overwriteEdits=True)
        with pytest.raises(ValueError, match=part):
            logic.setThreshold(segmentation, 0.6, overwriteEdits=True)
        assert not logic.busy


@pytest.mark.parametrize(
    ("what", "node_of"),
    [
        ("CT", segmentations.referenceVolume),
        ("segmentation", lambda node: node),
        ("localization map", maps.mapOf),
    ],
)
def test_what_was_removed_while_a_cut_was_under_way_is_named(logic, load_ct, scene, what, node_of):
    segmentation = result_on(load_ct())
    job = logic.startThreshold(segmentation, 0.6)
    logic.poll()
    scene.RemoveNode(node_of(segmentation))
    assert job.wait().state == "cancelled"
    assert job.error == f"The {what} was removed from the scene: the run was stopped."


def test_what_was_removed_while_two_were_compared_is_named(logic, load_ct, scene):
    first, second = load_ct(name="First"), load_ct("axial", "linear", "Second")
    before, after = result_on(first), result_on(second)
    job = logic.startFollowUp(before, after)
    logic.poll()
    scene.RemoveNode(before)
    assert "earlier CT's segmentation was removed" in job.wait().error


def test_two_logics_on_one_segmentation_each_cut_the_map_that_is_there(make_logic, load_ct, models):
    from tiny_models import tiny_card, tiny_model

    from ICHWeakSegLib.models import MapSettings

    plain = MapSettings("hgi-sam", 0.3, "threshold", {})
    for seed, name in enumerate(("one", "two")):
        if not (models / name).exists():
            tiny_model(models / name, tiny_card(name, map=plain), seed=seed)
    loaded, panel, console = load_ct(), make_logic(), make_logic()
    segmentation = panel.segment(loaded.node, model="one")
    console.segment(loaded.node, segmentation, model="two")
    wanted = mask_of(console.segment(loaded.node, model="two", threshold=0.5))
    unwanted = mask_of(console.segment(loaded.node, model="one", threshold=0.5))
    assert not np.array_equal(wanted, unwanted)
    panel.setThreshold(segmentation, 0.5)
    np.testing.assert_array_equal(mask_of(segmentation), wanted)


def test_a_run_of_another_logic_while_a_cut_is_under_way_stays(logic, make_logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded, refine="threshold")
    job = logic.startThreshold(segmentation, 0.6)
    logic.poll()
    make_logic().segment(loaded.node, segmentation, model="tiny")
    found = mask_of(segmentation).copy()
    assert "segmented again meanwhile" in job.wait().error
    np.testing.assert_array_equal(mask_of(segmentation), found)
