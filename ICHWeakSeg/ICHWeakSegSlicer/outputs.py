"""The nodes that a run writes into, checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import slicer

from ICHWeakSegSlicer import segmentations

# What each is called, and what to choose in place of a wrong one.
_WORDS = {
    "segmentation": ("output segmentation", "a segmentation"),
    "map": ("output map", "a scalar volume"),
    "table": ("output table", "a table"),
    "sliceTable": ("output slice table", "a table"),
    "lesionTable": ("output lesion table", "a table"),
    "transform": ("output transform", "a linear transform"),
    "overlay": ("output overlay", "a segmentation"),
}
_CLASSES = {
    "a segmentation": "vtkMRMLSegmentationNode",
    "a scalar volume": "vtkMRMLScalarVolumeNode",
    "a table": "vtkMRMLTableNode",
    "a linear transform": "vtkMRMLLinearTransformNode",
}


@dataclass(frozen=True)
class Outputs:
    """Nodes that were chosen for a run's outputs; None where the run makes one, or none is wanted.

    Attributes:
        segmentation: takes our segments beside the user's own.
        map: localization map.
        table, sliceTable, lesionTable: numbers of segments, slices and lesions.
    """

    segmentation: Any = None
    map: Any = None
    table: Any = None
    sliceTable: Any = None
    lesionTable: Any = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that were chosen, by name."""
        all_ = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: node for name, node in all_.items() if node is not None}


def problemWithOutputs(outputs: Outputs, volumeNode: Any) -> str:
    """Why a run on this CT cannot write into these nodes, as one sentence; empty where it can."""
    problem = problemWithNodes(outputs.given, volumeNode)
    if not problem and outputs.segmentation is not None:
        problem = segmentations.problemWithOutput(outputs.segmentation, volumeNode)
    return problem


def problemWithNodes(given: dict[str, Any], volumeNode: Any) -> str:
    """The same for any outputs, by the names of `Outputs`, `transform` or `overlay`; None is left aside."""
    seen: dict[str, str] = {}
    for name, node in given.items():
        if node is None:
            continue
        what, kind = _WORDS[name]
        if node is volumeNode:
            return f"The {what} would be written over the CT: choose another output, or none."
        if not isinstance(node, slicer.vtkMRMLNode):
            return f"The {what} is {node!r}, which is no node: choose {kind}, or none."
        # Exactly: label maps and colour images descend from the scalar volume.
        if node.GetClassName() != _CLASSES[kind]:
            return f"The {what} {node.GetName()} is not {kind}: choose {kind}, or none."
        if node.GetScene() is not volumeNode.GetScene():
            return (
                f"The {what} {node.GetName()} is not in the scene of {volumeNode.GetName()}: choose another, "
                "or none."
            )
        if node.GetID() in seen:
            return f"{node.GetName()} was chosen as {seen[node.GetID()]} and as {what}: choose one for each."
        seen[node.GetID()] = what
    return ""
