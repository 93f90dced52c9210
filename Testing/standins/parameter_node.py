"""A stand-in for Slicer's parameterNodeWrapper: typed attributes kept in a real vtkMRMLScriptedModuleNode.

Texts, numbers, yes or no, and nodes; stored as Slicer's own stores them.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass

import slicer
import vtk
from PySide6 import QtWidgets

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

    def write(self, node: slicer.vtkMRMLNode, value: object) -> None:
        kinds = (int, float) if self.kind is float else self.kind
        if not (self.is_node and value is None) and not isinstance(value, kinds):
            raise TypeError(f"{self.name} is a {self.kind.__name__}, not {value!r}")
        for rule in self.rules:
            if isinstance(rule, WithinRange) and not rule.minimum <= value <= rule.maximum:
                raise ValueError(f"{self.name} lies between {rule.minimum} and {rule.maximum}, not {value}")
            if isinstance(rule, Choice) and value not in rule.choices:
                raise ValueError(f"{self.name} is one of {rule.choices}, not {value!r}")
        with slicer.util.NodeModify(node):
            if self.is_node:
                node.SetParameter(self.name, "")
                node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
            else:
                node.SetParameter(self.name, str(value))

    def read(self, node: slicer.vtkMRMLNode) -> object:
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)


def parameterNodeWrapper(kind: type) -> type:
    """Make a class of annotated names a view of a parameter node."""
    hints = typing.get_type_hints(kind, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(kind, name, None)) for name, hint in hints.items()}

    def start(self, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode, self._guis = node, {}
        for parameter in parameters.values():
            if not node.HasParameter(parameter.name):
                parameter.write(node, parameter.first)

    def attribute(parameter: _Parameter) -> property:
        return property(
            lambda self: parameter.read(self.parameterNode),
            lambda self, value: parameter.write(self.parameterNode, value),
        )

    kind.__init__ = start
    for name, parameter in parameters.items():
        setattr(kind, name, attribute(parameter))
    kind.connectGui, kind.disconnectGui = _connect_gui, _disconnect_gui
    kind.AddObserver = lambda self, *arguments: self.parameterNode.AddObserver(*arguments)
    kind.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    return kind


def _connect_gui(self, ui: object) -> int:
    """Bind widgets whose property SlicerParameterName says which parameter they show."""
    links = {}
    for widget in vars(ui).values():
        name = widget.property(PROPERTY)
        if name:
            links[name] = _Link(self, name, widget)

    def refresh(*_) -> None:
        for link in links.values():
            link.show()

    refresh()
    for link in links.values():
        link.listen()
    tag = len(self._guis)
    observer = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, refresh)
    self._guis[tag] = (links, observer)
    return tag


def _disconnect_gui(self, tag: int | None) -> None:
    if tag in self._guis:
        links, observer = self._guis.pop(tag)
        self.parameterNode.RemoveObserver(observer)
        for link in links.values():
            link.forget()


class _Link:
    """A widget and the parameter that it shows."""

    def __init__(self, parameters: object, name: str, widget: QtWidgets.QWidget) -> None:
        self.parameters, self.name, self.widget = parameters, name, widget
        self.showing = False
        kinds = {
            QtWidgets.QCheckBox: ("toggled(bool)", "checked"),
            QtWidgets.QDoubleSpinBox: ("valueChanged(double)", "value"),
            qMRMLNodeComboBox: ("currentNodeChanged(vtkMRMLNode*)", None),
        }
        if type(widget) not in kinds:
            raise RuntimeError(f"The stand-in cannot bind {name} to a {type(widget).__name__}")
        self.signal, self.attribute = kinds[type(widget)]

    def show(self) -> None:
        self.showing = True
        try:
            value = getattr(self.parameters, self.name)
            if self.attribute is None:
                self.widget.setCurrentNode(value)
            else:
                setattr(self.widget, self.attribute, value)
        finally:
            self.showing = False

    def listen(self) -> None:
        self.widget.connect(self.signal, self._changed)

    def forget(self) -> None:
        self.widget.disconnect(self.signal, self._changed)

    def _changed(self) -> None:
        if not self.showing:
            value = (
                self.widget.currentNode() if self.attribute is None else getattr(self.widget, self.attribute)
            )
            setattr(self.parameters, self.name, value)
