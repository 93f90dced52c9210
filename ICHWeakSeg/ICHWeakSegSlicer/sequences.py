"""All CTs of a sequence segmented, as a sequence of segmentations in step with it."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

import slicer

from ICHWeakSegLib.ct.errors import InputError
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
        InputError: the sequence holds no volumes, or every one failed.
    """
    scene = browserNode.GetScene()
    cts = browserNode.GetMasterSequenceNode()
    count = 0 if cts is None else cts.GetNumberOfDataNodes()
    if not count or not cts.GetNthDataNode(0).IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(
            f"{browserNode.GetName()} has no CT volumes in its master sequence: choose another browser."
        )
    proxy = browserNode.GetProxyNode(cts)
    # Kept out of the scene until something is in it: nothing is left where every CT failed.
    found, sentence = slicer.vtkMRMLSequenceNode(), ""
    found.SetName(scene.GenerateUniqueName(f"{cts.GetName()} hemorrhage"))
    for copy in ("IndexName", "IndexUnit", "IndexType"):
        getattr(found, f"Set{copy}")(getattr(cts, f"Get{copy}")())
    for number in range(count):
        if onCase is not None:
            onCase(number, count)
        volumeNode = _standIn(scene, cts, number, proxy)
        segmentationNode = None
        try:
            segmentationNode = segmenter.segment(
                volumeNode, **{**options, "keepMap": False, "lesionTable": False}
            )
            # Its volume goes below: the copy in the sequence must not refer to whatever gets that ID next.
            segmentationNode.SetNodeReferenceID(REFERENCE_ROLE, None)
            found.SetDataNodeAtValue(segmentationNode, cts.GetNthIndexValue(number))
        except InputError as problem:
            sentence = str(problem)
            if onError is not None:
                onError(browserNode, sentence)
            else:
                logging.error(sentence)
        finally:
            for node in (segmentationNode, volumeNode):
                if node is not None and node.GetScene() is scene:
                    removeWhole(node)
    if not found.GetNumberOfDataNodes():
        raise InputError(sentence)
    scene.AddNode(found)
    browserNode.AddSynchronizedSequenceNode(found)
    shown = browserNode.GetProxyNode(found)
    if shown is not None and proxy is not None:
        shown.SetReferenceImageGeometryParameterFromVolumeNode(proxy)
        shown.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
    return found


def _standIn(scene: Any, cts: Any, number: int, proxy: Any) -> Any:
    """A hidden volume node with one CT of the sequence, where the sequence's own node lies in space."""
    item = cts.GetNthDataNode(number)
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(f"{cts.GetName()} {cts.GetIndexName()} {cts.GetNthIndexValue(number)}".strip())
    node.SetHideFromEditors(True)
    node.CopyOrientation(item)
    node.SetAndObserveImageData(item.GetImageData())
    for name in item.GetAttributeNames() or ():
        node.SetAttribute(name, item.GetAttribute(name))
    scene.AddNode(node)
    if proxy is not None:
        node.SetAndObserveTransformNodeID(proxy.GetTransformNodeID())
    return node
