"""Volume nodes as CTs: what is refused and why, and where in the world the voxels lie. Real MRML nodes."""

import numpy as np
import pytest
from conftest import GRIDS, SHAPE, UNEVEN_MM, add_linear_transform, add_volume, slicer, vtk
from slicer.util import arrayFromVolume, updateVolumeFromArray

from ICHWeakSegLib.ct.axes import slice_coordinates
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegSlicer.volumes import ctFromVolume, isLikelyCt, modalityOf, problemWith, volumesCtFirst

pytestmark = pytest.mark.usefixtures("no_slicer_errors")

TRANSFORMS = [None, "linear", "tilted", "uneven", "tilted and uneven", "uneven, linear"]


def world_of(ct):
    """World RAS of the first, last and some more voxels of each slice by the CT's own geometry."""
    k, j, i = np.meshgrid(np.arange(SHAPE[0]), (0, 31, SHAPE[1] - 1), (0, 17, SHAPE[2] - 1), indexing="ij")
    ijk = np.stack([i.ravel(), j.ravel(), slice_coordinates(ct)[k.ravel()], np.ones(k.size)])
    return (ct.ijk_to_ras @ ijk)[:3].T


@pytest.mark.parametrize("grid", list(GRIDS))
def test_grid_and_voxels_are_the_nodes(load_ct, grid):
    loaded = load_ct(grid)
    ct = ctFromVolume(loaded.node)
    np.testing.assert_allclose(ct.ijk_to_ras, GRIDS[grid], atol=1e-9)
    assert ct.slice_positions_mm is None
    assert ct.source == "Head CT"
    assert ct.warnings == []
    np.testing.assert_array_equal(ct.hu, loaded.hu)


def test_whole_numbers_in_range_are_not_copied(load_ct):
    loaded = load_ct()
    ct = ctFromVolume(loaded.node)
    assert np.shares_memory(ct.hu, arrayFromVolume(loaded.node))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_other_types_and_padding_become_hu(load_ct, dtype):
    loaded = load_ct()
    padded = loaded.hu.astype(dtype)
    padded[:, :2] = -3024
    updateVolumeFromArray(loaded.node, padded)
    ct = ctFromVolume(loaded.node)
    assert ct.hu.dtype == np.int16
    assert (ct.hu[:, :2] == -1024).all()
    np.testing.assert_array_equal(ct.hu[:, 2:], loaded.hu[:, 2:])
    assert (arrayFromVolume(loaded.node)[:, :2] == -3024).all(), "the user's voxels were changed"


def test_not_a_number_is_refused(load_ct):
    loaded = load_ct()
    broken = loaded.hu.astype(np.float32)
    broken[3, 4, 5] = np.nan
    updateVolumeFromArray(loaded.node, broken)
    with pytest.raises(InputError, match="Head CT holds voxels that are not a number"):
        ctFromVolume(loaded.node)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("grid", ["axial", "flipped", "oblique"])
def test_parent_transforms_are_honoured(load_ct, grid, transform):
    loaded = load_ct(grid, transform)
    ct = ctFromVolume(loaded.node)
    np.testing.assert_allclose(world_of(ct), world_of(loaded.world), atol=0.01)
    np.testing.assert_allclose(ct.slice_voxel_ml(), loaded.world.slice_voxel_ml(), rtol=1e-3)
    uneven = transform is not None and "uneven" in transform
    assert (ct.slice_positions_mm is not None) == uneven
    if uneven:
        np.testing.assert_allclose(np.abs(np.diff(ct.slice_positions_mm)), np.diff(UNEVEN_MM), atol=0.01)
        # The matrix has the usual step, as of a series read from DICOM: here 10 mm along the normal.
        np.testing.assert_allclose(ct.voxel_ml, ct.slice_voxel_ml().max(), rtol=1e-3)
    if transform in (None, "linear"):
        assert ct.warnings == []


def test_a_tilted_import_says_what_segment_statistics_counts(load_ct):
    (sentence,) = ctFromVolume(load_ct("axial", "tilted").node).warnings
    # The import takes the way from slice to slice for the spacing; the slices are nearer by cos(20 degrees).
    assert "changes volumes by -6.0 %" in sentence
    assert "Segment Statistics" in sentence


