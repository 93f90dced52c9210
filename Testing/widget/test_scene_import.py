"""A scene is loaded while the panel holds a parameter node: what was saved comes back, and is not overwritten."""

import pytest
import slicer
from widget_tools import Panel

AGE, GCS = 71, 9


@pytest.fixture
def saved(application, shown_on, tmp_path):
    """A scene with a result and entries, written to a file and closed; the panel was open."""
    panel = Panel(application)
    shown_on(panel, name="Saved CT")
    panel.ui.scoresSection.collapsed = False
    panel.settle()
    panel.ui.scoreAgeSpin.value, panel.ui.scoreGcsSpin.value = AGE, GCS
    panel.parameters.beforeVolume = panel.parameters.inputVolume = panel.parameters.scoredVolume
    panel.settle()
    path = tmp_path / "case.mrml"
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Commit(str(path))
    slicer.mrmlScene.Clear()
    panel.settle()
    return panel, path


def load(panel, path):
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Import()
    panel.settle()


def check(panel):
    parameters = panel.parameters
    for name in ("inputVolume", "scoredVolume", "beforeVolume"):
        node = getattr(parameters, name)
        assert node is not None, name
        assert node.GetName() == "Saved CT", name
    assert parameters.outputSegmentation is not None
    assert (parameters.scoreAge, parameters.scoreGcs) == (AGE, GCS)
    assert (panel.ui.scoreAgeSpin.value, panel.ui.scoreGcsSpin.value) == (AGE, GCS)
    # One entry more leaves the others alone.
    panel.ui.scoreGcsSpin.value = 12
    panel.settle()
    assert parameters.parameterNode.GetParameter("scoreAge") == str(AGE)
    assert parameters.parameterNode.GetParameter("scoreGcs") == "12"


def test_with_the_panel_open(saved):
    panel, path = saved
    assert panel.parameters is not None
    load(panel, path)
    check(panel)


def test_over_another_ct(saved, load_ct):
    panel, path = saved
    load_ct("axial", None, "Other CT")
    panel.settle()
    load(panel, path)
    check(panel)


def test_from_another_module(saved):
    panel, path = saved
    panel.widget.parent.exit()
    load(panel, path)
    panel.widget.parent.enter()
    panel.settle()
    check(panel)


def test_with_the_panel_closed_and_no_parameter_node(saved):
    panel, path = saved
    panel.widget.parent.exit()
    slicer.mrmlScene.Clear()
    panel.settle()
    assert panel.parameters is None
    load(panel, path)
    panel.widget.parent.enter()
    panel.settle()
    check(panel)
