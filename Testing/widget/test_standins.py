"""The stand-ins themselves: where they must be as strict as what they stand for.

With ICHWEAKSEG_SLICER_SOURCE the tests of parameter nodes and of `slicer.testing` ask Slicer's own files instead.
"""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import slicer
import standins
import vtk
from PySide6 import QtCore, QtTest
from standins import ctk_widgets, mrml_widgets, pythonqt, slicer_source
from standins.application import Application
from standins.pythonqt import QtWidgets
from widget_tools import PATIENCE

from ICHWeakSegLib.worker.process import SubprocessRunner

DOUBLE, INT = QtWidgets.QDoubleSpinBox, QtWidgets.QSpinBox


@pytest.fixture
def app(scene_setup):
    """The application without the module."""
    pythonqt.slot_errors.clear()
    yield standins.install(scene_setup.scene, scene_setup.logics)
    standins.uninstall()
    assert not pythonqt.slot_errors, "\n".join(pythonqt.slot_errors)


# Parameter nodes


@pytest.fixture
def parameters(app):
    """A wrapper around a node of the scene, with a parameter of each kind."""
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        text: str = "first"
        yes: bool = True
        whole: int = 3
        number: float = 0.5
        share: Annotated[float, WithinRange(0, 1)] = 0.25
        volume: slicer.vtkMRMLScalarVolumeNode

    return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


class Ui:
    """Widgets as `childWidgetVariables` gives them, bound to the parameters of their names."""

    def __init__(self, **widgets):
        for name, widget in widgets.items():
            widget.setProperty("SlicerParameterName", name)
            setattr(self, name, widget)


def test_parameters_are_remembered_until_the_node_is_modified(parameters):
    node, volume = parameters.parameterNode, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    before = node.StartModify()
    node.SetParameter("text", "second")
    node.SetNodeReferenceID("volume", volume.GetID())
    assert parameters.text == "first"
    assert parameters.volume is None
    node.EndModify(before)
    assert parameters.text == "second"
    assert parameters.volume is volume


def test_a_parameter_that_is_set_is_right_before_anybody_hears_of_it(parameters):
    heard = []
    parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: heard.append(parameters.whole))
    other = type(parameters)(parameters.parameterNode)
    parameters.whole = 7
    assert heard == [7]
    assert other.whole == 7


def test_a_missing_parameter_gets_its_first_value_back(parameters):
    node = parameters.parameterNode
    parameters.number = 0.75
    node.UnsetParameter("number")
    node.UnsetParameter("volume")
    assert parameters.number == 0.5
    assert node.GetParameter("number") == "0.5"
    assert node.HasParameter("volume")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("text", None, ValueError),
        ("text", 3, TypeError),
        ("yes", 1, TypeError),
        ("whole", 1.0, TypeError),
        ("number", "1", TypeError),
        ("share", 1.5, ValueError),
        ("volume", "node", TypeError),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_changes(parameters, name, value, problem):
    before = getattr(parameters, name)
    with pytest.raises(problem):
        setattr(parameters, name, value)
    assert getattr(parameters, name) == before


def test_a_wrapper_that_is_gone_listens_no_more(parameters):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    other = type(parameters)(node)
    assert node.HasObserver(vtk.vtkCommand.ModifiedEvent)
    del other
    gc.collect()
    assert not node.HasObserver(vtk.vtkCommand.ModifiedEvent)


def test_widgets_show_parameters_and_set_them(parameters):
    box, spin = QtWidgets.QCheckBox(), DOUBLE()
    tag = parameters.connectGui(Ui(yes=box, share=spin))
    assert (box.checked, spin.value) == (True, 0.25)
    parameters.share = 0.75
    assert spin.value == 0.75
    box.click()
    spin.value = 0.5
    assert (parameters.yes, parameters.share) == (False, 0.5)
    parameters.disconnectGui(tag)
    box.click()
    parameters.share = 0.25
    assert not parameters.yes
    assert spin.value == 0.5


def test_spin_boxes_get_the_parameters_range(parameters):
    share, number, whole = DOUBLE(), DOUBLE(), INT()
    number.maximum = share.maximum = whole.maximum = 9
    parameters.connectGui(Ui(share=share, number=number, whole=whole))
    assert (share.minimum, share.maximum) == (0, 1)
    assert (number.minimum, number.maximum) == (-np.inf, np.inf)
    assert (whole.minimum, whole.maximum) == (-(2**31), 2**31 - 1)


def test_selectors_get_the_parameters_type_of_node(parameters):
    selector = slicer.qMRMLNodeComboBox()
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    parameters.connectGui(Ui(volume=selector))
    assert list(selector.nodeTypes) == ["vtkMRMLScalarVolumeNode"]
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    selector.setCurrentNode(volume)
    assert parameters.volume is volume


