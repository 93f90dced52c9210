"""A stand-in for Slicer's parameterNodeWrapper: typed attributes kept in a real vtkMRMLScriptedModuleNode.

Texts, numbers, yes or no, and nodes; stored, remembered and bound to widgets as Slicer's own does it.
"""

from __future__ import annotations

import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from standins.ctk_widgets import ctkSliderWidget
from standins.mrml_widgets import qMRMLNodeComboBox

PROPERTY = "SlicerParameterName"


@dataclass(frozen=True)
class WithinRange:
    """A number between these."""

    minimum: float
    maximum: float


@dataclass(frozen=True)
class Choice:
    """One of these."""

    choices: list


@dataclass(frozen=True)
class Default:
    """The first value."""

    value: object


class _Parameter:
    """What one attribute of a wrapper's class says: name, type, rules and first value."""

    def __init__(self, name: str, kind: object, first: object) -> None:
        self.name, self.rules = name, []
        if typing.get_origin(kind) is typing.Annotated:
            kind, *rules = typing.get_args(kind)
            self.rules = [rule for rule in rules if not isinstance(rule, Default)]
            first = next((rule.value for rule in rules if isinstance(rule, Default)), first)
        self.kind = kind
        self.is_node = isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)
        if not self.is_node and kind not in (str, bool, int, float):
            raise TypeError(f"The stand-in keeps no {kind}")
        self.first = first if first is not None or self.is_node else kind()

    @property
    def range(self) -> WithinRange | None:
        return next((rule for rule in self.rules if isinstance(rule, WithinRange)), None)

    def write(self, node: slicer.vtkMRMLNode, value: object) -> None:
        if value is None and not self.is_node:
            raise ValueError(f"{self.name} is a {self.kind.__name__}, not None")
        kinds = (int, float) if self.kind is float else self.kind
        if value is not None and not isinstance(value, kinds):
            raise TypeError(f"{self.name} is a {self.kind.__name__}, not {value!r}")
        for rule in self.rules:
            if isinstance(rule, WithinRange) and not rule.minimum <= value <= rule.maximum:
                raise ValueError(f"{self.name} lies between {rule.minimum} and {rule.maximum}, not {value}")
            if isinstance(rule, Choice) and value not in rule.choices:
                raise ValueError(f"{self.name} is one of {rule.choices}, not {value!r}")
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        else:
            node.SetParameter(self.name, str(value))

    def read(self, node: slicer.vtkMRMLNode) -> object:
        """The value in the node; one that is missing there gets the first value."""
        if not node.HasParameter(self.name):
            self.write(node, self.first)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)


class _Value:
    """A parameter of one node. It tells what it read last: when the node was modified, or when it was set."""

    def __init__(self, parameter: _Parameter, node: slicer.vtkMRMLNode) -> None:
        self.parameter, self.node = parameter, node
        self.value = parameter.read(node)
        self._writing = False
        # Whoever listens must not keep this alive, nor the wrapper with it.
        this = weakref.ref(self)
        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: this() and this()._modified())
        weakref.finalize(self, node.RemoveObserver, tag).atexit = False

    def _modified(self) -> None:
        if not self._writing:
            self.value = self.parameter.read(self.node)

    def set(self, value: object) -> None:
        self._writing = True
        try:
            # What is remembered is right before anybody hears of the change.
            with slicer.util.NodeModify(self.node):
                self.parameter.write(self.node, value)
                self.value = self.parameter.read(self.node)
        finally:
            self._writing = False


def parameterNodeWrapper(kind: type) -> type:
    """Make a class with annotated attributes a wrapper around a parameter node."""
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(kind, name, None)) for name, hint in hints.items()}

    def start(self: Any, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode, self._guis, self._last_gui = node, {}, -1
        self._showing = False
        self._values = {name: _Value(parameter, node) for name, parameter in parameters.items()}

    def attribute(name: str) -> property:
        return property(
            lambda self: self._values[name].value, lambda self, value: self._values[name].set(value)
        )

    kind.__init__ = start
    for name in parameters:
        setattr(kind, name, attribute(name))
    kind.connectGui, kind.disconnectGui = _connect_gui, _disconnect_gui
    kind.StartModify = lambda self: self.parameterNode.StartModify()
    kind.EndModify = lambda self, before: self.parameterNode.EndModify(before)
    kind.AddObserver = lambda self, *arguments: self.parameterNode.AddObserver(*arguments)
    kind.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    return kind


def _connect_gui(self: Any, ui: object) -> int:
    """Bind widgets whose property SlicerParameterName says which parameter they show."""
    named = {widget.property(PROPERTY): widget for widget in vars(ui).values() if widget.property(PROPERTY)}
    for name in named:
        if name not in self._values:
            raise ValueError(f"There is no parameter {name}")
    links = [_Link(self, name, widget) for name, widget in named.items()]
    for link in links:
        link.show()
        link.listen()
    self._last_gui += 1
    tag = self._last_gui
    observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _show_all(self))
    self._guis[tag] = (links, observer)
    return tag


