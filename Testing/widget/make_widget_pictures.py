"""Pictures of the panel in each of its states, drawn by the stand-ins.

    python Testing/widget/make_widget_pictures.py [FOLDER]

The run is real (worker process, bundled model, phantom); `panel.png` is the README's, docs/images/panel.png.
The look is that of Qt's Fusion style, with stand-ins for ctk's and Slicer's own widgets: near to Slicer's, not
the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# No models and settings but those of this script.
OWN = tempfile.TemporaryDirectory(prefix="ichweakseg-pictures-")
os.environ["ICHWEAKSEG_MODELS"] = str(Path(OWN.name, "models"))

import slicer  # noqa: E402

sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "widget"), str(ROOT / "Testing" / "lib")]
# Behind the others: slicer-core takes a folder `slicer` on the path for a part of itself while it is imported.
sys.path.append(str(ROOT / "Testing"))

import standins  # noqa: E402
from standins.pythonqt import QtCore, QtGui, QtWidgets  # noqa: E402
from widget_tools import Panel, ScriptedWorker  # noqa: E402


def make_application() -> standins.Application:
    """A scene with the logics that the panel needs, and the module in it."""
    scene = slicer.vtkMRMLScene()
    # Terminology files come with the application, not with slicer-core: that they are missing is known.
    slicer.vtkMRMLNode.GlobalWarningDisplayOff()
    core = slicer.vtkSlicerApplicationLogic()
    core.SetMRMLScene(scene)
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    if not factory.GetConverterRules():
        factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
        factory.RegisterConverterRule(slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule())
    names = ("vtkMRMLColorLogic", "vtkSlicerSubjectHierarchyModuleLogic", "vtkSlicerTerminologiesModuleLogic")
    names += ("vtkSlicerVolumesLogic", "vtkSlicerTablesLogic", "vtkSlicerSegmentationsModuleLogic")
    logics = {name: getattr(slicer, name)() for name in names}
    for logic in logics.values():
        logic.SetMRMLApplicationLogic(core)
        logic.SetMRMLScene(scene)
    slicer.vtkMRMLNode.GlobalWarningDisplayOn()
    application = standins.install(scene, logics)
    application.parts = (scene, core, logics)
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, OWN.name)
    application.loadModule(ROOT / "ICHWeakSeg" / "ICHWeakSeg.py")
    return application


def dark_palette() -> QtGui.QPalette:
    """As of Slicer's dark style."""
    palette = QtGui.QPalette(QtGui.QColor(53, 53, 53))
    for role in (QtGui.QPalette.Base, QtGui.QPalette.AlternateBase):
        palette.setColor(role, QtGui.QColor(35, 35, 35))
    for role in (QtGui.QPalette.WindowText, QtGui.QPalette.Text, QtGui.QPalette.ButtonText):
        palette.setColor(role, QtGui.QColor(230, 230, 230))
    grey = QtGui.QColor(120, 120, 120)
    for role in (QtGui.QPalette.WindowText, QtGui.QPalette.Text, QtGui.QPalette.ButtonText):
        palette.setColor(QtGui.QPalette.Disabled, role, grey)
    return palette


class Camera:
    """Saves what the panel looks like, as tall as it needs to be."""

    def __init__(self, panel: Panel, folder: Path) -> None:
        self.panel, self.folder = panel, folder

    def save(self, name: str) -> None:
        self.panel.settle()
        top = self.panel.widget.parent
        content = top.layout().itemAt(0).widget()
        for _ in range(3):
            height = content.layout().totalHeightForWidth(top.width - 12)
            top.resize(top.width, height + 24)
            self.panel.settle()
        picture = top.grab()
        path = self.folder / f"{name}.png"
        picture.save(str(path))
        print(path, f"{picture.width()} x {picture.height()}, {path.stat().st_size / 1000:.0f} kB")