class OwnCheckBox(QtWidgets.QCheckBox):
    pass


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("yes", OwnCheckBox),
        ("yes", DOUBLE),
        ("number", INT),
        ("share", QtWidgets.QLabel),
        ("number", ctk_widgets.ctkSliderWidget),
        ("text", mrml_widgets.qMRMLNodeComboBox),
    ],
)
def test_a_widget_that_does_not_fit_exactly_is_refused(parameters, name, kind):
    with pytest.raises(RuntimeError):
        parameters.connectGui(Ui(**{name: kind()}))


# PythonQt


@pytest.fixture
def widgets(app):
    return QtWidgets.QLabel("a"), QtWidgets.QSpinBox(), QtWidgets.QPushButton()


@pytest.mark.parametrize("value", [None, 3, 0.5, b"text", Path("file")])
def test_a_text_property_takes_texts_alone(widgets, value):
    """PythonQt itself would show "None"."""
    label, _, button = widgets
    for widget, name in ((label, "text"), (label, "toolTip"), (button, "text"), (button, "styleSheet")):
        before = getattr(widget, name)
        with pytest.raises(TypeError, match=f"{name} is a text"):
            setattr(widget, name, value)
        assert getattr(widget, name) == before
    label.text = np.str_("b")
    assert label.text == "b"


def test_texts_of_other_stand_ins_too(app):
    section, selector = ctk_widgets.ctkCollapsibleButton(), slicer.qMRMLNodeComboBox()
    for widget, name in ((section, "text"), (selector, "baseName"), (selector, "noneDisplay")):
        with pytest.raises(TypeError):
            setattr(widget, name, None)


def test_properties_convert_as_pythonqt_does(widgets):
    label, spin, button = widgets
    spin.value = 7.9
    assert spin.value == 7
    spin.value = np.int64(8)
    assert spin.value == 8
    button.enabled = []
    assert not button.enabled
    for value in (None, "8", np.float64(8), [8]):
        with pytest.raises(AttributeError, match="does not accept"):
            spin.value = value
    double = QtWidgets.QDoubleSpinBox()
    double.value = np.float32(0.5)
    assert double.value == 0.5
    for widget, name, value in ((double, "value", "0.5"), (label, "font", None)):
        with pytest.raises(AttributeError, match="does not accept"):
            setattr(widget, name, value)


@pytest.mark.parametrize(
    "name", ["width", "visibleRegion", "setText", "clear", "linkActivated", "mousePressEvent", "somethingNew"]
)
def test_what_is_no_writable_property_cannot_be_assigned(widgets, name):
    label, *_ = widgets
    with pytest.raises(AttributeError):
        setattr(label, name, lambda: None)


def test_own_classes_may_have_own_attributes_but_no_other_slots(app):
    class Own(QtWidgets.QWidget):
        def said(self):
            return self.what

    own = Own()
    own.what = "hello"
    assert own.said() == "hello"
    own.said = lambda: "replaced"
    assert own.said() == "replaced"
    with pytest.raises(AttributeError):
        own.show = lambda: None
    del own.what
    with pytest.raises(AttributeError):
        del own.what


