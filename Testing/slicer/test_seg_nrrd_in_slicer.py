"""The written segmentation as Slicer itself reads it: the real storage node of slicer-core, no stand-ins."""

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="slicer-core is not installed: pip install slicer-core")
slicer = pytest.importorskip("slicer", reason="slicer-core is not whole")
vtk = pytest.importorskip("vtk", reason="vtk is not installed: it comes with slicer-core")

from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

from ICHWeakSegLib.ct.volume import CT  # noqa: E402
from ICHWeakSegLib.output.seg_nrrd import write_seg_nrrd  # noqa: E402

SHAPE = (5, 7, 9)
PROVENANCE = {"model": "tiny", "version": "0.1", "sha256": "ab" * 32, "method": "hgi-sam", "threshold": 0.05}

UPRIGHT = np.array([[-0.5, 0, 0, 100], [0, -0.5, 0, 90], [0, 0, 5, -40], [0, 0, 0, 1.0]])
# A gantry tilt of 20 degrees: the k step leans back although i and j stay.
SHEARED = np.array(
    [[-0.5, 0, 0, 100], [0, -0.5, -5 * np.tan(np.radians(20)), 90], [0, 0, 5, -40], [0, 0, 0, 1.0]]
)
angle = np.radians(30)
OBLIQUE = np.array(
    [
        [-0.5 * np.cos(angle), 0, 5 * np.sin(angle), 100],
        [0, 0.5, 0, 90],
        [0.5 * np.sin(angle), 0, 5 * np.cos(angle), -40],
        [0, 0, 0, 1.0],
    ]
)


def ct_of(affine) -> CT:
    return CT(np.zeros(SHAPE, np.int16), affine)


def some_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 2:5, 3:8] = 1
    mask[0, 0, 0] = 1
    return mask


@pytest.fixture(scope="module", autouse=True)
def rules():
    """The application's Segmentations module registers these when it starts; slicer-core leaves it to us."""
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    if not factory.GetConverterRules():
        factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
        factory.RegisterConverterRule(slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule())


@pytest.fixture
def load():
    """Reads a file with Slicer's storage node; the scene lives as long as the test."""
    scene = slicer.vtkMRMLScene()

    def read(path):
        node = slicer.vtkMRMLSegmentationNode()
        scene.AddNode(node)
        storage = slicer.vtkMRMLSegmentationStorageNode()
        scene.AddNode(storage)
        storage.SetFileName(str(path))
        assert storage.ReadData(node), "Slicer could not read the file"
        messages = storage.GetUserMessages()
        assert messages.GetNumberOfMessagesOfType(vtk.vtkCommand.ErrorEvent) == 0
        assert messages.GetNumberOfMessagesOfType(vtk.vtkCommand.WarningEvent) == 0
        return node, storage

    return read


def tag(segment, name) -> str:
    value = vtk.reference("")
    assert segment.GetTag(name, value), f"no tag {name}"
    return str(value)


