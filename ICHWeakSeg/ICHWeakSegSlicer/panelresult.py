"""The panel's section about a result: figures, the threshold, and the ways on from there."""

import html
import logging
from collections.abc import Callable
from typing import Any

import slicer

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.worker.exchange import CaseResult
from ICHWeakSegSlicer import figures, maps, segmentations
from ICHWeakSegSlicer.figures import Figure
from ICHWeakSegSlicer.jobs import inScene

# Results whose figures are kept: a session may hold hundreds, and each holds arrays.
MOST_RESULTS = 20
THRESHOLD_TIP = "Cuts the mask again from the localization map, from this value on; no network runs."


class ResultPanel:
    """Shows the result in one segmentation, and cuts it again.

    Args:
        ui: the panel's widgets by name.
        logic: cuts again, and shows the map.
        say: shows a sentence, an error if the second argument is true.
        blocked: why nothing can be cut just now; empty where it can.
        onCut: called with the segmentation after each new cut.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        say: Callable[[str, bool], None],
        blocked: Callable[[], str],
        onCut: Callable[[Any], None],
    ) -> None:
        self.ui, self.logic = ui, logic
        self._say, self._blocked, self._onCut = say, blocked, onCut
        self._node: Any = None
        self._updating = False
        self._results: dict[str, CaseResult] = {}
        ui.thresholdSlider.connect("valueChanged(double)", self._cut)
        ui.editorButton.connect("clicked()", self._openEditor)
        ui.statisticsButton.connect("clicked()", self._openStatistics)
        ui.show3DButton.connect("clicked(bool)", self._show3D)
        ui.showMapButton.connect("clicked(bool)", self._showMap)

    def remember(self, segmentationNode: Any, result: CaseResult) -> None:
        """Keep the figures of a result that was just written."""
        key = segmentationNode.GetID()
        # The newest last, so that the oldest goes.
        self._results.pop(key, None)
        self._results[key] = result
        while len(self._results) > MOST_RESULTS:
            self._results.pop(next(iter(self._results)))

    def forgetAll(self) -> None:
        """The scene was closed: its node ids mean nothing any more."""
        self._results.clear()
        self._node = None

    def resultOf(self, segmentationNode: Any) -> CaseResult | None:
        """The result that a segmentation was last written from in this session."""
        return self._results.get(segmentationNode.GetID())

    def show(self, segmentationNode: Any) -> None:
        """Show the result in a segmentation; nothing where it holds none of ours."""
        ours = segmentationNode is not None and segmentations.ourSegmentIds(segmentationNode)
        self._node = segmentationNode if ours else None
        self.ui.resultSection.visible = bool(ours)
        if not ours:
            return
        self._updating = True
        try:
            self._showFigures()
            self._showThreshold()
            self._showButtons()
        finally:
            self._updating = False

    def _showFigures(self) -> None:
        node, ui = self._node, self.ui
        result, edited = self.resultOf(node), segmentations.isEdited(node)
        warnings = list(result.warnings) if result is not None else []
        each: list[Figure] = []
        try:
            fresh = result is not None and not edited
            each, total = figures.ofResult(node, result) if fresh else figures.measure(node)
            ui.volumeLabel.text = headline(total)
        except InputError as problem:
            ui.volumeLabel.text = headline(None)
            gone = segmentations.referenceVolume(node) is None
            warnings.append(
                "The CT of this segmentation is not in the scene any more: load it for the volume."
                if gone
                else str(problem)
            )
        if edited:
            warnings.append("Edited since the segmentation: the figures are of what is there now.")
        ui.detailLabel.visible = len(each) > 1
        ui.detailLabel.text = rows(each)
        ui.warningsLabel.visible = bool(warnings)
        ui.warningsLabel.text = "\n".join(f"\N{WARNING SIGN} {sentence}" for sentence in warnings)
        ui.provenanceLabel.text = madeBy(segmentations.provenanceOf(node))

    def _showThreshold(self) -> None:
        slider = self.ui.thresholdSlider
        reason = self._blocked() or self.logic.canRecut(self._node)
        slider.enabled = self.ui.thresholdLabel.enabled = not reason
        slider.toolTip = reason or THRESHOLD_TIP
        threshold = self.logic.thresholdOf(self._node)
        # While cuts are under way the slider is where the user has it.
        if threshold is not None and not self.logic.cutting:
            slider.value = threshold

    def _showButtons(self) -> None:
        node, ui = self._node, self.ui
        empty = not any(
            not node.GetBinaryLabelmapInternalRepresentation(one).IsEmpty()
            for one in segmentations.ourSegmentIds(node)
            if node.GetBinaryLabelmapInternalRepresentation(one) is not None
        )
        display = node.GetDisplayNode()
        ui.show3DButton.enabled = not empty
        ui.show3DButton.toolTip = (
            "There is no blood to show." if empty else "Shows the result as a surface in the 3D view."
        )
        ui.show3DButton.checked = bool(not empty and display is not None and display.GetVisibility3D())
        mapNode = maps.mapOf(node)
        ui.showMapButton.enabled = mapNode is not None
        ui.showMapButton.toolTip = (
            "The localization map was not kept: segment again."
            if mapNode is None
            else "Lays the localization map over the CT in the slice views."
        )
        ui.showMapButton.checked = mapNode is not None and maps.isMapShown(mapNode)

    # What the user does

    def _cut(self, threshold: float) -> None:
        if self._updating or self._node is None:
            return
        try:
            self.logic.startThreshold(
                self._node,
                threshold,
                # Once the slider rests: measuring takes longer than cutting.
                measure=False,
                onFinished=self._wasCut,
                onError=lambda job, text: self._failed(text),
            )
        except InputError as problem:
            self._failed(str(problem))

    def _wasCut(self, job: Any) -> None:
        if inScene(job.segmentationNode):
            # The worker tells only what changes: warnings about the CT stay.
            before = self.resultOf(job.segmentationNode)
            if before is not None and not job.result.warnings:
                job.result.warnings.extend(before.warnings)
            self.remember(job.segmentationNode, job.result)
            self._onCut(job.segmentationNode)
        if self._node is job.segmentationNode:
            self.show(self._node)

    def _failed(self, sentence: str) -> None:
        self._say(sentence, True)
        self.show(self._node)

    def _openEditor(self) -> None:
        node = self._node
        volumeNode = segmentations.referenceVolume(node)
        if not self._select("SegmentEditor"):
            return
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node)
        if volumeNode is not None:
            editor.setSourceVolumeNode(volumeNode)
        ours = segmentations.ourSegmentIds(node)
        if ours:
            editor.setCurrentSegmentID(ours[0])

    def _openStatistics(self) -> None:
        node = self._node
        volumeNode = segmentations.referenceVolume(node)
        if not self._select("SegmentStatistics"):
            return
        panel = slicer.modules.segmentstatistics.widgetRepresentation().self()
        panel.segmentationSelector.setCurrentNode(node)
        panel.scalarSelector.setCurrentNode(volumeNode)

    def _select(self, module: str) -> bool:
        """Open another module; whether that was possible."""
        if self._node is None or not hasattr(slicer.modules, module.lower()):
            self._say(f"This Slicer has no module {module}.", True)
            return False
        try:
            slicer.util.selectModule(module)
        except RuntimeError as problem:
            logging.warning(problem)
            self._say(f"{module} cannot be opened without Slicer's main window.", True)
            return False
        return True

    def _show3D(self, shown: bool) -> None:
        if self._node.GetDisplayNode() is None:
            self._node.CreateDefaultDisplayNodes()
        if shown:
            self._node.CreateClosedSurfaceRepresentation()
        self._node.GetDisplayNode().SetVisibility3D(shown)

    def _showMap(self, shown: bool) -> None:
        try:
            self.logic.showMap(self._node, shown)
        except InputError as problem:
            self._failed(str(problem))
            return
        # No slice view may show the CT.
        if shown and not maps.isMapShown(maps.mapOf(self._node)):
            self._say("The map is shown where a slice view shows its CT: show the CT in one first.", False)
        self.ui.showMapButton.checked = maps.isMapShown(maps.mapOf(self._node))


def headline(total: Figure | None) -> str:
    """Volume and lesions in large letters, as rich text."""
    if total is None:
        large, small = "? mL", ""
    elif total.volumeMl == 0:
        large, small = "No blood found", ""
    else:
        large = volumeText(total.volumeMl)
        small = "in one lesion" if total.lesions == 1 else f"in {total.lesions} lesions"
    return f'<span style="font-size:x-large; font-weight:600">{large}</span>&nbsp; {small}'


def rows(each: list[Figure]) -> str:
    """A table of segments as rich text, each with its colour."""
    cells = []
    for figure in each:
        red, green, blue = (round(255 * part) for part in figure.color)
        lesions = "1 lesion" if figure.lesions == 1 else f"{figure.lesions} lesions"
        volume = volumeText(figure.volumeMl) if figure.lesions else "none"
        cells.append(
            f'<tr><td><span style="color:rgb({red},{green},{blue})">\N{BLACK SQUARE}</span> '
            f"{html.escape(figure.name)}&nbsp;&nbsp;</td>"
            f'<td align="right">{volume}&nbsp;&nbsp;</td><td>{lesions if figure.lesions else ""}</td></tr>'
        )
    return f"<table>{''.join(cells)}</table>"


def volumeText(volumeMl: float) -> str:
    """A volume with as many places as make sense."""
    return f"{volumeMl:.2f} mL" if 0 < volumeMl < 1 else f"{volumeMl:.1f} mL"


def madeBy(provenance: dict[str, str]) -> str:
    """Model, method and device in one line."""
    model = " ".join(filter(None, (provenance.get("model"), provenance.get("version"))))
    parts = (model, provenance.get("method"), provenance.get("refine"), provenance.get("device"))
    return " \N{MIDDLE DOT} ".join(filter(None, parts))
