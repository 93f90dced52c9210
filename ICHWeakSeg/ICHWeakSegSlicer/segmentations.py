"""A result as a segmentation node: written, re-cut, and asked whether somebody has changed it since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import slicer
import vtk
from slicer.util import NodeModify, arrayFromVolume, arrayFromVTKMatrix, vtkMatrixFromArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.output.segments import SegmentStyle, segment_style
from ICHWeakSegLib.worker.exchange import Box, CaseResult, FoundSegment
from ICHWeakSegSlicer.placing import fillLikeVolume, ijkToRas, placeBeside, removeWhole
from ICHWeakSegSlicer.provenance import KIND_ATTRIBUTE, OWN, provenanceTexts, setProvenance

SUBTYPES_ROLE = "ICHWeakSeg.subtypes"
SUBTYPE_NAMES_ATTRIBUTE = "ICHWeakSeg.subtypeNames"
# A segment with this tag is one of ours.
MODEL_TAG = "ICHWeakSeg.model"
# The segment's name in the result: the user may rename the segment.
RESULT_NAME_TAG = "ICHWeakSeg.segment"
CHECKSUM_TAG = "ICHWeakSeg.checksum"
KEYS_TAG = "ICHWeakSeg.keys"
# What segments say that the command line wrote: they have no list of their keys.
_USUAL_KEYS = (
    "model",
    "version",
    "sha256",
    "method",
    "refine",
    "map_threshold",
    "slice_threshold",
    "brain_hu",
    "software",
    "device",
)
# Checksum of a mask without a voxel.
_EMPTY = "empty"
_SURFACE = "Closed surface"


def createSegmentationNode(volumeNode):
    """A new, empty segmentation beside a CT in its scene, shown in slice and 3D views."""
    scene = volumeNode.GetScene()
    name = scene.GenerateUniqueName(f"{volumeNode.GetName()} hemorrhage")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    placeBeside(node, volumeNode)
    return node


def problemWithNode(segmentationNode) -> str:
    """Why this is no segmentation node, as one sentence; empty where it is one."""
    if isinstance(segmentationNode, slicer.vtkMRMLSegmentationNode):
        return ""
    if segmentationNode is None:
        return "There is no segmentation: choose one."
    isNode = isinstance(segmentationNode, slicer.vtkMRMLNode)
    name = segmentationNode.GetName() if isNode else repr(segmentationNode)
    return f"{name} is not a segmentation: choose one."


def problemWithOutput(segmentationNode, volumeNode) -> str:
    """Why a result on this CT cannot be written into a segmentation; empty where it can."""
    if problemWithNode(segmentationNode):
        return "The output is not a segmentation; choose a segmentation, or none to get a new one."
    name = segmentationNode.GetName()
    if segmentationNode.GetScene() is not volumeNode.GetScene():
        return f"{name} is not in the scene of {volumeNode.GetName()}; choose another segmentation, or none."
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetNumberOfSegments() == len(ourSegmentIds(segmentationNode)):
        return ""
    # The user's own segments stay as they are and where they are.
    if not segmentation.IsSourceRepresentationImageData():
        return (
            f"{name} holds surfaces as its source; convert it to a binary labelmap in the Segmentations module, "
            "or choose none to get a new segmentation."
        )
    if segmentationNode.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        return (
            f"{name} holds segments of its own and lies under another transform than {volumeNode.GetName()}; "
            "choose another segmentation, or none to get a new one."
        )
    return ""


def writeResult(segmentationNode, volumeNode, result: CaseResult) -> None:
    """Write every segment of a result, in place of our segments of an earlier run; one undo step.

    The user's own segments stay as they are. The node gets the CT's reference geometry, transform and place.

    Raises:
        InputError: what `problemWithOutput` says, or a result of another grid than the CT's.
    """
    problem = problemWithOutput(segmentationNode, volumeNode) or _otherGrid(volumeNode, result)
    if problem:
        raise InputError(problem)
    saveStateForUndo(segmentationNode)
    with NodeModify(segmentationNode):
        placeBeside(segmentationNode, volumeNode)
        segmentation = segmentationNode.GetSegmentation()
        before = _removeOurSegments(segmentationNode)
        if not segmentation.GetNumberOfSegments():
            segmentationNode.SetSourceRepresentationToBinaryLabelmap()
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        facts = _factsOf(result)
        for found in result.segments:
            style = segment_style(found.name)
            segmentId = style.id
            # The user's own segment may bear our id.
            if segmentation.GetSegment(segmentId) is not None:
                segmentId = segmentation.GenerateUniqueSegmentID(style.id)
            segment = _newSegment(found, style, volumeNode, facts)
            if not segmentation.AddSegment(segment, segmentId, before):
                raise RuntimeError(
                    f"Slicer could not add segment {style.name} to {segmentationNode.GetName()}."
                )
            _sign(segmentationNode, segmentId)
        setProvenance(segmentationNode, facts)
        if segmentationNode.GetDisplayNode() is None:
            segmentationNode.CreateDefaultDisplayNodes()
        if _hasVoxels(segmentationNode):
            segmentationNode.CreateClosedSurfaceRepresentation()
    if result.subtypes is None:
        _forgetSubtypes(segmentationNode)


def setMasks(segmentationNode, volumeNode, result: CaseResult) -> None:
    """Give our segments other masks, for another threshold of the map; one undo step.

    Names, colours and visibility that the user changed stay, and so do all other segments. Of a segment that the
    user deleted there is nothing to set.

    Raises:
        InputError: the segmentation holds none of our segments, or as for `writeResult`.
    """
    ours = {resultName(segmentationNode, one): one for one in ourSegmentIds(segmentationNode)}
    problem = problemWithOutput(segmentationNode, volumeNode) or _otherGrid(volumeNode, result)
    if not ours:
        name = segmentationNode.GetName()
        problem = f"{name} holds no segment of this module any more; segment the CT again."
    if problem:
        raise InputError(problem)
    saveStateForUndo(segmentationNode)
    with NodeModify(segmentationNode):
        segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        segmentation = segmentationNode.GetSegmentation()
        # Whoever switched the surfaces off shall not see them again.
        withSurface = segmentation.ContainsRepresentation(_SURFACE) or not _hasVoxels(segmentationNode)
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        facts = _factsOf(result)
        for found in result.segments:
            segmentId = ours.get(found.name)
            if segmentId is None:
                continue
            # Segments that do not overlap may share one labelmap, those of a file for instance.
            segmentation.SeparateSegmentLabelmap(segmentId)
            segment = segmentation.GetSegment(segmentId)
            segment.SetLabelValue(1)
            labelmap = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
            labelmap.DeepCopy(labelmapOf(found.mask, ijkToRas(volumeNode)))
            _setTags(segment, facts)
            _sign(segmentationNode, segmentId)
        setProvenance(segmentationNode, facts)
        if withSurface and _hasVoxels(segmentationNode):
            segmentationNode.CreateClosedSurfaceRepresentation()


def saveStateForUndo(segmentationNode) -> None:
    """Make one undo step of what follows, wherever undo is on.

    That is Segment Editor, while it shows this segmentation, and the scene's own undo, which Slicer leaves off.
    """
    # Does nothing while the scene's undo, or the node's, is off.
    segmentationNode.GetScene().SaveStateForUndo(segmentationNode)
    editor = _segmentEditor()
    if editor is not None and editor.segmentationNode() is segmentationNode:
        editor.saveStateForUndo()


def isEdited(segmentationNode) -> bool:
    """Whether somebody changed the mask of one of our segments since we wrote it.

    A segment without our checksum (read from a file of the command line) counts as edited: nobody knows.
    """
    return any(
        _tag(segmentationNode, one, CHECKSUM_TAG) != _checksum(segmentationNode, one)
        for one in ourSegmentIds(segmentationNode)
    )


def ourSegmentIds(segmentationNode) -> list[str]:
    """Ids of the segments that this module wrote, in their order."""
    segmentation = segmentationNode.GetSegmentation()
    return [one for one in segmentation.GetSegmentIDs() if segmentation.GetSegment(one).HasTag(MODEL_TAG)]


def referenceVolume(segmentationNode):
    """The CT that a segmentation belongs to, or None."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentationNode.GetNodeReference(role)


