"""What a report, and the clinical scores, are told beside the masks."""

from __future__ import annotations

from typing import Any

from ICHWeakSegSlicer import maps, segmentations

# On segments and map: which run they come from.
RUN_ATTRIBUTE = "ICHWeakSeg.run"
# Arguments of `SceneLogic.clinicalScores` about the patient.
ENTERED = ("gcs", "age", "ivh", "infratentorial", "location", "cognitiveImpairment", "volumeMl")


def enteredValues(
    gcs: int | None,
    age: float | None,
    ivh: bool | None,
    infratentorial: bool | None,
    location: str | None,
    cognitiveImpairment: bool | None,
    volumeMl: float | None,
) -> dict[str, Any]:
    """What was entered, by the names of `ICHWeakSegLib.quantify.Entered`."""
    return {
        "gcs": gcs,
        "age": age,
        "ivh": ivh,
        "infratentorial": infratentorial,
        "location": location,
        "cognitive_impairment": cognitiveImpairment,
        "volume_ml": volumeMl,
    }


def reportFacts(segmentationNode: Any) -> dict[str, Any]:
    """Provenance, slice probabilities and warnings of a segmentation, as far as the scene knows them."""
    if segmentationNode is None or not segmentations.ourSegmentIds(segmentationNode):
        return {}
    provenance = segmentations.provenanceOf(segmentationNode)
    facts: dict[str, Any] = {"provenance": {key: value for key, value in provenance.items() if key != "run"}}
    mapNode = maps.mapOf(segmentationNode)
    if mapNode is not None and belongs(mapNode, segmentationNode):
        facts["probabilities"] = maps.probabilitiesOf(mapNode)
    if segmentations.isEdited(segmentationNode):
        facts["warnings"] = ["The mask was edited by hand after the network made it."]
    return facts


def belongs(mapNode: Any, segmentationNode: Any) -> bool:
    """Whether a map is of the run that made the segments: undo may bring back those of another."""
    return segmentations.provenanceOf(segmentationNode).get("run") == mapNode.GetAttribute(RUN_ATTRIBUTE)
