"""The localization map as a volume node: written, found again, laid over the CT and taken away."""

from __future__ import annotations

import json

import numpy as np
import slicer
from slicer.util import NodeModify, arrayFromVolume

from ICHWeakSegLib.worker.exchange import Box
from ICHWeakSegSlicer.placing import fillLikeVolume, nodesOf, putInSameFolder
from ICHWeakSegSlicer.provenance import KIND_ATTRIBUTE

# On the segmentation node.
MAP_ROLE = "ICHWeakSeg.map"
# On the map: the CT that it belongs to.
CT_ROLE = "ICHWeakSeg.ct"
# On a map that is shown: what it displaced in which slice view.
DISPLACED_ATTRIBUTE = "ICHWeakSeg.displaced"
HIDDEN_BEFORE_ATTRIBUTE = "ICHWeakSeg.hiddenBefore"
PROBABILITIES_ATTRIBUTE = "ICHWeakSeg.probabilities"
OPACITY = 0.5
# Below this the CT shows through undimmed.
LOWEST_SHOWN = 0.02
INFERNO = "vtkMRMLColorTableNodeFileInferno.txt"
OWN_COLORS = "ICHWeakSegMapColors"
# Dark to bright with even steps of lightness, for a scene without Slicer's Inferno: position, red, green, blue.
_HEAT = np.array(
    [
        [0.00, 0.00, 0.00, 0.01],
        [0.25, 0.34, 0.06, 0.43],
        [0.50, 0.73, 0.21, 0.33],
        [0.75, 0.97, 0.55, 0.04],
        [1.00, 0.99, 1.00, 0.64],
    ]
)


def createMapNode(volumeNode, hidden: bool = False):
    """A new, empty map beside a CT; a hidden one appears in no list until it is shown."""
    scene = volumeNode.GetScene()
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(scene.GenerateUniqueName(f"{volumeNode.GetName()} hemorrhage map"))
    node.SetAttribute(KIND_ATTRIBUTE, "map")
    # Before it comes into the scene, so that no list ever shows it.
    node.SetHideFromEditors(hidden)
    node = scene.AddNode(node)
    node.SetNodeReferenceID(CT_ROLE, volumeNode.GetID())
    putInSameFolder(node, volumeNode)
    return node


def writeMap(mapNode, volumeNode, box: Box | None) -> None:
    """Write a map of 0-1 on the CT's whole grid; None is a map of zeros."""
    if box is None:
        box = Box(np.zeros((0, 0, 0), np.float32))
    with NodeModify(mapNode):
        # A volume that the user chose for the map becomes one.
        mapNode.SetAttribute(KIND_ATTRIBUTE, "map")
        mapNode.SetNodeReferenceID(CT_ROLE, volumeNode.GetID())
        fillLikeVolume(mapNode, volumeNode, box, np.float32)
        putInSameFolder(mapNode, volumeNode)
        _setColors(mapNode)


def readMap(mapNode) -> np.ndarray:
    """The map, 0-1, float32, shape (K, J, I); a view of the node's voxels."""
    return arrayFromVolume(mapNode)


def keepProbabilities(mapNode, probabilities: list[float]) -> None:
    """Keep the probability of blood on each axial slice, from inferior to superior, for a report."""
    mapNode.SetAttribute(PROBABILITIES_ATTRIBUTE, json.dumps([round(float(one), 4) for one in probabilities]))


def probabilitiesOf(mapNode) -> list[float]:
    """What `keepProbabilities` kept; empty where nothing is known."""
    return json.loads(mapNode.GetAttribute(PROBABILITIES_ATTRIBUTE) or "[]")


def linkMap(segmentationNode, mapNode) -> None:
    """Note on the segmentation which map it was cut from."""
    segmentationNode.SetNodeReferenceID(MAP_ROLE, mapNode.GetID())


def mapOf(segmentationNode):
    """The map that a segmentation was cut from, or None where there is none with voxels."""
    node = segmentationNode.GetNodeReference(MAP_ROLE)
    return None if node is None or node.GetImageData() is None else node