def provenanceOf(segmentationNode) -> dict[str, str]:
    """Model, version, sha256, method, threshold, ... of our segments; empty where there are none.

    Read from the first of our segments, since undo brings back segments but not the node's attributes.
    """
    ours = ourSegmentIds(segmentationNode)
    if not ours:
        return {}
    values = {key: _tag(segmentationNode, ours[0], OWN + key) for key in _keysOf(segmentationNode, ours[0])}
    return {key: value for key, value in values.items() if value is not None}


def resultName(segmentationNode, segmentId: str) -> str:
    """The name in the result of one of our segments, whatever the user calls it."""
    # The id of a segment of the command line's files is its name in the result.
    return _tag(segmentationNode, segmentId, RESULT_NAME_TAG) or segmentId


def signature(segmentationNode, segmentIds: Iterable[str]) -> str:
    """A text that changes with the masks of these segments."""
    return " ".join(f"{one}:{_checksum(segmentationNode, one)}" for one in segmentIds)


def isUnchanged(segmentationNode, segmentIds: Iterable[str], then: str) -> bool:
    """Whether these segments are still there with the masks of a `signature` of before."""
    ids = list(segmentIds)
    segmentation = segmentationNode.GetSegmentation()
    if any(segmentation.GetSegment(one) is None for one in ids):
        return False
    return signature(segmentationNode, ids) == then


