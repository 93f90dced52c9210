"""Volume and lesions of our segments as they are in the scene, edits included."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.util import vtkMatrixFromArray
from vtk.util.numpy_support import vtk_to_numpy

from ICHWeakSegLib.worker.exchange import CaseResult
from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.placing import ijkToRas
from ICHWeakSegSlicer.volumes import ctFromVolume


@dataclass(frozen=True)
class Figure:
    """A segment, or all of them, in numbers.

    Attributes:
        name: the segment's name as the user sees it; "total" for all together.
        color: red, green, blue of 0-1.
        volumeMl: by the CT's true geometry.
        lesions: 26-connected components.
    """

    name: str
    color: tuple[float, float, float]
    volumeMl: float
    lesions: int


def measure(segmentationNode: Any) -> tuple[list[Figure], Figure]:
    """Figures of each of our segments, and of all of them together.

    Raises:
        InputError: the CT of the segmentation is not in the scene or cannot be read.
    """
    # It needs scipy: only when somebody has edited.
    from ICHWeakSegLib.refine.components import count_lesions

    volumeNode = segmentations.referenceVolume(segmentationNode)
    ct = ctFromVolume(volumeNode)
    everything = np.zeros(ct.hu.shape, bool)
    each = []
    for segmentId, name, color in _ours(segmentationNode):
        mask = _maskOf(segmentationNode, segmentId, ct.hu.shape, ijkToRas(volumeNode))
        everything |= mask
        each.append(Figure(name, color, ct.volume_ml(mask), count_lesions(mask)))
    return each, Figure("total", (0.0, 0.0, 0.0), ct.volume_ml(everything), count_lesions(everything))


def ofResult(segmentationNode: Any, result: CaseResult) -> tuple[list[Figure], Figure]:
    """The same from a result that was just written, without counting again."""
    found = {segment.name: segment.found for segment in result.segments}
    each = [
        Figure(name, color, found[key].volume_ml, found[key].lesions)
        for segmentId, name, color in _ours(segmentationNode)
        if (key := _resultName(segmentationNode, segmentId)) in found
    ]
    total = result.total
    return each, Figure("total", (0.0, 0.0, 0.0), total.volume_ml, total.lesions)


def _maskOf(
    segmentationNode: Any, segmentId: str, shape: tuple[int, int, int], localToRas: np.ndarray
) -> np.ndarray:
    """A segment on the CT's grid as bool, shape (K, J, I).

    Not by `arrayFromSegmentBinaryLabelmap`: that adds nodes to the scene for a moment, to which the panel, which
    asks for this, answers by asking again.
    """
    own, grid, placed = (slicer.vtkOrientedImageData() for _ in range(3))
    if not segmentationNode.GetBinaryLabelmapRepresentation(segmentId, own) or own.IsEmpty():
        return np.zeros(shape, bool)
    grid.SetImageToWorldMatrix(vtkMatrixFromArray(localToRas))
    grid.SetExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    grid.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(own, grid, placed)
    return vtk_to_numpy(placed.GetPointData().GetScalars()).reshape(shape) != 0


def _ours(segmentationNode: Any) -> list[tuple[str, str, tuple[float, float, float]]]:
    segmentation = segmentationNode.GetSegmentation()
    ours = [(one, segmentation.GetSegment(one)) for one in segmentations.ourSegmentIds(segmentationNode)]
    return [(segmentId, segment.GetName(), tuple(segment.GetColor())) for segmentId, segment in ours]


def _resultName(segmentationNode: Any, segmentId: str) -> str:
    """The segment's name in the result, whatever the user calls it."""
    name = vtk.reference("")
    segmentationNode.GetSegmentation().GetSegment(segmentId).GetTag(segmentations.RESULT_NAME_TAG, name)
    return str(name)
