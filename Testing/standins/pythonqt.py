"""PySide6 spoken as PythonQt: properties as attributes, signals connected by their C++ signature."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# What went wrong in slots: PythonQt prints it to the console and goes on, a test should fail of it.
slot_errors: list[str] = []
# (object's address, signature) -> what was connected; PySide's own wrapper objects come and go.
_connected: dict[tuple[int, str], list[tuple[Callable, Callable]]] = {}


class _PropertyAttribute:
    """A Qt property as PythonQt shows it: a value on instances; the class keeps its own member of that name."""

    def __init__(self, name: str, member: Any) -> None:
        self.name, self.member = name, member

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self.member
        return instance.property(self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        # PythonQt writes a read-only property or a wrong type to the console; here it is an error.
        if not instance.setProperty(self.name, value):
            raise AttributeError(f"{type(instance).__name__}.{self.name} cannot be set to {value!r}")


class _UiLoader(QtUiTools.QUiLoader):
    """Loads .ui files with ctk and MRML widgets.

    Connections of MRML widgets to their scene are made in Python; the loader's C++ side does not know them.
    """

    def load(self, device: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        from standins import ctk_widgets, mrml_widgets

        for widget in (
            ctk_widgets.ctkCollapsibleButton,
            ctk_widgets.ctkSliderWidget,
            mrml_widgets.qMRMLNodeComboBox,
            mrml_widgets.qMRMLWidget,
        ):
            self.registerCustomWidget(widget)
        tree = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = tree.find("connections")
        wanted = [] if connections is None else list(connections)
        if connections is not None:
            tree.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        loaded = super().load(buffer, parent)
        if loaded is None:
            raise RuntimeError(self.errorString())
        for connection in wanted:
            sender, signal, receiver, slot = (
                connection.findtext(part) for part in ("sender", "signal", "receiver", "slot")
            )
            expected = ("mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)")
            if sender != loaded.objectName or (signal, slot) != expected:
                raise RuntimeError(f"The stand-in cannot connect {sender}.{signal} to {receiver}.{slot}")
            loaded.connect(signal, loaded.findChild(QtWidgets.QWidget, receiver).setMRMLScene)
        return loaded


def _connect(self: QtCore.QObject, signal: str, slot: Callable) -> bool:
    """Connect a signal, named by its C++ signature, to a Python callable."""
    made = _made(slot, signal)
    _signal(self, signal, lambda python: python.connect(made), lambda name: _qt_connect(self, name, made))
    _connected.setdefault(_key(self, signal), []).append((slot, made))
    return True


def _disconnect(self: QtCore.QObject, signal: str, slot: Callable) -> bool:
    """Undo one `connect`; False where there was none."""
    pairs = _connected.get(_key(self, signal), [])
    pair = next((pair for pair in pairs if pair[0] == slot), None)
    if pair is None:
        return False
    pairs.remove(pair)
    made = pair[1]
    _signal(
        self, signal, lambda python: python.disconnect(made), lambda name: _qt_disconnect(self, name, made)
    )
    return True


def _signal(self: QtCore.QObject, signal: str, of_python: Callable, of_qt: Callable) -> None:
    # Signals of the stand-ins' own widgets carry Python objects, whatever C++ type their signature says.
    python = getattr(type(self), "python_signals", {}).get(signal)
    if python is not None:
        of_python(getattr(self, python))
        return
    normal = QtCore.QMetaObject.normalizedSignature(signal)
    normal = bytes(normal).decode() if not isinstance(normal, str) else normal
    if self.metaObject().indexOfSignal(normal) < 0:
        raise ValueError(f"{self.metaObject().className()} has no signal {signal}")
    of_qt(QtCore.SIGNAL(normal))


def _made(slot: Callable, signal: str) -> Callable:
    """What is really connected: hands over as many arguments as both sides know, and keeps exceptions."""
    given = signal[signal.index("(") + 1 : -1]
    count = min(len(given.split(",")) if given else 0, _takes(slot))

    def call(*arguments: Any) -> None:
        try:
            slot(*arguments[:count])
        except Exception:
            slot_errors.append(traceback.format_exc())
            traceback.print_exc()

    return call


def _takes(slot: Callable) -> int:
    """How many positional arguments a callable takes."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return 99
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 99
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _key(self: QtCore.QObject, signal: str) -> tuple[int, str]:
    return shiboken6.getCppPointer(self)[0], signal


def _single_shot(milliseconds: int, slot: Callable) -> None:
    _qt_single_shot(milliseconds, _made(slot, "timeout()"))


@cache
def _speak_pythonqt() -> None:
    """Change PySide's classes, once and for the whole process."""
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            kind = getattr(module, name)
            if not (isinstance(kind, type) and issubclass(kind, QtCore.QObject)):
                continue
            meta = kind.staticMetaObject
            for index in range(meta.propertyOffset(), meta.propertyCount()):
                own = meta.property(index).name()
                # Qt asks Python for these two while it answers for them.
                if own in ("sizeHint", "minimumSizeHint"):
                    continue
                member = (
                    _single_shot if (kind, own) == (QtCore.QTimer, "singleShot") else getattr(kind, own, None)
                )
                setattr(kind, own, _PropertyAttribute(own, member))
    # PythonQt gives the file alone, PySide6 the filter with it.
    QtWidgets.QFileDialog.getSaveFileName = staticmethod(lambda *arguments: _qt_save_file_name(*arguments)[0])
    base = QtCore.QObject
    base.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    base.className = lambda self: self.metaObject().className()
    plain = base.__getattribute__
    own_methods = {"connect": _connect, "disconnect": _disconnect}

    def get(self: QtCore.QObject, name: str) -> Any:
        # PySide answers for these two by itself, whatever the class holds.
        method = own_methods.get(name)
        return plain(self, name) if method is None else method.__get__(self)

    base.__getattribute__ = get


_qt_connect, _qt_disconnect = QtCore.QObject.connect, QtCore.QObject.disconnect
_qt_single_shot = QtCore.QTimer.singleShot
_qt_save_file_name = QtWidgets.QFileDialog.getSaveFileName


def miscounts_none() -> bool:
    """Whether this PySide6 lets go of None once too often, until Python aborts: 6.12.0 does before Python 3.12."""
    probe = QtCore.QObject()
    before = sys.getrefcount(None)
    for _ in range(200):
        probe.setObjectName("")
    return sys.getrefcount(None) - before < -100


def make_module() -> ModuleType:
    """A module `qt` with everything of QtCore, QtGui and QtWidgets."""
    if QtWidgets.QApplication.instance() is None:
        # Dialogs and buttons look alike everywhere, and so do the pictures.
        QtWidgets.QApplication.setStyle("Fusion")
        QtWidgets.QApplication([])
    _speak_pythonqt()
    qt = ModuleType("qt")
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            if not name.startswith("_"):
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = _UiLoader
    return qt
