"""Clinical scores of a segmentation: its volume as it is now, and what was entered about the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ICHWeakSegLib.output.segments import SUBTYPE_STYLES
from ICHWeakSegLib.worker.exchange import Box
from ICHWeakSegSlicer import bloodmasks
from ICHWeakSegSlicer.questions import ctOf
from ICHWeakSegSlicer.volumes import ctFromVolume

INTRAPARENCHYMAL, INTRAVENTRICULAR = "IPH", "IVH"


@dataclass(frozen=True)
class Hematoma:
    """The blood of a segmentation, as far as scores ask for it.

    Attributes:
        totalMl: volume of all blood.
        subtypesMl: volume of each subtype; empty where the segments do not tell them.
    """

    totalMl: float
    subtypesMl: dict[str, float]

    @property
    def volumeMl(self) -> float:
        """What the scores take for the hematoma's volume, to 0.1 mL."""
        return round(self.subtypesMl.get(INTRAPARENCHYMAL, self.totalMl), 1)

    @property
    def words(self) -> str:
        """Which blood that is."""
        if INTRAPARENCHYMAL in self.subtypesMl:
            return "The volume is that of the intraparenchymal blood (IPH)."
        return "The volume is that of all blood: of which kind it is, is not known."

    @property
    def hint(self) -> str:
        """What the segments say about blood in the ventricles; empty where they say nothing."""
        volume = self.subtypesMl.get(INTRAVENTRICULAR)
        if volume is None:
            return ""
        return f"The model marked {volume:.1f} mL as intraventricular." if volume else ""


@dataclass(frozen=True)
class ClinicalScores:
    """Both scores.

    Attributes:
        scores: `ICHWeakSegLib.quantify.Score`s: ICH score, FUNC score.
        note: where the volume comes from.
    """

    scores: tuple[Any, Any]
    note: str


def hematomaOf(segmentationNode: Any, volumeNode: Any = None) -> Hematoma:
    """Volumes of a segmentation in mL, edits included.

    Raises:
        InputError: there is no segment, its CT is not in the scene, or a segment reaches beyond it.
    """
    ids = bloodmasks.bloodSegments(segmentationNode)
    volumeNode = ctOf(segmentationNode, volumeNode)
    ct = ctFromVolume(volumeNode)
    boxes = bloodmasks.masksOnVolume(segmentationNode, ids, volumeNode)
    voxelMl = ct.slice_voxel_ml()

    def volumeMl(box: Box) -> float:
        # Within its box: the panel asks for it while the user waits.
        return float(np.count_nonzero(box.values, axis=(1, 2)) @ voxelMl[box.place[0]])

    each = {name: volumeMl(box) for name, box in boxes.items() if name in SUBTYPE_STYLES}
    if len(boxes) == 1:
        return Hematoma(volumeMl(*boxes.values()), each)
    everything = np.logical_or.reduce([box.within(ct.hu.shape) for box in boxes.values()])
    return Hematoma(volumeMl(Box.of(everything)), each)


def scoresOf(hematoma: Hematoma | None, entered: dict[str, Any]) -> ClinicalScores:
    """ICH score and FUNC score; an input that is missing is named.

    Args:
        hematoma: of the segmentation, where there is one.
        entered: fields of `ICHWeakSegLib.quantify.Entered`; None where nothing was entered.

    Raises:
        InputError: a value is out of its range, or two contradict each other.
    """
    # They need scipy: not when the module is loaded.
    from ICHWeakSegLib.quantify import Entered, clinical_scores

    given = Entered(**entered)
    measured = None if hematoma is None else hematoma.volumeMl
    if given.volume_ml is not None:
        note = "The volume was entered."
    else:
        note = "There is no volume: segment a CT, or enter it." if hematoma is None else hematoma.words
    return ClinicalScores(clinical_scores(given, measured), note)
