"""The .ui by itself: keyboard, tooltips, dark windows."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from PySide6 import QtCore, QtGui, QtTest
from standins.pythonqt import QtWidgets
from widget_tools import Panel, ScriptedWorker

UI = ROOT / "ICHWeakSeg" / "Resources" / "UI" / "ICHWeakSeg.ui"
CONTROLS = ("QPushButton", "QToolButton", "QComboBox", "QCheckBox", "QDoubleSpinBox", "ctkSliderWidget")
CONTROLS += ("qMRMLNodeComboBox", "QLineEdit", "QPlainTextEdit", "QTextBrowser")


def elements():
    return {one.get("name"): one for one in ElementTree.parse(UI).iter("widget")}


def value(element, name):
    found = element.find(f"property[@name='{name}']")
    return None if found is None else "".join(found.itertext()).strip()


def show_all(panel):
    """Every section open and every widget shown."""
    for name, widget in vars(panel.ui).items():
        if widget.isWidgetType() and name in elements():
            widget.visible = True
            if elements()[name].get("class") == "ctkCollapsibleButton":
                widget.collapsed = False
            widget.enabled = True
    panel.application.processEvents()


def test_every_control_has_a_tooltip():
    # The main button's says what it can do just now.
    without = [
        name
        for name, one in elements().items()
        if one.get("class") in CONTROLS and not value(one, "toolTip") and name != "runButton"
    ]
    assert without == []


def test_every_mrml_selector_is_told_of_the_scene():
    tree = ElementTree.parse(UI)
    told = {one.findtext("receiver") for one in tree.iter("connection")}
    selectors = {name for name, one in elements().items() if one.get("class") == "qMRMLNodeComboBox"}
    assert told == selectors


def test_labels_of_fields_lead_to_them():
    buddies = {name: value(one, "buddy") for name, one in elements().items() if value(one, "buddy")}
    assert set(buddies.values()) >= {
        "inputSelector",
        "modelSelector",
        "outputSelector",
        "mapSelector",
        "tableSelector",
        "thresholdSlider",
        "methodSelector",
        "refineSelector",
        "deviceSelector",
        "modelsFolder",
    }
    for name, buddy in buddies.items():
        assert buddy in elements(), name


def test_no_two_mnemonics_are_the_same():
    keys = {}
    for name, one in elements().items():
        found = re.search(r"&(\w)", value(one, "text") or "")
        if found:
            keys.setdefault(found.group(1).lower(), []).append(name)
    # Cancel takes the place of Segment and Install.
    assert {key: names for key, names in keys.items() if len(names) > 1} == {}


def test_none_takes_a_letter_of_slicers_menus():
    # &File, &Edit, &View, &Help.
    for name, one in elements().items():
        found = re.search(r"&(\w)", value(one, "text") or "")
        assert found is None or found.group(1).lower() not in "fevh", name


def test_the_shortcut_of_cancel_cancels(panel, add_head, wait):
    add_head()
    panel.settle()
    worker = ScriptedWorker(lambda request: [])
    panel.start(worker)
    panel.widget.parent.activateWindow()
    wait(lambda: panel.widget.parent.isActiveWindow)
    QtTest.QTest.keyClick(panel.widget.parent, QtCore.Qt.Key_C, QtCore.Qt.AltModifier)
    # A button pressed by its shortcut shows that for a moment.
    wait(lambda: worker.killed, 5)
    assert "Cancelled" in panel.ui.statusLabel.text


def test_the_card_keeps_its_place_when_the_scene_changes(panel, add_head):
    add_head()
    panel.settle()
    panel.ui.modelDetailsButton.click()
    bar = panel.ui.modelText.verticalScrollBar()
    bar.setValue(bar.maximum)
    assert bar.value > 0
    place = bar.value
    add_head("Next head")
    panel.settle()
    assert bar.value == place


def test_tab_goes_from_top_to_bottom_through_everything(panel):
    show_all(panel)
    panel.widget.parent.resize(420, 1600)
    panel.application.processEvents()
    top = panel.widget.parent
    places, reached, widget = [], set(), top
    while True:
        widget = widget.nextInFocusChain()
        if widget is top:
            break
        if not (widget.focusPolicy & QtCore.Qt.FocusPolicy.TabFocus and widget.isVisibleTo(top)):
            continue
        if widget.window() is not top.window():
            continue
        reached.add(widget)
        at = widget.mapTo(top, QtCore.QPoint(0, 0))
        places.append((at.y(), at.x(), widget))
    names = [widget.name for _, _, widget in places]
    # Rows may differ by a few pixels within a line.
    for (y, x, _), (next_y, next_x, after) in pairwise(places):
        assert next_y > y - 12, f"{after.name} comes too late in {names}"
        assert next_y > y + 12 or next_x > x, f"{after.name} comes too late in {names}"
    for name, one in elements().items():
        if one.get("class") in CONTROLS:
            control = getattr(panel.ui, name)
            parts = {control, *control.findChildren(QtWidgets.QWidget)}
            assert parts & reached, f"{name} cannot be reached by Tab"


def dark_palette():
    palette = QtGui.QPalette(QtGui.QColor(53, 53, 53))
    for role in (QtGui.QPalette.Base, QtGui.QPalette.AlternateBase):
        palette.setColor(role, QtGui.QColor(35, 35, 35))
    for role in (QtGui.QPalette.WindowText, QtGui.QPalette.Text, QtGui.QPalette.ButtonText):
        palette.setColor(role, QtGui.QColor(230, 230, 230))
    return palette


def contrast(one, other):
    """Contrast of two colours as WCAG defines it."""

    def light(color):
        parts = [
            part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4
            for part in color.getRgbF()[:3]
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_an_error_can_be_read(application, dark):
    before = QtWidgets.QApplication.palette()
    try:
        if dark:
            QtWidgets.QApplication.setPalette(dark_palette())
        panel = Panel(application)
        label = panel.ui.statusLabel
        panel.widget.status.say("An error.", True)
        red = QtGui.QColor(re.search(r"#\w+", label.styleSheet).group())
        window = label.palette.color(QtGui.QPalette.Window)
        assert (window.lightness() < 128) == dark
        assert contrast(red, window) > 4.5
    finally:
        QtWidgets.QApplication.setPalette(before)


def test_no_colour_stands_in_the_ui_file():
    text = UI.read_text("utf-8")
    assert "<color" not in text
    assert "styleSheet" not in text


def test_long_sentences_do_not_widen_the_panel(panel):
    """A section of ctk is never narrower than its contents would like to be, and Slicer's panel has 350 pixels."""
    text = "A sentence that is far too long for one line of a narrow panel, and that goes on. " * 6
    show_all(panel)
    for name, one in elements().items():
        if value(one, "wordWrap") == "true":
            getattr(panel.ui, name).text = text
    panel.application.processEvents()
    wide = {
        name: getattr(panel.ui, name).sizeHint().width()
        for name, one in elements().items()
        if one.get("class") == "ctkCollapsibleButton"
    }
    assert max(wide.values()) <= 340, wide