def test_an_uneven_import_says_what_segment_statistics_counts(load_ct):
    (sentence,) = ctFromVolume(load_ct("axial", "uneven").node).warnings
    assert "unevenly spaced" in sentence
    assert "Segment Statistics" in sentence


def test_scaling_is_warned_of(scene, load_ct):
    loaded = load_ct()
    loaded.node.SetAndObserveTransformNodeID(add_linear_transform(scene, np.diag([1.1, 1, 1, 1])).GetID())
    ct = ctFromVolume(loaded.node)
    assert ct.voxel_ml == pytest.approx(1.1 * loaded.world.voxel_ml)
    (sentence,) = ct.warnings
    assert "changes volumes by +10.0 %" in sentence


def bend(scene, node, displacement):
    """Puts a grid transform of 5 x 5 x 5 vectors over the volume; `displacement(i, j, k)` in mm."""
    image = vtk.vtkImageData()
    image.SetDimensions(5, 5, 5)
    image.SetOrigin(-150, -150, -80)
    image.SetSpacing(75, 75, 75)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(image)
    transform_node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Warp")
    transform_node.SetAndObserveTransformToParent(transform)
    array = slicer.util.arrayFromGridTransform(transform_node)
    k, j, i = np.indices(array.shape[:3])
    array[:] = np.stack(np.broadcast_arrays(*displacement(i, j, k)), axis=-1)
    node.SetAndObserveTransformNodeID(transform_node.GetID())


@pytest.mark.parametrize(
    "displacement",
    [
        pytest.param(lambda i, j, k: (3.0 * (i == 2) * (j == 2), 0.0, 0.0), id="bent in the middle"),
        pytest.param(lambda i, j, k: (0.0, 4.0 * (k == 2), 0.0), id="slices shifted sideways"),
        pytest.param(lambda i, j, k: (0.0, 0.0, 1.0 * j * k), id="slices turned one by one"),
    ],
)
def test_a_real_warp_is_left_aside_with_a_warning(scene, load_ct, displacement):
    loaded = load_ct()
    bend(scene, loaded.node, displacement)
    ct = ctFromVolume(loaded.node)
    np.testing.assert_allclose(ct.ijk_to_ras, GRIDS["axial"])
    (sentence,) = ct.warnings
    assert sentence.startswith("The non-linear transform of Head CT is left aside")


def test_a_warp_that_moves_everything_alike_is_a_shift(scene, load_ct):
    loaded = load_ct()
    bend(scene, loaded.node, lambda i, j, k: (5.0, -3.0, 2.0))
    ct = ctFromVolume(loaded.node)
    moved = GRIDS["axial"].copy()
    moved[:3, 3] += (5, -3, 2)
    np.testing.assert_allclose(ct.ijk_to_ras, moved, atol=1e-6)
    assert ct.warnings == []


def labels(scene):
    return scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")


def model(scene):
    return scene.AddNewNodeByClass("vtkMRMLModelNode", "Skull")


def empty(scene):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")


