"""Stand-ins for CTK's widgets, as far as ICHWeakSeg's panel uses them."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from PySide6 import QtCore, QtGui, QtWidgets


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A section with a header that a click or the space bar folds; open while it is checked.

    Children stay hidden while it is folded.
    """

    contentsCollapsed = QtCore.Signal(bool)
    # What is left below the header of a folded section, in pixels.
    collapsed_height: ClassVar = 14

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        # Children that would be visible if the section were open.
        self._waiting: list[QtWidgets.QWidget] = []
        self._hiding = False
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(self._toggled)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _toggled(self, checked: bool) -> None:
        self._collapsed = not checked
        self._fold()
        self.contentsCollapsed.emit(self._collapsed)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        """The header alone is the button."""
        return position.y() <= self._header_height()

    def _fold(self) -> None:
        self._hiding = True
        if self._collapsed:
            widgets = [w for w in self.children() if isinstance(w, QtWidgets.QWidget)]
            self._waiting = [w for w in widgets if not w.isHidden()]
            for widget in self._waiting:
                widget.hide()
        else:
            waiting, self._waiting = self._waiting, []
            for widget in waiting:
                widget.show()
        self._hiding = False
        self.setMaximumHeight(self._folded_size().height() if self._collapsed else 16777215)

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        # The loader may set the property before it makes the children.
        if self._collapsed:
            self._hiding = True
            for widget in self.children():
                if isinstance(widget, QtWidgets.QWidget) and not widget.isHidden():
                    self._waiting.append(widget)
                    widget.hide()
            self._hiding = False
        super().showEvent(event)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.added() and event.child().isWidgetType():
            event.child().installEventFilter(self)
        super().childEvent(event)

    def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if self._collapsed and not self._hiding:
            if event.type() == QtCore.QEvent.Type.ShowToParent:
                self._waiting.append(watched)
                self._hiding = True
                watched.hide()
                self._hiding = False
            elif event.type() == QtCore.QEvent.Type.HideToParent and watched in self._waiting:
                self._waiting.remove(watched)
        return False

    def _folded_size(self) -> QtCore.QSize:
        # The arrow, the text and what a style leaves around them.
        width = self.fontMetrics().horizontalAdvance(self.text) + 40
        return QtCore.QSize(width, self._header_height() + self.collapsed_height)

    def sizeHint(self) -> QtCore.QSize:
        folded = self._folded_size()
        return folded if self._collapsed else super().sizeHint().expandedTo(folded)

    def minimumSizeHint(self) -> QtCore.QSize:
        folded = self._folded_size()
        return folded if self._collapsed else super().minimumSizeHint().expandedTo(folded)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        header = QtCore.QRect(0, 0, self.width, self._header_height())
        button = QtWidgets.QStyleOptionButton()
        button.initFrom(self)
        button.rect = header
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, button)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 0, 14, header.height())
        elements = QtWidgets.QStyle.PrimitiveElement
        folded = elements.PE_IndicatorArrowRight if self._collapsed else elements.PE_IndicatorArrowDown
        painter.drawPrimitive(folded, arrow)
        flags = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.TextFlag.TextShowMnemonic
        painter.drawItemText(
            header.adjusted(26, 0, 0, 0),
            flags,
            self.palette,
            self.isEnabled(),
            self.text,
            QtGui.QPalette.ButtonText,
        )
        painter.end()

    collapsed = QtCore.Property(bool, _get_collapsed, setCollapsed)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box. Tracking is always on."""

    valueChanged = QtCore.Signal(float)
    python_signals: ClassVar = {"valueChanged(double)": "valueChanged"}

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        self._box.setRange(0.0, 99.0)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._fit()
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self._typed)

    def _fit(self) -> None:
        low, high, step = self._box.minimum, self._box.maximum, self._box.singleStep
        self._slider.blockSignals(True)
        self._slider.setRange(round(low / step), round(high / step))
        self._slider.setValue(round(self._box.value / step))
        self._slider.blockSignals(False)

    def _slid(self, position: int) -> None:
        self._box.setValue(position * self._box.singleStep)

    def _typed(self, value: float) -> None:
        self._fit()
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def _of_box(name: str):
        def read(self) -> float:
            return getattr(self._box, name)

        def write(self, value: float) -> None:
            setattr(self._box, name, value)
            self._fit()

        return read, write

    value = QtCore.Property(float, *_of_box("value"))
    minimum = QtCore.Property(float, *_of_box("minimum"))
    maximum = QtCore.Property(float, *_of_box("maximum"))
    singleStep = QtCore.Property(float, *_of_box("singleStep"))
    decimals = QtCore.Property(int, *_of_box("decimals"))
    pageStep = QtCore.Property(
        float,
        lambda self: self._slider.pageStep * self._box.singleStep,
        lambda self, value: setattr(self._slider, "pageStep", round(value / self._box.singleStep)),
    )


class ctkMessageBox:
    """Nobody sits before it: a test lays its answer ready, and a popup that no test expects is an error."""

    answers: ClassVar[deque] = deque()
    # The texts of all boxes, for the tests.
    shown: ClassVar[list[str]] = []

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        self.text = self.windowTitle = ""
        self.icon = self.standardButtons = None

    def deleteLater(self) -> None:
        """There is nothing to delete."""

    def exec_(self) -> QtWidgets.QMessageBox.StandardButton:
        """The answer that a test laid ready."""
        self.shown.append(self.text)
        if not self.answers:
            raise AssertionError(f"An unexpected popup: {self.text}")
        return self.answers.popleft()