def writeSubtypes(segmentationNode, volumeNode, box: Box, names: Iterable[str]):
    """Keep which subtype blood would be in each voxel, as a hidden label map that the segmentation refers to.

    Args:
        box: 1-based index into `names`, 0 where nothing is known, uint8.

    Returns:
        The label map volume node.
    """
    node = segmentationNode.GetNodeReference(SUBTYPES_ROLE)
    if node is None:
        name = f"{segmentationNode.GetName()} subtypes"
        node = slicer.vtkMRMLLabelMapVolumeNode()
        node.SetName(segmentationNode.GetScene().GenerateUniqueName(name))
        # Before it comes into the scene, so that the subject hierarchy never shows it.
        node.SetHideFromEditors(True)
        node.SetAttribute(KIND_ATTRIBUTE, "subtypes")
        node = segmentationNode.GetScene().AddNode(node)
        segmentationNode.SetNodeReferenceID(SUBTYPES_ROLE, node.GetID())
    with NodeModify(node):
        fillLikeVolume(node, volumeNode, box, np.uint8)
        node.SetAttribute(SUBTYPE_NAMES_ATTRIBUTE, json.dumps(list(names)))
    return node


def readSubtypes(segmentationNode) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """What `writeSubtypes` kept, as an array of shape (K, J, I) with the names, or None."""
    node = segmentationNode.GetNodeReference(SUBTYPES_ROLE)
    if node is None or node.GetImageData() is None:
        return None
    names = json.loads(node.GetAttribute(SUBTYPE_NAMES_ATTRIBUTE) or "[]")
    return arrayFromVolume(node), tuple(names)


def _otherGrid(volumeNode, result: CaseResult) -> str:
    """Why a result is not one of this CT; empty where it is."""
    image = volumeNode.GetImageData()
    if image is not None and image.GetDimensions()[::-1] == tuple(result.shape):
        return ""
    return f"The voxels of {volumeNode.GetName()} were replaced since it was segmented; segment it again."


def _forgetSubtypes(segmentationNode) -> None:
    """Remove the partition of an earlier run: it says nothing of this one."""
    node = segmentationNode.GetNodeReference(SUBTYPES_ROLE)
    if node is not None:
        removeWhole(node)


def _removeOurSegments(segmentationNode) -> str:
    """Remove our segments; returns the id of the segment that followed the first of them, or ""."""
    segmentation = segmentationNode.GetSegmentation()
    ours = ourSegmentIds(segmentationNode)
    ids = list(segmentation.GetSegmentIDs())
    after = [one for one in ids[ids.index(ours[0]) :] if one not in ours] if ours else []
    for one in ours:
        segmentation.RemoveSegment(one)
    return after[0] if after else ""


def _newSegment(found: FoundSegment, style: SegmentStyle, volumeNode, facts: dict[str, str]):
    segment = slicer.vtkSegment()
    segment.SetName(style.name)
    segment.SetNameAutoGenerated(False)
    segment.SetColor(*style.color)
    segment.SetColorAutoGenerated(False)
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), _terminologyText(style))
    segment.SetTag(RESULT_NAME_TAG, found.name)
    # The status tag stays unset, "not started": Slicer sets it to "in progress" at the first edit, and so the
    # list of segments shows which ones a person has looked after.
    _setTags(segment, facts)
    segment.AddRepresentation(
        "Binary labelmap",
        labelmapOf(found.mask, ijkToRas(volumeNode)),
    )
    return segment


