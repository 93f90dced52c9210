"""Which segments of a segmentation are blood, and their masks on the CT's grid, edits included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.util import arrayFromVTKMatrix, vtkMatrixFromArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.output.segments import HEMORRHAGE_STYLE, SUBTYPE_STYLES
from ICHWeakSegLib.worker.exchange import Box
from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.placing import ijkToRas

LABELMAP = "Binary labelmap"
# Rounding of grids, in voxels of the CT.
TOLERANCE = 0.1
# Names of a segment that holds the ventricles: no blood, but blood may touch it.
VENTRICLES = ("ventricle", "ventricles", "ventricular system")


def bloodSegments(segmentationNode: Any, chosen: Iterable[str] | None = None) -> list[str]:
    """Ids of the segments that hold blood: ours; in a segmentation without any of ours, all but the ventricles.

    Args:
        segmentationNode: the segmentation.
        chosen: ids or names of segments, where the caller knows better.

    Raises:
        InputError: there is no such segment, or none at all.
    """
    problem = segmentations.problemWithNode(segmentationNode)
    if problem:
        raise InputError(problem)
    ids = list(segmentationNode.GetSegmentation().GetSegmentIDs())
    if chosen is not None:
        found = [segmentId(segmentationNode, one) for one in chosen]
    else:
        ours = segmentations.ourSegmentIds(segmentationNode)
        found = ours or [one for one in ids if one != ventriclesSegment(segmentationNode)]
    if not found:
        raise InputError(f"{segmentationNode.GetName()} holds no segment: paint the blood first.")
    return found


def segmentsLeft(segmentationNode: Any, segmentIds: Iterable[str]) -> list[str]:
    """Those of these segments that were not deleted meanwhile; where none is left, those that hold blood now.

    Raises:
        InputError: there is none.
    """
    segmentation = segmentationNode.GetSegmentation()
    left = [one for one in segmentIds if segmentation.GetSegment(one) is not None]
    return left or bloodSegments(segmentationNode)


def ventriclesSegment(segmentationNode: Any) -> str | None:
    """Id of the segment that is called ventricles, or None."""
    segmentation = segmentationNode.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    named = [one for one in ids if segmentation.GetSegment(one).GetName().strip().lower() in VENTRICLES]
    return named[0] if named else None


def segmentId(segmentationNode: Any, idOrName: str) -> str:
    """Id of a segment by its id or its name.

    Raises:
        InputError: there is none.
    """
    segmentation = segmentationNode.GetSegmentation()
    found = (
        idOrName if segmentation.GetSegment(idOrName) else segmentation.GetSegmentIdBySegmentName(idOrName)
    )
    if not found:
        raise InputError(f"{segmentationNode.GetName()} has no segment {idOrName}: give the name of one.")
    return found


def masksOnVolume(segmentationNode: Any, segmentIds: Iterable[str], volumeNode: Any) -> dict[str, Box]:
    """Masks by class, as `quantify.measure` takes them.

    Subtypes keep their names, and so do several segments of somebody else; a single one is `hemorrhage`.

    Returns:
        Name to mask, uint8, on the grid of the CT.

    Raises:
        InputError: a segment reaches beyond the CT.
    """
    ids = list(segmentIds)
    names = [_className(segmentationNode, one) for one in ids]
    if len(ids) == 1 and names[0] not in SUBTYPE_STYLES:
        names = [HEMORRHAGE_STYLE.id]
    masks: dict[str, np.ndarray] = {}
    for one, name in zip(ids, names, strict=True):
        mask = maskOnVolume(segmentationNode, one, volumeNode)
        masks[name] = masks[name] | mask if name in masks else mask
    return {name: Box.of(mask.view(np.uint8)) for name, mask in masks.items()}


def maskOnVolume(segmentationNode: Any, segmentId: str, volumeNode: Any) -> np.ndarray:
    """A segment on the CT's grid as bool, shape (K, J, I); transforms of both are honoured.

    Not by `arrayFromSegmentBinaryLabelmap`: that adds nodes to the scene for a moment, to which the panel, which
    asks for this, answers by asking again.

    Raises:
        InputError: the segment reaches beyond the CT, so that a part of it could not be measured.
    """
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    own, grid, placed = (slicer.vtkOrientedImageData() for _ in range(3))
    if not segmentationNode.GetSegmentation().ContainsRepresentation(LABELMAP):
        segmentationNode.CreateBinaryLabelmapRepresentation()
    if not segmentationNode.GetBinaryLabelmapRepresentation(segmentId, own) or own.IsEmpty():
        return np.zeros(shape, bool)
    grid.SetImageToWorldMatrix(vtkMatrixFromArray(ijkToRas(volumeNode)))
    grid.SetExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    grid.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    arguments, between = [own, grid, placed], None
    parents = segmentationNode.GetParentTransformNode(), volumeNode.GetParentTransformNode()
    if parents[0] is not parents[1]:
        between = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(*parents, between)
        arguments += [False, False, between]
    if _reachesBeyond(own, grid, between):
        name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
        raise InputError(
            f"The segment {name} of {segmentationNode.GetName()} reaches beyond its CT {volumeNode.GetName()}: "
            "choose the CT that it was made on, or erase what lies outside."
        )
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(*arguments)
    return vtk_to_numpy(placed.GetPointData().GetScalars()).reshape(shape) != 0


def _reachesBeyond(own: Any, grid: Any, between: Any) -> bool:
    """Whether the middle of a voxel of a segment lies outside the voxels of the CT.

    Args:
        own, grid: oriented images of the segment and of the CT.
        between: transform from the one's world to the other's; None where they are the same.
    """
    i, _, j, _, k, _ = own.GetExtent()
    inside = vtk_to_numpy(own.GetPointData().GetScalars()).reshape(own.GetDimensions()[::-1]) != 0
    places = np.argwhere(inside)[:, ::-1] + [i, j, k]
    matrices = [vtk.vtkMatrix4x4() for _ in range(2)]
    own.GetImageToWorldMatrix(matrices[0])
    grid.GetWorldToImageMatrix(matrices[1])
    toWorld, toIjk = (arrayFromVTKMatrix(matrix) for matrix in matrices)
    points = places @ toWorld[:3, :3].T + toWorld[:3, 3]
    if between is not None:
        given, moved = vtk.vtkPoints(), vtk.vtkPoints()
        for some in (given, moved):
            some.SetDataTypeToDouble()
        given.SetData(numpy_to_vtk(points, deep=True))
        between.TransformPoints(given, moved)
        points = vtk_to_numpy(moved.GetData())
    found = points @ toIjk[:3, :3].T + toIjk[:3, 3]
    edge = 0.5 + TOLERANCE
    return bool((found < -edge).any() or (found > np.array(grid.GetDimensions()) - 1 + edge).any())


def _className(segmentationNode: Any, segmentId: str) -> str:
    """The class in the result of one of ours, else a subtype's name, else what the user calls it."""
    if segmentId in segmentations.ourSegmentIds(segmentationNode):
        return segmentations.resultName(segmentationNode, segmentId)
    name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName().strip()
    return name.upper() if name.upper() in SUBTYPE_STYLES else name
