"""PySide6 spoken as PythonQt: properties as attributes, signals connected by their C++ signature."""

from __future__ import annotations

import inspect
import math
import operator
import sys
import traceback
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

# What went wrong in slots and observers: PythonQt and VTK print it and go on, a test should fail of it.
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
        if not instance.setProperty(self.name, value):
            raise AttributeError(f"{type(instance).__name__}.{self.name} does not accept {value!r}")


def _set(self: QtCore.QObject, name: str, value: Any) -> None:
    """Assign as PythonQt does: properties by its conversions; no slots or signals, nothing new on C++ objects."""
    if isinstance(value, QtCore.SignalInstance):
        # PySide itself keeps the signals that it was asked for.
        vars(self)[name] = value
        return
    meta = self.metaObject()
    index = meta.indexOfProperty(name)
    if index >= 0:
        value = _converted(self, meta.property(index), value)
    else:
        kind, of_qt = _cpp_class(type(self))
        what = getattr(kind, name, None)
        # `name` is a property in all but name.
        if what is not None and not isinstance(vars(QtCore.QObject).get(name), property):
            raise AttributeError(f"{name} of {kind.__name__} cannot be overwritten")
        if what is None and kind is type(self) and (of_qt or not name.startswith("_")):
            raise AttributeError(
                f"{name} does not exist on {kind.__name__}, and PythonQt makes no new attributes"
            )
    member = next((vars(base)[name] for base in type(self).__mro__ if name in vars(base)), None)
    if isinstance(member, QtCore.Property):
        member.fset(self, value)
    elif hasattr(type(member), "__set__"):
        member.__set__(self, value)
    else:
        vars(self)[name] = value


def _delete(self: QtCore.QObject, name: str) -> None:
    if vars(self).pop(name, None) is None:
        raise AttributeError(f"{type(self).__name__} has no {name} of its own")


def _converted(self: QtCore.QObject, about: QtCore.QMetaProperty, value: Any) -> Any:
    """A value for a property of this type, as PythonQt makes it."""
    name, kind = f"{type(self).__name__}.{about.name()}", about.typeName()
    if not about.isWritable():
        raise AttributeError(f"{name} is read-only")
    if kind == "QString":
        # PythonQt would show `None`, or whatever it is, as a text: nobody wants that.
        if not isinstance(value, str):
            raise TypeError(f"{name} is a text, not {value!r}")
        return str(value)
    convert = {"bool": bool, "int": _whole, "double": _number, "float": _number}.get(kind, _as_it_is)
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError) as problem:
        raise AttributeError(f"{name} does not accept {value!r}") from problem


def _whole(value: Any) -> int:
    # Exactly: numpy's floats are none to PythonQt.
    return math.floor(value) if type(value) is float else operator.index(value)


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _as_it_is(value: Any) -> Any:
    if value is None:
        raise TypeError("it is nothing")
    return value


@cache
def _cpp_class(kind: type) -> tuple[type, bool]:
    """The class that is C++ in the application, and whether it is Qt's own here, too."""
    for base in kind.__mro__:
        if base.__module__.startswith("PySide6."):
            return base, True
        if base.__module__ in ("standins.ctk_widgets", "standins.mrml_widgets"):
            return base, False
    raise TypeError(f"{kind} is no class of Qt")


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


def keep_exception(kind: type[BaseException], problem: BaseException, trace: Any) -> None:
    """For `sys.excepthook`: where slots that PySide connected itself, and VTK's observers, leave theirs."""
    slot_errors.append("".join(traceback.format_exception(kind, problem, trace)))
    sys.__excepthook__(kind, problem, trace)


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
            kind.__setattr__, kind.__delattr__ = _set, _delete
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
