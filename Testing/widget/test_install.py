"""Missing packages: what the panel says, and installing them with a pip that is not one."""

import subprocess
import sys

import pytest
import slicer
from standins import ctk_widgets
from standins.pythonqt import QtWidgets

from ICHWeakSegSlicer.dependencies import Dependencies

OK, CANCEL = QtWidgets.QMessageBox.Ok, QtWidgets.QMessageBox.Cancel


class Pip:
    """Stands for slicer.util.pip_install: does what the test says, and "installs" by writing the metadata."""

    def __init__(self, site, work=lambda: None):
        self.site, self.work, self.calls = site, work, []

    def __call__(self, arguments, **options):
        self.calls.append(list(arguments))
        self.work()
        folder = self.site / "ichweakseg_needed-2.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ichweakseg-needed\nVersion: 2.0\n")
        (folder / "RECORD").write_text("")
        (folder / "top_level.txt").write_text("ichweakseg_needed\n")


@pytest.fixture
def missing(panel, tmp_path, monkeypatch, add_head):
    """A panel of a Slicer in which a package is missing."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("ichweakseg-needed>=1.5\n")
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    pip = Pip(site)
    monkeypatch.setattr(slicer.util, "pip_install", pip)
    panel.logic.dependencies = Dependencies(requirements, torch=())
    panel.widget.enter()
    add_head()
    panel.settle()
    panel.pip = pip
    return panel


def test_all_there_shows_nothing(panel):
    assert not panel.ui.installSection.visible


def test_what_is_missing_and_how_large_before_anything_happens(missing):
    ui = missing.ui
    assert ui.installSection.visible
    assert "ichweakseg-needed>=1.5" in ui.installLabel.text
    assert "MB" in ui.installLabel.text
    assert ui.installButton.text == "&Install..."
    assert not ui.runButton.enabled
    assert "install them above" in ui.runButton.toolTip
    assert not missing.pip.calls
    # All else can be looked at.
    assert ui.modelSelector.enabled
    assert ui.modelSelector.currentText == "starter"


def test_install_asks_once_then_the_section_goes(missing):
    ctk_widgets.ctkMessageBox.answers.append(OK)
    seen = {}

    def work():
        missing.application.processEvents()
        seen.update(
            button=missing.ui.installButton.text,
            progress=missing.ui.installProgress.visible,
            run=missing.ui.runButton.enabled,
            wheels=missing.ui.wheelsButton.enabled,
            why=missing.ui.runButton.toolTip,
            says=missing.ui.installStatus.text,
        )

    missing.pip.work = work
    missing.ui.installButton.click()
    assert len(ctk_widgets.ctkMessageBox.shown) == 1
    assert seen["button"] == "Ca&ncel"
    assert seen["progress"]
    assert not seen["run"]
    assert not seen["wheels"]
    assert "being installed" in seen["why"]
    assert "Installing ichweakseg-needed" in seen["says"]
    assert not missing.ui.installSection.visible
    assert missing.ui.runButton.enabled


def test_declining_changes_nothing(missing):
    ctk_widgets.ctkMessageBox.answers.append(CANCEL)
    missing.ui.installButton.click()
    assert not missing.pip.calls
    assert missing.ui.installSection.visible
    assert missing.ui.installStatus.text == "Nothing was installed."
    assert not missing.ui.installStatus.styleSheet
    assert missing.ui.installButton.text == "&Install..."


def test_a_failure_is_told_and_can_be_tried_again(missing):
    def fail():
        raise subprocess.CalledProcessError(1, "pip")

    missing.pip.work = fail
    ctk_widgets.ctkMessageBox.answers.append(OK)
    missing.ui.installButton.click()
    assert missing.ui.installSection.visible
    assert missing.ui.installStatus.text
    assert missing.ui.installStatus.styleSheet
    assert missing.ui.installButton.enabled
    assert not missing.ui.runButton.enabled
    missing.pip.work = lambda: None
    ctk_widgets.ctkMessageBox.answers.append(OK)
    missing.ui.installButton.click()
    assert missing.ui.runButton.enabled


def test_cancel_ends_pip(missing, tmp_path):
    """The pip here is a real process, started the way that Slicer does; it would take a minute."""
    started = []
    (tmp_path / "pip.py").write_text("import time; print('Collecting', flush=True); time.sleep(60)")

    def work():
        process = slicer.util.launchConsoleProcess(
            [sys.executable, "-m", "pip"], useStartupEnvironment=False, cwd=str(tmp_path)
        )
        started.append(process)
        # As a user who clicks while pip runs.
        missing.ui.installButton.click()
        slicer.util.logProcessOutput(process)

    missing.pip.work = work
    ctk_widgets.ctkMessageBox.answers.append(OK)
    missing.ui.installButton.click()
    assert started[0].wait(10) != 0
    assert "cancelled" in missing.ui.installStatus.text
    assert not missing.ui.installStatus.styleSheet
    assert missing.ui.installButton.enabled
    assert missing.ui.installButton.text == "&Install..."


def test_a_folder_of_wheels(missing, tmp_path, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    dialog = QtWidgets.QFileDialog
    monkeypatch.setattr(dialog, "getExistingDirectory", lambda *_: "")
    missing.ui.wheelsButton.click()
    assert not ctk_widgets.ctkMessageBox.shown
    monkeypatch.setattr(dialog, "getExistingDirectory", lambda *_: str(wheels))
    missing.ui.wheelsButton.click()
    assert "holds no wheels" in missing.ui.installStatus.text
    (wheels / "ichweakseg_needed-2.0-py3-none-any.whl").write_bytes(b"")
    ctk_widgets.ctkMessageBox.answers.append(OK)
    missing.ui.wheelsButton.click()
    assert "--no-index" in missing.pip.calls[0]
    assert str(wheels) in missing.pip.calls[0]
    assert missing.ui.runButton.enabled


def test_a_restart_that_is_needed_is_offered(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, "ichweakseg_needed", sys)
    ctk_widgets.ctkMessageBox.answers.append(OK)
    missing.ui.installButton.click()
    assert "Restart Slicer" in missing.ui.installStatus.text
    assert missing.ui.installSection.visible
    assert missing.ui.restartButton.visible
    assert not missing.ui.installButton.visible
    ctk_widgets.ctkMessageBox.answers.append(CANCEL)
    missing.ui.restartButton.click()
    assert missing.application.restarts == 0
    ctk_widgets.ctkMessageBox.answers.append(OK)
    missing.ui.restartButton.click()
    assert missing.application.restarts == 1


def test_quitting_during_an_installation(missing):
    missing.pip.work = missing.application.quit
    ctk_widgets.ctkMessageBox.answers.append(OK)
    missing.ui.installButton.click()
    assert missing.logic is None
