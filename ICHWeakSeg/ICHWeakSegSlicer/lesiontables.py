"""The lesions of a segmentation as a table node: a row each, the largest first, and one for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from slicer.util import NodeModify

from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.placing import putInSameFolder
from ICHWeakSegSlicer.tables import NOT_A_NUMBER, addColumn, beginTable

# On the segmentation node.
LESIONS_ROLE = "ICHWeakSeg.lesions"
# On the table: the CT, the centroids in its own RAS (before parent transforms), and what was measured.
CT_ROLE = "ICHWeakSeg.ct"
PLACES_ATTRIBUTE = "ICHWeakSeg.places"
SEGMENTS_ATTRIBUTE = "ICHWeakSeg.segments"
SIGNATURE_ATTRIBUTE = "ICHWeakSeg.signature"
TOTAL = "total"
# No axial slice: of the total where there is no blood.
NO_SLICE = -1
_YES_NO = {True: "yes", False: "no", None: "unknown"}


@dataclass(frozen=True)
class _Column:
    """A column: its name and unit, the key in a row of measurements, and what it means."""

    name: str
    unit: str
    key: str
    description: str

    @property
    def title(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name


# In their order; numbers with a fraction.
_SIZES = (
    _Column("Volume", "mL", "volume_ml", "By the CT's true geometry, tilt and uneven slices included."),
    _Column("ABC/2", "mL", "abc2_ml", "Kothari et al., Stroke 1996: A x B x C / 2, C weighted by area."),
    _Column("A", "mm", "a_mm", "Largest diameter on the slice with the largest area."),
    _Column("B", "mm", "b_mm", "Largest diameter at 90 degrees to A on that slice."),
    _Column("C", "mm", "c_mm", "Slices weighted by area, times their thickness."),
    _Column("Largest axial diameter", "mm", "diameter_mm", "On any axial slice of the lesion."),
)
_DENSITIES = (
    _Column("Mean", "HU", "mean_hu", "Mean of the CT within the lesion."),
    _Column("SD", "HU", "sd_hu", "Standard deviation of the CT within the lesion."),
    _Column("5 %", "HU", "p5_hu", "5 % of the voxels are darker."),
    _Column("95 %", "HU", "p95_hu", "5 % of the voxels are brighter."),
)
_CENTROIDS = (
    _Column("Centroid R", "mm", "centroid_r_mm", "Centre of volume in world RAS, when it was measured."),
    _Column("Centroid A", "mm", "centroid_a_mm", "Centre of volume in world RAS, when it was measured."),
    _Column("Centroid S", "mm", "centroid_s_mm", "Centre of volume in world RAS, when it was measured."),
)
_CONTACTS = (
    _Column("Touches skull", "", "touches_skull", "Within 1.5 mm of the inner table on an axial slice."),
    _Column(
        "Touches ventricles",
        "",
        "touches_ventricles",
        "Within 1.5 mm of a segment called ventricles; unknown without one.",
    ),
)
_SLICES = (
    _Column("Slices", "", "slices", "Axial slices with blood."),
    _Column("First slice", "", "first_slice", "Lowest axial slice, counted from 0 at the inferior end."),
    _Column("Last slice", "", "last_slice", "Highest axial slice."),
)
_SHAPES = (
    _Column("Sphericity", "", "sphericity", "1 for a ball; not a number on fewer than 3 slices."),
    _Column("Irregularity", "", "irregularity", "Perimeter squared by 4 pi area; 1 for a disc."),
)


def createLesionTable(volumeNode: Any) -> Any:
    """A new, empty table of lesions beside a CT."""
    scene = volumeNode.GetScene()
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} hemorrhage lesions")
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    putInSameFolder(node, volumeNode)
    return node


def writeLesionTable(
    tableNode: Any,
    segmentationNode: Any,
    volumeNode: Any,
    quantities: dict[str, Any],
    segmentIds: Iterable[str],
    signature: str | None = None,
) -> None:
    """Write what was measured, and link the table to the segmentation.

    A value that is not known is not a number (NaN), or "unknown".

    Args:
        tableNode: gets the rows.
        segmentationNode: that was measured.
        volumeNode: the CT that it was measured on.
        quantities: from `Quantities.to_dict`.
        segmentIds: the segments that were measured.
        signature: of their masks when they were measured; as they are now by default.
    """
    ids = list(segmentIds)
    lesions, total = quantities["lesions"], quantities["total"]
    rows = [*lesions, total]
    subtypes = [key for key in total if key.endswith("_ml") and key.removesuffix("_ml") not in _TOTAL_KEYS]

    def numbers(column: _Column) -> list[float]:
        return [NOT_A_NUMBER if row.get(column.key) is None else float(row[column.key]) for row in rows]

    with NodeModify(tableNode):
        facts = {f"{segmentations.OWN}{key}": value for key, value in _provenance(segmentationNode).items()}
        beginTable(tableNode, "lesions", facts)
        names = [*(str(lesion["lesion"]) for lesion in lesions), TOTAL]
        addColumn(tableNode, "Lesion", names, "Pieces of blood that do not touch, the largest first.")
        if subtypes:
            kinds = [*(lesion["subtype"] or "" for lesion in lesions), ""]
            addColumn(tableNode, "Subtype", kinds, "The one with most of the lesion's volume.")
        for column in (*_SIZES, *_DENSITIES, *_CENTROIDS):
            addColumn(tableNode, column.title, numbers(column), column.description, column.unit)
        sides = [*(lesion["side"] or "unknown" for lesion in lesions), _sides(total)]
        addColumn(
            tableNode, "Side", sides, "Of the midline: 90 % of the volume, or both; midline: within 5 mm."
        )
        for column in _CONTACTS:
            words = [*(_YES_NO[lesion[column.key]] for lesion in lesions), ""]
            addColumn(tableNode, column.title, words, column.description)
        for column in _SLICES:
            counts = [NO_SLICE if row[column.key] is None else int(row[column.key]) for row in rows]
            addColumn(tableNode, column.title, counts, column.description)
        for column in _SHAPES:
            addColumn(tableNode, column.title, numbers(column), column.description)
        for key in subtypes:
            name = key.removesuffix("_ml")
            values = [float(row[key]) for row in rows]
            addColumn(tableNode, f"{name} (mL)", values, f"Volume of {name} in the lesion.", "mL")
        centroids = [[lesion[column.key] for column in _CENTROIDS] for lesion in lesions]
        tableNode.SetAttribute(PLACES_ATTRIBUTE, json.dumps(_fromWorld(volumeNode, centroids)))
        tableNode.SetAttribute(SEGMENTS_ATTRIBUTE, json.dumps(ids))
        signature = segmentations.signature(segmentationNode, ids) if signature is None else signature
        tableNode.SetAttribute(SIGNATURE_ATTRIBUTE, signature)
        tableNode.SetNodeReferenceID(CT_ROLE, volumeNode.GetID())
        segmentationNode.SetNodeReferenceID(LESIONS_ROLE, tableNode.GetID())


def lesionTableOf(segmentationNode: Any) -> Any:
    """The table with the lesions of a segmentation, or None where there is none with rows."""
    node = segmentationNode.GetNodeReference(LESIONS_ROLE)
    return node if node is not None and node.GetAttribute(PLACES_ATTRIBUTE) else None


def isUpToDate(tableNode: Any, segmentationNode: Any) -> bool:
    """Whether the masks are still those that were measured."""
    then = tableNode.GetAttribute(SIGNATURE_ATTRIBUTE)
    return segmentations.isUnchanged(segmentationNode, measuredSegments(tableNode), then)


def measuredSegments(tableNode: Any) -> list[str]:
    """Ids of the segments that were measured."""
    return json.loads(tableNode.GetAttribute(SEGMENTS_ATTRIBUTE) or "[]")


def lesionCount(tableNode: Any) -> int:
    """How many lesions the table lists."""
    return len(json.loads(tableNode.GetAttribute(PLACES_ATTRIBUTE) or "[]"))


def lesionPlace(tableNode: Any, row: int) -> np.ndarray | None:
    """Where a lesion's centroid lies now in world RAS, mm, shape (3,): the CT's transform may have changed since.

    None for the row of the total.
    """
    places = json.loads(tableNode.GetAttribute(PLACES_ATTRIBUTE) or "[]")
    if not 0 <= row < len(places):
        return None
    volumeNode = tableNode.GetNodeReference(CT_ROLE)
    toWorld = vtk.vtkGeneralTransform()
    parent = None if volumeNode is None else volumeNode.GetParentTransformNode()
    if parent is not None:
        parent.GetTransformToWorld(toWorld)
    return np.array(toWorld.TransformPoint(places[row]))


def _fromWorld(volumeNode: Any, points: list[list[float]]) -> list[list[float]]:
    """World RAS to the CT's own RAS, before its parent transforms."""
    fromWorld = vtk.vtkGeneralTransform()
    parent = volumeNode.GetParentTransformNode()
    if parent is not None:
        parent.GetTransformFromWorld(fromWorld)
    return [list(fromWorld.TransformPoint(point)) for point in points]


def _provenance(segmentationNode: Any) -> dict[str, str]:
    return segmentations.provenanceOf(segmentationNode)


def _sides(total: dict[str, Any]) -> str:
    """Volumes on either side of the midline, in words."""
    if total["left_ml"] is None or not total["lesions"]:
        return ""
    return f"left {total['left_ml']:.1f} mL, right {total['right_ml']:.1f} mL"


# What ends in _ml in the totals and is no subtype.
_TOTAL_KEYS = ("volume", "largest", "left", "right")
