"""Where a node belongs: the CT's grid, its transform, its place in the subject hierarchy."""

from __future__ import annotations

import numpy as np
import vtk
from slicer.util import arrayFromVTKMatrix, updateVolumeFromArray, vtkMatrixFromArray

from ICHWeakSegLib.worker.exchange import Box


def ijkToRas(volumeNode) -> np.ndarray:
    """The node's own 4x4 matrix from voxel index (i, j, k) to RAS in mm, without parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return arrayFromVTKMatrix(matrix)


def fillLikeVolume(node, volumeNode, box: Box, dtype: type) -> None:
    """Put a box into a volume node on the whole grid of the CT, with its geometry and transform."""
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    node.SetIJKToRASMatrix(vtkMatrixFromArray(ijkToRas(volumeNode)))
    updateVolumeFromArray(node, box.within(shape).astype(dtype, copy=False))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())


def placeBeside(node, volumeNode) -> None:
    """Put a node under the transform of a CT and, unless it is hidden, next to it in the subject hierarchy."""
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    putInSameFolder(node, volumeNode)


def putInSameFolder(node, volumeNode) -> None:
    """Put a node next to a CT in the subject hierarchy, unless it is hidden."""
    hierarchy = subjectHierarchy(volumeNode.GetScene())
    volumeItem = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    if not volumeItem or node.GetHideFromEditors():
        return
    parent, item = hierarchy.GetItemParent(volumeItem), hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def subjectHierarchy(scene):
    """The scene's subject hierarchy node, or None; it is not made where there is none."""
    return scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") if scene else None


def nodesOf(scene, className: str) -> list:
    """All nodes of a class in a scene."""
    # slicer.util.getNodesByClass looks in slicer.mrmlScene, whatever scene it is given.
    return [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]


def removeWhole(node) -> None:
    """Remove a node from its scene with its display and storage nodes, which would stay behind."""
    scene = node.GetScene()
    shown = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    parts = [node.GetStorageNode(), *(node.GetNthDisplayNode(n) for n in range(shown))]
    scene.RemoveNode(node)
    for part in parts:
        if part is not None and part.GetScene() is scene:
            scene.RemoveNode(part)
