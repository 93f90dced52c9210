"""Stand-ins for what Slicer has and slicer-core lacks: Qt in PythonQt's way, ctk, MRML widgets, the application.

    import standins
    application = standins.install(scene)   # before the module under test is imported
    module = application.loadModule(Path("ICHWeakSeg/ICHWeakSeg.py"))
    widget = application.openModule("ICHWeakSeg")

The README beside this file says what each of them does not do. MRML, the module logics and `slicer.util` are
Slicer's own; with ICHWEAKSEG_SLICER_SOURCE so are `slicer.parameterNodeWrapper` and
`slicer.ScriptedLoadableModule`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import slicer

from standins import ctk_widgets, mrml_widgets, parameter_node, pythonqt, scripted_module, slicer_source
from standins.application import Application

# What was put where Slicer's Python finds it.
_put: list[str] = []


def install(scene, logics: Mapping[str, Any] | None = None) -> Application:
    """Put the stand-ins where Slicer's Python finds them, with a new application around a scene.

    `uninstall` takes them away again.

    Args:
        logics: real logics of Slicer's C++ modules by class name, for `slicer.modules.<name>.logic()`.
    """
    translation = ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    ctk = _module("ctk", ctk_widgets, "ctkCollapsibleButton", "ctkSliderWidget", "ctkMessageBox")
    _put_modules({"qt": pythonqt.make_module(), "ctk": ctk, "slicer.i18n": translation})
    slicer.qMRMLNodeComboBox = mrml_widgets.qMRMLNodeComboBox
    slicer.qMRMLWidget = mrml_widgets.qMRMLWidget
    bases = ("ScriptedLoadableModule", "ScriptedLoadableModuleWidget")
    bases += ("ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest")
    wrapper = ("parameterNodeWrapper", "WithinRange", "Choice", "Default")
    _put_modules(
        {
            "slicer.ScriptedLoadableModule": _module(
                "slicer.ScriptedLoadableModule", scripted_module, *bases
            ),
            "slicer.parameterNodeWrapper": _module("slicer.parameterNodeWrapper", parameter_node, *wrapper),
            "slicer.testing": _module("slicer.testing", scripted_module, "runUnitTest"),
        }
        | slicer_source.modules(ctk)
    )
    application = Application(scene, logics or {})
    slicer.app, slicer.modules, slicer.mrmlScene = application, application.modules, scene
    slicer.selfTests = {}
    sys.excepthook = pythonqt.keep_exception
    return application


def uninstall() -> None:
    """Close the application and take every stand-in away."""
    application = getattr(slicer, "app", None)
    if application is not None:
        application.quit()
    for selector in mrml_widgets.qMRMLNodeComboBox.living:
        selector.stopListening()
    sys.excepthook = sys.__excepthook__
    for name in _put:
        sys.modules.pop(name, None)
        package, _, rest = name.rpartition(".")
        if package and hasattr(slicer, rest):
            delattr(slicer, rest)
    _put.clear()
    for name in ("app", "modules", "selfTests", "qMRMLNodeComboBox", "qMRMLWidget"):
        if hasattr(slicer, name):
            delattr(slicer, name)


def _put_modules(modules: Mapping[str, ModuleType]) -> None:
    for name, module in modules.items():
        sys.modules[name] = module
        package, _, rest = name.rpartition(".")
        if package:
            setattr(slicer, rest, module)
        _put.append(name)


def _module(name: str, source: ModuleType, *members: str) -> ModuleType:
    module = ModuleType(name)
    module.__all__ = list(members)
    for member in members:
        setattr(module, member, getattr(source, member))
    return module
