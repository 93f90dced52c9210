"""Results as segmentation nodes in a real scene: places, volumes, files, editing, undo. slicer-core, no stand-ins
but one: the Qt widget of Segment Editor is a small adapter around its real logic."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import GRIDS, SHAPE, add_linear_transform, make_result, slicer, vtk
from slicer.util import arrayFromVolume, arrayFromVTKMatrix, updateVolumeFromArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.worker.exchange import Box
from ICHWeakSegSlicer.placing import nodesOf
from ICHWeakSegSlicer.segmentations import (
    createSegmentationNode,
    isEdited,
    ourSegmentIds,
    problemWithOutput,
    provenanceOf,
    readSubtypes,
    referenceVolume,
    saveStateForUndo,
    setMasks,
    writeResult,
    writeSubtypes,
)

pytestmark = pytest.mark.usefixtures("no_slicer_errors")

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage~^^"
    "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
)


def write(loaded, masks=None, node=None, **provenance):
    """Writes masks (the truth's bleed by default) as the module does after a run."""
    node = node or createSegmentationNode(loaded.node)
    writeResult(node, loaded.node, make_result(loaded, masks, **provenance))
    return node


def segment_of(node, segment_id="hemorrhage"):
    return node.GetSegmentation().GetSegment(segment_id)


def tag(node, name, segment_id="hemorrhage"):
    value = vtk.reference("")
    return str(value) if segment_of(node, segment_id).GetTag(name, value) else None


def voxels(node, segment_id="hemorrhage"):
    """Index (i, j, k) of the segment's voxels in Slicer's own labelmap, shape (3, n), and its image-to-world."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    if image.IsEmpty():
        return np.empty((3, 0), int), arrayFromVTKMatrix(to_world)
    extent = image.GetExtent()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    k, j, i = np.nonzero(array)
    return np.stack([i + extent[0], j + extent[2], k + extent[4]]), arrayFromVTKMatrix(to_world)


def world_points(node, segment_id="hemorrhage"):
    """World RAS of the segment's voxels through Slicer's labelmap, geometry and transforms, shape (n, 3)."""
    ijk, to_world = voxels(node, segment_id)
    points = (to_world[:3, :3] @ ijk + to_world[:3, 3:]).T
    moved = np.zeros_like(points)
    for point, to in zip(points, moved, strict=True):
        node.TransformPointToWorld(point, to)
    return moved


def in_order(points):
    return points[np.lexsort(points.round(1).T)]


def mask_of(node, segment_id="hemorrhage"):
    """The segment as a mask on the CT's grid, where the labelmap's index is the CT's."""
    mask = np.zeros(SHAPE, bool)
    i, j, k = voxels(node, segment_id)[0]
    mask[k, j, i] = True
    return mask


def two_halves(loaded):
    """The bleed cut into two masks."""
    left, right = loaded.blood.copy(), loaded.blood.copy()
    middle = int(np.median(np.nonzero(loaded.blood)[2]))
    left[..., middle:] = False
    right[..., :middle] = False
    return {"IPH": left, "SDH": right}


def box_mask(k, j, i):
    mask = np.zeros(SHAPE, bool)
    mask[k, j, i] = True
    return mask


def modifier(loaded, mask):
    """A labelmap as an effect of Segment Editor makes it: on the whole grid."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(loaded.local))
    image.SetExtent(0, SHAPE[2] - 1, 0, SHAPE[1] - 1, 0, SHAPE[0] - 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(mask, np.uint8).ravel(), deep=True))
    return image


@pytest.fixture
def editor(scene_setup, monkeypatch):
    """Segment Editor's real logic with a history; `show(node, volume)` is what the module's panel does.

    The Qt widget that the application has under slicer.modules is an adapter here with the two methods used.
    """
    scene = scene_setup.scene
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLApplicationLogic(scene_setup.application)
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    history = slicer.vtkSegmentationHistory()
    logic.SetSegmentationHistory(history)
    widget = SimpleNamespace(
        editor=SimpleNamespace(
            segmentationNode=logic.GetSegmentationNode, saveStateForUndo=logic.SaveStateForUndo
        )
    )
    monkeypatch.setattr(slicer, "modules", SimpleNamespace(SegmentEditorWidget=widget), raising=False)

    def show(node, volume):
        logic.SetSegmentationNode(node)
        logic.SetSourceVolumeNode(volume)
        history.SetSegmentation(node.GetSegmentation())

    return SimpleNamespace(logic=logic, history=history, show=show)


# --- Where everything lies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "transform"),
    [
        *((grid, None) for grid in GRIDS),
        ("sheared", "linear"),
        ("oblique", "linear"),
        ("axial", "tilted"),
        ("axial", "uneven"),
        ("axial", "tilted and uneven"),
        ("flipped", "uneven, linear"),
    ],
)
def test_every_voxel_lies_where_the_ct_has_it(load_ct, grid, transform):
    loaded = load_ct(grid, transform)
    node = write(loaded)
    assert node.GetParentTransformNode() is loaded.node.GetParentTransformNode()
    found, expected = world_points(node), loaded.world_ras(loaded.blood)
    assert len(found) == loaded.blood.sum() > 50
    np.testing.assert_allclose(in_order(found), in_order(expected), atol=0.01)
    np.testing.assert_array_equal(mask_of(node), loaded.blood)


@pytest.mark.parametrize("grid", list(GRIDS))
def test_volume_counted_in_slicer_is_the_results(load_ct, grid):
    loaded = load_ct(grid)
    ijk, to_world = voxels(write(loaded))
    counted = ijk.shape[1] * abs(np.linalg.det(to_world[:3, :3])) / 1000
    assert counted == pytest.approx(make_result(loaded).total.volume_ml, rel=1e-6)


def test_the_labelmap_is_the_box_only(load_ct):
    loaded = load_ct()
    image = write(loaded).GetBinaryLabelmapInternalRepresentation("hemorrhage")
    assert image.GetDimensions() == Box.of(loaded.blood).values.shape[::-1]


@pytest.mark.parametrize("grid", list(GRIDS))
def test_reference_geometry_and_role_are_the_ct(load_ct, grid):
    loaded = load_ct(grid)
    node = write(loaded)
    assert referenceVolume(node) is loaded.node
    text = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    image = slicer.vtkOrientedImageData()
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    np.testing.assert_allclose(arrayFromVTKMatrix(to_world), loaded.local, atol=1e-6)
    assert image.GetDimensions() == SHAPE[::-1]


@pytest.mark.parametrize(("grid", "transform"), [*((grid, None) for grid in GRIDS), ("sheared", "linear")])
def test_label_map_export_is_the_mask_voxel_for_voxel(scene, load_ct, grid, transform):
    loaded = load_ct(grid, transform)
    masks = two_halves(loaded)
    node = write(loaded, masks)
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert slicer.vtkSlicerSegmentationsModuleLogic.ExportAllSegmentsToLabelmapNode(
        node, labels, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    )
    np.testing.assert_array_equal(arrayFromVolume(labels), masks["IPH"] + 2 * masks["SDH"])
    matrix = vtk.vtkMatrix4x4()
    labels.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(arrayFromVTKMatrix(matrix), loaded.local, atol=1e-6)
    assert labels.GetParentTransformNode() is loaded.node.GetParentTransformNode()


@pytest.mark.parametrize("grid", list(GRIDS))
def test_the_surface_encloses_the_volume(load_ct, grid):
    loaded = load_ct(grid)
    surface = write(loaded).GetClosedSurfaceInternalRepresentation("hemorrhage")
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    mass.Update()
    # Slicer smooths, and with voxels of 4 x 4 x 8 mm a fifth goes.
    assert mass.GetVolume() / 1000 == pytest.approx(make_result(loaded).total.volume_ml, rel=0.25)
    centre = vtk.vtkCenterOfMass()
    centre.SetInputData(surface)
    centre.Update()
    np.testing.assert_allclose(centre.GetCenter(), loaded.world_ras(loaded.blood).mean(axis=0), atol=4)


# --- The finished node -----------------------------------------------------------------------------------------


def test_name_colour_terminology_and_place(scene, load_ct):
    loaded = load_ct()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(loaded.node), study)
    node, second = createSegmentationNode(loaded.node), write(loaded)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    write(loaded, node=node)
    assert node.GetName() == "Head CT hemorrhage"
    assert second.GetName() != node.GetName()
    assert second.GetName().startswith("Head CT hemorrhage")
    for one in (node, second):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(one)) == study
    other = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Other study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(loaded.node), other)
    write(loaded, node=node)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == other
    segment = segment_of(node)
    assert segment.GetName() == "Intracranial hemorrhage"
    assert not segment.GetNameAutoGenerated()
    assert not segment.GetColorAutoGenerated()
    np.testing.assert_allclose(segment.GetColor(), (0.90, 0.16, 0.10), atol=1e-6)
    assert tag(node, "TerminologyEntry") == TERMINOLOGY
    # Slicer itself calls it "in progress" at the first edit.
    assert slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(segment) == 0


def test_terminology_is_what_slicer_itself_writes(scene_setup):
    """Slicer's logic serializes the same codes to the same text."""
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = scene_setup.logics["vtkSlicerTerminologiesModuleLogic"]
    assert logic.DeserializeTerminologyEntry(TERMINOLOGY, entry)
    assert entry.GetTypeObject().GetCodeMeaning() == "Hemorrhage"
    assert entry.GetRegionObject().GetCodeMeaning() == "Brain"
    assert logic.SerializeTerminologyEntry(entry) == TERMINOLOGY


def test_shown_in_slices_and_in_3d(load_ct):
    node = write(load_ct())
    display = node.GetDisplayNode()
    assert display.GetVisibility()
    assert display.GetVisibility2DFill()
    assert display.GetVisibility2DOutline()
    assert display.GetVisibility3D()
    assert display.GetSegmentVisibility("hemorrhage")
    assert display.GetSegmentVisibility3D("hemorrhage")
    assert display.GetDisplayRepresentationName3D() == "Closed surface"


def test_views_and_layout_stay_as_they_are(scene, load_ct):
    loaded = load_ct()
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    composite.SetBackgroundVolumeID(loaded.node.GetID())
    before = composite.GetMTime(), layout.GetMTime(), loaded.node.GetMTime()
    write(loaded)
    assert (composite.GetMTime(), layout.GetMTime(), loaded.node.GetMTime()) == before


def test_provenance_on_node_and_segments(load_ct):
    node = write(load_ct(), device="cuda:0", note="a|b: ü")
    for where in (node.GetAttribute, lambda name: tag(node, name)):
        assert where("ICHWeakSeg.model") == "tiny"
        assert where("ICHWeakSeg.sha256") == "ab" * 32
        assert where("ICHWeakSeg.threshold") == "0.05"
        assert where("ICHWeakSeg.device") == "cuda:0"
        assert where("ICHWeakSeg.note") == "a/b: u"
    facts = provenanceOf(node)
    assert facts["model"] == "tiny"
    assert facts["threshold"] == "0.05"
    assert set(facts) == {*make_result_keys(), "note"}


def make_result_keys():
    return {"model", "version", "sha256", "method", "threshold", "software", "device"}


def test_provenance_of_an_earlier_run_is_gone(load_ct):
    loaded = load_ct()
    node = write(loaded, sensitivity=0.9)
    assert node.GetAttribute("ICHWeakSeg.sensitivity") == "0.9"
    write(loaded, node=node, model="other")
    assert node.GetAttribute("ICHWeakSeg.sensitivity") is None
    assert "sensitivity" not in provenanceOf(node)
    assert provenanceOf(node)["model"] == "other"


def test_subtypes_become_one_segment_each(load_ct):
    loaded = load_ct()
    masks = {"EDH": np.zeros(SHAPE, bool), **two_halves(loaded)}
    node = write(loaded, masks)
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegment(n).GetName() for n in range(3)] == ["EDH", "IPH", "SDH"]
    assert ourSegmentIds(node) == ["EDH", "IPH", "SDH"]
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask_of(node, name), mask)
    assert "18545000^Dura mater" in tag(node, "TerminologyEntry", "SDH")
    assert len({segmentation.GetNthSegment(n).GetColor() for n in range(3)}) == 3


