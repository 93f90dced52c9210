"""Maps as volume nodes: grid, colours, overlay on and off, files. Real MRML nodes, no stand-ins."""

import numpy as np
import pytest
from conftest import GRIDS, SHAPE, add_volume, make_result, slicer, vtk
from slicer.util import arrayFromVTKMatrix
from vtk.util.numpy_support import vtk_to_numpy

from ICHWeakSegLib.worker.exchange import Box
from ICHWeakSegSlicer.maps import (
    createMapNode,
    hideMap,
    isMapShown,
    linkMap,
    mapOf,
    readMap,
    showMap,
    writeMap,
)
from ICHWeakSegSlicer.placing import nodesOf
from ICHWeakSegSlicer.segmentations import createSegmentationNode
from ICHWeakSegSlicer.volumes import volumesCtFirst

pytestmark = pytest.mark.usefixtures("no_slicer_errors")


def heat(loaded) -> np.ndarray:
    """The map that a run on this CT would bring, on the whole grid."""
    return make_result(loaded).map.within(SHAPE)


def written(loaded, hidden=False):
    node = createMapNode(loaded.node, hidden)
    writeMap(node, loaded.node, make_result(loaded).map)
    return node


@pytest.mark.parametrize(
    ("grid", "transform"), [*((grid, None) for grid in GRIDS), ("sheared", "linear"), ("axial", "uneven")]
)
def test_the_map_lies_on_the_cts_grid(load_ct, grid, transform):
    loaded = load_ct(grid, transform)
    node = written(loaded)
    np.testing.assert_array_equal(readMap(node), heat(loaded))
    assert readMap(node).dtype == np.float32
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(arrayFromVTKMatrix(matrix), loaded.local, atol=1e-9)
    assert node.GetParentTransformNode() is loaded.node.GetParentTransformNode()
    assert node.GetName() == "Head CT hemorrhage map"
    assert node.GetAttribute("ICHWeakSeg.kind") == "map"


@pytest.mark.parametrize("box", [None, Box(np.zeros((0, 0, 0), np.float32))])
def test_no_map_is_a_map_of_zeros(load_ct, box):
    loaded = load_ct()
    node = createMapNode(loaded.node, False)
    writeMap(node, loaded.node, box)
    assert readMap(node).shape == SHAPE
    assert not readMap(node).any()


def test_a_second_map_takes_the_place_of_the_first(load_ct):
    loaded = load_ct()
    node = written(loaded)
    writeMap(node, loaded.node, None)
    assert not readMap(node).any()


def test_colours_are_the_same_for_every_map_and_nothing_is_see_through(scene, load_ct):
    loaded = load_ct()
    display = written(loaded).GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    assert not display.GetAutoWindowLevel()
    assert display.GetApplyThreshold()
    assert 0 < display.GetLowerThreshold() <= 0.02
    assert display.GetUpperThreshold() >= 1
    table = display.GetColorNode().GetLookupTable()
    rgb = np.array([table.GetTableValue(n)[:3] for n in range(256)])
    lightness = rgb @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > 0).all(), "brighter is more likely"
    assert lightness[0] < 0.05
    assert lightness[-1] > 0.9
    second = createMapNode(loaded.node, False)
    writeMap(second, loaded.node, Box.of(heat(loaded) * 0.1))
    assert second.GetDisplayNode().GetColorNodeID() == display.GetColorNodeID()
    assert second.GetDisplayNode().GetWindowLevelMax() == 1
    pixels = slicer_pixels(display)
    np.testing.assert_array_equal(pixels[..., 3] > 0, heat(loaded) >= display.GetLowerThreshold())


def slicer_pixels(display) -> np.ndarray:
    """RGBA as Slicer's own display pipeline makes them of the map, shape (K, J, I, 4)."""
    display.SetInputImageDataConnection(display.GetVolumeNode().GetImageDataConnection())
    port = display.GetOutputImageDataConnection()
    port.GetProducer().Update()
    image = port.GetProducer().GetOutputDataObject(port.GetIndex())
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*SHAPE, -1)


def test_slicers_inferno_is_taken_where_it_is(scene, load_ct):
    """The application reads it from a file; slicer-core has none, so that the node is made here."""
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetNumberOfColors(2)
    table.SetName("Inferno")
    # So Slicer's colour logic gives it its fixed id.
    table.SetSingletonTag("FileInferno.txt")
    scene.AddNode(table)
    assert table.GetID() == "vtkMRMLColorTableNodeFileInferno.txt"
    assert written(load_ct()).GetDisplayNode().GetColorNode() is table


def test_a_hidden_map_is_in_no_list(scene, load_ct):
    loaded = load_ct()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hidden, open_ = written(loaded, hidden=True), written(loaded)
    assert hidden.GetHideFromEditors()
    assert not open_.GetHideFromEditors()
    assert hierarchy.GetItemByDataNode(hidden) == 0
    item = hierarchy.GetItemByDataNode(open_)
    assert hierarchy.GetItemParent(item) == hierarchy.GetItemParent(hierarchy.GetItemByDataNode(loaded.node))
    assert volumesCtFirst(scene) == [loaded.node]


