"""Jobs that ask the worker about masks that are there already: their lesions, the change between CTs, a report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.worker.exchange import Asked, Box, read_answer
from ICHWeakSegSlicer import followups, lesiontables, maps, segmentations, volumes
from ICHWeakSegSlicer.bloodmasks import (
    bloodSegments,
    maskOnVolume,
    masksOnVolume,
    segmentsLeft,
    ventriclesSegment,
)
from ICHWeakSegSlicer.jobs import Job, inScene
from ICHWeakSegSlicer.outputs import problemWithNodes
from ICHWeakSegSlicer.placing import removeWhole
from ICHWeakSegSlicer.reportfacts import belongs

PAGE_FILE = "report.html"


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


def requireOutputs(given: dict[str, Any], volumeNode: Any) -> None:
    """Refuse nodes that cannot be written into.

    Raises:
        InputError: what `outputs.problemWithNodes` says.
    """
    problem = problemWithNodes(given, volumeNode)
    if problem:
        raise InputError(problem)


class MeasureJob(Job):
    """Measures the lesions of a segmentation into a table.

    Attributes:
        segmentationNode: that is measured.
        tableNode: gets the rows; made at the end where there is none.
        result: `Quantities.to_dict` and None.
    """

    meanwhile, again = "it was measured", "measure it again"

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
        volumeNode = ctOf(segmentationNode, volumeNode)
        requireOutputs({"lesionTable": tableNode}, volumeNode)
        super().__init__(logic, volumeNode, None, onFinished, onError)
        self.segmentationNode, self.tableNode = segmentationNode, tableNode
        self._logic, self._ids = logic, ids
        self._signature = ""

    @property
    def nodes(self) -> dict[str, Any]:
        return {"CT": self.volumeNode, "segmentation": self.segmentationNode}

    def submit(self) -> int:
        self.handsOver(self.volumeNode)
        folder = self._logic.caseFor(self.segmentationNode, self.volumeNode)
        self._ids = segmentsLeft(self.segmentationNode, self._ids)
        ventricles = ventriclesSegment(self.segmentationNode)
        asked = Asked(
            masksOnVolume(self.segmentationNode, self._ids, self.volumeNode),
            None
            if ventricles is None
            else Box.of(maskOnVolume(self.segmentationNode, ventricles, self.volumeNode).view("uint8")),
        )
        # After the masks: of surfaces they are only made for them.
        self._signature = segmentations.signature(self.segmentationNode, self._ids)
        return self._logic.client.measure(folder, asked)

    def read(self, folder: Path) -> tuple[dict[str, Any], Box | None]:
        return read_answer(folder)

    def write(self, result: tuple[dict[str, Any], Box | None]) -> None:
        table = self.tableNode
        if not inScene(table):
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

    meanwhile, again = "it was compared", "compare again"

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
        for volumeNode in (self.before[0], self.after[0]):
            requireOutputs(dict(zip(("table", "transform", "overlay"), outputs, strict=True)), volumeNode)
        self._requireOwnOverlay(outputs[2])
        self._ids = [bloodSegments(pair[1]) for pair in (before, after)]
        super().__init__(logic, self.after[0], onProgress, onFinished, onError)
        self.tableNode, self.transformNode, self.overlayNode = outputs
        self._logic = logic
        self._compared: list[followups.Compared] = []

    @property
    def nodes(self) -> dict[str, Any]:
        words = ("earlier CT", "earlier CT's segmentation", "later CT", "later CT's segmentation")
        return dict(zip(words, (*self.before, *self.after), strict=True))

    @property
    def outputs(self) -> tuple[Any, ...]:
        return (self.tableNode, self.transformNode, self.overlayNode)

    def submit(self) -> int:
        client = self._logic.client
        self.handsOver(self.before[0], self.after[0])
        cts = [volumes.ctFromVolume(pair[0]) for pair in (self.before, self.after)]
        asked, self._compared = [], []
        for (volumeNode, segmentationNode), ids in zip((self.before, self.after), self._ids, strict=True):
            left = segmentsLeft(segmentationNode, ids)
            asked.append(Asked(masksOnVolume(segmentationNode, left, volumeNode)))
            self._compared.append(followups.Compared.now(segmentationNode, left))
        # Both anew: the client keeps only the last two.
        folders = [client.new_case(ct) for ct in cts]
        return client.follow_up(folders[0], asked[0], folders[1], asked[1])

    def read(self, folder: Path) -> tuple[dict[str, Any], Box | None]:
        return read_answer(folder)

    def write(self, result: tuple[dict[str, Any], Box | None]) -> None:
        outputs = (self.tableNode, self.transformNode, self.overlayNode)
        given = [node if inScene(node) else None for node in outputs]
        self.tableNode, self.transformNode, self.overlayNode = followups.write(
            self.before, self.after, result[0], result[1], given, self._compared
        )

    def _requireOwnOverlay(self, overlay: Any) -> None:
        if overlay is None:
            return
        # Its segments go: they must be those of an earlier comparison.
        foreign = overlay.GetSegmentation().GetNumberOfSegments() and not followups.isOverlay(overlay)
        if foreign or overlay in (self.before[1], self.after[1]):
            raise InputError(
                f"The overlay would be written over {overlay.GetName()}: choose another output, or none."
            )


class ReportJob(Job):
    """Writes the HTML report of a segmentation.

    Attributes:
        path: of the page.
    """

    meanwhile, again = "its report was made", "make the report again"

    def __init__(
        self,
        logic: Any,
        segmentationNode: Any,
        volumeNode: Any,
        path: Path,
        facts: dict[str, Any],
        onProgress: Callable[[str, int, int], None] | None,
        onFinished: Callable[[Job], None] | None,
        onError: Callable[[Job, str], None] | None,
    ) -> None:
        self._ids = bloodSegments(segmentationNode)
        if path.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"The report {path.name} is an HTML page: give it a name that ends in .html.")
        super().__init__(logic, ctOf(segmentationNode, volumeNode), onProgress, onFinished, onError)
        self.segmentationNode, self.path = segmentationNode, path
        self._logic, self._facts = logic, facts
        self._page: Path | None = None

    @property
    def nodes(self) -> dict[str, Any]:
        return {"CT": self.volumeNode, "segmentation": self.segmentationNode}

    def submit(self) -> int:
        self.handsOver(self.volumeNode)
        folder = self._logic.caseFor(self.segmentationNode, self.volumeNode)
        mapNode = maps.mapOf(self.segmentationNode)
        known = mapNode is not None and belongs(mapNode, self.segmentationNode)
        stored = maps.readMap(mapNode) if known else None
        # A map of another grid is no map of this CT.
        fits = stored is not None and stored.shape == self.volumeNode.GetImageData().GetDimensions()[::-1]
        ids = segmentsLeft(self.segmentationNode, self._ids)
        asked = Asked(
            masksOnVolume(self.segmentationNode, ids, self.volumeNode),
            map=Box.of(stored) if fits else None,
        )
        # Not yet where the user wants it: the CT may change until the page is there.
        self._page = folder / PAGE_FILE
        return self._logic.client.report(folder, asked, self._page, self._facts)

    def read(self, folder: Path) -> tuple[dict[str, Any], Box | None]:
        return read_answer(folder)

    def write(self, result: tuple[dict[str, Any], Box | None]) -> None:
        try:
            with atomic_path(self.path) as temporary:
                shutil.copyfile(self._page, temporary)
        except OSError as problem:
            raise InputError(
                f"The report {self.path} cannot be written ({problem.strerror or problem}): choose another place."
            ) from problem


class PrognosisJob(Job):
    """Forecasts the outcome of the patient on a CT; nothing in the scene changes.

    Attributes:
        result: `ICHWeakSegLib.prognosis.assess.Assessment.to_dict`; None before.
    """

    meanwhile, again = "the outcome was forecast", "forecast it again"

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
        self.handsOver(self.volumeNode)
        return client.prognosis(
            client.new_case(volumes.ctFromVolume(self.volumeNode)), self._model, **self._asked
        )

    def read(self, folder: Path) -> dict[str, Any]:
        return read_answer(folder)[0]

    def write(self, result: dict[str, Any]) -> None:
        """Nothing comes into the scene."""
