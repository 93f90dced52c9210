"""What is typed with the keyboard, key by key, as a user types it."""

import pytest
from PySide6 import QtCore, QtTest, QtWidgets


def type_into(panel, widget, text):
    """Select what stands there and type this over it; the panel refreshes after each key."""
    widget.selectAll()
    for key in text:
        QtTest.QTest.keyClicks(widget, key)
        panel.widget.refresh()
        panel.settle()
    QtTest.QTest.keyClick(widget, QtCore.Qt.Key.Key_Return)
    panel.settle()


@pytest.mark.parametrize("text", ["33.5", "0.8", "105.3"])
def test_a_volume_with_decimals_is_kept_as_typed(panel, shown_on, text):
    shown_on(panel)
    panel.ui.scoresSection.collapsed = False
    panel.settle()
    type_into(panel, panel.ui.scoreVolumeSpin, text)
    assert panel.parameters.scoreVolume == float(text)
    assert panel.ui.scoreVolumeSpin.text.startswith(text)


@pytest.mark.parametrize(
    ("name", "use", "text"),
    [("mapThreshold", "useMapThreshold", "0.25"), ("sensitivity", "useSensitivity", "0.93")],
)
def test_a_setting_with_decimals_is_kept_as_typed(panel, shown_on, name, use, text):
    shown_on(panel)
    panel.ui.advancedSection.collapsed = False
    setattr(panel.parameters, use, True)
    panel.settle()
    type_into(panel, getattr(panel.ui, f"{name}Spin"), text)
    assert getattr(panel.parameters, name) == float(text)


def test_no_field_with_decimals_tells_of_every_key(panel):
    spins = panel.widget.parent.findChildren(QtWidgets.QDoubleSpinBox)
    named = {spin.objectName: spin for spin in spins if hasattr(panel.ui, str(spin.objectName))}
    assert set(named) >= {"scoreVolumeSpin", "prognosisOnsetSpin", "mapThresholdSpin", "sensitivitySpin"}
    assert [name for name, spin in named.items() if spin.keyboardTracking] == []