def subtypes_result(node: slicer.vtkMRMLScalarVolumeNode, truth):
    """What a model that learned subtypes would hand over; made up from the phantom's truth."""
    import numpy as np

    from ICHWeakSegLib.ct.volume import CT
    from ICHWeakSegLib.worker.exchange import Box, CaseResult, Found, FoundSegment
    from ICHWeakSegSlicer.placing import ijkToRas

    ct = CT(slicer.util.arrayFromVolume(node), ijkToRas(node))
    middle = int(np.nonzero(truth)[0].mean())
    parts = {"IPH": truth.copy(), "IVH": truth.copy(), "EDH": np.zeros_like(truth)}
    parts["IPH"][middle:] = 0
    parts["IVH"][:middle] = 0

    def found(mask: np.ndarray) -> Found:
        return Found(ct.volume_ml(mask), int(mask.any()), int(mask.any((1, 2)).sum()), 60.0)

    segments = [FoundSegment(name, Box.of(mask), found(mask)) for name, mask in sorted(parts.items())]
    facts = {"model": "subtypes", "version": "0.1", "method": "hgi-sam", "refine": "hu", "device": "cpu"}
    facts |= {"map_threshold": 0.1, "run": "1"}
    return CaseResult(
        shape=truth.shape,
        segments=segments,
        total=found(truth),
        map=Box.of(truth.astype(np.float32)),
        warnings=["The CT has a gantry tilt of 12 degrees: it was resampled for the network."],
        provenance=facts,
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    application = make_application()
    panel = Panel(application)
    camera = Camera(panel, folder)
    ui = panel.ui

    from ICHWeakSegSlicer import maps, segmentations
    from ICHWeakSegSlicer.dependencies import Dependencies
    from ICHWeakSegSlicer.samples import addPhantom

    camera.save("1_empty")
    there = panel.logic.dependencies
    requirements = folder / "requirements.txt"
    requirements.write_text("timm-that-is-not-there>=1.0\n")
    panel.logic.dependencies = Dependencies(requirements, torch=("torch>=99", "torchvision>=99"))
    panel.widget.enter()
    camera.save("2_no_torch")
    panel.widget.install.installing = True
    panel.widget.install._showButtons()
    panel.widget.install._progress("Installing PyTorch: torch, 412 of 780 MB", 0, 5)
    panel.widget.refresh()
    camera.save("3_installing")
    panel.widget.install.installing = False
    panel.widget.install._say("")
    panel.logic.dependencies = there
    requirements.unlink()
    panel.widget.enter()

    node, truth = addPhantom(application.parts[0])
    camera.save("4_ready")
    ui.modelDetailsButton.click()
    for section in (ui.outputsSection, ui.advancedSection):
        section.collapsed = False
    camera.save("5_everything_open")
    ui.modelDetailsButton.click()
    for section in (ui.outputsSection, ui.advancedSection):
        section.collapsed = True

    runner = panel.logic._runner
    worker = ScriptedWorker(lambda request: [])
    panel.start(worker)
    clock = [0.0]
    panel.widget.status._left._clock = lambda: clock[0]
    for done in (0, 14):
        worker.tell({"event": "progress", "stage": "classifying and localizing", "done": done, "total": 27})
        while f"{done} of 27" not in ui.statusLabel.text:
            application.processEvents()
        clock[0] += 6
    camera.save("6_running")
    sentence = (
        "There is not enough memory to segment Head phantom: close other programs, or use a CT with fewer"
    )
    worker.tell({"event": "error", "kind": "memory", "sentence": f"{sentence} slices or pixels."})
    panel.finish()
    camera.save("7_error")
    panel.logic.close()

    panel.logic._runner = runner
    panel.run()
    camera.save("panel")
    result = panel.segmentation
    QtWidgets.QApplication.setPalette(dark_palette())
    camera.save("8_dark")
    panel.widget.status.say("An error on a dark window: this is how it looks.", True)
    camera.save("9_dark_error")
    QtWidgets.QApplication.setPalette(QtWidgets.QApplication.style().standardPalette())
    panel.widget.status.say("")
    other = segmentations.createSegmentationNode(node)
    several = subtypes_result(node, truth)
    segmentations.writeResult(other, node, several)
    maps.linkMap(other, maps.mapOf(result))
    maps.mapOf(result).SetAttribute("ICHWeakSeg.run", "1")
    panel.widget.result.remember(other, several)
    panel.parameters.outputSegmentation = other
    ui.scoresSection.collapsed = False
    camera.save("10_subtypes")
    ui.scoresSection.collapsed = True
    panel.parameters.outputSegmentation = result
    panel.settle()
    ui.scoresSection.collapsed = False
    camera.save("11_scores_empty")
    ui.scoreGcsSpin.value, ui.scoreAgeSpin.value = 9, 71
    panel.choose(ui.scoreLocationSelector, "deep")
    camera.save("12_scores_missing")
    panel.choose(ui.scoreIvhSelector, "yes")
    panel.choose(ui.scoreCognitionSelector, "no")
    ui.lesionsTable.setCurrentCell(0, 0)
    camera.save("13_scores")
    ui.scoresSection.collapsed = True

    ui.followUpSection.collapsed = False
    camera.save("14_follow_up")
    earlier, _ = addPhantom(application.parts[0], volumeMl=9.0)
    earlier.SetName("Head phantom, first scan")
    turned = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Lies otherwise")
    matrix = slicer.util.arrayFromTransformMatrix(turned)
    matrix[:2, :2] = [[0.98, -0.2], [0.2, 0.98]]
    slicer.util.updateTransformMatrixFromArray(turned, matrix)
    earlier.SetAndObserveTransformNodeID(turned.GetID())
    panel.parameters.beforeSegmentation = panel.logic.segment(earlier, device="cpu")
    panel.settle()
    ui.compareButton.click()
    panel.finish()
    ui.showOverlayButton.click()
    camera.save("15_follow_up_done")
    ui.followUpSection.collapsed = True
    prognosis(panel, camera)
    application.quit()


def prognosis(panel: Panel, camera: Camera) -> None:
    """The section of prognosis, with a model of random weights."""
    from prognosis_models import small_cohort, tiny_prognosis_model

    from ICHWeakSegLib.prognosis.cohort_table import read_prognosis_cohort

    ui, models = panel.ui, Path(os.environ["ICHWEAKSEG_MODELS"])
    cohort = small_cohort(Path(OWN.name, "cohort"), patients=40)
    cases = read_prognosis_cohort(cohort).cases
    tiny_prognosis_model(models / "random-weights", cohort, [case.name for case in cases])
    panel.widget.refresh()
    ui.prognosisSection.collapsed = False
    camera.save("16_prognosis")
    ui.prognosisAgeSpin.value = 71
    panel.choose(ui.prognosisSexSelector, "female")
    ui.prognosisOnsetSpin.value = 2.5
    ui.prognosisHistoryEdit.text = "Hypertension, on apixaban."
    ui.prognosisHistoryEdit.editingFinished.emit()
    ui.prognosisButton.click()
    panel.finish()
    camera.save("17_prognosis_done")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "out" / "panel"))
