"""The panel's settings about files: where the user's own models are, and removing what was downloaded."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError

SETTING = "ICHWeakSeg/ModelsFolder"
REMOVE_TIP = "Removes models of your own folder and the temporary files of the segmentation; asks which."


def applyModelsFolder() -> None:
    """Let the library, and the worker after it, look for own models where the user said.

    An environment that says it itself wins.
    """
    import qt

    from ICHWeakSegLib.models.find import MODELS_VARIABLE

    folder = qt.QSettings().value(SETTING)
    if folder and not os.environ.get(MODELS_VARIABLE):
        os.environ[MODELS_VARIABLE] = str(folder)


class ModelsPanel:
    """The folder of own models: shown, opened, chosen; and the button that removes files.

    Args:
        ui: the panel's widgets by name.
        logic: lists models; its worker has to start anew when the folder changes.
        onChanged: called when other models are there.
        say: shows a sentence, an error if the second argument is true.
    """

    def __init__(
        self, ui: Any, logic: Any, onChanged: Callable[[], None], say: Callable[[str, bool], None]
    ) -> None:
        self.ui, self.logic = ui, logic
        self._onChanged, self._say = onChanged, say
        ui.chooseModelsButton.connect("clicked()", self._choose)
        ui.openModelsButton.connect("clicked()", self._open)
        ui.removeFilesButton.connect("clicked()", self._remove)
        self.refresh()

    def refresh(self) -> None:
        """Show the folder as it is now."""
        from ICHWeakSegLib.models import user_folder

        folder = user_folder()
        self.ui.modelsFolder.text = str(folder)
        self.ui.modelsFolder.cursorPosition = 0
        self.ui.modelsFolder.toolTip = str(folder)
        self._problem = ""
        if not folder.is_dir():
            self._problem = f"{folder} is a file." if folder.exists() else f"{folder} does not exist yet."
        self.showState(False)

    def showState(self, busy: bool) -> None:
        """Offer what can be done; nothing while something runs."""
        wait = "Wait until the run has ended." if busy else ""
        ui = self.ui
        ui.chooseModelsButton.toolTip = wait or "Chooses the folder that holds your own models."
        ui.openModelsButton.enabled = not self._problem
        ui.openModelsButton.toolTip = wait or self._problem or "Opens the folder in the file manager."
        ui.removeFilesButton.toolTip = wait or REMOVE_TIP

    def _choose(self) -> None:
        import qt

        from ICHWeakSegLib.models.find import MODELS_VARIABLE

        folder = qt.QFileDialog.getExistingDirectory(
            self.ui.chooseModelsButton, "Folder of your own models", self.ui.modelsFolder.text
        )
        if not folder:
            return
        qt.QSettings().setValue(SETTING, folder)
        os.environ[MODELS_VARIABLE] = folder
        # A worker that runs has the old folder in its environment.
        self.logic.close("Stopped: another folder of models was chosen.")
        self.refresh()
        self._onChanged()

    def _open(self) -> None:
        import qt

        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self.ui.modelsFolder.text))

    def _remove(self) -> None:
        from ICHWeakSegLib.models import remove_model

        own = [model for model in self.logic.models() if model.origin == "user"]
        chosen = askWhatToRemove(self.ui.removeFilesButton, own)
        if chosen is None:
            return
        # Ends the worker, which holds model files open, and removes its temporary files.
        self.logic.close("Stopped: the temporary files were removed.")
        try:
            for model in chosen:
                remove_model(model.folder)
            sentence = (
                f"Removed: {', '.join(model.name for model in chosen)}, temporary files."
                if chosen
                else "Temporary files are removed."
            )
            self._say(sentence, False)
        except InputError as problem:
            self._say(str(problem), True)
        self._onChanged()


def askWhatToRemove(parent: Any, models: list) -> list | None:
    """Let the user tick own models to be removed; none is ticked at first.

    Args:
        parent: a widget.
        models: `FoundModel`s of the user's folder.

    Returns:
        Those that were ticked; None where the user cancelled.
    """
    import qt

    dialog = qt.QDialog(parent.window())
    dialog.windowTitle = "Remove downloaded files"
    layout = qt.QVBoxLayout(dialog)
    text = "Temporary files of the segmentation are removed, and the models that you tick:"
    if not models:
        text = "Temporary files of the segmentation are removed. You have no models of your own."
    label = qt.QLabel(text)
    label.wordWrap = True
    layout.addWidget(label)
    boxes, names = [], [model.name for model in models]
    for model in models:
        # Two of one name are told apart by their folders.
        folder = f", folder {model.folder.name}" if names.count(model.name) > 1 else ""
        box = qt.QCheckBox(f"{model.name} ({megabytes(model.folder)}{folder})")
        box.toolTip = str(model.folder)
        layout.addWidget(box)
        boxes.append((box, model))
    buttons = qt.QHBoxLayout()
    layout.addLayout(buttons)
    remove, cancel = qt.QPushButton("&Remove"), qt.QPushButton("&Cancel")
    cancel.default = True
    buttons.addStretch(1)
    buttons.addWidget(remove)
    buttons.addWidget(cancel)
    remove.connect("clicked()", dialog.accept)
    cancel.connect("clicked()", dialog.reject)
    accepted = dialog.exec_()
    chosen = [model for box, model in boxes if box.checked]
    dialog.deleteLater()
    return chosen if accepted else None


def megabytes(folder: Path) -> str:
    """How large the files in a folder are, such as "4.6 MB"."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{size / 1e6:.1f} MB"
