"""Runs as users have them: the bundled model, a saved scene, the user's own segments, a surface."""

import numpy as np
import pytest
from conftest import LoadedCT, add_volume, make_result, slicer, vtk
from phantom_heads import dice, head
from slicer.util import vtkMatrixFromArray
from test_logic import node_ids
from test_segmentations import in_order, voxels, world_points
from test_tables import columns

from ICHWeakSegSlicer import maps, segmentations
from ICHWeakSegSlicer.placing import nodesOf

HIGH = 0.3
SUBTYPES = ["EDH", "IPH", "IVH", "SAH", "SDH"]


@pytest.fixture
def add_head(scene):
    """Adds the phantom in slices of this many mm, on a finer grid than `load_ct`'s."""

    def add(thickness):
        found = head(thickness)
        affine = found.ct.ijk_to_ras
        node = add_volume(scene, found.ct.hu, affine, "Phantom")
        return LoadedCT(node, found.ct.hu, found.blood, found.ct, affine)

    return add


def mask_on(loaded, segmentation, segment="hemorrhage"):
    """A segment on the grid of its CT."""
    mask = np.zeros(loaded.hu.shape, bool)
    i, j, k = voxels(segmentation, segment)[0]
    mask[k, j, i] = True
    return mask


def test_the_bundled_model_finds_the_phantoms_bleed(make_logic, add_head, scene):
    loaded, logic = add_head(5), make_logic()
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    job = logic.start(loaded.node, outputTable=table, device="cpu").wait()
    assert job.state == "finished", job.error
    true = loaded.world.volume_ml(loaded.blood)
    mask = mask_on(loaded, job.segmentationNode)
    assert dice(mask, loaded.blood) > 0.9
    (volume,) = columns(table)["Volume (mL)"]
    assert volume == pytest.approx(true, rel=0.15)
    assert volume == pytest.approx(loaded.world.volume_ml(mask))
    assert segmentations.provenanceOf(job.segmentationNode)["model"] == "starter"
    assert columns(job.lesionTableNode)["Volume (mL)"][-1] == pytest.approx(volume, abs=0.001)


@pytest.mark.parametrize(("model", "names"), [("tiny", ["hemorrhage"]), ("many", SUBTYPES)])
def test_a_saved_scene_is_cut_as_it_was_before(
    logic, make_logic, make_scene, load_ct, scene, tmp_path, monkeypatch, model, names
):
    loaded = load_ct("oblique", "linear", name="Köpfe 頭")
    segmentation = logic.segment(loaded.node, model=model)
    before = {name: mask_on(loaded, segmentation, name) for name in names}
    path = str(tmp_path / "scéne mit Leerzeichen.mrb")
    assert scene.WriteToMRB(path)
    logic.setThreshold(segmentation, HIGH)
    cut = {name: mask_on(loaded, segmentation, name) for name in names}
    assert any((cut[name] != before[name]).any() for name in names)
    other = make_scene().scene
    assert other.ReadFromMRB(path)
    # Another session, on a machine without the model.
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path))
    later = make_logic()
    (again,) = nodesOf(other, "vtkMRMLSegmentationNode")
    assert later.canRecut(again) == ""
    assert later.thresholdOf(again) == 0
    for threshold, wanted in ((HIGH, cut), (0.0, before)):
        later.setThreshold(again, threshold)
        for name in names:
            np.testing.assert_array_equal(mask_on(loaded, again, name), wanted[name])


def add_segment(node, segment_id, name, affine, extent):
    """A segment of the user's own on a grid of its own."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(vtkMatrixFromArray(affine))
    image.SetExtent(*extent)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(1)
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation("Binary labelmap", image)
    assert node.GetSegmentation().AddSegment(segment, segment_id)


# Sagittal slices with voxels of another size.
SAGITTAL = np.array([[0, 0, 3, -50], [2, 0, 0, -40], [0, 2.5, 0, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("names", [{"Mine": "Mine"}, {"hemorrhage": "Intracranial hemorrhage", "a": "a"}])
@pytest.mark.parametrize("collapsed", [False, True])
def test_the_users_segments_of_another_geometry_stay_over_several_runs(
    logic, load_ct, scene, names, collapsed
):
    loaded, second = load_ct(), load_ct("flipped", name="Second")
    own = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "own")
    for number, (segment_id, name) in enumerate(names.items()):
        shift = 8 * number
        add_segment(own, segment_id, name, SAGITTAL, (5 + shift, 9 + shift, 5, 9, 3, 6))
    if collapsed:
        own.GetSegmentation().CollapseBinaryLabelmaps(False)
    before = {one: in_order(world_points(own, one)) for one in names}
    assert all(len(points) for points in before.values())
    runs = (
        lambda: logic.segment(loaded.node, own, model="tiny"),
        lambda: logic.setThreshold(own, HIGH),
        lambda: logic.segment(loaded.node, own, model="many"),
        lambda: logic.segment(second.node, own, model="tiny"),
    )
    for run in runs:
        run()
        assert list(own.GetSegmentation().GetSegmentIDs())[: len(names)] == list(names)
        for one, points in before.items():
            np.testing.assert_allclose(in_order(world_points(own, one)), points, atol=1e-6)
            assert own.GetSegmentation().GetSegment(one).GetName() == names[one]
    (ours,) = segmentations.ourSegmentIds(own)
    assert dice(mask_on(second, own, ours), second.blood) > 0.75


def test_the_surface_holds_the_volume_on_a_fine_grid(add_head):
    loaded = add_head(1)
    node = segmentations.createSegmentationNode(loaded.node)
    result = make_result(loaded)
    segmentations.writeResult(node, loaded.node, result)
    mass = vtk.vtkMassProperties()
    mass.SetInputData(node.GetClosedSurfaceInternalRepresentation("hemorrhage"))
    mass.Update()
    # What Slicer's smoothing takes away shrinks with the voxels.
    assert mass.GetVolume() / 1000 == pytest.approx(result.total.volume_ml, rel=0.05)


def test_one_bad_ct_among_many_leaves_nothing(logic, load_ct, scene):
    one, two = load_ct(name="One"), load_ct("flipped", name="Two")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Table")
    problems = []
    # With the colours of the map, which serve all maps.
    logic.segment(one.node, model="tiny", lesionTable=False)
    before = node_ids(scene)
    found = logic.segmentMany(
        [one.node, None, empty, "Head", table, two.node],
        model="tiny",
        lesionTable=False,
        onError=lambda node, sentence: problems.append(sentence),
    )
    assert [node is not None for node in found] == [True, False, False, False, False, True]
    assert len(problems) == 4
    assert all(sentence.endswith(".") for sentence in problems)
    new = node_ids(scene) - before
    assert {one for one in new if "Display" not in one} == {
        one.GetID() for node in (found[0], found[-1]) for one in (node, maps.mapOf(node))
    }