def test_no_blood_is_an_empty_segment(load_ct):
    node = write(load_ct(), np.zeros(SHAPE, bool))
    assert segment_of(node).GetName() == "Intracranial hemorrhage"
    assert voxels(node)[0].shape[1] == 0
    assert not isEdited(node)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_one_change_is_told_to_the_application(load_ct):
    """Observers hear each kind of event at most once for the whole result."""
    loaded = load_ct()
    node = write(loaded)
    heard = []
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: heard.append("modified"))
    node.AddObserver(slicer.vtkSegmentation.SegmentAdded, lambda *_: heard.append("added"))
    write(loaded, two_halves(loaded), node, model="other", version="2", device="cuda:0")
    assert heard.count("modified") == 1
    assert heard.count("added") <= 2


# --- The user's own segments -----------------------------------------------------------------------------------


def add_users_segment(node, loaded, mask, segment_id, name="Mine"):
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(0.1, 0.2, 0.3)
    segment.AddRepresentation("Binary labelmap", modifier(loaded, mask))
    assert node.GetSegmentation().AddSegment(segment, segment_id)


@pytest.mark.parametrize("segment_id", ["Mine", "hemorrhage"])
def test_the_users_segments_stay(load_ct, segment_id):
    loaded = load_ct()
    node = createSegmentationNode(loaded.node)
    own = box_mask(slice(1, 3), slice(5, 9), slice(5, 9))
    add_users_segment(node, loaded, own, segment_id)
    for _ in range(2):
        write(loaded, node=node)
        assert node.GetSegmentation().GetNumberOfSegments() == 2
        segment = segment_of(node, segment_id)
        assert segment.GetName() == "Mine"
        np.testing.assert_allclose(segment.GetColor(), (0.1, 0.2, 0.3))
        np.testing.assert_array_equal(mask_of(node, segment_id), own)
        (ours,) = ourSegmentIds(node)
        assert ours != segment_id
        np.testing.assert_array_equal(mask_of(node, ours), loaded.blood)


