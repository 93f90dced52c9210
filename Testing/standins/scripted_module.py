"""Stand-ins for the base classes of Slicer's scripted modules, and for what runs their tests."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import slicer
from PySide6 import QtGui


class ScriptedLoadableModule:
    """A module's entry; `parent` takes title, categories and texts."""

    def __init__(self, parent) -> None:
        self.parent, self.moduleName = parent, type(self).__name__
        icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}.png"
        if icon.is_file():
            parent.icon = QtGui.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, name: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / name)

    def runTest(self, msec: int = 100) -> None:
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest()


class ScriptedLoadableModuleWidget:
    """A module's panel, inside the widget that the application gives it. No developer section."""

    def __init__(self, parent) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent, self.layout = parent, parent.layout()
        slicer.app.moduleManager().connect(
            "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
        )

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(
                "moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded
            )

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """Derived classes build their panel here."""

    def cleanup(self) -> None:
        """Derived classes let go here."""

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """A module's logic with one parameter node a scene."""

    def __init__(self, parent=None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's self-test: `runTest` runs every test of it."""

    def delayDisplay(self, message: str, *_arguments) -> None:
        slicer.util.delayDisplay(message, getattr(self, "messageDelay", 100))

    def runTest(self) -> None:
        for name in sorted(dir(self)):
            if name.startswith("test") and callable(getattr(self, name)):
                self.setUp()
                getattr(self, name)()
                self.tearDown()


def runUnitTest(path: list[str], testname: str) -> None:
    """Of `slicer.testing`: run the test cases of a module; CTest calls it in a Slicer with --testing."""
    sys.path.extend(path)
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestLoader().loadTestsFromName(testname))
    if not result.wasSuccessful():
        raise Exception(f"{testname}: {len(result.errors)} errors, {len(result.failures)} failures")
