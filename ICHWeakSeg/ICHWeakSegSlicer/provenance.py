"""Provenance on nodes: which model and method made them, as attributes `ICHWeakSeg.<key>`."""

from __future__ import annotations

from ICHWeakSegLib.output.provenance import PREFIX, provenance_fields
from ICHWeakSegLib.worker.exchange import CaseResult

# So begin the tags of our segments and the attributes of our nodes.
OWN = "ICHWeakSeg."
# Attribute of every node that this module writes; its value says what the node is.
KIND_ATTRIBUTE = "ICHWeakSeg.kind"


def provenanceTexts(result: CaseResult) -> dict[str, str]:
    """Tag or attribute name to text of a result's provenance."""
    fields = provenance_fields(result.provenance)
    return {OWN + key.removeprefix(PREFIX): value for key, value in fields.items()}


def setProvenance(node, texts: dict[str, str]) -> None:
    """Set them as attributes of a node, in place of those of an earlier run."""
    for name in list(node.GetAttributeNames()):
        if name.startswith(OWN) and name not in texts and name != KIND_ATTRIBUTE:
            node.RemoveAttribute(name)
    for name, text in texts.items():
        node.SetAttribute(name, text)
