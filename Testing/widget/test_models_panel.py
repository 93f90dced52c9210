"""The folder of own models, and removing what was downloaded."""

import os
import shutil
from pathlib import Path

import slicer
from PySide6 import QtCore
from standins.pythonqt import QtWidgets
from test_inputs import copy_starter, own_models, texts
from widget_tools import ScriptedWorker


def answer_dialog(tick=(), press="&Remove"):
    """Once the dialog is open: tick models, press a button; returns what it showed."""
    seen = {}

    def act():
        dialog = QtWidgets.QApplication.activeModalWidget()
        if dialog is None:
            QtCore.QTimer.singleShot(20, act)
            return
        boxes = dialog.findChildren(QtWidgets.QCheckBox)
        seen["boxes"] = [box.text for box in boxes]
        seen["ticked"] = [box.text for box in boxes if box.checked]
        seen["text"] = dialog.findChildren(QtWidgets.QLabel)[0].text
        for box in boxes:
            name = box.text.split(" ")[0]
            # Of two with one name: "name:folder".
            if name in tick or f"{name}:{Path(box.toolTip).name}" in tick:
                box.click()
        next(b for b in dialog.findChildren(QtWidgets.QPushButton) if b.text == press).click()

    QtCore.QTimer.singleShot(0, act)
    return seen


def test_removes_only_what_is_ticked(panel, tmp_path):
    folder = own_models(tmp_path)
    one = copy_starter(folder, "one")
    copy_starter(folder, "two")
    size = sum(path.stat().st_size for path in one.iterdir()) / 1e6
    panel.widget.enter()
    seen = answer_dialog(["two"])
    panel.ui.removeFilesButton.click()
    assert [text.split(" ")[0] for text in seen["boxes"]] == ["one", "two"]
    assert f"{size:.1f} MB" in seen["boxes"][0]
    assert seen["ticked"] == []
    assert sorted(path.name for path in folder.iterdir()) == ["one"]
    assert "two" in panel.ui.statusLabel.text
    assert texts(panel.ui.modelSelector) == ["starter", "starter-hgi-sam", "one"]


def test_of_two_with_one_name_the_ticked_one_goes(panel, tmp_path):
    folder = own_models(tmp_path)
    for name in ("x", "y"):
        (copy_starter(folder, name) / "model.json").write_bytes(
            (copy_starter(folder, "mine") / "model.json").read_bytes()
        )
        shutil.rmtree(folder / "mine")
    panel.widget.enter()
    names = texts(panel.ui.modelSelector)
    assert names[2:] == ["mine", "mine (own, folder y)"]
    seen = answer_dialog(["mine:y"])
    panel.ui.removeFilesButton.click()
    assert [text.split("folder ")[1] for text in seen["boxes"]] == ["x)", "y)"]
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_a_model_without_its_weights_cannot_be_used(panel, add_head, tmp_path):
    add_head()
    (copy_starter(own_models(tmp_path), "torn") / "weights.safetensors").unlink()
    panel.widget.enter()
    panel.settle()
    panel.choose(panel.ui.modelSelector, "torn")
    assert not panel.ui.runButton.enabled
    assert "weights.safetensors" in panel.ui.reasonLabel.text


def test_a_file_is_no_folder_of_models(panel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path / "file"))
    panel.widget.models.refresh()
    assert not panel.ui.openModelsButton.enabled
    assert "is a file" in panel.ui.openModelsButton.toolTip


def test_cancel_removes_nothing(panel, tmp_path):
    folder = own_models(tmp_path)
    copy_starter(folder, "one")
    panel.widget.enter()
    answer_dialog(["one"], press="&Cancel")
    panel.ui.removeFilesButton.click()
    assert (folder / "one").is_dir()


def test_temporary_files_go(panel, add_head, wait):
    add_head()
    panel.settle()
    worker = ScriptedWorker(
        lambda request: [{"event": "error", "kind": "input", "sentence": "No."}] if "id" in request else []
    )
    panel.logic._runner = lambda: worker
    panel.ui.runButton.click()
    wait(lambda: not panel.running)
    folder = panel.logic.client._folder
    assert folder.is_dir()
    seen = answer_dialog()
    panel.ui.removeFilesButton.click()
    assert "no models of your own" in seen["text"]
    assert not folder.exists()


def test_a_model_that_cannot_be_removed_is_told(panel, tmp_path, monkeypatch):
    copy_starter(own_models(tmp_path), "one")
    panel.widget.enter()

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ICHWeakSegLib.models.remove.tempfile.mkdtemp", refuse)
    answer_dialog(["one"])
    panel.ui.removeFilesButton.click()
    assert "cannot be removed" in panel.ui.statusLabel.text
    assert panel.ui.statusLabel.styleSheet


def test_another_folder_is_taken_and_remembered(panel, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    copy_starter(other, "theirs")
    assert not panel.ui.openModelsButton.enabled
    monkeypatch.setattr(QtWidgets.QFileDialog, "getExistingDirectory", lambda *_: str(other))
    panel.ui.chooseModelsButton.click()
    assert panel.ui.modelsFolder.text == str(other)
    assert "theirs" in texts(panel.ui.modelSelector)
    assert os.environ["ICHWEAKSEG_MODELS"] == str(other)
    assert panel.ui.openModelsButton.enabled
    # At the next start, the console's logic looks there as well.
    del os.environ["ICHWEAKSEG_MODELS"]
    from ICHWeakSeg import ICHWeakSegLogic

    logic = ICHWeakSegLogic()
    assert "theirs" in [model.name for model in logic.models()]
    # What the environment says wins.
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path))
    assert "theirs" not in [model.name for model in ICHWeakSegLogic().models()]


def test_open_shows_the_folder(panel, tmp_path, monkeypatch):
    import qt

    folder = own_models(tmp_path)
    panel.widget.models.refresh()
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    panel.ui.openModelsButton.click()
    assert opened == [str(folder)]


def test_files_cannot_be_removed_during_a_run(panel, add_head):
    add_head()
    panel.settle()
    panel.logic._runner = lambda: ScriptedWorker(lambda request: [])
    panel.ui.runButton.click()
    assert not panel.ui.removeFilesButton.enabled
    assert "Wait" in panel.ui.removeFilesButton.toolTip
    panel.ui.runButton.click()
    assert panel.ui.removeFilesButton.enabled
    assert slicer.mrmlScene is not None
