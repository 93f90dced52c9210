"""The panel's section that installs missing Python packages; it is there only while something is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ICHWeakSegSlicer.dependencies import InstallOutcome
from ICHWeakSegSlicer.panelstatus import errorColor

INSTALL, CANCEL = "&Install...", "Ca&ncel"


class InstallPanel:
    """What is missing and how large it is; installing it, with progress and cancel.

    Args:
        ui: the panel's widgets by name.
        logic: knows what is missing, and installs it.
        onChanged: called when an installation begins or ends.
        onLog: called with each line that pip writes.
    """

    def __init__(
        self, ui: Any, logic: Any, onChanged: Callable[[], None], onLog: Callable[[str], None]
    ) -> None:
        self.ui, self.logic = ui, logic
        self._onChanged, self._onLog = onChanged, onLog
        self.installing = False
        self.missing = False
        self._restart = False
        self._stop = False
        ui.installProgress.visible = ui.restartButton.visible = False
        self._say("")
        ui.installButton.connect("clicked()", self._clicked)
        ui.wheelsButton.connect("clicked()", self._chooseWheels)
        ui.restartButton.connect("clicked()", self._restartSlicer)

    def refresh(self) -> None:
        """Look again at what is missing."""
        if self.installing:
            return
        self.missing = not self.logic.dependenciesInstalled()
        if self.missing:
            self.ui.installLabel.text = self.logic.dependencies.describe()
        self.ui.installLabel.visible = self.missing
        self._showButtons()

    def problem(self) -> str:
        """Why nothing can be segmented yet; empty where all is installed."""
        if self.installing:
            return "Python packages are being installed: wait until that has ended."
        return "Python packages are missing: install them above." if self.missing else ""

    def close(self) -> None:
        """End an installation that is under way; its end touches no widget any more."""
        self._stop = True
        self.ui = None

    def _clicked(self) -> None:
        if self.installing:
            self._stop = True
            self.ui.installButton.enabled = False
            self._say("Stopping ...")
        else:
            self._install(None)

    def _chooseWheels(self) -> None:
        import qt

        folder = qt.QFileDialog.getExistingDirectory(
            self.ui.wheelsButton, "Folder with the wheels of the Python packages"
        )
        if folder:
            self._install(Path(folder))

    def _install(self, wheels: Path | None) -> None:
        self.installing, self._stop = True, False
        self._say("")
        self._showButtons()
        self._onChanged()
        try:
            # The user clicked: this asks once, shows everything else here, and raises nothing.
            outcome = self.logic.installDependencies(
                interactive=True,
                wheels=wheels,
                onProgress=self._progress,
                onLog=self._onLog,
                cancelled=lambda: self._stop,
            )
        except Exception as problem:
            self._onLog(repr(problem))
            outcome = InstallOutcome(False, False, f"The installation failed ({problem}); see the log.")
        finally:
            self.installing = False
        if self.ui is None:
            return
        self._restart = self._restart or outcome.restartNeeded
        self.refresh()
        self._say(outcome.sentence, error=not outcome.installed and not outcome.cancelled)
        self._onChanged()

    def _progress(self, stage: str, done: int, total: int) -> None:
        if self.ui is None or self._stop:
            return
        self.ui.installProgress.maximum, self.ui.installProgress.value = total, done
        self._say(f"{stage} ({min(done + 1, total)} of {total})")

    def _say(self, sentence: str, error: bool = False) -> None:
        label = self.ui.installStatus
        label.styleSheet = f"color: {errorColor(label)}" if error else ""
        label.text, label.visible = sentence, bool(sentence)

    def _showButtons(self) -> None:
        ui = self.ui
        # After an installation the section stays as long as Slicer must be restarted.
        ui.installSection.visible = self.missing or self._restart
        ui.installButton.visible = ui.wheelsButton.visible = self.missing
        ui.restartButton.visible = self._restart and not self.installing
        ui.installButton.enabled = True
        ui.installButton.text = CANCEL if self.installing else INSTALL
        ui.wheelsButton.enabled = not self.installing
        ui.installProgress.visible = self.installing
        ui.installProgress.maximum = ui.installProgress.value = 0

    def _restartSlicer(self) -> None:
        import slicer

        if slicer.util.confirmOkCancelDisplay(
            "Restart Slicer now? What is not saved is lost.", "ICH WeakSeg"
        ):
            slicer.util.restart()
