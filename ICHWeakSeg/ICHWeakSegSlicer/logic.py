"""The module's logic: CT volume nodes in, finished segmentation nodes out. Needs no Qt."""

import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.segment import Cancelled
from ICHWeakSegLib.worker.client import Event, WorkerClient
from ICHWeakSegLib.worker.exchange import RESULT_FILE, Box, CaseResult, Found, write_result
from ICHWeakSegLib.worker.process import Runner, SubprocessRunner
from ICHWeakSegSlicer import lesiontables, maps, segmentations, tables, volumes
from ICHWeakSegSlicer.dependencies import Dependencies, InstallOutcome
from ICHWeakSegSlicer.jobs import CANCELLED, FAILED, Job, inScene
from ICHWeakSegSlicer.placing import removeWhole
from ICHWeakSegSlicer.questionlogic import QuestionLogic
from ICHWeakSegSlicer.reportfacts import RUN_ATTRIBUTE
from ICHWeakSegSlicer.sequences import segmentSequence
from ICHWeakSegSlicer.workers import libraryFolder, workerCommand

POLL_MS = 50
REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
OUTPUTS = ("outputSegmentation", "outputMap", "outputTable", "outputSliceTable", "outputLesionTable")
OPTIONS = ("model", "method", "refine", "threshold", "sensitivity", "device")


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
        self._polling = False
        # The case folders of segmentations that the worker may still hold, with what they were made from.
        self._cases: dict[str, tuple[Path, tuple]] = {}

    # Segmenting

    def start(
        self,
        volumeNode: Any,
        outputSegmentation: Any = None,
        *,
        model: str | None = None,
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
            InputError: the volume cannot be segmented, a package is missing, or another run is under way.
        """
        if any(isinstance(job, _SegmentJob) for job in self._queue):
            raise InputError("A segmentation is under way: wait until it has ended, or cancel it.")
        problem = volumes.problemWith(volumeNode)
        if not problem and outputSegmentation is not None:
            problem = segmentations.problemWithOutput(outputSegmentation, volumeNode)
        if problem:
            raise InputError(problem)
        self.requireDependencies()
        given = {
            "model": model,
            "method": method,
            "refine": refine,
            "threshold": threshold,
            "sensitivity": sensitivity,
            "device": device,
        }
        options = {name: given[name] for name in OPTIONS if given[name] is not None}
        outputs = (outputSegmentation, outputMap, outputTable, outputSliceTable, outputLesionTable)
        keep = (keepMap, lesionTable)
        job = _SegmentJob(self, volumeNode, options, outputs, keep, onProgress, onFinished, onError, onLog)
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
        if hasattr(volumes, "IsA") and volumes.IsA("vtkMRMLSequenceBrowserNode"):
            return segmentSequence(self, volumes, onCase, onError, options)
        return self.eachOf(list(volumes), onCase, onError, options)

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

    def canRecut(self, segmentationNode: Any) -> str:
        """Why a segmentation cannot be cut again at another threshold; empty where it can."""
        if segmentationNode is None or not segmentations.ourSegmentIds(segmentationNode):
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
        if segmentations.isEdited(segmentationNode):
            return "The segment was edited, and a new cut would lose that: undo the edits, or segment again."
        return ""

    def thresholdOf(self, segmentationNode: Any) -> float | None:
        """The threshold of the map that a segmentation was cut at; None where it does not say."""
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
        reason = self.canRecut(segmentationNode)
        if reason and not (overwriteEdits and segmentations.isEdited(segmentationNode)):
            raise InputError(reason)
        if not 0 <= threshold <= 1:
            raise InputError(f"The threshold of the map lies between 0 and 1; {threshold:g} does not.")
        for waiting in [job for job in self._queue if isinstance(job, _ThresholdJob)]:
            if waiting.segmentationNode is segmentationNode and waiting.requestId is None:
                self.cancelJob(waiting)
        return self.enqueue(_ThresholdJob(self, segmentationNode, threshold, measure, onFinished, onError))

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
        return any(isinstance(job, _ThresholdJob) for job in self._queue)

    def poll(self) -> None:
        """Deliver what the worker said; in the application a timer calls this while something runs."""
        if self._polling or not self._queue:
            return
        self._polling = True
        try:
            self._stopIfNodeGone()
            for event in self._client.poll() if self._client is not None else []:
                self._deliver(event)
        finally:
            self._polling = False
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
        running = job.requestId is not None
        self._queue.remove(job)
        if running and self._client is not None:
            self._client.cancel()
        job.stopped(reason)
        if not self._queue:
            self._stopTimer()

    def close(self) -> None:
        """Cancel everything, end the worker and remove its temporary files."""
        for job in self._queue[::-1]:
            self.cancelJob(job)
        if self._client is not None:
            self._client.close()
            self._client = None
        self._cases.clear()
        self._stopTimer()

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

    def caseOf(self, segmentationNode: Any, volumeNode: Any) -> Path | None:
        """The case folder that a segmentation was made in, if it is still there and the CT the same."""
        folder, state = self._cases.get(segmentationNode.GetID(), (None, None))
        usable = folder is not None and folder.is_dir() and state == _stateOf(volumeNode)
        return folder if usable else None

    def caseFor(self, segmentationNode: Any, volumeNode: Any) -> Path:
        """The case folder of a segmentation on a CT; written where it is not there yet."""
        folder = self.caseOf(segmentationNode, volumeNode)
        if folder is None:
            folder = self.client.new_case(volumes.ctFromVolume(volumeNode))
            self.remember(segmentationNode, volumeNode, folder)
        return folder

    def remember(self, segmentationNode: Any, volumeNode: Any, folder: Path) -> None:
        """Keep in mind which case folder belongs to a segmentation."""
        self._cases[segmentationNode.GetID()] = (folder, _stateOf(volumeNode))

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
            if job.missingNode():
                self._queue.pop(0)
                job.stopped("A node of this run was removed from the scene.")
                continue
            try:
                job.requestId = job.submit()
            except InputError as problem:
                self._queue.pop(0)
                job.failed(str(problem))
        if not self._queue:
            self._stopTimer()

    def _stopIfNodeGone(self) -> None:
        job = self._queue[0]
        if job.missingNode():
            self.cancelJob(job, "The CT was removed from the scene: the run was stopped.")

    def _deliver(self, event: Event) -> None:
        job = next((one for one in self._queue if one.requestId == event.request), None)
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


class _SegmentJob(Job):
    def __init__(
        self,
        logic: SceneLogic,
        volumeNode: Any,
        options: dict[str, Any],
        outputs: tuple[Any, Any, Any, Any, Any],
        keep: tuple[bool, bool],
        *callbacks: Any,
    ) -> None:
        super().__init__(logic, volumeNode, *callbacks)
        self._ct = volumes.ctFromVolume(volumeNode)
        self._logic, self._options = logic, options
        self._keepMap, self._keepLesions = keep
        self.segmentationNode, self.mapNode, self.tableNode, self._sliceTable, self.lesionTableNode = outputs
        self._folder: Path | None = None

    def submit(self) -> int:
        client = self._logic.client
        self._folder = client.new_case(self._ct)
        # The copy on disk serves from here on.
        self._ct = None
        return client.segment(self._folder, **self._options)

    def write(self, result: CaseResult) -> None:
        # So that a map is never cut for the segments of another run, which undo may bring back.
        result.provenance["run"] = uuid.uuid4().hex[:12]
        made: list[Any] = []

        def orNew(node: Any, make: Callable[..., Any], *more: Any) -> Any:
            # An output that was deleted meanwhile is made anew.
            if node is not None and inScene(node):
                return node
            made.append(make(self.volumeNode, *more))
            return made[-1]

        try:
            segmentation = orNew(self.segmentationNode, segmentations.createSegmentationNode)
            segmentations.writeResult(segmentation, self.volumeNode, result)
            if self.mapNode is not None or self._keepMap:
                asked = self.mapNode is not None
                mapNode = self.mapNode if asked else maps.mapOf(segmentation)
                self.mapNode = orNew(mapNode, maps.createMapNode, not asked)
                maps.writeMap(self.mapNode, self.volumeNode, result.map)
                self.mapNode.SetAttribute(RUN_ATTRIBUTE, result.provenance["run"])
                maps.keepProbabilities(self.mapNode, [row["probability"] for row in result.slice_scores])
                maps.linkMap(segmentation, self.mapNode)
            else:
                # A map of an earlier run says nothing of this one.
                segmentation.RemoveNodeReferenceIDs(maps.MAP_ROLE)
            if result.subtypes is not None and self.mapNode is not None:
                segmentations.writeSubtypes(
                    segmentation, self.volumeNode, result.subtypes, result.subtype_names
                )
            if self.tableNode is not None:
                self.tableNode = orNew(self.tableNode, tables.createTableNode)
                tables.writeTable(self.tableNode, result)
                tables.linkTable(segmentation, self.tableNode)
            if self._sliceTable is not None and inScene(self._sliceTable):
                tables.writeSliceTable(self._sliceTable, result)
            if self._keepLesions and result.quantities is not None:
                table = self.lesionTableNode or lesiontables.lesionTableOf(segmentation)
                self.lesionTableNode = orNew(table, lesiontables.createLesionTable)
                ours = segmentations.ourSegmentIds(segmentation)
                lesiontables.writeLesionTable(
                    self.lesionTableNode, segmentation, self.volumeNode, result.quantities, ours
                )
        except BaseException:
            for node in made:
                removeWhole(node)
            raise
        self.segmentationNode = segmentation
        self._logic.remember(segmentation, self.volumeNode, self._folder)


class _ThresholdJob(Job):
    def __init__(
        self,
        logic: SceneLogic,
        segmentationNode: Any,
        threshold: float,
        measure: bool,
        onFinished: Any,
        onError: Any,
    ) -> None:
        super().__init__(logic, segmentations.referenceVolume(segmentationNode), None, onFinished, onError)
        self.segmentationNode = segmentationNode
        self.mapNode = maps.mapOf(segmentationNode)
        self._logic, self._threshold, self._measure = logic, threshold, measure

    @property
    def nodes(self) -> tuple[Any, ...]:
        return (self.volumeNode, self.segmentationNode, self.mapNode)

    def submit(self) -> int:
        client = self._logic.client
        folder = self._logic.caseFor(self.segmentationNode, self.volumeNode)
        if not (folder / RESULT_FILE).is_file():
            write_result(folder, self._stored())
        measure = self._measure and lesiontables.lesionTableOf(self.segmentationNode) is not None
        return client.recut(folder, self._threshold, measure)

    def _stored(self) -> CaseResult:
        """What the scene still knows of the run: enough to cut again."""
        stored = maps.readMap(self.mapNode)
        partition = segmentations.readSubtypes(self.segmentationNode)
        subtypes, names = (None, ()) if partition is None else (Box.of(partition[0]), partition[1])
        return CaseResult(
            shape=stored.shape,
            segments=[],
            total=Found(0.0, 0, 0, None),
            map=Box.of(stored),
            subtypes=subtypes,
            subtype_names=tuple(names),
            provenance=segmentations.provenanceOf(self.segmentationNode),
        )

    def write(self, result: CaseResult) -> None:
        result.provenance["run"] = self.mapNode.GetAttribute(RUN_ATTRIBUTE)
        segmentations.setMasks(self.segmentationNode, self.volumeNode, result)
        table = tables.tableOf(self.segmentationNode)
        if table is not None:
            tables.writeTable(table, result)
            self.tableNode = table
        lesions = lesiontables.lesionTableOf(self.segmentationNode)
        if lesions is not None and result.quantities is not None:
            ours = segmentations.ourSegmentIds(self.segmentationNode)
            lesiontables.writeLesionTable(
                lesions, self.segmentationNode, self.volumeNode, result.quantities, ours
            )


def _stateOf(volumeNode: Any) -> tuple:
    """What a case folder of a CT depends on; another tuple after a change."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    transform = volumeNode.GetParentTransformNode()
    return (
        volumeNode.GetID(),
        volumeNode.GetImageData().GetMTime(),
        tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4)),
        None if transform is None else (transform.GetID(), transform.GetTransformToWorldMTime()),
    )