def ras_voxels(node, segment_id):
    """RAS centre of every voxel of a segment, shape (n, 3), by Slicer's own labelmap and geometry."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    if image.IsEmpty():
        return np.empty((0, 3))
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    affine = np.array([[to_world.GetElement(r, c) for c in range(4)] for r in range(4)])
    extent = image.GetExtent()
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    size = [extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in range(3)]
    k, j, i = np.nonzero(scalars.reshape(size[2], size[1], size[0]))
    ijk = np.stack([i + extent[0], j + extent[2], k + extent[4], np.ones_like(i)])
    return (affine @ ijk)[:3].T


def expected_ras(mask, affine):
    k, j, i = np.nonzero(mask)
    return (affine @ np.stack([i, j, k, np.ones_like(i)]))[:3].T


def in_order(points):
    return points[np.lexsort(points.round(3).T)]


@pytest.mark.parametrize("affine", [UPRIGHT, SHEARED, OBLIQUE], ids=["upright", "sheared", "oblique"])
def test_every_voxel_lies_where_the_ct_has_it(tmp_path, load, affine):
    path = write_seg_nrrd(tmp_path / "köpf 头.seg.nrrd", some_mask(), ct_of(affine), PROVENANCE)
    node, _ = load(path)
    found = in_order(ras_voxels(node, "hemorrhage"))
    np.testing.assert_allclose(found, in_order(expected_ras(some_mask(), affine)), atol=1e-4)


@pytest.mark.parametrize("affine", [UPRIGHT, SHEARED], ids=["upright", "sheared"])
def test_reference_geometry_is_the_ct(tmp_path, load, affine):
    node, _ = load(write_seg_nrrd(tmp_path / "a.seg.nrrd", some_mask(), ct_of(affine), PROVENANCE))
    text = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    image = slicer.vtkOrientedImageData()
    assert slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    to_world = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(to_world)
    found = [[to_world.GetElement(r, c) for c in range(4)] for r in range(4)]
    np.testing.assert_allclose(found, affine, atol=1e-4)
    assert image.GetExtent() == (0, SHAPE[2] - 1, 0, SHAPE[1] - 1, 0, SHAPE[0] - 1)


def test_name_color_terminology_and_provenance(tmp_path, load):
    node, _ = load(write_seg_nrrd(tmp_path / "a.seg.nrrd", some_mask(), ct_of(UPRIGHT), PROVENANCE))
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    segment = node.GetSegmentation().GetSegment("hemorrhage")
    assert segment.GetName() == "Intracranial hemorrhage"
    assert not segment.GetNameAutoGenerated()
    np.testing.assert_allclose(segment.GetColor(), (0.90, 0.16, 0.10), atol=1e-6)
    assert tag(segment, "TerminologyEntry") == (
        "Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^49755003^Morphologically Altered Structure"
        "~SCT^50960005^Hemorrhage~^^"
        "~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
    )
    assert tag(segment, "ICHWeakSeg.model") == "tiny"
    assert tag(segment, "ICHWeakSeg.sha256") == "ab" * 32


def test_provenance_survives_saving_again_in_slicer(tmp_path, load):
    node, storage = load(write_seg_nrrd(tmp_path / "a.seg.nrrd", some_mask(), ct_of(SHEARED), PROVENANCE))
    storage.SetFileName(str(tmp_path / "b.seg.nrrd"))
    assert storage.WriteData(node)
    again, _ = load(tmp_path / "b.seg.nrrd")
    assert tag(again.GetSegmentation().GetSegment("hemorrhage"), "ICHWeakSeg.model") == "tiny"
    found = in_order(ras_voxels(again, "hemorrhage"))
    np.testing.assert_allclose(found, in_order(expected_ras(some_mask(), SHEARED)), atol=1e-4)


def test_empty_mask_is_an_empty_segment(tmp_path, load):
    node, _ = load(write_seg_nrrd(tmp_path / "a.seg.nrrd", np.zeros(SHAPE), ct_of(SHEARED), PROVENANCE))
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert node.GetSegmentation().GetSegment("hemorrhage").GetName() == "Intracranial hemorrhage"
    assert len(ras_voxels(node, "hemorrhage")) == 0


@pytest.mark.parametrize("overlap", [False, True])
def test_subtypes(tmp_path, load, overlap):
    masks = {name: np.zeros(SHAPE, np.uint8) for name in ("EDH", "IPH", "SDH")}
    masks["IPH"][1:3, 2:5, 3:8] = 1
    masks["SDH"][2 if overlap else 4, 2:5, 3:8] = 1
    node, _ = load(write_seg_nrrd(tmp_path / "a.seg.nrrd", masks, ct_of(SHEARED), PROVENANCE))
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegmentID(n) for n in range(3)] == ["EDH", "IPH", "SDH"]
    for name, mask in masks.items():
        found = ras_voxels(node, name)
        expected = expected_ras(mask, SHEARED)
        assert len(found) == len(expected)
        np.testing.assert_allclose(in_order(found), in_order(expected), atol=1e-4)
