"""Jobs that change a segmentation of ours: a CT is segmented, or its stored map is cut again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.worker.exchange import RESULT_FILE, Box, CaseResult, Found
from ICHWeakSegSlicer import lesiontables, maps, segmentations, tables, volumes
from ICHWeakSegSlicer.jobs import Job, inScene
from ICHWeakSegSlicer.orphans import removeOrphans
from ICHWeakSegSlicer.outputs import Outputs
from ICHWeakSegSlicer.placing import removeWhole
from ICHWeakSegSlicer.reportfacts import RUN_ATTRIBUTE


class SegmentJob(Job):
    """Segments a CT and writes what was found into its outputs.

    Args:
        logic: gives the worker and keeps the case folder in mind.
        volumeNode: the CT.
        options: of `WorkerClient.segment`.
        outputs: nodes to write into; what is missing is made.
        keepMap: keep the map in a hidden node where `outputs` has none.
        lesionTable: make a table of lesions.
        *callbacks: of `Job`.
    """

    def __init__(
        self,
        logic: Any,
        volumeNode: Any,
        options: dict[str, Any],
        outputs: Outputs,
        keepMap: bool,
        lesionTable: bool,
        *callbacks: Any,
    ) -> None:
        super().__init__(logic, volumeNode, *callbacks)
        self.handsOver(volumeNode)
        self._ct = volumes.ctFromVolume(volumeNode)
        self._logic, self._options = logic, options
        self._keepMap, self._keepLesions = keepMap, lesionTable
        self.segmentationNode, self.mapNode, self.tableNode = outputs.segmentation, outputs.map, outputs.table
        self._sliceTable, self.lesionTableNode = outputs.sliceTable, outputs.lesionTable
        self._folder: Path | None = None

    @property
    def outputs(self) -> tuple[Any, ...]:
        return (*super().outputs, self._sliceTable, self.lesionTableNode)

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
            if inScene(node):
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
            if inScene(self._sliceTable):
                tables.writeSliceTable(self._sliceTable, result)
            if self._keepLesions and result.quantities is not None:
                self.lesionTableNode = orNew(self._lesionTable(segmentation), lesiontables.createLesionTable)
                ours = segmentations.ourSegmentIds(segmentation)
                lesiontables.writeLesionTable(
                    self.lesionTableNode, segmentation, self.volumeNode, result.quantities, ours
                )
        except BaseException:
            for node in made:
                removeWhole(node)
            raise
        self.segmentationNode = segmentation
        self._logic.cases.keep(segmentation, self.volumeNode, self._folder)
        removeOrphans(self.volumeNode.GetScene())

    def _lesionTable(self, segmentation: Any) -> Any:
        """The table of lesions that was chosen, else that of an earlier run, unless it now gets other rows."""
        if self.lesionTableNode is not None:
            return self.lesionTableNode
        earlier = lesiontables.lesionTableOf(segmentation)
        return None if earlier in (self.tableNode, self._sliceTable) else earlier


class ThresholdJob(Job):
    """Cuts the stored map of a segmentation at another threshold.

    Args:
        logic: gives the worker and the case folder, and says whether the segmentation can be cut.
        segmentationNode: a result of ours with its map.
        threshold: of the map, 0-1.
        measure: bring the table of lesions up to date, where there is one.
        overwriteEdits: cut although somebody edited our segments since.
        onFinished, onError: of `Job`.
    """

    meanwhile, again = "its map was cut", "cut it again"

    def __init__(
        self,
        logic: Any,
        segmentationNode: Any,
        threshold: float,
        measure: bool,
        overwriteEdits: bool,
        onFinished: Any,
        onError: Any,
    ) -> None:
        super().__init__(logic, segmentations.referenceVolume(segmentationNode), None, onFinished, onError)
        self.segmentationNode = segmentationNode
        self.mapNode = maps.mapOf(segmentationNode)
        self._logic, self._threshold = logic, threshold
        self._measure, self._overwriteEdits = measure, overwriteEdits
        self._run = self._runNow()

    @property
    def nodes(self) -> dict[str, Any]:
        return {
            "CT": self.volumeNode,
            "segmentation": self.segmentationNode,
            "localization map": self.mapNode,
        }

    def submit(self) -> int:
        self._requireSame()
        client = self._logic.client
        self.handsOver(self.volumeNode)
        folder = self._logic.caseFor(self.segmentationNode, self.volumeNode)
        if not (folder / RESULT_FILE).is_file():
            client.hand_result(folder, self._stored())
        measure = self._measure and lesiontables.lesionTableOf(self.segmentationNode) is not None
        return client.rethreshold(folder, self._threshold, measure)

    def write(self, result: CaseResult) -> None:
        self._requireSame()
        result.provenance["run"] = self._run
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

    def failed(self, sentence: str) -> None:
        self._distrustFolder()
        super().failed(sentence)

    def stopped(self, reason: str = "") -> None:
        self._distrustFolder()
        super().stopped(reason)

    def _distrustFolder(self) -> None:
        # The worker may have died while it wrote.
        if self.requestId is not None:
            self._logic.cases.forget(self.segmentationNode)

    def _runNow(self) -> str | None:
        return segmentations.provenanceOf(self.segmentationNode).get("run")

    def _requireSame(self) -> None:
        """Refuse where somebody edited or segmented meanwhile: a cut would overwrite that."""
        problem = self._logic.canRecut(self.segmentationNode, self._overwriteEdits)
        if not problem and self._runNow() != self._run:
            problem = f"{self.segmentationNode.GetName()} was segmented again meanwhile: cut it again."
        if problem:
            raise InputError(problem)

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