def _disconnect_gui(self: Any, tag: int | None) -> None:
    if tag in self._guis:
        links, observer = self._guis.pop(tag)
        self.RemoveObserver(observer)
        for link in links:
            link.forget()


def _show_all(self: Any) -> None:
    """Show every parameter in its widgets; what they say of it meanwhile counts for nothing."""
    if self._showing:
        return
    self._showing = True
    try:
        with slicer.util.NodeModify(self):
            for links, _ in self._guis.values():
                for link in links:
                    link.show()
    finally:
        self._showing = False


def _to_range(low: float, high: float) -> Callable[[QtWidgets.QWidget, _Parameter], None]:
    """Gives a number's widget the parameter's range, or this one where it has none."""

    def set_range(widget: QtWidgets.QWidget, parameter: _Parameter) -> None:
        allowed = parameter.range or WithinRange(low, high)
        widget.minimum, widget.maximum = allowed.minimum, allowed.maximum

    return set_range


def _to_float_range(widget: QtWidgets.QWidget, parameter: _Parameter) -> None:
    if isinstance(widget, ctkSliderWidget) and parameter.range is None:
        raise RuntimeError(f"{parameter.name} needs a range for its slider")
    if parameter.kind is int:
        widget.decimals = 0
    _to_range(float("-inf"), float("inf"))(widget, parameter)


def _to_node_type(widget: QtWidgets.QWidget, parameter: _Parameter) -> None:
    widget.nodeTypes = (parameter.kind().GetClassName(),)


# Exact type of the widget -> types that it can show, signal, property, what is done to it first.
_WIDGETS = {
    QtWidgets.QCheckBox: ((bool,), "stateChanged(int)", "checked", None),
    QtWidgets.QSpinBox: ((int,), "valueChanged(int)", "value", _to_range(-(2**31), 2**31 - 1)),
    QtWidgets.QDoubleSpinBox: ((int, float), "valueChanged(double)", "value", _to_float_range),
    ctkSliderWidget: ((int, float), "valueChanged(double)", "value", _to_float_range),
    qMRMLNodeComboBox: ((), "currentNodeChanged(vtkMRMLNode*)", None, _to_node_type),
}


class _Link:
    """A widget and the parameter that it shows."""

    def __init__(self, parameters: Any, name: str, widget: QtCore.QObject) -> None:
        self.parameters, self.name, self.widget = parameters, name, widget
        parameter = parameters._values[name].parameter
        kinds, self.signal, self.attribute, prepare = _WIDGETS.get(type(widget), ((), "", "", None))
        fits = parameter.is_node if self.attribute is None else parameter.kind in kinds
        if not fits:
            what = f"{name}, a {parameter.kind.__name__}, to a {type(widget).__name__}"
            raise RuntimeError(f"The stand-in cannot bind {what}")
        self.kind = parameter.kind
        if prepare is not None:
            prepare(widget, parameter)

    def show(self) -> None:
        value = getattr(self.parameters, self.name)
        if self.attribute is None:
            self.widget.setCurrentNode(value)
        else:
            setattr(self.widget, self.attribute, value)

    def listen(self) -> None:
        self.widget.connect(self.signal, self._changed)

    def forget(self) -> None:
        self.widget.disconnect(self.signal, self._changed)

    def _changed(self) -> None:
        with slicer.util.NodeModify(self.parameters):
            if self.parameters._showing:
                return
            value = (
                self.widget.currentNode() if self.attribute is None else getattr(self.widget, self.attribute)
            )
            setattr(self.parameters, self.name, int(value) if self.kind is int else value)
