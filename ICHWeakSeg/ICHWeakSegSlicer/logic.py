"""The module's logic: CT volume nodes in, finished segmentation nodes out. Needs no Qt."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.errors import Cancelled
from ICHWeakSegLib.worker.client import Event, WorkerClient
from ICHWeakSegLib.worker.process import Runner, SubprocessRunner
from ICHWeakSegSlicer import maps, segmentations, volumes
from ICHWeakSegSlicer.casefolders import CaseFolders
from ICHWeakSegSlicer.dependencies import Dependencies, InstallOutcome
from ICHWeakSegSlicer.jobs import CANCELLED, FAILED, Job
from ICHWeakSegSlicer.outputs import Outputs, problemWithOutputs
from ICHWeakSegSlicer.questionlogic import QuestionLogic
from ICHWeakSegSlicer.reportfacts import RUN_ATTRIBUTE
from ICHWeakSegSlicer.runoptions import fraction, runOptions
from ICHWeakSegSlicer.segmentjobs import SegmentJob, ThresholdJob
from ICHWeakSegSlicer.sequences import segmentSequence
from ICHWeakSegSlicer.workers import libraryFolder, workerCommand

POLL_MS = 50
REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
OUTPUTS = ("outputSegmentation", "outputMap", "outputTable", "outputSliceTable", "outputLesionTable")


class SceneLogic(QuestionLogic):
    """Segments CT volume nodes in a worker process.

    One worker serves one logic: it starts with the first run, keeps its model loaded, and ends with `close`,
    with Slicer, or after a quarter of an hour without work. Runs wait for each other.

    Args:
        runner: makes the process runner; another one in tests.
        command: what starts the worker; Slicer's own Python by default.

    Example:
        >>> logic = ICHWeakSegLogic()
        >>> segmentationNode = logic.segment(slicer.util.getNode("head"))
        >>> logic.setThreshold(segmentationNode, 0.2)
    """

    def __init__(
        self, runner: Callable[[], Runner] = SubprocessRunner, command: list[str] | None = None
    ) -> None:
        self.dependencies = Dependencies(REQUIREMENTS)
        self._runner, self._command = runner, command
        self._client: WorkerClient | None = None
        self._queue: list[Job] = []
        self._timer: Any = None
        # What the worker said and nobody was told yet. A callback may wait for another job, and so poll in its
        # turn: the rest is delivered there.
        self._undelivered: list[Event] = []
        self.cases = CaseFolders()

    # Segmenting

    def start(
        self,
        volumeNode: Any,
        outputSegmentation: Any = None,
        *,
        model: str | Path | None = None,
        method: str | None = None,
        refine: str | None = None,
        threshold: float | None = None,
        sensitivity: float | str | None = None,
        device: str = "auto",
        outputMap: Any = None,
        outputTable: Any = None,
        outputSliceTable: Any = None,
        outputLesionTable: Any = None,
        lesionTable: bool = True,
        keepMap: bool = True,
        onProgress: Callable[[str, int, int], None] | None = None,
        onFinished: Callable[[Job], None] | None = None,
        onError: Callable[[Job, str], None] | None = None,
        onLog: Callable[[str], None] | None = None,
    ) -> Job:
        """Begin to segment a CT and return at once; the scene changes when the result is there.

        Args:
            volumeNode: vtkMRMLScalarVolumeNode with a non-contrast head CT in HU.
            outputSegmentation: takes our segments beside the user's own; a new node by default.
            model: name or folder; `starter` by default.
            method: localization, such as `hgi-sam`; the model card's by default.
            refine: `hu`, `threshold` or `otsu`; the card's by default.
            threshold: of the map, 0-1; the card's by default.
            sensitivity: moves the classifier's operating point: `low`, `normal`, `high`, or a slice sensitivity,
                0-1.
            device: `auto`, `cpu`, `cuda` or `mps`.
            outputMap: scalar volume node for the localization map, 0-1.
            outputTable: table node for volumes in mL, lesions, slices and mean HU.
            outputSliceTable: table node for the classifier's probability of blood on each slice.
            outputLesionTable: table node for the lesions; the one of an earlier run, or a new one, by default.
            lesionTable: make such a table.
            keepMap: keep the map in a hidden node where `outputMap` is not given, for `setThreshold`.
            onProgress: called as (stage, done, total).
            onFinished: called with the job.
            onError: called with the job and a sentence.
            onLog: called with lines of the worker's log.

        Raises:
            InputError: the volume, an output or an option cannot be used, a package is missing, or another run is
                under way.
        """
        if any(isinstance(job, SegmentJob) for job in self._queue):
            raise InputError("A segmentation is under way: wait until it has ended, or cancel it.")
        outputs = Outputs(outputSegmentation, outputMap, outputTable, outputSliceTable, outputLesionTable)
        problem = volumes.problemWith(volumeNode) or problemWithOutputs(outputs, volumeNode)
        if problem:
            raise InputError(problem)
        options = runOptions(model, method, refine, threshold, sensitivity, device)
        self.requireDependencies()
        callbacks = (onProgress, onFinished, onError, onLog)
        job = SegmentJob(self, volumeNode, options, outputs, keepMap, lesionTable, *callbacks)
        return self.enqueue(job)

    def segment(self, volumeNode: Any, outputSegmentation: Any = None, **options: Any) -> Any:
        """Segment a CT and return the segmentation node; no popup, the application stays responsive.

        Args: as `start`.

        Raises:
            InputError: the volume, the model or an option cannot be used, or the run failed.
            ICHWeakSegLib.segment.Cancelled: the run was cancelled meanwhile.
        """
        return self.ended(self.start(volumeNode, outputSegmentation, **options)).segmentationNode

    def segmentMany(
        self,
        volumes: Any,
        *,
        onCase: Callable[[int, int], None] | None = None,
        onError: Callable[[Any, str], None] | None = None,
        **options: Any,
    ) -> Any:
        """Segment several CTs with the model loaded once; a failed one does not stop the others.

        Args:
            volumes: volume nodes, or a sequence browser node whose master sequence holds CTs.
            onCase: called as (done, total) before each.
            onError: called with the volume node and its sentence; logged by default.
            **options: as for `start`, except the outputs.

        Returns:
            For nodes a list of segmentation nodes, None where one failed. For a browser node the sequence node
            of segmentations, shown in the browser in step with the CTs.

        Raises:
            InputError: there is nothing to segment, or every one failed.
            ICHWeakSegLib.segment.Cancelled: a run was cancelled; the earlier ones' results stay.
        """
        for name in OUTPUTS:
            if name in options:
                raise InputError(f"{name} is for one CT: leave it out for several.")
        if isinstance(volumes, slicer.vtkMRMLNode) and volumes.IsA("vtkMRMLSequenceBrowserNode"):
            return segmentSequence(self, volumes, onCase, onError, options)
        return self.eachOf(_listOf(volumes), onCase, onError, options)

    def eachOf(
        self,
        nodes: list[Any],
        onCase: Callable[[int, int], None] | None,
        onError: Callable[[Any, str], None] | None,
        options: dict[str, Any],
    ) -> list[Any]:
        """Segmentation nodes of volume nodes, None where one failed; see `segmentMany`."""
        if not nodes:
            raise InputError("There is no CT to segment: give volume nodes or a sequence browser node.")
        found, sentence = [], ""
        for number, node in enumerate(nodes):
            if onCase is not None:
                onCase(number, len(nodes))
            try:
                found.append(self.segment(node, **options))
            except InputError as problem:
                found.append(None)
                sentence = str(problem)
                if onError is not None:
                    onError(node, sentence)
                else:
                    logging.error(sentence)
        if not any(found):
            raise InputError(sentence)
        return found

    # Cutting the stored map again

    def canRecut(self, segmentationNode: Any, overwriteEdits: bool = False) -> str:
        """Why a segmentation cannot be cut again at another threshold; empty where it can.

        Args:
            segmentationNode: the segmentation.
            overwriteEdits: edits of our segments are no reason.
        """
        problem = segmentations.problemWithNode(segmentationNode)
        if problem:
            return problem
        if not segmentations.ourSegmentIds(segmentationNode):
            return "There is no segment of ICH WeakSeg in this segmentation: segment a CT first."
        if segmentations.referenceVolume(segmentationNode) is None:
            return "The CT of this segmentation is not in the scene any more: load it and segment again."
        mapNode, facts = maps.mapOf(segmentationNode), segmentations.provenanceOf(segmentationNode)
        if mapNode is None:
            return "The localization map was not kept: segment again."
        if facts.get("mode", "map") != "map":
            return "The mask comes from two networks, so that no threshold of the map cuts it."
        if facts.get("run") != mapNode.GetAttribute(RUN_ATTRIBUTE):
            return "The localization map belongs to another run than the segment: segment again."
        if not overwriteEdits and segmentations.isEdited(segmentationNode):
            return "The segment was edited, and a new cut would lose that: undo the edits, or segment again."
        return ""

    def thresholdOf(self, segmentationNode: Any) -> float | None:
        """The threshold of the map that a segmentation was cut at; None where it does not say."""
        if segmentations.problemWithNode(segmentationNode):
            return None
        try:
            return float(segmentations.provenanceOf(segmentationNode)["map_threshold"])
        except (KeyError, ValueError):
            return None

    def startThreshold(
        self,
        segmentationNode: Any,
        threshold: float,
        *,
        overwriteEdits: bool = False,
        measure: bool = True,
        onFinished: Callable[[Job], None] | None = None,
        onError: Callable[[Job, str], None] | None = None,
    ) -> Job:
        """Begin to cut the stored map at another threshold; no network runs. A newer call replaces a waiting one.

        Args:
            segmentationNode: a result of ours with its map.
            threshold: of the map, 0-1.
            overwriteEdits: cut although somebody edited our segments since.
            measure: bring the table of lesions up to date, where there is one.
            onFinished, onError: as for `start`.

        Raises:
            InputError: the segmentation cannot be cut again.
        """
        reason = self.canRecut(segmentationNode, overwriteEdits)
        if reason:
            raise InputError(reason)
        threshold = fraction(threshold, "threshold of the map")
        for waiting in [job for job in self._queue if isinstance(job, ThresholdJob)]:
            if waiting.segmentationNode is segmentationNode and waiting.requestId is None:
                self.cancelJob(waiting)
        callbacks = (onFinished, onError)
        return self.enqueue(
            ThresholdJob(self, segmentationNode, threshold, measure, overwriteEdits, *callbacks)
        )

    def setThreshold(self, segmentationNode: Any, threshold: float, *, overwriteEdits: bool = False) -> None:
        """Cut the stored map at another threshold and return when it is done; arguments as `startThreshold`.

        Raises:
            InputError: the segmentation cannot be cut again.
        """
        self.ended(self.startThreshold(segmentationNode, threshold, overwriteEdits=overwriteEdits))

    # Maps, models, packages

    def showMap(self, segmentationNode: Any, shown: bool) -> None:
        """Lay the localization map over its CT in the slice views, or take it away.

        Raises:
            InputError: the map was not kept.
        """
        problem = segmentations.problemWithNode(segmentationNode)
        if problem:
            raise InputError(problem)
        mapNode = maps.mapOf(segmentationNode)
        if mapNode is None:
            raise InputError("The localization map was not kept: segment again.")
        (maps.showMap if shown else maps.hideMap)(mapNode)

    def models(self) -> list:
        """All models that are there, as `ICHWeakSegLib.models.FoundModel`; broken ones say why."""
        from ICHWeakSegLib.models import list_models

        return list_models()

    def describeModel(self, model: str) -> str:
        """A model's card as text.

        Raises:
            InputError: there is no such model.
        """
        from ICHWeakSegLib.models import describe, find_model

        return describe(find_model(model).card)

    def dependenciesInstalled(self) -> bool:
        """Whether all Python packages that a run needs are there."""
        return self.dependencies.installed()

    def requireDependencies(self) -> None:
        """Refuse where a package is missing that a network needs.

        Raises:
            InputError: one is missing.
        """
        if not self.dependenciesInstalled():
            raise InputError(
                "Python packages are missing: install them in the ICH WeakSeg module, or with "
                "logic.installDependencies()."
            )

    def installDependencies(self, interactive: bool = False, **options: Any) -> InstallOutcome:
        """Install what is missing into Slicer's Python; arguments as `Dependencies.install`."""
        return self.dependencies.install(interactive=interactive, **options)

    # Running

    @property
    def busy(self) -> bool:
        """Whether a run is under way or waits."""
        return bool(self._queue)

    @property
    def cutting(self) -> bool:
        """Whether a map is being cut again."""
        return any(isinstance(job, ThresholdJob) for job in self._queue)

    def poll(self) -> None:
        """Deliver what the worker said; in the application a timer calls this while something runs."""
        if self._queue:
            self._stopIfNodeGone(self._queue[0])
        if not self._queue:
            return
        if self._client is not None:
            self._undelivered += self._client.poll()
        while self._undelivered:
            self._deliver(self._undelivered.pop(0))
        self._next()

    def keepAlive(self) -> None:
        """Let the application handle its events, and wait a little."""
        if hasattr(slicer, "app"):
            slicer.app.processEvents()
        time.sleep(0.01)

    def cancelJob(self, job: Job, reason: str = "") -> None:
        """Stop a job: one that runs by ending the worker with all its processes."""
        if job not in self._queue:
            return
        self._queue.remove(job)
        if job.requestId is not None and self._client is not None:
            self._client.cancel()
            self._undelivered.clear()
        if not self._queue:
            self._stopTimer()
        job.stopped(reason)

    def close(self, reason: str = "") -> None:
        """Cancel everything, end the worker and remove its temporary files.

        Args:
            reason: a sentence for `onError` of the jobs that are cancelled; without one they are told nothing.
        """
        jobs = self._queue[::-1]
        self._queue.clear()
        self._undelivered.clear()
        self._stopTimer()
        if self._client is not None:
            self._client.close()
            self._client = None
        self.cases.clear()
        # At last: a callback may start another job, for a worker of its own.
        for job in jobs:
            job.stopped(reason)

    @property
    def client(self) -> WorkerClient:
        """The worker's other end; made at first use, its process only with the first request."""
        if self._client is None:
            try:
                command = self._command or workerCommand()
            except FileNotFoundError as problem:
                raise InputError(str(problem)) from problem
            self._client = WorkerClient(command, libraryFolder(), runner=self._runner)
        return self._client

    def caseFor(self, segmentationNode: Any, volumeNode: Any) -> Path:
        """The case folder of a segmentation on a CT; written where it is not there yet."""
        folder = self.cases.of(segmentationNode, volumeNode)
        if folder is None:
            folder = self.client.new_case(volumes.ctFromVolume(volumeNode))
            self.cases.keep(segmentationNode, volumeNode, folder)
        return folder

    def enqueue(self, job: Job) -> Job:
        """Let a job wait for its turn."""
        # Handed over by the first poll: whatever goes wrong then reaches `onError`, after the caller has the job.
        self._queue.append(job)
        self._startTimer()
        return job

    def _next(self) -> None:
        """Hand the first job to the worker if that is free."""
        while self._queue and self._queue[0].requestId is None:
            job = self._queue[0]
            if self._stopIfNodeGone(job):
                continue
            try:
                job.requestId = job.submit()
                continue
            except InputError as problem:
                sentence = str(problem)
            except Exception as problem:
                logging.exception("A request could not be made")
                sentence = f"The request could not be made ({problem}); see the log."
            # Whatever it is: a job that stayed would block all others.
            self._queue.remove(job)
            job.failed(sentence)
        if not self._queue:
            self._stopTimer()

    def _stopIfNodeGone(self, job: Job) -> bool:
        try:
            gone = job.missingNode()
        except Exception as problem:
            logging.exception("The nodes of a run could not be looked up")
            gone = f"The nodes of this run could not be looked up ({problem}); see the log."
        if gone:
            self.cancelJob(job, gone)
        return bool(gone)

    def _deliver(self, event: Event) -> None:
        # A job that waits has no number yet, and what belongs to none has none either.
        asked = [one for one in self._queue if one.requestId is not None and one.requestId == event.request]
        job = asked[0] if asked else None
        if event.kind == "log":
            if self._queue:
                self._queue[0].logged(event.text)
        elif job is None:
            return
        elif event.kind == "progress":
            job.progressed(event.stage, event.done, event.total)
        elif event.kind == "result":
            self._queue.remove(job)
            job.succeeded(event.case)
        elif event.kind == "error":
            self._queue.remove(job)
            job.failed(event.sentence)

    def ended(self, job: Job) -> Job:
        """Wait for a job's end.

        Raises:
            InputError: it failed.
            ICHWeakSegLib.segment.Cancelled: it was cancelled.
        """
        try:
            job.wait()
        except BaseException:
            job.cancel()
            raise
        if job.state == FAILED or (job.state == CANCELLED and job.error):
            raise InputError(job.error)
        if job.state == CANCELLED:
            raise Cancelled
        return job

    def _startTimer(self) -> None:
        if self._timer is None:
            if not hasattr(slicer, "app"):
                return
            import qt

            self._timer = qt.QTimer()
            self._timer.setInterval(POLL_MS)
            self._timer.connect("timeout()", self.poll)
        self._timer.start()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.stop()


def _listOf(volumes: Any) -> list[Any]:
    """What was given for several CTs, as a list.

    Raises:
        InputError: it is a single node, or nothing that holds any.
    """
    if isinstance(volumes, slicer.vtkMRMLNode):
        name = volumes.GetName()
        if volumes.IsA("vtkMRMLSequenceNode"):
            raise InputError(f"{name} is a sequence: give the sequence browser node that plays it.")
        raise InputError(f"{name} is one node: give a list of volume nodes, or a sequence browser node.")
    try:
        return [] if isinstance(volumes, str) else list(volumes)
    except TypeError:
        return []