def test_a_new_run_takes_the_place_of_the_old_one(load_ct):
    loaded = load_ct()
    node = write(loaded)
    add_users_segment(node, loaded, box_mask(1, 1, 1), "Mine")
    write(loaded, two_halves(loaded), node)
    segmentation = node.GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == ["IPH", "SDH", "Mine"]


def test_an_output_that_does_not_fit_is_refused_and_stays(scene, load_ct):
    loaded = load_ct()
    node = createSegmentationNode(loaded.node)
    add_users_segment(node, loaded, box_mask(1, 1, 1), "Mine")
    node.SetAndObserveTransformNodeID(add_linear_transform(scene, np.diag([1, 1, -1, 1.0])).GetID())
    assert "under another transform than Head CT" in problemWithOutput(node, loaded.node)
    with pytest.raises(InputError, match="another transform"):
        write(loaded, node=node)
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["Mine"]
    surfaces = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Skull")
    surfaces.SetSourceRepresentationToClosedSurface()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    surfaces.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "Ball")
    assert "Skull holds surfaces" in problemWithOutput(surfaces, loaded.node)
    assert "not a segmentation" in problemWithOutput(loaded.node, loaded.node)
    assert problemWithOutput(write(loaded), loaded.node) == ""


def test_a_result_of_another_grid_is_refused(load_ct):
    loaded = load_ct()
    node = write(loaded)
    result = make_result(loaded)
    updateVolumeFromArray(loaded.node, loaded.hu[:-1])
    for put in (writeResult, setMasks):
        with pytest.raises(InputError, match="Head CT were replaced"):
            put(node, loaded.node, result)
    np.testing.assert_array_equal(mask_of(node), loaded.blood)


