"""Which nodes the panel's run writes into: nothing of another CT, and nothing that somebody edited."""

from __future__ import annotations

from typing import Any

from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.placing import nodesOf

# Of the parameter node; what goes with a segmentation, and with it only.
COMPANIONS = ("outputMap", "outputTable", "outputLesionTable")


def chooseFor(parameters: Any, volumeNode: Any) -> None:
    """Take the outputs that belong to a CT that was just chosen: its newest result, else new ones."""
    shown = parameters.outputSegmentation
    if shown is not None and not isOfAnother(shown, volumeNode):
        return
    found = newestResultOn(volumeNode)
    if found is shown:
        return
    parameters.outputSegmentation = found
    for name in COMPANIONS:
        setattr(parameters, name, None)


def isOfAnother(segmentationNode: Any, volumeNode: Any) -> bool:
    """Whether a segmentation belongs to another CT, be it one that has gone."""
    reference = segmentations.referenceVolume(segmentationNode)
    if reference is None:
        # The user's own segments may say nothing of a CT; ours always did.
        return bool(segmentations.ourSegmentIds(segmentationNode))
    return reference is not volumeNode


def newestResultOn(volumeNode: Any) -> Any:
    """The newest segmentation of ours on a CT, or None."""
    if volumeNode is None:
        return None
    for node in reversed(nodesOf(volumeNode.GetScene(), "vtkMRMLSegmentationNode")):
        if segmentations.ourSegmentIds(node) and segmentations.referenceVolume(node) is volumeNode:
            return node
    return None


def problemWith(parameters: Any) -> str:
    """Why the chosen outputs cannot take a result; empty where they can."""
    volumeNode, shown = parameters.inputVolume, parameters.outputSegmentation
    if parameters.outputMap is volumeNode:
        return "The localization map would be written over the CT: choose another output, or none."
    if shown is None:
        return ""
    if segmentations.ourSegmentIds(shown) and isOfAnother(shown, volumeNode):
        return (
            f"{shown.GetName()} is the result of another CT than {volumeNode.GetName()}: choose 'New "
            "segmentation' under Outputs."
        )
    return segmentations.problemWithOutput(shown, volumeNode)


def keptBack(parameters: Any) -> Any:
    """The chosen segmentation if somebody edited our segments in it, so that a run must not write over them."""
    shown = parameters.outputSegmentation
    return shown if shown is not None and segmentations.isEdited(shown) else None


def forRun(parameters: Any, kept: Any) -> dict[str, Any]:
    """Outputs for `start`; new ones where a result is `keptBack`."""
    names = ("outputSegmentation", *COMPANIONS)
    if kept is not None:
        return dict.fromkeys(names)
    return {name: getattr(parameters, name) for name in names}
