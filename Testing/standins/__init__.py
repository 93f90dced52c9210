"""Stand-ins for what Slicer has and slicer-core lacks: Qt in PythonQt's way, ctk, MRML widgets, the application.

    import standins
    application = standins.install(scene)   # before the module under test is imported
    module = application.loadModule(Path("ICHWeakSeg/ICHWeakSeg.py"))
    widget = application.openModule("ICHWeakSeg")

The README beside this file says what each of them does not do. MRML, the module logics and `slicer.util` are
Slicer's own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import slicer

from standins import ctk_widgets, mrml_widgets, parameter_node, pythonqt, scripted_module
from standins.application import Application

_NAMES = ("qt", "ctk", "slicer.ScriptedLoadableModule", "slicer.parameterNodeWrapper", "slicer.i18n")


def install(scene, logics: Mapping[str, Any] | None = None) -> Application:
    """Put the stand-ins where Slicer's Python finds them, with a new application around a scene.

    `uninstall` takes them away again.

    Args:
        logics: real logics of Slicer's C++ modules by class name, for `slicer.modules.<name>.logic()`.
    """
    qt = pythonqt.make_module()
    ctk = _module("ctk", ctk_widgets, "ctkCollapsibleButton", "ctkSliderWidget", "ctkMessageBox")
    scripted = _module(
        "slicer.ScriptedLoadableModule",
        scripted_module,
        "ScriptedLoadableModule",
        "ScriptedLoadableModuleWidget",
        "ScriptedLoadableModuleLogic",
        "ScriptedLoadableModuleTest",
    )
    wrapper = _module(
        "slicer.parameterNodeWrapper",
        parameter_node,
        "parameterNodeWrapper",
        "WithinRange",
        "Choice",
        "Default",
    )
    translation = ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    for name, module in zip(_NAMES, (qt, ctk, scripted, wrapper, translation), strict=True):
        sys.modules[name] = module
        package, _, rest = name.rpartition(".")
        if package:
            setattr(slicer, rest, module)
    slicer.qMRMLNodeComboBox = mrml_widgets.qMRMLNodeComboBox
    slicer.qMRMLWidget = mrml_widgets.qMRMLWidget
    application = Application(scene, logics or {})
    slicer.app, slicer.modules, slicer.mrmlScene = application, application.modules, scene
    slicer.selfTests = {}
    return application


def uninstall() -> None:
    """Close the application and take every stand-in away."""
    application = getattr(slicer, "app", None)
    if application is not None:
        application.quit()
    for name in _NAMES:
        sys.modules.pop(name, None)
        package, _, rest = name.rpartition(".")
        if package and hasattr(slicer, rest):
            delattr(slicer, rest)
    for name in ("app", "modules", "selfTests", "qMRMLNodeComboBox", "qMRMLWidget"):
        if hasattr(slicer, name):
            delattr(slicer, name)


def _module(name: str, source: ModuleType, *members: str) -> ModuleType:
    module = ModuleType(name)
    module.__all__ = list(members)
    for member in members:
        setattr(module, member, getattr(source, member))
    return module