# --- Cutting again ---------------------------------------------------------------------------------------------


def test_other_masks_keep_what_the_user_changed(load_ct):
    loaded = load_ct()
    node = write(loaded, two_halves(loaded))
    add_users_segment(node, loaded, box_mask(1, slice(2, 5), 3), "Mine")
    segment_of(node, "IPH").SetName("Bleed left")
    segment_of(node, "IPH").SetColor(0, 1, 0)
    node.GetDisplayNode().SetSegmentVisibility("SDH", False)
    node.GetDisplayNode().SetSegmentOpacity3D("IPH", 0.4)
    smaller = {name: mask & (np.indices(SHAPE)[1] % 2 == 0) for name, mask in two_halves(loaded).items()}
    setMasks(node, loaded.node, make_result(loaded, smaller, threshold=0.5))
    assert segment_of(node, "IPH").GetName() == "Bleed left"
    assert segment_of(node, "IPH").GetColor() == (0, 1, 0)
    assert not node.GetDisplayNode().GetSegmentVisibility("SDH")
    assert node.GetDisplayNode().GetSegmentOpacity3D("IPH") == 0.4
    for name, mask in smaller.items():
        np.testing.assert_array_equal(mask_of(node, name), mask)
    np.testing.assert_array_equal(mask_of(node, "Mine"), box_mask(1, slice(2, 5), 3))
    assert node.GetAttribute("ICHWeakSeg.threshold") == "0.5"
    assert provenanceOf(node)["threshold"] == "0.5"
    assert tag(node, "ICHWeakSeg.threshold", "SDH") == "0.5"
    assert not isEdited(node)


