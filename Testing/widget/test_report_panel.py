"""The button that writes a report, with the real worker; the dialog's answer is laid ready."""

import numpy as np
import pytest
from widget_tools import ScriptedWorker


@pytest.fixture
def asked(monkeypatch):
    """What the file dialog answers, and which pages were opened."""
    import qt

    class Asked:
        answer = ""
        opened: list[str]

    Asked.opened = []
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *arguments: Asked.answer))
    monkeypatch.setattr(
        qt.QDesktopServices,
        "openUrl",
        staticmethod(lambda url: Asked.opened.append(url.toLocalFile())),
    )
    return Asked


def test_the_report_is_written_and_opened(warm, shown_on, asked, tmp_path):
    loaded, _ = shown_on(warm, name="Jane Doe")
    warm.ui.scoresSection.collapsed = False
    warm.ui.scoreGcsSpin.value = 9
    asked.answer = str(tmp_path / "case")
    warm.ui.reportButton.click()
    assert not warm.ui.reportButton.enabled
    warm.finish()
    path = tmp_path / "case.html"
    assert str(path) in warm.ui.statusLabel.text
    assert asked.opened == [str(path)]
    text = path.read_text("utf-8")
    assert f"{loaded.world.volume_ml(loaded.blood):.1f} mL of blood" in text
    # What was entered for the scores is in it.
    assert "ICH score: no total" in text
    assert "Jane" not in text
    assert warm.ui.reportButton.enabled
    assert not warm.ui.progressBar.visible


def test_no_file_no_report(panel, shown_on, asked):
    shown_on(panel)
    panel.ui.reportButton.click()
    assert not panel.logic.busy


def test_an_error_is_a_sentence(panel, shown_on, asked, wait, tmp_path):
    shown_on(panel, np.zeros((20, 60, 56), bool))
    worker = ScriptedWorker(lambda request: [{"event": "error", "kind": "input", "sentence": "Disk full."}])
    panel.logic._runner = lambda: worker
    asked.answer = str(tmp_path / "case.html")
    panel.ui.reportButton.click()
    wait(lambda: "Disk full." in panel.ui.statusLabel.text)
    assert asked.opened == []
    assert panel.ui.reportButton.enabled


def test_closing_the_scene_ends_a_report_and_its_bar(panel, shown_on, asked, wait, tmp_path):
    import slicer

    shown_on(panel)
    worker = ScriptedWorker(lambda request: [])
    panel.logic._runner = lambda: worker
    asked.answer = str(tmp_path / "case.html")
    panel.ui.reportButton.click()
    wait(lambda: worker.requests)
    assert panel.ui.progressBar.visible
    slicer.mrmlScene.Clear()
    panel.settle()
    assert not panel.ui.progressBar.visible
    assert not panel.logic.busy
    assert asked.opened == []
    assert "report" not in panel.ui.statusLabel.text