def test_exceptions_of_slots_and_observers_are_not_lost(app):
    def fail(*_):
        raise ValueError("a bug")

    button, node = QtWidgets.QPushButton(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    button.connect("clicked()", fail)
    button.click()
    button.toggled.connect(fail)
    button.setCheckable(True)
    button.setChecked(True)
    node.AddObserver(vtk.vtkCommand.ModifiedEvent, fail)
    node.Modified()
    assert [error.count("a bug") > 0 for error in pythonqt.slot_errors] == [True] * 3
    pythonqt.slot_errors.clear()


# ctk


@pytest.fixture
def section(app):
    """A section with a label in it, shown."""
    one = ctk_widgets.ctkCollapsibleButton()
    one.text = "Section"
    QtWidgets.QVBoxLayout(one).addWidget(QtWidgets.QLabel("inside"))
    one.resize(200, 100)
    one.show()
    app.processEvents()
    return one


def click(widget, y):
    QtTest.QTest.mouseClick(widget, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(20, y))


def test_a_section_is_a_button_that_is_checked_while_it_is_open(section):
    folded = []
    section.connect("contentsCollapsed(bool)", folded.append)
    assert (section.checkable, section.checked, section.collapsed) == (True, True, False)
    click(section, 5)
    assert (section.checked, section.collapsed) == (False, True)
    label = section.findChild(QtWidgets.QLabel)
    assert not label.visible
    section.checked = True
    assert label.visible
    section.setFocus()
    QtTest.QTest.keyClick(section, QtCore.Qt.Key.Key_Space)
    assert section.collapsed
    section.collapsed = False
    click(section, 60)
    assert not section.collapsed
    assert folded == [True, False, True, False]


def test_a_section_that_is_disabled_cannot_be_folded_by_hand(section):
    section.enabled = False
    click(section, 5)
    section.click()
    QtTest.QTest.keyClick(section, QtCore.Qt.Key.Key_Space)
    assert not section.collapsed
    section.collapsed = True
    assert section.collapsed


# The application


def test_recorders_take_nothing_that_the_real_ones_do_not_have(app):
    editor = slicer.modules.SegmentEditorWidget.editor
    with pytest.raises(AttributeError):
        editor.setMasterVolumeNode(None)
    with pytest.raises(AttributeError):
        editor.sourceVolume = None
    with pytest.raises(AttributeError):
        slicer.modules.SegmentStatisticsWidget.scalarSelector.currentNodeId = ""


CASES = """
import unittest
import slicer
class SomeTest(unittest.TestCase):
    def test_some(self):
        assert slicer.app.testingEnabled()
        {line}
"""


def test_self_tests_run_in_testing_mode(app, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert not app.testingEnabled()
    good, bad = tmp_path / "SomeGoodModule.py", tmp_path / "SomeBadModule.py"
    good.write_text(CASES.format(line="pass"))
    bad.write_text(CASES.format(line="assert False"))
    app.runUnitTest(good)
    with pytest.raises(Exception):  # noqa: B017, PT011  (Slicer's own raises nothing more special)
        app.runUnitTest(bad)
    assert not app.testingEnabled()
    assert str(tmp_path) not in sys.path
    for name in (good.stem, bad.stem):
        del sys.modules[name]


def test_nobody_is_asked_in_testing_mode(app):
    """What the answer is then, is for `slicer.util` to say: that is Slicer's own."""
    app.testing = True
    ctk_widgets.ctkMessageBox.shown.clear()
    for ask in (
        slicer.util.confirmOkCancelDisplay,
        slicer.util.confirmYesNoDisplay,
        slicer.util.errorDisplay,
    ):
        ask("Really?")
    assert not ctk_widgets.ctkMessageBox.shown
    app.testing = False
    with pytest.raises(AssertionError, match="unexpected popup"):
        slicer.util.confirmOkCancelDisplay("Really?")


# PythonSlicer


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def until(what):
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


TALKS = "import os; print(os.getpid(), flush=True); print(input() * 2, flush=True); input()"


@pytest.fixture
def launcher(app):
    return str(Path(app.slicerHome, "bin", "PythonSlicer"))


def test_the_launcher_hands_on_stdin_and_exit_status(launcher):
    code = "import sys; print(sys.stdin.read() * 2, sys.argv[1:]); sys.exit(5)"
    done = subprocess.run([launcher, "-c", code, "a b"], input="hello", capture_output=True, text=True)
    assert done.stdout == "hellohello ['a b']\n"
    assert done.returncode == 5


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_the_launcher_waits_for_a_child_and_hands_on_no_signal(launcher):
    with subprocess.Popen([launcher, "-c", TALKS], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        pid = int(process.stdout.readline())
        assert pid != process.pid
        process.terminate()
        process.wait(PATIENCE)
        assert not gone(pid)
        os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))


def test_the_launcher_hides_how_its_child_was_ended(launcher):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([launcher, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "exit abnormally" in done.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks processes up in /proc")
def test_the_workers_runner_ends_the_launcher_and_its_child(launcher):
    runner = SubprocessRunner()
    runner.start([launcher, "-c", TALKS], Path.cwd(), None)
    said = []
    runner.send("hello")
    until(lambda: said.extend(runner.lines()) or len(said) == 2)
    pid = int(said[0])
    assert said[1] == "hellohello"
    assert pid != runner.pid
    runner.kill()
    until(lambda: gone(pid) and gone(runner.pid))


# Slicer's own files


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder that looks like Slicer's source."""
    python = tmp_path / "Slicer" / "Base" / "Python" / "slicer"
    (python / "parameterNodeWrapper").mkdir(parents=True)
    (python / "parameterNodeWrapper" / "__init__.py").write_text("import ctk\nKIND = ctk.ctkPathLineEdit\n")
    (python / "ScriptedLoadableModule.py").write_text("OURS = False\n")
    (python / "testing.py").write_text("")
    monkeypatch.setenv(slicer_source.VARIABLE, str(tmp_path / "Slicer"))
    return python


def test_slicers_own_files_take_the_place_of_their_stand_ins(source, scene_setup):
    assert isinstance(standins.install(scene_setup.scene), Application)
    try:
        from slicer import ScriptedLoadableModule, parameterNodeWrapper

        assert ScriptedLoadableModule.OURS is False
        assert ScriptedLoadableModule.__file__ == str(source / "ScriptedLoadableModule.py")
        assert sys.modules["slicer.parameterNodeWrapper"] is parameterNodeWrapper
        # A widget without a stand-in, of which nothing is.
        assert parameterNodeWrapper.KIND.__name__ == "ctkPathLineEdit"
    finally:
        standins.uninstall()
    assert "slicer.parameterNodeWrapper" not in sys.modules


def test_a_folder_without_them_is_told(source, scene_setup, monkeypatch):
    (source / "testing.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"testing\.py is not there"):
        standins.install(scene_setup.scene)
    monkeypatch.delenv(slicer_source.VARIABLE)
    standins.install(scene_setup.scene)
    standins.uninstall()