def test_the_surface_follows_the_mask(load_ct):
    loaded = load_ct()
    node = write(loaded)

    def points():
        return node.GetClosedSurfaceInternalRepresentation("hemorrhage").GetNumberOfPoints()

    first = points()
    small = loaded.blood & (np.indices(SHAPE)[0] > np.median(np.nonzero(loaded.blood)[0]))
    setMasks(node, loaded.node, make_result(loaded, small))
    assert 0 < points() < first
    setMasks(node, loaded.node, make_result(loaded, np.zeros(SHAPE, bool)))
    surface = node.GetClosedSurfaceInternalRepresentation("hemorrhage")
    assert surface is None or surface.GetNumberOfPoints() == 0
    setMasks(node, loaded.node, make_result(loaded))
    assert points() == first


def test_a_cut_lies_on_a_ct_that_was_moved_since(scene, load_ct):
    loaded = load_ct()
    node = write(loaded)
    shift = np.eye(4)
    shift[:3, 3] = (7, -5, 11)
    loaded.node.SetAndObserveTransformNodeID(add_linear_transform(scene, shift).GetID())
    setMasks(node, loaded.node, make_result(loaded))
    expected = loaded.world_ras(loaded.blood) + shift[:3, 3]
    np.testing.assert_allclose(in_order(world_points(node)), in_order(expected), atol=0.01)


def test_a_cut_brings_no_surface_back_that_the_user_took_away(load_ct):
    loaded = load_ct()
    node = write(loaded)
    # As the button "Show 3D" of Segment Editor does.
    node.RemoveClosedSurfaceRepresentation()
    setMasks(node, loaded.node, make_result(loaded, two_halves(loaded)["IPH"]))
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    first_blood = write(loaded, np.zeros(SHAPE, bool))
    setMasks(first_blood, loaded.node, make_result(loaded))
    assert first_blood.GetClosedSurfaceInternalRepresentation("hemorrhage").GetNumberOfPoints() > 0


def test_segments_that_share_a_labelmap_are_cut_one_by_one(load_ct):
    """Slicer merges segments that do not overlap into one labelmap with a label each, in files for instance."""
    loaded = load_ct("sheared")
    masks = two_halves(loaded)
    node = write(loaded, masks)
    add_users_segment(node, loaded, box_mask(1, slice(2, 5), 3), "Mine")
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    assert not isEdited(node)
    node.CreateClosedSurfaceRepresentation()
    surface = node.GetClosedSurfaceInternalRepresentation("SDH").GetNumberOfPoints()
    smaller = {**masks, "SDH": masks["SDH"] & (np.indices(SHAPE)[1] % 2 == 0)}
    setMasks(node, loaded.node, make_result(loaded, smaller))
    assert not isEdited(node)
    for name, mask in {**smaller, "Mine": box_mask(1, slice(2, 5), 3)}.items():
        np.testing.assert_array_equal(mask_of(node, name), mask)
    assert node.GetClosedSurfaceInternalRepresentation("SDH").GetNumberOfPoints() != surface


