"""Volume and lesions of our segments as they are in the scene, edits included."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ICHWeakSegLib.worker.exchange import CaseResult
from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.bloodmasks import maskOnVolume
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
        mask = maskOnVolume(segmentationNode, segmentId, volumeNode)
        everything |= mask
        each.append(Figure(name, color, ct.volume_ml(mask), count_lesions(mask)))
    return each, Figure("total", (0.0, 0.0, 0.0), ct.volume_ml(everything), count_lesions(everything))


def ofResult(segmentationNode: Any, result: CaseResult) -> tuple[list[Figure], Figure]:
    """The same from a result that was just written, without counting again."""
    found = {segment.name: segment.found for segment in result.segments}
    each = [
        Figure(name, color, found[key].volume_ml, found[key].lesions)
        for segmentId, name, color in _ours(segmentationNode)
        if (key := segmentations.resultName(segmentationNode, segmentId)) in found
    ]
    total = result.total
    return each, Figure("total", (0.0, 0.0, 0.0), total.volume_ml, total.lesions)


def _ours(segmentationNode: Any) -> list[tuple[str, str, tuple[float, float, float]]]:
    segmentation = segmentationNode.GetSegmentation()
    ours = [(one, segmentation.GetSegment(one)) for one in segmentations.ourSegmentIds(segmentationNode)]
    return [(segmentId, segment.GetName(), tuple(segment.GetColor())) for segmentId, segment in ours]