def showMap(mapNode) -> None:
    """Lay the map over its CT in every slice view that shows the CT; other views stay as they are."""
    scene, ctId = mapNode.GetScene(), mapNode.GetNodeReferenceID(CT_ROLE)
    displaced = _displaced(mapNode)
    if mapNode.GetHideFromEditors():
        mapNode.SetAttribute(HIDDEN_BEFORE_ATTRIBUTE, "1")
        mapNode.SetHideFromEditors(False)
        if mapNode.GetNodeReference(CT_ROLE) is not None:
            putInSameFolder(mapNode, mapNode.GetNodeReference(CT_ROLE))
    for composite in nodesOf(scene, "vtkMRMLSliceCompositeNode"):
        if not ctId or composite.GetBackgroundVolumeID() != ctId:
            continue
        if composite.GetForegroundVolumeID() != mapNode.GetID():
            displaced[composite.GetID()] = [
                composite.GetForegroundVolumeID(),
                composite.GetForegroundOpacity(),
            ]
        with NodeModify(composite):
            composite.SetForegroundVolumeID(mapNode.GetID())
            composite.SetForegroundOpacity(OPACITY)
    mapNode.SetAttribute(DISPLACED_ATTRIBUTE, json.dumps(displaced))


def hideMap(mapNode) -> None:
    """Take the map away again and bring back what it displaced; views that the user has changed stay."""
    scene, displaced = mapNode.GetScene(), _displaced(mapNode)
    for composite in nodesOf(scene, "vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() != mapNode.GetID():
            continue
        nodeId, opacity = displaced.get(composite.GetID(), (None, 0.0))
        with NodeModify(composite):
            # Slicer takes the id of a node that was deleted meanwhile for none.
            composite.SetForegroundVolumeID(nodeId)
            composite.SetForegroundOpacity(opacity)
    mapNode.RemoveAttribute(DISPLACED_ATTRIBUTE)
    if mapNode.GetAttribute(HIDDEN_BEFORE_ATTRIBUTE):
        mapNode.RemoveAttribute(HIDDEN_BEFORE_ATTRIBUTE)
        mapNode.SetHideFromEditors(True)


def isMapShown(mapNode) -> bool:
    """Whether a slice view shows the map over something."""
    return any(
        composite.GetForegroundVolumeID() == mapNode.GetID() and composite.GetForegroundOpacity() > 0
        for composite in nodesOf(mapNode.GetScene(), "vtkMRMLSliceCompositeNode")
    )


def _displaced(mapNode) -> dict[str, list]:
    return json.loads(mapNode.GetAttribute(DISPLACED_ATTRIBUTE) or "{}")


def _setColors(mapNode) -> None:
    """Bright for likely, the same for every map, and see-through where there is nothing."""
    if mapNode.GetDisplayNode() is None:
        mapNode.CreateDefaultDisplayNodes()
    display = mapNode.GetDisplayNode()
    with NodeModify(display):
        display.SetAndObserveColorNodeID(_colorsId(mapNode.GetScene()))
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0.0, 1.0)
        display.SetAutoThreshold(False)
        display.SetThreshold(LOWEST_SHOWN, 1.0)
        display.SetApplyThreshold(True)


def _colorsId(scene) -> str:
    if scene.GetNodeByID(INFERNO) is not None:
        return INFERNO
    own = scene.GetSingletonNode(OWN_COLORS, "vtkMRMLColorTableNode")
    if own is None:
        own = slicer.vtkMRMLColorTableNode()
        own.SetName("Hemorrhage map colors")
        own.SetSingletonTag(OWN_COLORS)
        own.SetTypeToUser()
        own.SetHideFromEditors(False)
        own.SetNumberOfColors(256)
        for index, at in enumerate(np.linspace(0, 1, 256)):
            rgb = [float(np.interp(at, _HEAT[:, 0], _HEAT[:, part])) for part in (1, 2, 3)]
            own.SetColor(index, f"{at:.2f}", *rgb, 1.0)
        own = scene.AddNode(own)
    return own.GetID()
