"""Lesions as a table node, and slice views that jump to them. Real MRML nodes, no stand-ins."""

import numpy as np
import pytest
from conftest import add_linear_transform, make_result, slicer
from slicer.util import arrayFromVTKMatrix
from test_logic import one_voxel
from test_tables import columns

from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.quantify import measure
from ICHWeakSegSlicer import lesiontables, segmentations, sliceviews

pytestmark = pytest.mark.usefixtures("no_slicer_errors")

COLUMNS = [
    "Lesion",
    "Volume (mL)",
    "ABC/2 (mL)",
    "A (mm)",
    "B (mm)",
    "C (mm)",
    "Largest axial diameter (mm)",
    "Mean (HU)",
    "SD (HU)",
    "5 % (HU)",
    "95 % (HU)",
    "Centroid R (mm)",
    "Centroid A (mm)",
    "Centroid S (mm)",
    "Side",
    "Touches skull",
    "Touches ventricles",
    "Slices",
    "First slice",
    "Last slice",
    "Sphericity",
    "Irregularity",
]
# Two boxes in the brain, (k, j, i): 3 x 4 x 5 voxels and one voxel, of 4 x 4 x 8 mm = 0.128 mL each.
LARGE = (slice(9, 12), slice(28, 32), slice(16, 21))
SMALL = (slice(14, 15), slice(30, 31), slice(36, 37))


def two_boxes(shape):
    mask = np.zeros(shape, bool)
    mask[LARGE] = mask[SMALL] = True
    return mask


def written(loaded, masks=None):
    """A segmentation with its table of lesions."""
    masks = {"hemorrhage": two_boxes(loaded.hu.shape)} if masks is None else masks
    segmentation = segmentations.createSegmentationNode(loaded.node)
    segmentations.writeResult(segmentation, loaded.node, make_result(loaded, masks))
    quantities = measure(CT(loaded.hu, loaded.world.ijk_to_ras), masks).to_dict()
    table = lesiontables.createLesionTable(loaded.node)
    ids = segmentations.ourSegmentIds(segmentation)
    lesiontables.writeLesionTable(table, segmentation, loaded.node, quantities, ids)
    return segmentation, table


def test_lesions_and_their_total_by_hand(load_ct):
    loaded = load_ct()
    segmentation, node = written(loaded)
    table = columns(node)
    assert list(table) == COLUMNS
    assert table["Lesion"] == ["1", "2", "total"]
    assert table["Volume (mL)"] == pytest.approx([60 * 0.128, 0.128, 61 * 0.128])
    # Middle of the voxels: R = 110 - 4 i, A = 118 - 4 j, S = 8 k - 40.
    assert table["Centroid R (mm)"][:2] == pytest.approx([110 - 4 * 18, 110 - 4 * 36])
    assert table["Centroid A (mm)"][:2] == pytest.approx([118 - 4 * 29.5, 118 - 4 * 30])
    assert table["Centroid S (mm)"][:2] == pytest.approx([8 * 10 - 40, 8 * 14 - 40])
    assert np.isnan(table["Centroid R (mm)"][2])
    assert table["Slices"] == [3, 1, 4]
    assert table["First slice"] == [9, 14, 9]
    assert table["Last slice"] == [11, 14, 14]
    hu = loaded.hu[LARGE]
    assert table["Mean (HU)"][0] == pytest.approx(hu.mean(), abs=0.06)
    assert table["SD (HU)"][0] == pytest.approx(hu.std(), abs=0.06)
    assert table["5 % (HU)"][0] == pytest.approx(np.percentile(hu, 5), abs=0.06)
    # Corner to corner of 20 x 16 mm, give or take half a pixel at either end.
    assert table["Largest axial diameter (mm)"][0] == pytest.approx(np.hypot(20, 16), abs=4)
    assert table["Side"][:2] == ["right", "left"]
    assert table["Side"][2] == "left 0.1 mL, right 7.7 mL"
    assert table["Touches ventricles"] == ["unknown", "unknown", ""]
    assert segmentations.OWN + "model" in node.GetAttributeNames()
    assert node.GetLocked()
    assert lesiontables.lesionTableOf(segmentation) is node


def test_types_and_units_of_the_columns(load_ct):
    _, node = written(load_ct())
    types = {node.GetColumnName(n): node.GetTable().GetColumn(n).GetClassName() for n in range(len(COLUMNS))}
    assert types["Slices"] == types["First slice"] == "vtkIntArray"
    assert types["Volume (mL)"] == types["Sphericity"] == "vtkDoubleArray"
    assert types["Side"] == types["Lesion"] == types["Touches skull"] == "vtkStringArray"
    units = {name: node.GetColumnUnitLabel(name) for name in COLUMNS}
    assert (units["Volume (mL)"], units["A (mm)"], units["Mean (HU)"]) == ("mL", "mm", "HU")
    assert all(node.GetColumnDescription(name) for name in COLUMNS)


def test_no_blood_is_a_total_of_nothing(load_ct):
    loaded = load_ct()
    _, node = written(loaded, {"hemorrhage": np.zeros(loaded.hu.shape, bool)})
    table = columns(node)
    assert table["Lesion"] == ["total"]
    assert table["Volume (mL)"] == [0]
    assert table["Slices"] == [0]
    assert table["First slice"] == [-1]
    assert np.isnan(table["Mean (HU)"][0])
    assert lesiontables.lesionCount(node) == 0
    assert lesiontables.lesionPlace(node, 0) is None


