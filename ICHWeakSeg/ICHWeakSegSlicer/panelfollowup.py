"""The panel's follow-up section: two CTs of a patient compared."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from ICHWeakSegSlicer import followups


class FollowUpPanel:
    """Chooses two CTs with their segmentations, compares them, shows the change.

    Args:
        ui: the panel's widgets by name.
        logic: compares.
        parameters: gives the parameter node's wrapper, or None.
        status: shows progress and sentences.
        blocked: why nothing can be compared just now; empty where it can.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        parameters: Callable[[], Any],
        status: Any,
        blocked: Callable[[], str],
    ) -> None:
        self.ui, self.logic, self.status = ui, logic, status
        self._parameters, self._blocked = parameters, blocked
        self._job: Any = None
        self._result: Any = None
        ui.compareButton.connect("clicked()", self._compareOrCancel)
        ui.showOverlayButton.connect("clicked(bool)", self._showOverlay)
        ui.followUpSection.connect("contentsCollapsed(bool)", self._opened)

    @property
    def table(self) -> Any:
        """The table node of the last comparison, or None."""
        parameters = self._parameters()
        return None if parameters is None else parameters.followUpTable

    def show(self, segmentationNode: Any) -> None:
        """Show how it stands; the result of the panel is offered as the later one."""
        self._result = segmentationNode
        ui, running = self.ui, self._job is not None
        reason = "" if running else self._problem()
        ui.compareButton.text = "Cancel" if running else "Compare"
        ui.compareButton.enabled = running or not reason
        ui.compareButton.toolTip = (
            "Stops the comparison; the scene stays as it is."
            if running
            else reason or "Lays the earlier head over the later one and compares their blood."
        )
        table = self.table
        overlay = None if table is None else followups.outputsOf(table)[1]
        display = None if overlay is None else overlay.GetDisplayNode()
        ui.showOverlayButton.enabled = display is not None
        ui.showOverlayButton.toolTip = (
            "Compare two CTs first."
            if display is None
            else "Shows blood only before, only after, and on both, over the later CT."
        )
        ui.showOverlayButton.checked = bool(display is not None and display.GetVisibility())
        # Figures of another pair are no answer.
        chosen = table is not None and self._compared(table)
        ui.followUpLabel.text = resultText(table) if chosen else html.escape(reason)
        ui.followUpLabel.visible = bool(ui.followUpLabel.text)

    def stop(self) -> None:
        """The scene is closed, or the panel goes."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
            self.status.endProgress()

    def _pairs(self) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        chosen = self._parameters()
        return (chosen.beforeVolume, chosen.beforeSegmentation), (
            chosen.afterVolume,
            chosen.afterSegmentation,
        )

    def _compared(self, table: Any) -> bool:
        """Whether a table compares what is chosen."""
        (_, before), (_, after) = self._pairs()
        return followups.compared(table) == (before, after)

    def _problem(self) -> str:
        if self._parameters() is None:
            return "The scene is being closed."
        return self._blocked() or followups.problemWith(*self._pairs())

    def _opened(self, collapsed: bool) -> None:
        chosen = self._parameters()
        if not collapsed and chosen is not None and chosen.afterSegmentation is None:
            chosen.afterSegmentation = self._result
        self.show(self._result)

    def _compareOrCancel(self) -> None:
        if self._job is not None:
            self.stop()
            self.status.say("Cancelled; the scene is as it was.")
        else:
            self._compare()
        self.show(self._result)

    def _compare(self) -> None:
        before, after = self._pairs()
        # Another pair gets nodes of its own.
        table = self.table if self.table is not None and self._compared(self.table) else None
        transform, overlay = (None, None) if table is None else followups.outputsOf(table)
        self._job = self.status.attempt(
            "The comparison",
            lambda: self.logic.startFollowUp(
                before[1],
                after[1],
                beforeVolume=before[0],
                afterVolume=after[0],
                outputTable=table,
                outputTransform=transform,
                outputOverlay=overlay,
                onProgress=self.status.showProgress,
                onFinished=self._finished,
                onError=self._failed,
            ),
        )
        if self._job is not None:
            self.status.showProgress("comparing", 0, 0)

    def _finished(self, job: Any) -> None:
        if job is not self._job:
            return
        self._job = None
        self.status.endProgress()
        self._parameters().followUpTable = job.tableNode
        self.status.say(f"Compared: {job.tableNode.GetName()}.")
        self.show(self._result)

    def _failed(self, job: Any, sentence: str) -> None:
        if job is not self._job:
            return
        self._job = None
        self.status.endProgress()
        self.status.say(sentence, True)
        self.show(self._result)

    def _showOverlay(self, shown: bool) -> None:
        overlay = None if self.table is None else followups.outputsOf(self.table)[1]
        if overlay is not None and overlay.GetDisplayNode() is not None:
            overlay.GetDisplayNode().SetVisibility(shown)


def resultText(tableNode: Any) -> str:
    """A comparison as rich text."""
    sentence, warnings = followups.sentenceOf(tableNode)
    parts = [f"<p><b>{html.escape(sentence)}</b></p>"]
    if not followups.isUpToDate(tableNode):
        warnings = [*warnings, "A segmentation has changed since they were compared: compare again."]
    parts += [f"<p>\N{WARNING SIGN} {html.escape(one)}</p>" for one in warnings]
    transform = followups.outputsOf(tableNode)[0]
    if transform is not None:
        name = html.escape(transform.GetName())
        parts.append(f"<p>Transform <i>{name}</i> moves the earlier CT onto the later one.</p>")
    parts.append("<p><small>The rule was made for intraparenchymal hematomas. Research use only.</small></p>")
    return "".join(parts)
