"""Volume and lesions of our segments as they are in the scene, edits included."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from ICHWeakSegLib.worker.exchange import CaseResult
from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.bloodmasks import maskOnVolume
from ICHWeakSegSlicer.ctstates import stateOf, transformStateOf
from ICHWeakSegSlicer.volumes import ctFromVolume

# Of each of our segments, and of all: volume and lesions.
_Counts = list[tuple[float, int]]
# What was counted, by what it was counted on: a panel asks again with every change of the scene.
_counted: OrderedDict[tuple, _Counts] = OrderedDict()
MOST_COUNTED = 8


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
    """Figures of each of our segments, and of all of them together; counted anew only after a change.

    Raises:
        InputError: the CT of the segmentation is not in the scene or cannot be read, or a segment reaches
            beyond it.
    """
    ours = _ours(segmentationNode)
    volumeNode = segmentations.referenceVolume(segmentationNode)
    ids = [segmentId for segmentId, _, _ in ours]
    state = (
        segmentationNode.GetID(),
        segmentations.signature(segmentationNode, ids),
        None if volumeNode is None else stateOf(volumeNode),
        transformStateOf(segmentationNode),
    )
    if state not in _counted:
        _counted[state] = _count(segmentationNode, volumeNode, ids)
        while len(_counted) > MOST_COUNTED:
            _counted.popitem(last=False)
    *each, total = _counted[state]
    figures = [Figure(name, color, *counts) for (_, name, color), counts in zip(ours, each, strict=True)]
    return figures, Figure("total", (0.0, 0.0, 0.0), *total)


def _count(segmentationNode: Any, volumeNode: Any, segmentIds: list[str]) -> _Counts:
    # It needs scipy: only when somebody has edited.
    from ICHWeakSegLib.refine.components import count_lesions

    ct = ctFromVolume(volumeNode)
    masks = [maskOnVolume(segmentationNode, one, volumeNode) for one in segmentIds]
    everything = np.logical_or.reduce(masks) if masks else np.zeros(ct.hu.shape, bool)
    return [(ct.volume_ml(mask), count_lesions(mask)) for mask in (*masks, everything)]


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
