"""The part of the logic that asks about masks that are there already: lesions, scores, follow-up, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegSlicer import lesiontables, scores, segmentations, sliceviews
from ICHWeakSegSlicer.jobs import Job
from ICHWeakSegSlicer.questions import FollowUpJob, MeasureJob, PrognosisJob, ReportJob
from ICHWeakSegSlicer.reportfacts import ENTERED, enteredValues, reportFacts


class QuestionLogic:
    """Asks the worker about segmentations, ours or somebody else's; no network runs.

    The logic that it is a part of brings `enqueue` and `ended`.
    """

    def startMeasure(
        self,
        segmentationNode: Any,
        volumeNode: Any = None,
        outputTable: Any = None,
        *,
        segments: Iterable[str] | None = None,
        onFinished: Callable[[Job], None] | None = None,
        onError: Callable[[Job, str], None] | None = None,
    ) -> MeasureJob:
        """Begin to measure the lesions of a segmentation, of ours or somebody else's; no network runs.

        Args:
            segmentationNode: as it is now, edits included.
            volumeNode: its CT; the one that the segmentation belongs to by default.
            outputTable: table node; that of the last time, or a new one, by default.
            segments: ids or names of the segments with blood; ours by default, or all where none is ours. A
                segment called "ventricles" is no blood: it says which lesions touch the ventricles.
            onFinished, onError: as for `start`. The job has `tableNode`.

        Raises:
            InputError: there is nothing to measure, or its CT is missing.
        """
        chosen = [segments] if isinstance(segments, str) else segments
        job = MeasureJob(self, segmentationNode, volumeNode, outputTable, chosen, onFinished, onError)
        return self.enqueue(job)

    def measure(
        self,
        segmentationNode: Any,
        volumeNode: Any = None,
        outputTable: Any = None,
        *,
        segments: Iterable[str] | None = None,
    ) -> Any:
        """Measure the lesions of a segmentation and return their table node; arguments as `startMeasure`.

        Raises:
            InputError: there is nothing to measure, or its CT is missing.

        Example:
            >>> tableNode = logic.measure(segmentationNode)  # after edits in Segment Editor
            >>> slicer.util.arrayFromTableColumn(tableNode, "Volume (mL)")
        """
        return self.ended(
            self.startMeasure(segmentationNode, volumeNode, outputTable, segments=segments)
        ).tableNode

    def jumpToLesion(self, segmentationNode: Any, lesion: int = 1) -> None:
        """Let the slice views show the centroid of a lesion, by its number in the table of lesions.

        Raises:
            InputError: nothing was measured, or there is no such lesion.
        """
        _requireSegmentation(segmentationNode)
        table = lesiontables.lesionTableOf(segmentationNode)
        if table is None:
            raise InputError(
                f"The lesions of {segmentationNode.GetName()} were not measured: measure them first."
            )
        place = lesiontables.lesionPlace(table, lesion - 1)
        if place is None:
            raise InputError(f"There is no lesion {lesion}: the table has {lesiontables.lesionCount(table)}.")
        sliceviews.jumpTo(segmentationNode.GetScene(), place)

    def clinicalScores(
        self,
        segmentationNode: Any = None,
        *,
        gcs: int | None = None,
        age: float | None = None,
        ivh: bool | None = None,
        infratentorial: bool | None = None,
        location: str | None = None,
        cognitiveImpairment: bool | None = None,
        volumeMl: float | None = None,
    ) -> scores.ClinicalScores:
        """ICH score (Hemphill 2001) and FUNC score (Rost 2008) of a spontaneous intraparenchymal hemorrhage.

        The volume is that of the segmentation as it is now: of segment IPH where the segments are subtypes, else
        of all blood. All else is entered; what is not, is named as missing. For research use only.

        Args:
            segmentationNode: gives the volume; None where `volumeMl` does.
            gcs: Glasgow Coma Scale on admission, 3 to 15.
            age: years.
            ivh: whether there is blood in the ventricles.
            infratentorial: whether the bleed began below the tentorium.
            location: `lobar`, `deep` or `infratentorial`.
            cognitiveImpairment: whether there was one before the hemorrhage.
            volumeMl: in place of the segmentation's.

        Returns:
            Scores: `scores` (ICH score, FUNC score; each with total, parts, missing, outcome, source and `text()`)
            and `note`, a sentence about the volume.

        Raises:
            InputError: a value is out of its range, or the CT of the segmentation is missing.

        Example:
            >>> for score in logic.clinicalScores(segmentationNode, gcs=9, age=71).scores:
            ...     print(score.text())
        """
        entered = enteredValues(gcs, age, ivh, infratentorial, location, cognitiveImpairment, volumeMl)
        hematoma = None if segmentationNode is None else scores.hematomaOf(segmentationNode)
        return scores.scoresOf(hematoma, entered)

    def startFollowUp(
        self,
        beforeSegmentation: Any,
        afterSegmentation: Any,
        *,
        beforeVolume: Any = None,
        afterVolume: Any = None,
        outputTable: Any = None,
        outputTransform: Any = None,
        outputOverlay: Any = None,
        onProgress: Callable[[str, int, int], None] | None = None,
        onFinished: Callable[[Job], None] | None = None,
        onError: Callable[[Job, str], None] | None = None,
    ) -> FollowUpJob:
        """Begin to compare the blood on two CTs of a patient: volumes, expansion, rigid registration, overlay.

        Args:
            beforeSegmentation, afterSegmentation: of the earlier and the later CT.
            beforeVolume, afterVolume: the CTs; those that the segmentations belong to by default.
            outputTable: gets volumes, change in mL and %, and expansion (> 6 mL or > 33 %); a new one by default.
            outputTransform: linear transform node that moves the earlier CT onto the later one, in world RAS: put
                the earlier CT, or its topmost transform, under it. A new one by default.
            outputOverlay: segmentation node on the later CT for blood only before, only after, on both; a new one,
                not shown, by default.
            onProgress, onFinished, onError: as for `start`. The job has `tableNode`, `transformNode` and
                `overlayNode`.

        Raises:
            InputError: the two cannot be compared.
        """
        outputs = (outputTable, outputTransform, outputOverlay)
        before, after = (beforeVolume, beforeSegmentation), (afterVolume, afterSegmentation)
        return self.enqueue(FollowUpJob(self, before, after, outputs, onProgress, onFinished, onError))

    def followUp(
        self, beforeSegmentation: Any, afterSegmentation: Any, **options: Any
    ) -> tuple[Any, Any, Any]:
        """Compare two CTs of a patient; arguments as `startFollowUp`.

        Returns:
            Table node, linear transform node (earlier CT onto the later one) and overlay segmentation node.

        Raises:
            InputError: the two cannot be compared.

        Example:
            >>> table, transform, overlay = logic.followUp(firstSegmentation, secondSegmentation)
            >>> firstCt.SetAndObserveTransformNodeID(transform.GetID())  # now lies on the second CT
        """
        job = self.ended(self.startFollowUp(beforeSegmentation, afterSegmentation, **options))
        return job.tableNode, job.transformNode, job.overlayNode

    def startReport(
        self,
        segmentationNode: Any,
        path: str | Path,
        *,
        volumeNode: Any = None,
        entered: dict[str, Any] | None = None,
        onProgress: Callable[[str, int, int], None] | None = None,
        onFinished: Callable[[Job], None] | None = None,
        onError: Callable[[Job, str], None] | None = None,
    ) -> ReportJob:
        """Begin to write the HTML report of a segmentation as it is now; it names no patient.

        Args:
            segmentationNode: the segmentation.
            path: of the page, `.html`.
            volumeNode: its CT; the one that the segmentation belongs to by default.
            entered: for the clinical scores, arguments of `clinicalScores` by name.
            onProgress, onFinished, onError: as for `start`. The job has `path`.

        Raises:
            InputError: there is no segment, or its CT is missing.
        """
        _requireSegmentation(segmentationNode)
        given = enteredValues(**{name: None for name in ENTERED} | dict(entered or {}))
        facts = reportFacts(segmentationNode) | {"entered": given}
        path = Path(path).expanduser()
        return self.enqueue(
            ReportJob(self, segmentationNode, volumeNode, path, facts, onProgress, onFinished, onError)
        )

    def report(self, segmentationNode: Any, path: str | Path, **options: Any) -> Path:
        """Write the HTML report of a segmentation and return its path; arguments as `startReport`.

        Raises:
            InputError: there is no segment, its CT is missing, or the file cannot be written.
        """
        return self.ended(self.startReport(segmentationNode, path, **options)).path

    def prognosisModels(self) -> list:
        """Installed models that tell an outcome, as `ICHWeakSegLib.models.FoundModel`; none is bundled."""
        from ICHWeakSegLib.models import list_models

        return [
            model
            for model in list_models()
            if not model.problem and model.card is not None and model.card.prognosis is not None
        ]

    def startPrognosis(
        self,
        volumeNode: Any,
        model: str,
        *,
        segmentationNode: Any = None,
        age: float | None = None,
        sex: str | None = None,
        gcs: int | None = None,
        onsetHours: float | None = None,
        history: str = "",
        ivh: bool | None = None,
        location: str | None = None,
        cognitiveImpairment: bool | None = None,
        volumeMl: float | None = None,
        device: str = "auto",
        onProgress: Callable[[str, int, int], None] | None = None,
        onFinished: Callable[[Job], None] | None = None,
        onError: Callable[[Job, str], None] | None = None,
    ) -> PrognosisJob:
        """Begin to forecast the outcome of the patient on a CT. For research use only.

        Args:
            volumeNode: the CT.
            model: name or folder of a model of `ichweakseg train prognosis`.
            segmentationNode: its volume goes into the clinical scores beside the forecast, unless `volumeMl` does.
            age, sex, gcs, onsetHours, history: known on admission: years, `female` or `male`, Glasgow Coma Scale,
                hours from onset to CT, free text. What is not known is left out.
            ivh, location, cognitiveImpairment, volumeMl: for the scores alone, as for `clinicalScores`.
            device: `auto`, `cpu`, `cuda` or `mps`.
            onProgress, onFinished, onError: as for `start`. The job has `result`.

        Raises:
            InputError: the CT cannot be used, or a package is missing.
        """
        self.requireDependencies()
        if volumeMl is None and segmentationNode is not None:
            volumeMl = scores.hematomaOf(segmentationNode, volumeNode).volumeMl
        yesNo = {True: "yes", False: "no", None: None}
        asked = {
            "clinical": {"age": age, "sex": sex, "gcs": gcs, "onset_hours": onsetHours, "history": history},
            "facts": {
                "ivh": yesNo[ivh],
                "location": location,
                "cognitive_impairment": yesNo[cognitiveImpairment],
            },
            "volume_ml": volumeMl,
            "device": device,
        }
        return self.enqueue(PrognosisJob(self, volumeNode, model, asked, onProgress, onFinished, onError))

    def prognosis(self, volumeNode: Any, model: str, **options: Any) -> dict[str, Any]:
        """Forecast the outcome of the patient on a CT; arguments as `startPrognosis`.

        Returns:
            Plain values: `probability` of the poor outcome in `outcome`, `interval` (None with too few held-out
            cases), `ich_score`, `func_score`, `notices`, `provenance`, ...

        Raises:
            InputError: the CT, the model or a field cannot be used.
        """
        return self.ended(self.startPrognosis(volumeNode, model, **options)).result


def _requireSegmentation(segmentationNode: Any) -> None:
    problem = segmentations.problemWithNode(segmentationNode)
    if problem:
        raise InputError(problem)
