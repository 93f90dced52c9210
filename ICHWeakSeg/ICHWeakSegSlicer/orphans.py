"""Hidden nodes whose segmentation was deleted: nobody would ever find them."""

from __future__ import annotations

from typing import Any

from ICHWeakSegSlicer import maps, segmentations
from ICHWeakSegSlicer.jobs import nodesInUse
from ICHWeakSegSlicer.placing import nodesOf, removeWhole
from ICHWeakSegSlicer.provenance import KIND_ATTRIBUTE

# Which role of a segmentation leads to which of our hidden nodes.
_ROLES = {"map": maps.MAP_ROLE, "subtypes": segmentations.SUBTYPES_ROLE}


def removeOrphans(scene: Any) -> None:
    """Remove our hidden maps and subtype partitions that no segmentation refers to.

    Those of a running job stay. Nothing is removed while the scene is loaded, closed or changed as a whole, nor
    while its undo could bring a deleted segmentation back.
    """
    if scene.IsImporting() or scene.IsBatchProcessing() or scene.IsClosing():
        return
    if scene.GetUndoFlag() and scene.GetNumberOfUndoLevels():
        return
    segmentationNodes = nodesOf(scene, "vtkMRMLSegmentationNode")
    inUse = nodesInUse()
    # Label maps are scalar volumes, too.
    for node in nodesOf(scene, "vtkMRMLScalarVolumeNode"):
        role = _ROLES.get(node.GetAttribute(KIND_ATTRIBUTE))
        if role is None or not node.GetHideFromEditors() or node in inUse:
            continue
        if not any(one.GetNodeReferenceID(role) == node.GetID() for one in segmentationNodes):
            removeWhole(node)