def _terminologyText(style: SegmentStyle) -> str:
    """A terminology entry as Slicer serializes it: without modifiers."""
    entry = style.terminology
    category, kind, region = ("^".join(entry[part]) for part in ("category", "type", "anatomicRegion"))
    return "~".join([entry["contextName"], category, kind, "^^", entry["anatomicContextName"], region, "^^"])


def labelmapOf(box: Box, localToRas: np.ndarray):
    """A mask as oriented image with the extent of its box; empty for an empty box."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(vtkMatrixFromArray(localToRas))
    if not box.values.size:
        # With a scalar type, or Slicer calls it an error when it makes the surface.
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        return image
    k, j, i = box.place
    image.SetExtent(i.start, i.stop - 1, j.start, j.stop - 1, k.start, k.stop - 1)
    values = np.ascontiguousarray(box.values != 0, np.uint8)
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
    return image


def _factsOf(result: CaseResult) -> dict[str, str]:
    """Tags of a result's segments; without a model's name nobody would know them again."""
    return {MODEL_TAG: "unknown", **provenanceTexts(result)}


def _setTags(segment, facts: dict[str, str]) -> None:
    for tag, value in facts.items():
        segment.SetTag(tag, value)
    segment.SetTag(KEYS_TAG, ",".join(tag.removeprefix(OWN) for tag in facts))


def _keysOf(segmentationNode, segmentId: str) -> list[str]:
    """Names of the provenance that a segment carries: Python cannot ask a segment for all its tags."""
    keys = _tag(segmentationNode, segmentId, KEYS_TAG)
    return keys.split(",") if keys else list(_USUAL_KEYS)


def _tag(segmentationNode, segmentId: str, tag: str) -> str | None:
    value = vtk.reference("")
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    return str(value) if segment.GetTag(tag, value) else None


def _sign(segmentationNode, segmentId: str) -> None:
    """Keep the checksum of a mask that we have just written."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    segment.SetTag(CHECKSUM_TAG, _checksum(segmentationNode, segmentId))


def _checksum(segmentationNode, segmentId: str) -> str:
    """Checksum of a mask: of its voxels and where they lie in the reference grid; padding does not count."""
    box = _maskOf(segmentationNode, segmentId)
    if box is None:
        return _EMPTY
    image = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    # A labelmap that was saved and loaded may count its voxels from another corner.
    toGrid = np.linalg.inv(_referenceGrid(segmentationNode.GetSegmentation(), image)) @ _imageToWorld(image)
    corner = np.rint(toGrid @ [*box.origin[::-1], 1.0])[:3].astype(int)
    text = f"{corner.tolist()} {box.values.shape} "
    return hashlib.blake2b(text.encode() + np.packbits(box.values).tobytes(), digest_size=8).hexdigest()


def _maskOf(segmentationNode, segmentId: str) -> Box | None:
    """A segment's mask, bool; its origin counts the voxels of its labelmap. None for an empty segment."""
    image = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    if image is None or image.IsEmpty() or image.GetPointData().GetScalars() is None:
        return None
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    box = Box.of(labels == segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue())
    if not box.values.size:
        return None
    first = image.GetExtent()[4::-2]
    return Box(box.values, tuple(at + start for at, start in zip(box.origin, first, strict=True)))


def _hasVoxels(segmentationNode) -> bool:
    ids = segmentationNode.GetSegmentation().GetSegmentIDs()
    return any(_maskOf(segmentationNode, one) is not None for one in ids)


def _referenceGrid(segmentation, image) -> np.ndarray:
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    reference = slicer.vtkOrientedImageData()
    text = segmentation.GetConversionParameter(parameter)
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, reference, False):
        reference = image
    return _imageToWorld(reference)


def _imageToWorld(image) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return arrayFromVTKMatrix(matrix)


def _segmentEditor():
    """The Segment Editor module's editor, or None: it is there once its panel was opened."""
    module = getattr(getattr(slicer, "modules", None), "SegmentEditorWidget", None)
    return getattr(module, "editor", None)
