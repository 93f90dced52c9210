"""ICHWeakSeg's module in 3D Slicer: for now its entry in the module list."""

import importlib.util
import sys
from pathlib import Path

from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

# In a checkout the library lies beside this folder; an installed extension has it beside this file.
if importlib.util.find_spec("ICHWeakSegLib") is None:
    sys.path.append(str(Path(__file__).resolve().parents[1]))


class ICHWeakSeg(ScriptedLoadableModule):
    """Title, category and help of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "ICH WeakSeg"
        self.parent.categories = ["Segmentation"]
        self.parent.dependencies = []
        self.parent.contributors = ["ICHWeakSeg contributors"]
        self.parent.helpText = (
            "Segments intracranial hemorrhage on non-contrast head CT with models that learned from "
            "image-level labels alone.<br><b>Research use only; not for diagnosis.</b><br>"
            "Segmentation currently runs from the shell: <code>ichweakseg segment</code>. "
            "Load the .seg.nrrd file that it writes."
        )
        self.parent.acknowledgementText = (
            "After HGI-SAM (Rasoulian, Salari, Xiao; MELBA 2023, arXiv:2304.04902)."
        )


class ICHWeakSegWidget(ScriptedLoadableModuleWidget):
    """The module's panel; it has nothing to set yet, the help says what to do."""


class ICHWeakSegTest(ScriptedLoadableModuleTest):
    """Self-test inside the application."""

    def runTest(self):
        self.setUp()
        self.test_library_is_found()

    def test_library_is_found(self):
        """The library can be imported and its models listed without torch."""
        from ICHWeakSegLib.models import list_models

        broken = [model.problem for model in list_models() if model.card is None]
        assert not broken, broken
        self.delayDisplay("ICHWeakSegLib is found.")
