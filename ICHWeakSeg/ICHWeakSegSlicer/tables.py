"""The result in numbers as table nodes."""

from __future__ import annotations

from collections.abc import Sequence

import vtk
from slicer.util import NodeModify

from ICHWeakSegLib.output.segments import segment_style
from ICHWeakSegLib.worker.exchange import CaseResult
from ICHWeakSegSlicer.placing import putInSameFolder
from ICHWeakSegSlicer.provenance import KIND_ATTRIBUTE, provenanceTexts, setProvenance

# On the segmentation node.
TABLE_ROLE = "ICHWeakSeg.table"
NOT_A_NUMBER = float("nan")


def createTableNode(volumeNode):
    """A new, empty table beside a CT."""
    scene = volumeNode.GetScene()
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} hemorrhage table")
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    putInSameFolder(node, volumeNode)
    return node


def writeTable(tableNode, result: CaseResult) -> None:
    """Write a row for each segment, and one for all of them where there are several.

    The mean HU of a segment without blood is not a number (NaN), so that nobody takes it for 0 HU.
    """
    rows = [(segment_style(one.name).name, one.found) for one in result.segments]
    if len(rows) > 1:
        rows.append(("total", result.total))
    found = [numbers for _, numbers in rows]
    means = [NOT_A_NUMBER if one.mean_hu is None else one.mean_hu for one in found]
    with NodeModify(tableNode):
        beginTable(tableNode, "table", provenanceTexts(result))
        addColumn(tableNode, "Segment", [name for name, _ in rows], "Name of the segment.")
        addColumn(
            tableNode,
            "Volume (mL)",
            [one.volume_ml for one in found],
            "Volume by the CT's true geometry, tilt and uneven slices included.",
            "mL",
        )
        addColumn(
            tableNode,
            "Lesions",
            [one.lesions for one in found],
            "Pieces of blood that do not touch (26-connected).",
        )
        addColumn(tableNode, "Slices", [one.slices for one in found], "Axial slices with blood.")
        addColumn(tableNode, "Mean HU", means, "Mean of the CT within the segment.", "HU")


def writeSliceTable(tableNode, result: CaseResult) -> None:
    """Write a row for each axial slice: what the classifier says of it."""
    scores = result.slice_scores
    classes = [key for key in (scores[0] if scores else {}) if key not in ("slice", "probability")]
    with NodeModify(tableNode):
        beginTable(tableNode, "slices", provenanceTexts(result))
        addColumn(
            tableNode,
            "Slice",
            [int(row["slice"]) for row in scores],
            "Axial slice, counted from 0 at the inferior end.",
        )
        addColumn(
            tableNode,
            "Probability",
            [float(row["probability"]) for row in scores],
            "Probability of blood, 0-1.",
        )
        addColumn(
            tableNode,
            "Positive",
            [int(yes) for yes in result.positive],
            "1 where the classifier found blood; only there the map is searched.",
        )
        for name in classes:
            addColumn(
                tableNode, name, [float(row[name]) for row in scores], f"Probability of class {name}, 0-1."
            )


def linkTable(segmentationNode, tableNode) -> None:
    """Note on the segmentation which table holds its numbers."""
    segmentationNode.SetNodeReferenceID(TABLE_ROLE, tableNode.GetID())


def tableOf(segmentationNode):
    """The table with the numbers of a segmentation, or None."""
    return segmentationNode.GetNodeReference(TABLE_ROLE)


def beginTable(tableNode, kind: str, provenance: dict[str, str]) -> None:
    """Empty a table, say what it is and where it comes from, and lock it."""
    tableNode.RemoveAllColumns()
    tableNode.SetAttribute(KIND_ATTRIBUTE, kind)
    setProvenance(tableNode, provenance)
    # Measured, not typed: a slip of the keyboard must not change it.
    tableNode.SetLocked(True)


def addColumn(tableNode, name: str, values: Sequence, description: str, unit: str = "") -> None:
    """Add a column of texts, whole numbers or numbers, whichever all values are."""
    if all(isinstance(value, str) for value in values):
        column = vtk.vtkStringArray()
    elif all(isinstance(value, int) for value in values):
        column = vtk.vtkIntArray()
    else:
        column = vtk.vtkDoubleArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    tableNode.AddColumn(column)
    tableNode.SetColumnDescription(name, description)
    if unit:
        tableNode.SetColumnUnitLabel(name, unit)