def test_a_segment_keeps_its_label_until_it_is_cut(load_ct):
    """Left over from a shared labelmap, a segment has a label other than 1."""
    loaded = load_ct()
    node = write(loaded, two_halves(loaded))
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    node.GetSegmentation().RemoveSegment("IPH")
    assert segment_of(node, "SDH").GetLabelValue() == 2
    assert not isEdited(node)
    setMasks(node, loaded.node, make_result(loaded, {"SDH": loaded.blood}))
    np.testing.assert_array_equal(mask_of(node, "SDH"), loaded.blood)
    assert not isEdited(node)


def test_a_segment_that_the_user_deleted_stays_deleted(load_ct):
    loaded = load_ct()
    masks = two_halves(loaded)
    node = write(loaded, masks)
    node.GetSegmentation().RemoveSegment("SDH")
    setMasks(node, loaded.node, make_result(loaded, masks))
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["IPH"]
    node.GetSegmentation().RemoveSegment("IPH")
    with pytest.raises(InputError, match="holds no segment of this module"):
        setMasks(node, loaded.node, make_result(loaded, masks))


# --- Editing and undo ------------------------------------------------------------------------------------------


def test_segment_editor_paints_on_the_result_and_it_counts_as_edited(load_ct, editor):
    loaded = load_ct("oblique")
    node = write(loaded)
    editor.show(node, loaded.node)
    assert not isEdited(node)
    stroke = box_mask(10, slice(20, 25), slice(20, 25))
    editor.logic.SetCurrentSegmentID("hemorrhage")
    editor.logic.SaveStateForUndo()
    editor.logic.ModifySegmentByLabelmap(
        node,
        "hemorrhage",
        modifier(loaded, stroke),
        slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd,
        False,
        False,
    )
    np.testing.assert_array_equal(mask_of(node), loaded.blood | stroke)
    assert isEdited(node)
    editor.logic.Undo()
    np.testing.assert_array_equal(mask_of(node), loaded.blood)
    assert not isEdited(node)


def test_segment_editors_intensity_mask_uses_the_ct(load_ct, editor, scene):
    loaded = load_ct()
    node = write(loaded)
    editor.show(node, loaded.node)
    editor_node = editor.logic.GetSegmentEditorNode()
    editor_node.SetSourceVolumeIntensityMask(True)
    editor_node.SetSourceVolumeIntensityMaskRange(50, 90)
    assert editor.logic.UpdateReferenceGeometryImage()
    assert editor.logic.UpdateAlignedSourceVolume()
    editor.logic.ResetModifierLabelmapToDefault()
    editor.logic.UpdateMaskLabelmap()
    stroke = box_mask(slice(8, 12), slice(20, 40), slice(20, 40))
    editor.logic.SetCurrentSegmentID("hemorrhage")
    editor.logic.ModifySegmentByLabelmap(
        node,
        "hemorrhage",
        modifier(loaded, stroke),
        slicer.vtkSlicerSegmentEditorLogic.ModificationModeAdd,
        False,
        False,
    )
    expected = loaded.blood | (stroke & (loaded.hu >= 50) & (loaded.hu <= 90))
    assert (expected != (loaded.blood | stroke)).any()
    np.testing.assert_array_equal(mask_of(node), expected)


def test_a_run_is_one_undo_step_of_segment_editor(load_ct, editor):
    loaded = load_ct()
    node = createSegmentationNode(loaded.node)
    own = box_mask(1, slice(2, 6), slice(3, 7))
    add_users_segment(node, loaded, own, "Mine")
    editor.show(node, loaded.node)
    write(loaded, two_halves(loaded), node)
    assert editor.history.GetNumberOfStates() == 1
    editor.logic.Undo()
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["Mine"]
    np.testing.assert_array_equal(mask_of(node, "Mine"), own)
    assert not editor.logic.CanUndo()
    editor.logic.Redo()
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["Mine", "IPH", "SDH"]
    for name, mask in two_halves(loaded).items():
        np.testing.assert_array_equal(mask_of(node, name), mask)
    assert not isEdited(node)


