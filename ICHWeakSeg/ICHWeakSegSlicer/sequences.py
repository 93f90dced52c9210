"""All CTs of a sequence segmented, as a sequence of segmentations in step with it."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

import slicer

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegSlicer.jobs import inScene
from ICHWeakSegSlicer.placing import removeWhole

REFERENCE_ROLE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


class Segmenter(Protocol):
    """What segments one CT."""

    def segment(self, volumeNode: Any, outputSegmentation: Any = None, **options: Any) -> Any:
        """The segmentation node of a CT."""


def segmentSequence(
    segmenter: Segmenter,
    browserNode: Any,
    onCase: Callable[[int, int], None] | None,
    onError: Callable[[Any, str], None] | None,
    options: dict[str, Any],
) -> Any:
    """Segment every CT of a browser's master sequence.

    Args:
        segmenter: segments one volume node.
        browserNode: vtkMRMLSequenceBrowserNode.
        onCase: called as (done, total) before each.
        onError: called with the browser node and a sentence that names the item; logged by default.
        options: of `segment`.

    Returns:
        vtkMRMLSequenceNode with a segmentation at the index value of each CT (none where one failed), added to
        the browser. It exists only if at least one succeeded.

    Raises:
        InputError: the sequence holds no volumes, every one failed, or the browser was removed meanwhile.
        ICHWeakSegLib.segment.Cancelled: a run was cancelled; what was found before stays.
    """
    cts = browserNode.GetMasterSequenceNode()
    count = 0 if cts is None else cts.GetNumberOfDataNodes()
    if not any(_isVolume(cts.GetNthDataNode(number)) for number in range(count)):
        raise InputError(
            f"{browserNode.GetName()} has no CT volumes in its master sequence: choose another browser."
        )
    # Kept out of the scene until something is in it: nothing is left where every CT failed.
    found, sentence = _sequenceLike(cts), ""
    try:
        for number in range(count):
            if onCase is not None:
                onCase(number, count)
            try:
                _segmentItem(segmenter, browserNode, cts, number, found, options)
            except InputError as problem:
                sentence = str(problem)
                if onError is not None:
                    onError(browserNode, sentence)
                else:
                    logging.error(sentence)
            if not (inScene(browserNode) and inScene(cts)):
                raise InputError(f"{browserNode.GetName()} was removed from the scene: the run was stopped.")
    finally:
        # Also where the rest was cancelled.
        if found.GetNumberOfDataNodes() and inScene(browserNode):
            _addToBrowser(browserNode, cts, found)
    if not found.GetNumberOfDataNodes():
        raise InputError(sentence)
    return found


def _isVolume(node: Any) -> bool:
    # Label maps and colour images descend from this class.
    return node is not None and node.GetClassName() == "vtkMRMLScalarVolumeNode"


def _sequenceLike(cts: Any) -> Any:
    """An empty sequence with the index of another."""
    found = slicer.vtkMRMLSequenceNode()
    found.SetName(cts.GetScene().GenerateUniqueName(f"{cts.GetName()} hemorrhage"))
    for copy in ("IndexName", "IndexUnit", "IndexType"):
        getattr(found, f"Set{copy}")(getattr(cts, f"Get{copy}")())
    return found


def _segmentItem(
    segmenter: Segmenter, browserNode: Any, cts: Any, number: int, found: Any, options: dict[str, Any]
) -> None:
    """Segment one CT of the sequence; its segmentation goes into `found`, and nothing stays in the scene."""
    scene = browserNode.GetScene()
    name = f"{cts.GetName()} {cts.GetIndexName()} {cts.GetNthIndexValue(number)}".strip()
    item = cts.GetNthDataNode(number)
    if not _isVolume(item):
        raise InputError(f"{name} is not a CT volume: take it out of the sequence.")
    volumeNode = _standIn(scene, item, name, browserNode.GetProxyNode(cts))
    segmentationNode = None
    try:
        segmentationNode = segmenter.segment(
            volumeNode, **{**options, "keepMap": False, "lesionTable": False}
        )
        # Its volume goes below: the copy in the sequence must not refer to whatever gets that ID next.
        segmentationNode.SetNodeReferenceID(REFERENCE_ROLE, None)
        found.SetDataNodeAtValue(segmentationNode, cts.GetNthIndexValue(number))
    finally:
        for node in (segmentationNode, volumeNode):
            if node is not None and node.GetScene() is scene:
                removeWhole(node)


def _addToBrowser(browserNode: Any, cts: Any, found: Any) -> None:
    """Show the segmentations in step with the CTs."""
    browserNode.GetScene().AddNode(found)
    browserNode.AddSynchronizedSequenceNode(found)
    # Else a CT that failed would show the segmentation of its neighbour.
    browserNode.SetMissingItemMode(found, browserNode.MissingItemSetToDefault)
    shown, proxy = browserNode.GetProxyNode(found), browserNode.GetProxyNode(cts)
    if shown is not None and proxy is not None:
        shown.SetReferenceImageGeometryParameterFromVolumeNode(proxy)
        shown.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())


def _standIn(scene: Any, item: Any, name: str, proxy: Any) -> Any:
    """A hidden volume node with one CT of the sequence, where the sequence's own node lies in space."""
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.CopyOrientation(item)
    node.SetAndObserveImageData(item.GetImageData())
    for name in item.GetAttributeNames() or ():
        node.SetAttribute(name, item.GetAttribute(name))
    scene.AddNode(node)
    if proxy is not None:
        node.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
    return node
