"""Two CTs of a patient compared, as nodes: a table of the change, a transform between them, an overlay."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import slicer
from slicer.util import NodeModify, vtkMatrixFromArray

from ICHWeakSegLib.output.segments import HEMORRHAGE_STYLE
from ICHWeakSegLib.worker.exchange import Box
from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.placing import ijkToRas, placeBeside, putInSameFolder, removeWhole
from ICHWeakSegSlicer.provenance import KIND_ATTRIBUTE
from ICHWeakSegSlicer.tables import NOT_A_NUMBER, addColumn, beginTable

# On the table: what was compared, and what came of it.
BEFORE_ROLE, AFTER_ROLE = "ICHWeakSeg.before", "ICHWeakSeg.after"
TRANSFORM_ROLE, OVERLAY_ROLE = "ICHWeakSeg.transform", "ICHWeakSeg.overlay"
COMPARED_ATTRIBUTE = "ICHWeakSeg.compared"
SENTENCE_ATTRIBUTE, WARNINGS_ATTRIBUTE = "ICHWeakSeg.sentence", "ICHWeakSeg.warnings"
_KIND = "follow-up"
# Segments of the overlay: id, name, colour; the values of `quantify.follow_up`'s overlay are 1, 2, 3.
OVERLAY = (
    ("before", "Blood only before", (0.34, 0.71, 0.91)),
    ("after", "Blood only after", (0.90, 0.62, 0.00)),
    ("both", "Blood on both", HEMORRHAGE_STYLE.color),
)


@dataclass(frozen=True)
class Compared:
    """What of a segmentation was compared.

    Attributes:
        segments: ids of its segments with blood.
        signature: of their masks at that time.
    """

    segments: list[str]
    signature: str

    @classmethod
    def now(cls, segmentationNode: Any, segmentIds: Iterable[str]) -> Compared:
        """These segments as they are now."""
        ids = list(segmentIds)
        return cls(ids, segmentations.signature(segmentationNode, ids))

    def isNow(self, segmentationNode: Any) -> bool:
        """Whether the segments are still there with the same masks."""
        return segmentations.isUnchanged(segmentationNode, self.segments, self.signature)


def problemWith(before: tuple[Any, Any], after: tuple[Any, Any]) -> str:
    """Why two pairs of (CT, segmentation) cannot be compared, as far as a look at the nodes tells; empty if so."""
    for which, (volumeNode, segmentationNode) in (("baseline", before), ("follow-up", after)):
        if segmentationNode is None:
            return f"Choose the segmentation of the {which} CT."
        problem = segmentations.problemWithNode(segmentationNode)
        if problem:
            return problem
        if volumeNode is None and segmentations.referenceVolume(segmentationNode) is None:
            return (
                f"Choose the {which} CT: {segmentationNode.GetName()} does not say which one it belongs to."
            )
        if not segmentationNode.GetSegmentation().GetNumberOfSegments():
            return f"{segmentationNode.GetName()} holds no segment: paint the blood first, or segment its CT."
    if before[1] is after[1]:
        return "Both segmentations are the same: choose that of the earlier and that of the later CT."
    cts = [pair[0] or segmentations.referenceVolume(pair[1]) for pair in (before, after)]
    if cts[0] is cts[1]:
        return "Both CTs are the same: choose the earlier and the later scan of the patient."
    return ""


def write(
    before: tuple[Any, Any],
    after: tuple[Any, Any],
    change: dict[str, Any],
    overlay: Box | None,
    given: tuple[Any, Any, Any] | list[Any],
    compared: Sequence[Compared] = (),
) -> tuple[Any, Any, Any]:
    """Bring a comparison into the scene.

    Args:
        before, after: (CT, segmentation).
        change: `FollowUp.to_dict` with its `sentence`.
        overlay: on the later CT's grid.
        given: table, transform and overlay node to be written over; None makes one.
        compared: what of the earlier and of the later segmentation was compared.

    Returns:
        Table, linear transform and overlay segmentation node.
    """
    made: list[Any] = []

    def orNew(node: Any, kind: str, name: str) -> Any:
        if node is None:
            scene = after[0].GetScene()
            node = scene.AddNewNodeByClass(kind, scene.GenerateUniqueName(name))
            made.append(node)
        return node

    names = before[0].GetName(), after[0].GetName()
    try:
        table = orNew(given[0], "vtkMRMLTableNode", f"{names[1]} follow-up")
        transform = orNew(given[1], "vtkMRMLLinearTransformNode", f"{names[0]} to {names[1]}")
        shown = orNew(given[2], "vtkMRMLSegmentationNode", f"{names[1]} follow-up overlay")
        _writeTransform(transform, names, change["registration"]["before_to_after"])
        _writeOverlay(shown, after[0], overlay)
        _writeTable(table, change)
        roles = {BEFORE_ROLE: before[1], AFTER_ROLE: after[1], TRANSFORM_ROLE: transform, OVERLAY_ROLE: shown}
        for role, node in roles.items():
            table.SetNodeReferenceID(role, node.GetID())
        table.SetAttribute(COMPARED_ATTRIBUTE, json.dumps([asdict(one) for one in compared]))
        for node in (table, transform):
            putInSameFolder(node, after[0])
    except BaseException:
        for node in made:
            removeWhole(node)
        raise
    return table, transform, shown


def compared(tableNode: Any) -> tuple[Any, Any]:
    """The earlier and the later segmentation that a table compares."""
    return tableNode.GetNodeReference(BEFORE_ROLE), tableNode.GetNodeReference(AFTER_ROLE)


def isUpToDate(tableNode: Any) -> bool:
    """Whether both segmentations are there and their masks still those that were compared."""
    pair = compared(tableNode)
    then = [Compared(**one) for one in json.loads(tableNode.GetAttribute(COMPARED_ATTRIBUTE) or "[]")]
    if None in pair or len(then) != len(pair):
        return False
    return all(one.isNow(node) for one, node in zip(then, pair, strict=True))


def outputsOf(tableNode: Any) -> tuple[Any, Any]:
    """The transform and the overlay that belong to a table of a comparison; None where one is gone."""
    return tableNode.GetNodeReference(TRANSFORM_ROLE), tableNode.GetNodeReference(OVERLAY_ROLE)


def isOverlay(segmentationNode: Any) -> bool:
    """Whether a segmentation is the overlay of a comparison."""
    return segmentationNode.GetAttribute(KIND_ATTRIBUTE) == _KIND


def sentenceOf(tableNode: Any) -> tuple[str, list[str]]:
    """The result in words, and warnings."""
    warnings = tableNode.GetAttribute(WARNINGS_ATTRIBUTE) or ""
    return tableNode.GetAttribute(SENTENCE_ATTRIBUTE) or "", [line for line in warnings.split("\n") if line]


def _writeTable(table: Any, change: dict[str, Any]) -> None:
    quality, percent = change["registration"], change["change_percent"]
    before, after = (change[when]["total"]["volume_ml"] for when in ("before", "after"))
    rule = f"Blood grew by {change['expansion_rule']}; the rule was made for intraparenchymal hematomas."
    with NodeModify(table):
        beginTable(table, _KIND, {})
        addColumn(table, "Before (mL)", [float(before)], "Volume on the earlier CT, on its own voxels.", "mL")
        addColumn(table, "After (mL)", [float(after)], "Volume on the later CT, on its own voxels.", "mL")
        addColumn(table, "Change (mL)", [float(change["change_ml"])], "After minus before.", "mL")
        percent = NOT_A_NUMBER if percent is None else float(percent)
        addColumn(
            table, "Change (%)", [percent], "By the volume before; not a number without blood there.", "%"
        )
        addColumn(table, "Expansion", ["yes" if change["expansion"] else "no"], rule)
        addColumn(table, "Rotation (deg)", [float(quality["rotation_deg"])], "Of the head.", "deg")
        addColumn(table, "Shift (mm)", [float(quality["shift_mm"])], "Of the brain's middle.", "mm")
        addColumn(
            table,
            "Correlation",
            [float(quality["correlation"])],
            "Of the HU of skull and brain; 1 is the same.",
        )
        apart = [float(quality["skull_distance_mm"])]
        addColumn(table, "Skulls apart (mm)", apart, "Mean distance of the inner tables.", "mm")
        addColumn(
            table,
            "Registration",
            ["poor" if quality["poor"] else "good"],
            "Poor: correlation below 0.85, skulls more than 2.5 mm apart, or less than half of the brain shared.",
        )
        # After the columns, since those begin with empty attributes.
        table.SetAttribute(SENTENCE_ATTRIBUTE, change["sentence"])
        table.SetAttribute(WARNINGS_ATTRIBUTE, "\n".join(change["warnings"]))


def _writeTransform(node: Any, names: tuple[str, str], beforeToAfter: list[list[float]]) -> None:
    node.SetMatrixTransformToParent(vtkMatrixFromArray(np.array(beforeToAfter, float)))
    node.SetAttribute(KIND_ATTRIBUTE, _KIND)
    node.SetDescription(
        f"Moves {names[0]} onto {names[1]} (world RAS): put {names[0]}, or its topmost transform, under it."
    )


def _writeOverlay(node: Any, volumeNode: Any, overlay: Box | None) -> None:
    visible = node.GetDisplayNode() is not None and node.GetDisplayNode().GetVisibility()
    with NodeModify(node):
        node.SetAttribute(KIND_ATTRIBUTE, _KIND)
        node.GetSegmentation().RemoveAllSegments()
        node.SetSourceRepresentationToBinaryLabelmap()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        placeBeside(node, volumeNode)
        box = overlay if overlay is not None else Box(np.zeros((0, 0, 0), np.uint8))
        for value, (one, name, color) in enumerate(OVERLAY, start=1):
            segment = slicer.vtkSegment()
            segment.SetName(name)
            segment.SetNameAutoGenerated(False)
            segment.SetColor(*color)
            segment.SetColorAutoGenerated(False)
            mask = Box((box.values == value).astype(np.uint8), box.origin)
            labelmap = segmentations.labelmapOf(mask, ijkToRas(volumeNode))
            segment.AddRepresentation("Binary labelmap", labelmap)
            node.GetSegmentation().AddSegment(segment, one)
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        # On request only: it would lie over the results.
        node.GetDisplayNode().SetVisibility(bool(visible))