def test_a_cut_is_one_undo_step_and_provenance_goes_back_with_it(load_ct, editor):
    loaded = load_ct()
    node = write(loaded)
    editor.show(node, loaded.node)
    small = loaded.blood & (np.indices(SHAPE)[1] % 2 == 0)
    setMasks(node, loaded.node, make_result(loaded, small, threshold=0.5))
    assert editor.history.GetNumberOfStates() == 1
    editor.logic.Undo()
    np.testing.assert_array_equal(mask_of(node), loaded.blood)
    assert provenanceOf(node)["threshold"] == "0.05"
    assert not isEdited(node)
    editor.logic.Redo()
    np.testing.assert_array_equal(mask_of(node), small)
    assert provenanceOf(node)["threshold"] == "0.5"
    assert not isEdited(node)


def test_segment_editor_on_another_segmentation_gets_no_step(load_ct, editor):
    loaded = load_ct()
    node, other = write(loaded), write(loaded)
    editor.show(other, loaded.node)
    setMasks(node, loaded.node, make_result(loaded))
    saveStateForUndo(node)
    assert editor.history.GetNumberOfStates() == 0


def test_a_run_is_one_undo_step_of_the_scene_where_that_is_on(scene, load_ct):
    loaded = load_ct()
    node = write(loaded)
    scene.SetUndoOn()
    node.SetUndoEnabled(True)
    write(loaded, two_halves(loaded), node)
    assert scene.GetNumberOfUndoLevels() == 1
    scene.Undo()
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["hemorrhage"]
    np.testing.assert_array_equal(mask_of(node), loaded.blood)
    scene.Redo()
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["IPH", "SDH"]
    np.testing.assert_array_equal(mask_of(node, "SDH"), two_halves(loaded)["SDH"])


def test_padding_is_no_edit_but_a_moved_mask_is(load_ct):
    loaded = load_ct()
    node = write(loaded)
    image = node.GetBinaryLabelmapInternalRepresentation("hemorrhage")
    image.DeepCopy(modifier(loaded, loaded.blood))
    assert not isEdited(node)
    image.DeepCopy(modifier(loaded, np.roll(loaded.blood, 1, axis=2)))
    assert isEdited(node)
    image.DeepCopy(modifier(loaded, np.zeros(SHAPE)))
    assert isEdited(node)
    image.DeepCopy(modifier(loaded, loaded.blood))
    assert not isEdited(node)


def test_renaming_and_other_segments_are_no_edits(load_ct):
    loaded = load_ct()
    node = write(loaded)
    segment_of(node).SetName("Blood")
    add_users_segment(node, loaded, box_mask(1, 2, 3), "Mine")
    assert not isEdited(node)


# --- Files -----------------------------------------------------------------------------------------------------


def save(node, path):
    storage = slicer.vtkMRMLSegmentationStorageNode()
    node.GetScene().AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    return path


def load(scene, path):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


@pytest.mark.parametrize("grid", list(GRIDS))
def test_seg_nrrd_brings_everything_back(scene, load_ct, tmp_path, grid):
    loaded = load_ct(grid)
    masks = {"EDH": np.zeros(SHAPE, bool), **two_halves(loaded)}
    node = load(scene, save(write(loaded, masks, device="cuda:0"), tmp_path / "köpf 头.seg.nrrd"))
    assert ourSegmentIds(node) == ["EDH", "IPH", "SDH"]
    for name, mask in masks.items():
        np.testing.assert_allclose(
            in_order(world_points(node, name)), in_order(loaded.world_ras(mask)), atol=0.01
        )
    assert tag(node, "TerminologyEntry", "IPH") == TERMINOLOGY
    facts = provenanceOf(node)
    assert facts["sha256"] == "ab" * 32
    assert facts["device"] == "cuda:0"
    assert not isEdited(node)
    image = node.GetBinaryLabelmapInternalRepresentation("SDH")
    vtk_to_numpy(image.GetPointData().GetScalars())[:] = 0
    assert isEdited(node)


