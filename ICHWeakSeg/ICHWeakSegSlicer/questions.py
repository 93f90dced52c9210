"""Jobs that ask the worker about masks that are there already: their lesions, the change between CTs, a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.worker.exchange import Asked, Box, read_answer
from ICHWeakSegSlicer import followups, lesiontables, maps, segmentations, volumes
from ICHWeakSegSlicer.bloodmasks import bloodSegments, maskOnVolume, masksOnVolume, ventriclesSegment
from ICHWeakSegSlicer.jobs import Job, inScene
from ICHWeakSegSlicer.placing import removeWhole
from ICHWeakSegSlicer.reportfacts import belongs


def ctOf(segmentationNode: Any, volumeNode: Any = None) -> Any:
    """The CT that a segmentation is measured on: the one given, else the one that it belongs to.

    Raises:
        InputError: there is none, or it cannot be measured on.
    """
    if volumeNode is None:
        volumeNode = segmentations.referenceVolume(segmentationNode)
    if volumeNode is None:
        raise InputError(
            f"{segmentationNode.GetName()} does not say which CT it belongs to: choose its CT as well."
        )
    problem = volumes.problemWith(volumeNode)
    if problem:
        raise InputError(problem)
    return volumeNode


class MeasureJob(Job):
    """Measures the lesions of a segmentation into a table.

    Attributes:
        segmentationNode: that is measured.
        tableNode: gets the rows; made at the end where there is none.
        result: `Quantities.to_dict` and None.
    """

    def __init__(
        self,
        logic: Any,
        segmentationNode: Any,
        volumeNode: Any,
        tableNode: Any,
        segments: list[str] | None,
        onFinished: Callable[[Job], None] | None,
        onError: Callable[[Job, str], None] | None,
    ) -> None:
        ids = bloodSegments(segmentationNode, segments)
        super().__init__(logic, ctOf(segmentationNode, volumeNode), None, onFinished, onError)
        self.segmentationNode, self.tableNode = segmentationNode, tableNode
        self._logic, self._ids = logic, ids
        self._signature = ""

    @property
    def nodes(self) -> tuple[Any, ...]:
        return (self.volumeNode, self.segmentationNode)

    def submit(self) -> int:
        folder = self._logic.caseFor(self.segmentationNode, self.volumeNode)
        ids = [one for one in self._ids if self.segmentationNode.GetSegmentation().GetSegment(one)]
        self._ids = ids or bloodSegments(self.segmentationNode)
        self._signature = segmentations.signature(self.segmentationNode, self._ids)
        ventricles = ventriclesSegment(self.segmentationNode)
        asked = Asked(
            masksOnVolume(self.segmentationNode, self._ids, self.volumeNode),
            None
            if ventricles is None
            else Box.of(maskOnVolume(self.segmentationNode, ventricles, self.volumeNode).view("uint8")),
        )
        return self._logic.client.measure(folder, asked)

    def read(self, folder: Path) -> tuple[dict[str, Any], Box | None]:
        return read_answer(folder)

    def write(self, result: tuple[dict[str, Any], Box | None]) -> None:
        table = self.tableNode
        if table is None or not inScene(table):
            table = lesiontables.lesionTableOf(self.segmentationNode)
        made = table is None
        if made:
            table = lesiontables.createLesionTable(self.volumeNode)
        try:
            lesiontables.writeLesionTable(
                table, self.segmentationNode, self.volumeNode, result[0], self._ids, self._signature
            )
        except BaseException:
            if made:
                removeWhole(table)
            raise
        self.tableNode = table


class FollowUpJob(Job):
    """Compares the blood on two CTs of a patient.

    Attributes:
        before, after: (CT, segmentation) of the earlier and the later scan.
        tableNode, transformNode, overlayNode: what comes of it; None before.
        result: `FollowUp.to_dict` with its sentence, and the overlay.
    """

    def __init__(
        self,
        logic: Any,
        before: tuple[Any, Any],
        after: tuple[Any, Any],
        outputs: tuple[Any, Any, Any],
        onProgress: Callable[[str, int, int], None] | None,
        onFinished: Callable[[Job], None] | None,
        onError: Callable[[Job, str], None] | None,
    ) -> None:
        problem = followups.problemWith(before, after)
        if problem:
            raise InputError(problem)
        self.before = (ctOf(before[1], before[0]), before[1])
        self.after = (ctOf(after[1], after[0]), after[1])
        if self.before[0] is self.after[0]:
            raise InputError("Both CTs are the same: choose the earlier and the later scan of the patient.")
        self._ids = [bloodSegments(pair[1]) for pair in (before, after)]
        super().__init__(logic, self.after[0], onProgress, onFinished, onError)
        self.tableNode, self.transformNode, self.overlayNode = outputs
        self._logic = logic

    @property
    def nodes(self) -> tuple[Any, ...]:
        return (*self.before, *self.after)

    def submit(self) -> int:
        client = self._logic.client
        cts = [volumes.ctFromVolume(pair[0]) for pair in (self.before, self.after)]
        asked = [
            Asked(masksOnVolume(pair[1], ids, pair[0]))
            for pair, ids in zip((self.before, self.after), self._ids, strict=True)
        ]
        # Both anew: the client keeps only the last two.
        folders = [client.new_case(ct) for ct in cts]
        return client.follow_up(folders[0], asked[0], folders[1], asked[1])

    def read(self, folder: Path) -> tuple[dict[str, Any], Box | None]:
        return read_answer(folder)

    def write(self, result: tuple[dict[str, Any], Box | None]) -> None:
        outputs = (self.tableNode, self.transformNode, self.overlayNode)
        given = [node if node is not None and inScene(node) else None for node in outputs]
        self.tableNode, self.transformNode, self.overlayNode = followups.write(
            self.before, self.after, result[0], result[1], given
        )


class ReportJob(Job):
    """Writes the HTML report of a segmentation.

    Attributes:
        path: of the page.
    """

    def __init__(
        self,
        logic: Any,
        segmentationNode: Any,
        volumeNode: Any,
        path: Path,
        facts: dict[str, Any],
        onFinished: Callable[[Job], None] | None,
        onError: Callable[[Job, str], None] | None,
        onProgress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._ids = bloodSegments(segmentationNode)
        super().__init__(logic, ctOf(segmentationNode, volumeNode), onProgress, onFinished, onError)
        self.segmentationNode, self.path = segmentationNode, path
        self._logic, self._facts = logic, facts

    @property
    def nodes(self) -> tuple[Any, ...]:
        return (self.volumeNode, self.segmentationNode)

    def submit(self) -> int:
        folder = self._logic.caseFor(self.segmentationNode, self.volumeNode)
        mapNode = maps.mapOf(self.segmentationNode)
        known = mapNode is not None and belongs(mapNode, self.segmentationNode)
        stored = maps.readMap(mapNode) if known else None
        # A map of another grid is no map of this CT.
        fits = stored is not None and stored.shape == self.volumeNode.GetImageData().GetDimensions()[::-1]
        asked = Asked(
            masksOnVolume(self.segmentationNode, self._ids, self.volumeNode),
            map=Box.of(stored) if fits else None,
        )
        return self._logic.client.report(folder, asked, self.path, self._facts)

    def read(self, folder: Path) -> tuple[dict[str, Any], Box | None]:
        return read_answer(folder)

    def write(self, result: tuple[dict[str, Any], Box | None]) -> None:
        """The page is written already."""


class PrognosisJob(Job):
    """Forecasts the outcome of the patient on a CT; nothing in the scene changes.

    Attributes:
        result: `ICHWeakSegLib.prognosis.assess.Assessment.to_dict`; None before.
    """

    def __init__(
        self,
        logic: Any,
        volumeNode: Any,
        model: str,
        asked: dict[str, Any],
        onProgress: Callable[[str, int, int], None] | None,
        onFinished: Callable[[Job], None] | None,
        onError: Callable[[Job, str], None] | None,
    ) -> None:
        problem = volumes.problemWith(volumeNode)
        if problem:
            raise InputError(problem)
        super().__init__(logic, volumeNode, onProgress, onFinished, onError)
        self._logic, self._model, self._asked = logic, model, asked

    def submit(self) -> int:
        client = self._logic.client
        return client.prognosis(
            client.new_case(volumes.ctFromVolume(self.volumeNode)), self._model, **self._asked
        )

    def read(self, folder: Path) -> dict[str, Any]:
        return read_answer(folder)[0]

    def write(self, result: dict[str, Any]) -> None:
        """Nothing comes into the scene."""
