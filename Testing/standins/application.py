"""A stand-in for slicer.app with the parts of the main window that ICHWeakSeg's panel touches."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import slicer
from PySide6 import QtCore, QtWidgets


class _ModuleManager(QtCore.QObject):
    _unloading = QtCore.Signal(str)
    python_signals: ClassVar = {"moduleAboutToBeUnloaded(QString)": "_unloading"}

    def __init__(self) -> None:
        super().__init__()
        self.loaded: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self.loaded.get(name)

    def unload(self, name: str) -> None:
        """Tell the module's panel that it goes."""
        self._unloading.emit(name)


class _ModuleSelector:
    """Opens modules by name and tells panels when they are entered and left."""

    def __init__(self, manager: _ModuleManager) -> None:
        self._manager = manager
        self.opened: list[str] = []

    def selectModule(self, name: str) -> None:
        if self.opened:
            self._tell(self.opened[-1], ModulePanel.exit)
        self.opened.append(name)
        self._tell(name, ModulePanel.enter)

    def _tell(self, name: str, what: Callable[[ModulePanel], None]) -> None:
        module = self._manager.module(name)
        if module is not None and isinstance(module.widgetRepresentation(), ModulePanel):
            what(module.widgetRepresentation())


class _MainWindow(QtWidgets.QMainWindow):
    def __init__(self, selector: _ModuleSelector) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = selector

    def moduleSelector(self) -> _ModuleSelector:
        return self._selector


class ModulePanel(QtWidgets.QWidget):
    """The widget that holds a scripted module's panel."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.isEntered = False
        QtWidgets.QVBoxLayout(self).setContentsMargins(6, 6, 6, 6)

    def setup(self) -> None:
        """Make the panel anew from the module's class."""
        widget = getattr(sys.modules[self._name], f"{self._name}Widget")(self)
        setattr(slicer.modules, f"{self._name}Widget", widget)
        widget.setup()

    # Slicer's own name for what a reload calls.
    reload = setup

    def enter(self) -> None:
        """The user opens the module."""
        self.isEntered = True
        getattr(self.self(), "enter", lambda: None)()

    def exit(self) -> None:
        """The user opens another one."""
        self.isEntered = False
        getattr(self.self(), "exit", lambda: None)()

    def self(self) -> Any:
        return getattr(slicer.modules, f"{self._name}Widget")


class _EditorRecorder:
    """Keeps what Segment Editor was given; takes nothing else."""

    __slots__ = ("segment", "segmentation", "source", "undoStates")

    def __init__(self) -> None:
        self.segmentation = self.source = self.segment = None
        self.undoStates = 0

    def setSegmentationNode(self, node: Any) -> None:
        self.segmentation = node

    def segmentationNode(self) -> Any:
        return self.segmentation

    def setSourceVolumeNode(self, node: Any) -> None:
        self.source = node

    def setCurrentSegmentID(self, segment: str) -> None:
        self.segment = segment

    def saveStateForUndo(self) -> None:
        self.undoStates += 1


class _SelectorRecorder:
    """Keeps the node that a selector was given; takes nothing else."""

    __slots__ = ("node",)

    def __init__(self) -> None:
        self.node = None

    def setCurrentNode(self, node: Any) -> None:
        self.node = node


# Starts Python as its child and waits, with its own stdin and no care for signals; tells of a child that was
# ended by one as CTK's launcher does.
_LAUNCHER = """#!/bin/sh
"{python}" "$@"
status=$?
if [ $status -gt 128 ]; then
  echo "error: [{python}] exit abnormally - Report the problem." >&2
  exit 1
fi
exit $status
"""


@cache
def _home() -> tempfile.TemporaryDirectory:
    """Slicer's folder, with a PythonSlicer that launches the Python of the tests; gone when that ends."""
    home = tempfile.TemporaryDirectory(prefix="slicer-home-")
    python = Path(home.name, "bin", "PythonSlicer")
    python.parent.mkdir()
    python.write_text(_LAUNCHER.format(python=sys.executable))
    python.chmod(0o755)
    return home


class Application(QtCore.QObject):
    """slicer.app."""

    _started, _quitting = QtCore.Signal(), QtCore.Signal()
    python_signals: ClassVar = {"startupCompleted()": "_started", "aboutToQuit()": "_quitting"}

    def __init__(self, scene: slicer.vtkMRMLScene, logics: Mapping[str, Any]) -> None:
        super().__init__()
        self._scene = scene
        self._manager = _ModuleManager()
        self.selector = _ModuleSelector(self._manager)
        self.window = _MainWindow(self.selector)
        self.modules = SimpleNamespace()
        self.applicationName = "Slicer"
        self.slicerHome = _home().name
        self.restarts = 0
        # Slicer was started with --testing.
        self.testing = False
        self._stand_in_modules()
        for name, logic in logics.items():
            module = name.removeprefix("vtkSlicer").removesuffix("Logic").removesuffix("Module").lower()
            setattr(self.modules, module, SimpleNamespace(name=module, logic=lambda logic=logic: logic))

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def testingEnabled(self) -> bool:
        return self.testing

    def moduleManager(self) -> _ModuleManager:
        return self._manager

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        return [self.window]

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    def restart(self) -> None:
        self.restarts += 1

    def start(self) -> None:
        """All modules are loaded."""
        self._started.emit()

    def quit(self) -> None:
        """Slicer closes: every panel lets go."""
        for name in list(self._manager.loaded):
            self._manager.unload(name)
        self._quitting.emit()

    # Modules

    def loadModule(self, path: Path) -> ModuleType:
        """Load a scripted module from its file, as the application does when it starts."""
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        entry = SimpleNamespace(path=str(path), name=name, icon=None)
        instance = getattr(module, name)(entry)
        panels: list[ModulePanel] = []

        def representation() -> ModulePanel:
            if not panels:
                panels.append(ModulePanel(name))
                panels[0].setup()
            return panels[0]

        entry.widgetRepresentation, entry.instance = representation, instance
        setattr(self.modules, name.lower(), entry)
        self._manager.loaded[name] = entry
        return module

    def runUnitTest(self, script: Path) -> None:
        """Run a module's self-tests as CTest does: in a Slicer with --testing, through `slicer.testing`."""
        paths, self.testing = sys.path[:], True
        try:
            slicer.testing.runUnitTest([str(script.parent)], script.stem)
        finally:
            sys.path[:], self.testing = paths, False

    def openModule(self, name: str) -> Any:
        """Open a module; its panel as the Python object."""
        panel = self._manager.module(name).widgetRepresentation()
        self.selector.selectModule(name)
        return panel.self()

    def _stand_in_modules(self) -> None:
        """Segment Editor, Segment Statistics and Sample Data as recorders."""
        editor = SimpleNamespace(editor=_EditorRecorder())
        statistics = SimpleNamespace(
            segmentationSelector=_SelectorRecorder(), scalarSelector=_SelectorRecorder()
        )
        for name, widget in (("SegmentEditor", editor), ("SegmentStatistics", statistics)):
            panel = SimpleNamespace(self=lambda widget=widget: widget)
            entry = SimpleNamespace(name=name, widgetRepresentation=lambda panel=panel: panel)
            self._manager.loaded[name] = entry
            setattr(self.modules, name.lower(), entry)
            setattr(self.modules, f"{name}Widget", widget)
        self.modules.sampleDataSources = {}