def test_a_file_of_the_command_line_is_ours_but_counts_as_edited(scene, load_ct, tmp_path):
    from ICHWeakSegLib.output.seg_nrrd import write_seg_nrrd

    loaded = load_ct()
    result = make_result(loaded)
    node = load(scene, write_seg_nrrd(tmp_path / "a.seg.nrrd", loaded.blood, loaded.world, result.provenance))
    assert ourSegmentIds(node) == ["hemorrhage"]
    assert provenanceOf(node)["model"] == "tiny"
    assert isEdited(node)
    setMasks(node, loaded.node, make_result(loaded, two_halves(loaded)["IPH"]))
    np.testing.assert_array_equal(mask_of(node), two_halves(loaded)["IPH"])
    write(loaded, node=node)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert not isEdited(node)


@pytest.mark.parametrize(
    ("grid", "transform"), [("axial", None), ("sheared", "linear"), ("oblique", None), ("axial", "uneven")]
)
def test_a_saved_scene_brings_everything_back(make_scene, load_ct, tmp_path, grid, transform):
    loaded = load_ct(grid, transform)
    node = write(loaded, two_halves(loaded))
    partition = np.where(loaded.blood, 2, 1).astype(np.uint8)
    writeSubtypes(node, loaded.node, Box.of(partition), ("EDH", "IPH"))
    path = str(tmp_path / "scene.mrb")
    assert loaded.node.GetScene().WriteToMRB(path)
    other = make_scene().scene
    assert other.ReadFromMRB(path)
    (again,) = nodesOf(other, "vtkMRMLSegmentationNode")
    assert again.GetName() == "Head CT hemorrhage"
    for name, mask in two_halves(loaded).items():
        np.testing.assert_allclose(
            in_order(world_points(again, name)), in_order(loaded.world_ras(mask)), atol=0.01
        )
    assert referenceVolume(again).GetName() == "Head CT"
    assert referenceVolume(again).GetScene() is other
    assert again.GetAttribute("ICHWeakSeg.model") == "tiny"
    assert provenanceOf(again) == provenanceOf(node)
    assert not isEdited(again)
    array, names = readSubtypes(again)
    np.testing.assert_array_equal(array, partition)
    assert names == ("EDH", "IPH")


# --- The partition ---------------------------------------------------------------------------------------------


def test_subtype_partition_is_hidden_and_found_again(scene, load_ct):
    loaded = load_ct("sheared", "linear")
    node = write(loaded)
    assert readSubtypes(node) is None
    partition = np.zeros(SHAPE, np.uint8)
    partition[3:6, 10:20, 10:30] = 1
    partition[4, 12:15, 12:15] = 2
    labels = writeSubtypes(node, loaded.node, Box.of(partition), ["EDH", "SDH"])
    assert labels.IsA("vtkMRMLLabelMapVolumeNode")
    assert labels.GetHideFromEditors()
    assert labels.GetParentTransformNode() is loaded.node.GetParentTransformNode()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemByDataNode(labels) == 0
    array, names = readSubtypes(node)
    np.testing.assert_array_equal(array, partition)
    assert array.dtype == np.uint8
    assert names == ("EDH", "SDH")
    matrix = vtk.vtkMatrix4x4()
    labels.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(arrayFromVTKMatrix(matrix), loaded.local)
    assert writeSubtypes(node, loaded.node, Box.of(partition * 0), ["IVH"]) is labels
    assert readSubtypes(node)[1] == ("IVH",)


def test_a_run_without_subtypes_forgets_the_partition(scene, load_ct):
    loaded = load_ct()
    node = write(loaded)
    box = Box.of(loaded.blood.astype(np.uint8))
    writeSubtypes(node, loaded.node, box, ["EDH"])
    result = replace(make_result(loaded), subtypes=box, subtype_names=("EDH",))
    writeResult(node, loaded.node, result)
    assert readSubtypes(node) is not None
    writeResult(node, loaded.node, make_result(loaded))
    assert readSubtypes(node) is None
    assert not nodesOf(scene, "vtkMRMLLabelMapVolumeNode")


def test_the_ct_itself_is_never_changed(load_ct):
    loaded = load_ct("flipped", "linear")
    node = write(loaded)
    setMasks(node, loaded.node, make_result(loaded, two_halves(loaded)["IPH"]))
    np.testing.assert_array_equal(arrayFromVolume(loaded.node), loaded.hu)
    updateVolumeFromArray(loaded.node, loaded.hu * 0)
    np.testing.assert_array_equal(mask_of(node), two_halves(loaded)["IPH"])