def test_subtypes_get_columns(load_ct):
    loaded = load_ct()
    large, small = two_boxes(loaded.hu.shape), two_boxes(loaded.hu.shape)
    large[SMALL], small[LARGE] = False, False
    _, node = written(loaded, {"IPH": large, "SDH": small, "EDH": np.zeros(loaded.hu.shape, bool)})
    table = columns(node)
    assert table["Subtype"] == ["IPH", "SDH", ""]
    assert table["IPH (mL)"] == pytest.approx([7.68, 0, 7.68])
    assert table["SDH (mL)"] == pytest.approx([0, 0.128, 0.128])
    assert table["EDH (mL)"] == [0, 0, 0]


def test_an_edit_makes_the_table_old(load_ct):
    loaded = load_ct()
    segmentation, node = written(loaded)
    assert lesiontables.isUpToDate(node, segmentation)
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        one_voxel(loaded), segmentation, "hemorrhage", slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MAX
    )
    assert not lesiontables.isUpToDate(node, segmentation)
    segmentation.GetSegmentation().RemoveSegment("hemorrhage")
    assert not lesiontables.isUpToDate(node, segmentation)


def test_the_table_outlives_saving(load_ct, make_scene, tmp_path):
    loaded = load_ct()
    segmentation, node = written(loaded)
    path = str(tmp_path / "scene.mrb")
    assert loaded.node.GetScene().WriteToMRB(path)
    other = make_scene().scene
    assert other.ReadFromMRB(path)
    again = other.GetFirstNodeByName(node.GetName())
    found = other.GetFirstNodeByName(segmentation.GetName())
    assert lesiontables.lesionTableOf(found) is again
    assert lesiontables.isUpToDate(again, found)
    assert columns(again)["Lesion"] == ["1", "2", "total"]
    np.testing.assert_allclose(lesiontables.lesionPlace(again, 0), [38, 0, 40], atol=0.01)


@pytest.mark.parametrize("transform", [None, "linear", "tilted", "uneven", "uneven, linear"])
def test_places_are_where_the_lesion_lies_in_the_world(load_ct, transform):
    loaded = load_ct("axial", transform)
    node = written_truly(loaded)
    expected = loaded.world_ras(two_boxes(loaded.hu.shape) & below(loaded.hu.shape)).mean(axis=0)
    # Slices of unlike thickness weigh differently.
    np.testing.assert_allclose(lesiontables.lesionPlace(node, 0), expected, atol=2.0 if transform else 0.01)


def below(shape):
    mask = np.zeros(shape, bool)
    mask[LARGE] = True
    return mask


def written_truly(loaded):
    """A table of lesions measured in the CT's true place in the world."""
    mask = two_boxes(loaded.hu.shape)
    segmentation = segmentations.createSegmentationNode(loaded.node)
    segmentations.writeResult(segmentation, loaded.node, make_result(loaded, mask))
    table = lesiontables.createLesionTable(loaded.node)
    quantities = measure(loaded.world, {"hemorrhage": mask}).to_dict()
    lesiontables.writeLesionTable(table, segmentation, loaded.node, quantities, ["hemorrhage"])
    return table


def test_places_follow_a_transform_that_comes_later(load_ct, scene):
    loaded = load_ct()
    _, node = written(loaded)
    before = lesiontables.lesionPlace(node, 0)
    turn = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    transform = add_linear_transform(scene, turn)
    loaded.node.SetAndObserveTransformNodeID(transform.GetID())
    after = lesiontables.lesionPlace(node, 0)
    np.testing.assert_allclose(after, turn[:3, :3] @ before + turn[:3, 3])


def add_views(scene):
    """Three slice views, two of them looking at the whole head and one closely at a corner."""
    views = []
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for orientation in ("Axial", "Coronal", "Sagittal"):
        # By the scene, with the orientations that it knows.
        view = scene.CreateNodeByClass("vtkMRMLSliceNode")
        view.UnRegister(None)
        view.SetLayoutName(orientation)
        view = scene.AddNode(view)
        view.SetOrientation(orientation)
        view.SetDimensions(400, 400, 1)
        view.SetFieldOfView(300, 300, 1)
        views.append(view)
    return views


def shown_at(view):
    """RAS of the middle of a view."""
    return arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3]


def test_every_slice_view_shows_the_place(scene):
    axial, coronal, sagittal = add_views(scene)
    middles = [shown_at(view).copy() for view in (axial, coronal, sagittal)]
    assert sliceviews.jumpTo(scene, [20.0, -30.0, 41.0]) == 3
    assert shown_at(axial)[2] == pytest.approx(41)
    assert shown_at(coronal)[1] == pytest.approx(-30)
    assert shown_at(sagittal)[0] == pytest.approx(20)
    # Nothing was moved aside.
    np.testing.assert_allclose(shown_at(axial)[:2], middles[0][:2])


def test_a_view_that_looks_elsewhere_is_centred(scene):
    axial, coronal, _ = add_views(scene)
    axial.SetFieldOfView(20, 20, 1)
    sliceviews.jumpTo(scene, [60.0, -30.0, 41.0])
    np.testing.assert_allclose(shown_at(axial), [60, -30, 41], atol=1e-6)
    assert shown_at(coronal)[0] == pytest.approx(0)