def test_link_is_found_again_and_a_map_without_voxels_is_none(load_ct):
    loaded = load_ct()
    segmentation, node = createSegmentationNode(loaded.node), createMapNode(loaded.node, True)
    assert mapOf(segmentation) is None
    linkMap(segmentation, node)
    assert mapOf(segmentation) is None
    writeMap(node, loaded.node, None)
    assert mapOf(segmentation) is node
    loaded.node.GetScene().RemoveNode(node)
    assert mapOf(segmentation) is None


@pytest.fixture
def views(scene, load_ct):
    """Three slice views on the CT, two with another volume over it, and one view on something else."""
    loaded = load_ct()
    other = add_volume(scene, np.zeros(SHAPE, np.int16), loaded.local, "Other")
    red, green, yellow, elsewhere = (scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(4))
    for view in (red, green, yellow):
        view.SetBackgroundVolumeID(loaded.node.GetID())
    elsewhere.SetBackgroundVolumeID(other.GetID())
    green.SetForegroundVolumeID(other.GetID())
    green.SetForegroundOpacity(0.3)
    yellow.SetForegroundVolumeID(other.GetID())
    yellow.SetLabelOpacity(0.7)
    return loaded, (red, green, yellow, elsewhere), other


def state(views):
    return [
        (
            view.GetBackgroundVolumeID(),
            view.GetForegroundVolumeID(),
            view.GetForegroundOpacity(),
            view.GetLabelOpacity(),
        )
        for view in views
    ]


@pytest.mark.parametrize("hidden", [True, False])
def test_shown_over_its_ct_and_taken_away_again(views, hidden):
    loaded, composites, _ = views
    node = written(loaded, hidden)
    before = state(composites)
    assert not isMapShown(node)
    for _ in range(2):
        # Twice: showing a map that is shown must not forget what it displaced.
        showMap(node)
        showMap(node)
        assert isMapShown(node)
        assert not node.GetHideFromEditors()
        for view in composites[:3]:
            assert view.GetForegroundVolumeID() == node.GetID()
            assert view.GetForegroundOpacity() == 0.5
        assert state(composites)[3] == before[3]
        hideMap(node)
        assert not isMapShown(node)
        assert state(composites) == before
        assert bool(node.GetHideFromEditors()) == hidden


def test_what_the_user_changed_meanwhile_stays(views):
    loaded, (red, green, yellow, _), other = views
    node = written(loaded)
    showMap(node)
    red.SetForegroundVolumeID(other.GetID())
    red.SetForegroundOpacity(0.9)
    yellow.SetForegroundOpacity(0.2)
    loaded.node.GetScene().RemoveNode(other)
    hideMap(node)
    assert red.GetForegroundOpacity() == 0.9
    assert green.GetForegroundVolumeID() is None
    assert yellow.GetForegroundVolumeID() is None


def test_a_map_that_was_never_shown_changes_nothing_when_hidden(views):
    loaded, composites, _ = views
    node = written(loaded)
    before = state(composites)
    hideMap(node)
    assert state(composites) == before


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("grid", ["axial", "sheared"])
def test_a_saved_scene_brings_map_and_link_back(make_scene, load_ct, tmp_path, grid, hidden):
    loaded = load_ct(grid, "linear")
    segmentation, node = createSegmentationNode(loaded.node), written(loaded, hidden)
    linkMap(segmentation, node)
    path = str(tmp_path / "scene.mrb")
    assert node.GetScene().WriteToMRB(path)
    other = make_scene().scene
    assert other.ReadFromMRB(path)
    (again,) = nodesOf(other, "vtkMRMLSegmentationNode")
    map_node = mapOf(again)
    assert map_node is not node
    np.testing.assert_allclose(readMap(map_node), heat(loaded), atol=1e-6)
    assert bool(map_node.GetHideFromEditors()) == hidden
    assert map_node.GetAttribute("ICHWeakSeg.kind") == "map"
    assert map_node.GetDisplayNode().GetWindowLevelMax() == 1
    assert map_node.GetDisplayNode().GetColorNode() is not None
    matrix = vtk.vtkMatrix4x4()
    map_node.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(arrayFromVTKMatrix(matrix), loaded.local, atol=1e-4)


def test_a_map_shown_in_a_saved_scene_can_be_taken_away(make_scene, views, tmp_path):
    loaded, _, _ = views
    node = written(loaded, hidden=True)
    linkMap(createSegmentationNode(loaded.node), node)
    showMap(node)
    path = str(tmp_path / "scene.mrb")
    assert node.GetScene().WriteToMRB(path)
    other = make_scene().scene
    assert other.ReadFromMRB(path)
    map_node = mapOf(nodesOf(other, "vtkMRMLSegmentationNode")[0])
    assert isMapShown(map_node)
    hideMap(map_node)
    assert not isMapShown(map_node)
    names = [
        node and other.GetNodeByID(node).GetName()
        for node in (view.GetForegroundVolumeID() for view in nodesOf(other, "vtkMRMLSliceCompositeNode"))
    ]
    assert names == [None, "Other", "Other", None]
