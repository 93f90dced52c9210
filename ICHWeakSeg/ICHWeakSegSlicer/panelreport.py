"""The panel's button that writes a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ICHWeakSegSlicer import segmentations

FOLDER_SETTING = "ICHWeakSeg/ReportFolder"
FILE_NAME = "hemorrhage-report.html"


class ReportPanel:
    """Asks for a file, writes the report of the shown result there, and opens it.

    Args:
        ui: the panel's widgets by name.
        logic: writes it.
        status: shows progress and sentences.
        entered: what was entered for the clinical scores.
        blocked: why nothing can be written just now; empty where it can.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        status: Any,
        entered: Callable[[], dict[str, Any]],
        blocked: Callable[[], str],
    ) -> None:
        self.ui, self.logic, self.status = ui, logic, status
        self._entered, self._blocked = entered, blocked
        self._node: Any = None
        self._job: Any = None
        ui.reportButton.connect("clicked()", self._write)

    def show(self, segmentationNode: Any) -> None:
        """Offer the report of a segmentation of ours; None offers nothing."""
        self._node = segmentationNode
        reason = self._blocked() or ("A report is being written." if self._job is not None else "")
        there = segmentationNode is None or segmentations.referenceVolume(segmentationNode) is not None
        if not reason and not there:
            reason = "The CT of this segmentation is not in the scene any more: load it for a report."
        self.ui.reportButton.enabled = not reason
        self.ui.reportButton.toolTip = (
            reason
            or "Writes a report with pictures, lesions and scores as an HTML page; it names no patient."
        )

    def forget(self) -> None:
        """The scene was closed: a report under way goes with it."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
            self.status.endProgress()
        self._node = None

    def _write(self) -> None:
        import qt

        settings = qt.QSettings()
        folder = Path(str(settings.value(FOLDER_SETTING) or Path.home()))
        chosen = qt.QFileDialog.getSaveFileName(
            self.ui.reportButton, "Write a report", str(folder / FILE_NAME), "HTML page (*.html)"
        )
        if not chosen or self._node is None:
            return
        path = Path(chosen)
        if path.suffix.lower() not in (".html", ".htm"):
            path = path.with_name(f"{path.name}.html")
        settings.setValue(FOLDER_SETTING, str(path.parent))
        self._job = self.status.attempt(
            "The report",
            lambda: self.logic.startReport(
                self._node,
                path,
                entered=self._entered(),
                onProgress=self.status.showProgress,
                onFinished=self._finished,
                onError=self._failed,
            ),
        )
        if self._job is not None:
            self.status.showProgress("writing the report", 0, 0)
        self.show(self._node)

    def _finished(self, job: Any) -> None:
        import qt

        if job is not self._job:
            return
        self._ended()
        self.status.say(f"The report is {job.path}.")
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(job.path)))

    def _failed(self, job: Any, sentence: str) -> None:
        if job is self._job:
            self._ended()
            self.status.say(sentence, True)

    def _ended(self) -> None:
        self._job = None
        self.status.endProgress()
        self.show(self._node)