def colour(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    updateVolumeFromArray(node, np.zeros((4, 5, 6, 3), np.uint8))
    return node


def two_channels(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Pairs")
    image = vtk.vtkImageData()
    image.SetDimensions(6, 5, 4)
    image.AllocateScalars(vtk.VTK_SHORT, 2)
    node.SetAndObserveImageData(image)
    return node


def flat(scene):
    return add_volume(scene, np.zeros((1, 60, 50), np.int16), np.eye(4), "Scout")


def singular(scene):
    node = add_volume(scene, np.zeros((4, 5, 6), np.int16), np.eye(4), "Folded")
    node.SetIJKToRASDirections(1, 0, 1, 0, 1, 0, 0, 0, 0)
    return node


def squashed(scene):
    node = add_volume(scene, np.zeros((4, 5, 6), np.int16), np.eye(4), "Squashed")
    transform = add_linear_transform(scene, np.diag([1, 1, 1e-6, 1]))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def mr_by_attribute(scene):
    node = add_volume(scene, np.zeros((4, 5, 6), np.int16), np.eye(4), "T1")
    node.SetAttribute("DICOM.Modality", "MR")
    return node


def pet_by_units(scene):
    node = add_volume(scene, np.zeros((4, 5, 6), np.int16), np.eye(4), "SUV")
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("{SUVbw}g/ml", "UCUM", "SUV body weight")
    node.SetVoxelValueUnits(units)
    return node


def own_map(scene):
    node = add_volume(scene, np.zeros((4, 5, 6), np.float32), np.eye(4), "Head CT map")
    node.SetAttribute("ICHWeakSeg.kind", "map")
    return node


def outside(scene):
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName("Loose")
    return node


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda scene: None, ["No volume is chosen", "load a head CT"]),
        (lambda scene: "head.nii.gz", ["'head.nii.gz'", "give its node"]),
        (labels, ["Labels is a label map", "choose the CT"]),
        (model, ["Skull is not a volume", "choose a head CT"]),
        (empty, ["Nothing holds no voxels", "load"]),
        (colour, ["Photo has 3 values in each voxel", "choose a CT"]),
        (two_channels, ["Pairs has 2 values in each voxel", "choose a CT"]),
        (flat, ["Scout has only one slice", "3D CT is needed"]),
        (singular, ["Folded", "singular"]),
        (squashed, ["Squashed under its transform"]),
        (mr_by_attribute, ["T1 is an MR image", "choose a non-contrast head CT"]),
        (pet_by_units, ["SUV has values in SUV body weight", "not in HU"]),
        (own_map, ["Head CT map was written by this module", "choose the CT"]),
        (outside, ["Loose is not in a scene"]),
    ],
)
def test_bad_input_gets_one_sentence(scene, make, words):
    node = make(scene)
    sentence = problemWith(node)
    for word in words:
        assert word in sentence
    assert sentence.count(".") - sentence.count(".nii.gz") * 2 - sentence.count("slicer.mrmlScene.") * 2 == 1
    assert sentence.endswith(".")
    assert "\n" not in sentence
    with pytest.raises(InputError) as error:
        ctFromVolume(node)
    assert str(error.value) == sentence


def test_modality_comes_from_the_series_in_the_subject_hierarchy(scene, load_ct):
    loaded = load_ct()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(loaded.node)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(item, study)
    assert modalityOf(loaded.node) == ""
    hierarchy.SetItemAttribute(study, "DICOM.Modality", "mr")
    assert "MR image" in problemWith(loaded.node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    assert problemWith(loaded.node) == ""
    assert modalityOf(loaded.node) == "CT"


@pytest.mark.parametrize(
    "units",
    [("[hnsf'U]", "UCUM", "Hounsfield unit"), ("1", "UCUM", "no units"), ("{x}", "99X", "hounsfield units")],
)
def test_hounsfield_and_unknown_units_are_let_through(load_ct, units):
    node = load_ct().node
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning(*units)
    node.SetVoxelValueUnits(entry)
    assert problemWith(node) == ""


def test_a_look_at_the_problem_does_not_touch_all_voxels(scene):
    """A gigabyte that nobody reads: the pages of this array stay unmapped unless something passes over them."""
    import time

    node = add_volume(scene, np.zeros((600, 700, 700), np.int16), np.eye(4), "Large")
    start = time.perf_counter()
    for _ in range(20):
        assert problemWith(node) == ""
    assert (time.perf_counter() - start) / 20 < 0.01
    start = time.perf_counter()
    assert not isLikelyCt(node)
    assert time.perf_counter() - start < 0.5


def mr_like(scene, name="T1"):
    values = np.random.default_rng(0).integers(0, 900, (8, 20, 20)).astype(np.int16)
    return add_volume(scene, values, np.eye(4), name)


def test_ct_is_told_from_others_by_values_units_or_dicom(scene, load_ct):
    assert isLikelyCt(load_ct().node)
    image = mr_like(scene)
    assert not isLikelyCt(image)
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    image.SetVoxelValueUnits(units)
    assert isLikelyCt(image)
    dicom = mr_like(scene)
    dicom.SetAttribute("DICOM.Modality", "CT")
    assert isLikelyCt(dicom)
    dicom.SetAttribute("DICOM.Modality", "MR")
    assert not isLikelyCt(dicom)


def test_cts_come_first_and_only_volumes_that_one_can_choose(scene, load_ct):
    bad = mr_by_attribute(scene)
    other = mr_like(scene, "FLAIR")
    one = load_ct("axial", name="First CT").node
    colour(scene), labels(scene), own_map(scene), two_channels(scene)
    hidden = load_ct("axial", name="Hidden CT").node
    hidden.SetHideFromEditors(True)
    two = load_ct("oblique", name="Second CT").node
    assert volumesCtFirst(scene) == [one, two, other, bad]
