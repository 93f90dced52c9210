"""A segment that reaches beyond its CT is refused by whatever measures it; one at the edge is measured."""

import numpy as np
import pytest
import vtk
from conftest import add_linear_transform, slicer
from slicer.util import vtkMatrixFromArray

from ICHWeakSegLib import InputError
from ICHWeakSegSlicer.bloodmasks import maskOnVolume
from ICHWeakSegSlicer.scores import hematomaOf

# A block of the CT's voxels of 4 x 4 x 8 mm.
BLOCK = (10, 10, 5)
BLOCK_ML = 10 * 10 * 5 * 4 * 4 * 8 / 1000


def block(scene, loaded, first, parent=None, segment="blood", size=BLOCK):
    """A segmentation of one block whose first voxel is the CT's (i, j, k) `first`, however far outside that is."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    image = slicer.vtkOrientedImageData()
    grid = loaded.local.copy()
    grid[:3, 3] = (loaded.local @ [*first, 1])[:3]
    image.SetImageToWorldMatrix(vtkMatrixFromArray(grid))
    image.SetExtent(0, size[0] - 1, 0, size[1] - 1, 0, size[2] - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(1)
    node.AddSegmentFromBinaryLabelmapRepresentation(image, segment, [1, 0, 0])
    node.SetNodeReferenceID(
        slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole(), loaded.node.GetID()
    )
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def mask_of(loaded, node):
    return maskOnVolume(node, node.GetSegmentation().GetNthSegmentID(0), loaded.node)


# The CT has 56 x 60 x 20 voxels.
@pytest.mark.parametrize(
    "first", [(-1, 20, 5), (47, 20, 5), (20, -1, 5), (20, 51, 5), (20, 20, -1), (20, 20, 16)]
)
@pytest.mark.parametrize("grid", ["axial", "flipped", "oblique"])
def test_one_voxel_too_far_on_any_side_is_refused(grid, first, load_ct, scene):
    loaded = load_ct(grid)
    with pytest.raises(InputError, match="The segment blood of drawn reaches beyond its CT Head CT"):
        mask_of(loaded, block(scene, loaded, first))


@pytest.mark.parametrize("first", [(0, 0, 0), (46, 50, 15), (20, 20, 5)])
@pytest.mark.parametrize("transform", [None, "linear", "tilted", "uneven", "uneven, linear"])
def test_one_that_ends_at_the_edge_is_whole(transform, first, load_ct, scene):
    loaded = load_ct(transform=transform)
    node = block(scene, loaded, first, loaded.node.GetParentTransformNode())
    assert mask_of(loaded, node).sum() == np.prod(BLOCK)


def test_a_wide_miss_is_refused(load_ct, scene):
    loaded = load_ct()
    with pytest.raises(InputError, match="beyond"):
        mask_of(loaded, block(scene, loaded, (200, 20, 5)))


def test_transforms_count(load_ct, scene):
    loaded = load_ct()
    shift = np.eye(4)
    shift[0, 3] = 25 * 4
    moved = add_linear_transform(scene, shift)
    # The i axis runs against R: moved by 25 voxels towards lower i.
    assert mask_of(loaded, block(scene, loaded, (30, 20, 5), moved)).sum() == np.prod(BLOCK)
    with pytest.raises(InputError, match="beyond"):
        mask_of(loaded, block(scene, loaded, (20, 20, 5), moved))
    # Outside by itself, and brought inside.
    assert mask_of(loaded, block(scene, loaded, (60, 20, 5), moved)).sum() == np.prod(BLOCK)


def test_a_grid_transform_of_one_alone_counts(load_ct, scene):
    loaded = load_ct(transform="tilted")
    assert mask_of(loaded, block(scene, loaded, (20, 20, 8))).any()
    with pytest.raises(InputError, match="beyond"):
        mask_of(loaded, block(scene, loaded, (-8, 20, 8)))


def test_every_caller_refuses(logic, load_ct, scene, tmp_path):
    loaded = load_ct()
    inside, outside = block(scene, loaded, (20, 20, 5)), block(scene, loaded, (50, 20, 5))
    assert hematomaOf(inside).totalMl == pytest.approx(BLOCK_ML)
    other = load_ct(name="Later CT")
    calls = (
        lambda: hematomaOf(outside),
        lambda: logic.measure(outside),
        lambda: logic.report(outside, tmp_path / "page.html"),
        lambda: logic.followUp(outside, block(scene, other, (20, 20, 5))),
    )
    for call in calls:
        with pytest.raises(InputError, match="beyond its CT"):
            call()
    assert not (tmp_path / "page.html").exists()
