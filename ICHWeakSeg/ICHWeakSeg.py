"""ICH WeakSeg in 3D Slicer: the module, its panel, its logic and its self-test."""

import importlib.util
import logging
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import slicer
import vtk
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# In a checkout the library lies beside this folder; an installed extension has it beside this file.
if importlib.util.find_spec("ICHWeakSegLib") is None:
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegSlicer import segmentations, tables
from ICHWeakSegSlicer.entries import Entries
from ICHWeakSegSlicer.lesiontables import lesionTableOf
from ICHWeakSegSlicer.logic import SceneLogic
from ICHWeakSegSlicer.panelfollowup import FollowUpPanel
from ICHWeakSegSlicer.panelinputs import InputsPanel
from ICHWeakSegSlicer.panelinstall import InstallPanel
from ICHWeakSegSlicer.panellesions import LesionsPanel
from ICHWeakSegSlicer.panelmodels import ModelsPanel, applyModelsFolder
from ICHWeakSegSlicer.panelprognosis import PrognosisPanel
from ICHWeakSegSlicer.panelreport import ReportPanel
from ICHWeakSegSlicer.panelresult import ResultPanel
from ICHWeakSegSlicer.panelscores import ScoresPanel
from ICHWeakSegSlicer.panelstatus import StatusPanel, durationText
from ICHWeakSegSlicer.samples import addPhantom, registerPhantom
from ICHWeakSegSlicer.volumes import problemWith

# What a reload has to load anew.
OWN_PACKAGES = ("ICHWeakSegSlicer", "ICHWeakSegLib")
# Changes of the scene come in bursts; what they change in the panel is looked up once after each.
SETTLE_MS = 100
# The library's names, beside the card's own; reading them from the library would load torch.
METHODS = ("hgi-sam", "swin-sam", "grad-cam", "layer-cam", "hires-cam")
REFINEMENTS = {"hu": "Map and HU", "threshold": "Map alone", "otsu": "Map alone, Otsu's threshold"}
DEVICES = {
    "auto": "Fastest that is there",
    "cpu": "CPU",
    "cuda": "NVIDIA graphics card",
    "mps": "Apple graphics",
}


class ICHWeakSeg(ScriptedLoadableModule):
    """Title, category and help of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "ICH WeakSeg"
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["ICHWeakSeg contributors"]
        self.parent.helpText = (
            "Finds and segments intracranial hemorrhage on non-contrast head CT, with models that learned from "
            "image-level labels alone (blood on this slice: yes or no).<br>"
            "<b>For research use only. Not a medical device; not for diagnosis or treatment.</b><br><br>"
            "Load a head CT, choose it, press <b>Segment</b>. The result is an ordinary segmentation: correct it "
            "in Segment Editor, measure it in Segment Statistics. The threshold cuts it again at once. Its "
            "lesions are listed below it, and a click on one finds it in the slice views. <b>Clinical scores</b> "
            "and <b>Follow-up</b> go on from there, and <b>Report</b> writes a page about the case. The first "
            "time, missing Python packages are installed from the panel. A made-up head to try it on is in "
            "<b>Sample Data</b>.<br><br>"
            "From Python: <code>from ICHWeakSeg import ICHWeakSegLogic; "
            "ICHWeakSegLogic().segment(volumeNode)</code>"
        )
        self.parent.acknowledgementText = (
            "Localization after HGI-SAM (Rasoulian, Salari, Xiao; MELBA 2023, arXiv:2304.04902). The bundled "
            "model was trained on CT-ICH (Hssayeni et al., PhysioNet, CC BY 4.0, doi:10.3390/data5010014)."
        )
        slicer.app.connect("startupCompleted()", self.registerSampleData)

    def registerSampleData(self) -> None:
        """Offer the phantom in the Sample Data module."""
        registerPhantom(self.resourcePath("Icons/ICHWeakSeg.png"))


@parameterNodeWrapper
class ICHWeakSegParameterNode:
    """What the user chose; saved with the scene.

    Empty texts stand for the model card's own choice, an empty model for the default one.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    outputSegmentation: slicer.vtkMRMLSegmentationNode
    outputMap: slicer.vtkMRMLScalarVolumeNode
    outputTable: slicer.vtkMRMLTableNode
    outputLesionTable: slicer.vtkMRMLTableNode
    model: str = ""
    method: str = ""
    refine: str = ""
    device: str = "auto"
    useSensitivity: bool = False
    sensitivity: Annotated[float, WithinRange(0, 1)] = 0.9
    useMapThreshold: bool = False
    mapThreshold: Annotated[float, WithinRange(0, 1)] = 0.05
    # About the patient: the CT that the entries belong to, and the entries; `entries.EMPTY` where there is none.
    scoredVolume: slicer.vtkMRMLScalarVolumeNode
    scoreVolume: float = -1.0
    scoreGcs: int = 2
    scoreAge: int = -1
    scoreLocation: str = ""
    scoreIvh: str = ""
    scoreCognition: str = ""
    sex: str = ""
    onsetHours: float = -1.0
    history: str = ""
    # Follow-up: the earlier and the later CT with their segmentations, and the table of their comparison.
    beforeVolume: slicer.vtkMRMLScalarVolumeNode
    beforeSegmentation: slicer.vtkMRMLSegmentationNode
    afterVolume: slicer.vtkMRMLScalarVolumeNode
    afterSegmentation: slicer.vtkMRMLSegmentationNode
    followUpTable: slicer.vtkMRMLTableNode


class ICHWeakSegLogic(ScriptedLoadableModuleLogic, SceneLogic):
    """Segments CT volume nodes, from the panel or from the Python console; see `SceneLogic`."""

    def __init__(self, **runner: Any) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        SceneLogic.__init__(self, **runner)
        applyModelsFolder()

    def getParameterNode(self) -> ICHWeakSegParameterNode:
        """The scene's parameter node."""
        return ICHWeakSegParameterNode(super().getParameterNode())


class ICHWeakSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Its sections are the panel*.py files of ICHWeakSegSlicer."""

    def __init__(self, parent: Any = None) -> None:
        self.logic: ICHWeakSegLogic | None = None
        self._parameters: ICHWeakSegParameterNode | None = None
        self._guiTag: Any = None
        self._job: Any = None
        self._began = 0.0
        self._watched: list[Any] = []
        self._showing = False
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Build the panel; called when the module is opened for the first time."""
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/ICHWeakSeg.ui"))
        self.layout.addWidget(panel)
        self.ui = ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ICHWeakSegLogic()

        self.status = StatusPanel(ui)
        self.install = InstallPanel(ui, self.logic, self.refresh, self.status.log)
        self.inputs = InputsPanel(ui, self.logic, self._volumeChosen, self._modelChosen)
        self.lesions = LesionsPanel(
            ui, self.logic, self.status.say, self._whyNotAsk, self._chosenLesionTable, self.refresh
        )
        self.result = ResultPanel(ui, self.logic, self.status.say, self._whyNoCut, self.lesions.measureSoon)
        entries = Entries(lambda: self._parameters, self._shownCt)
        self.scores = ScoresPanel(ui, entries)
        self.report = ReportPanel(ui, self.logic, self.status, entries.forScores, self._whyNotAsk)
        self.prognosis = PrognosisPanel(
            ui, self.logic, entries, self._shownCt, self.status, self._whyNoForecast
        )
        self.followUp = FollowUpPanel(ui, self.logic, lambda: self._parameters, self.status, self._whyNotAsk)
        self.models = ModelsPanel(ui, self.logic, self._modelsChanged, self.status.say)
        self._fillChoices()
        ui.runButton.connect("clicked()", self._runOrCancel)

        self._settling = qt.QTimer()
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLE_MS)
        self._settling.connect("timeout()", self.refresh)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._sceneCloses)
        self.addObserver(scene, scene.EndCloseEvent, self._sceneClosed)
        for event in (
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
            scene.EndImportEvent,
            scene.EndBatchProcessEvent,
        ):
            self.addObserver(scene, event, self._sceneChanged)
        self.install.refresh()
        self._useParameterNode()

    def cleanup(self) -> None:
        """Let go of everything: the application closes, or the module is reloaded."""
        if self.logic is None:
            return
        self._settling.stop()
        self._forgetAll()
        self._setParameterNode(None)
        self.removeObservers()
        self._watched = []
        self.install.close()
        self._job = None
        self.logic.close()
        self.logic = None

    def enter(self) -> None:
        """The user opens the module: models or packages may have come meanwhile."""
        self.install.refresh()
        self._useParameterNode()

    def onReload(self) -> None:
        """Reload the module with its packages; a run is stopped."""
        self.logic.close()
        for name in [name for name in sys.modules if name.split(".")[0] in OWN_PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # Parameters

    def _useParameterNode(self) -> None:
        if self._parameters is None:
            self._setParameterNode(self.logic.getParameterNode())
        self.refresh()

    def _renewLostParameters(self) -> None:
        """Take a new parameter node where somebody removed ours."""
        if self._parameters is not None and self._parameters.parameterNode.GetScene() is None:
            self._setParameterNode(self.logic.getParameterNode())

    def _setParameterNode(self, parameters: ICHWeakSegParameterNode | None) -> None:
        if self._parameters is not None:
            self._parameters.disconnectGui(self._guiTag)
            self.removeObserver(
                self._parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._parametersChanged
            )
        self._parameters = parameters
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._parametersChanged)

    def _parametersChanged(self, caller: Any = None, event: Any = None) -> None:
        # Removing a node tells its references before the scene has let it go.
        self._settling.start()

    def _fillChoices(self) -> None:
        ui = self.ui
        own = {"": "The model's own"}
        choices = {
            "method": (ui.methodSelector, own | {name: name for name in METHODS}),
            "refine": (ui.refineSelector, own | REFINEMENTS),
            "device": (ui.deviceSelector, DEVICES),
        }
        self._choices = {}
        for parameter, (selector, texts) in choices.items():
            for data, text in texts.items():
                selector.addItem(text, data)
            self._choices[parameter] = selector
            selector.connect(
                "currentIndexChanged(int)", lambda index, parameter=parameter: self._chosen(parameter)
            )

    def _chosen(self, parameter: str) -> None:
        if self._parameters is not None and not self._showing:
            selector = self._choices[parameter]
            setattr(self._parameters, parameter, selector.itemData(selector.currentIndex))

    def _volumeChosen(self, volumeNode: Any) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        parameters.inputVolume = volumeNode
        shown = parameters.outputSegmentation
        if shown is not None and segmentations.referenceVolume(shown) not in (None, volumeNode):
            # The outputs of one CT must not be written over by another.
            parameters.outputSegmentation = self._resultOn(volumeNode)
            parameters.outputMap = parameters.outputTable = parameters.outputLesionTable = None
        self.refresh()

    def _resultOn(self, volumeNode: Any) -> Any:
        """The newest segmentation of ours on a CT, or None."""
        for node in reversed(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")):
            if segmentations.ourSegmentIds(node) and segmentations.referenceVolume(node) is volumeNode:
                return node
        return None

    def _modelChosen(self, model: str) -> None:
        if self._parameters is not None:
            self._parameters.model = model
            self.refresh()

    def _modelsChanged(self) -> None:
        self.models.refresh()
        self.refresh()

    # The scene

    def _sceneCloses(self, caller: Any, event: Any) -> None:
        if self._job is not None:
            self._job.cancel()
            self._ended("The scene was closed: the run was stopped.")
        self._watch([])
        self._forgetAll()
        self._setParameterNode(None)

    def _forgetAll(self) -> None:
        """Nodes are about to go: nothing may hold on to them."""
        self.followUp.stop()
        self.prognosis.stop()
        for section in (self.lesions, self.scores, self.report):
            section.forget()
        self.result.forgetAll()

    def _sceneClosed(self, caller: Any, event: Any) -> None:
        if self.parent.isEntered:
            self._useParameterNode()
        else:
            self.refresh()

    def _sceneChanged(self, caller: Any = None, event: Any = None) -> None:
        if not slicer.mrmlScene.IsClosing():
            self._settling.start()

    def _watch(self, nodes: list[Any]) -> None:
        """Look again at the panel when one of these nodes changes."""
        wanted = []
        for node in nodes:
            wanted.append((node, vtk.vtkCommand.ModifiedEvent))
            if node.IsA("vtkMRMLVolumeNode"):
                wanted += [(node, node.ImageDataModifiedEvent), (node, node.TransformModifiedEvent)]
            elif node.IsA("vtkMRMLSegmentationNode"):
                kind = slicer.vtkSegmentation
                segmentation = node.GetSegmentation()
                wanted += [
                    (segmentation, event)
                    for event in (
                        kind.SourceRepresentationModified,
                        kind.SegmentAdded,
                        kind.SegmentRemoved,
                        kind.SegmentModified,
                    )
                ]
                wanted += [(node, node.DisplayModifiedEvent), (node, node.ReferenceModifiedEvent)]
        for pair in [pair for pair in self._watched if pair not in wanted]:
            self.removeObserver(*pair, self._sceneChanged)
        for pair in [pair for pair in wanted if pair not in self._watched]:
            self.addObserver(*pair, self._sceneChanged)
        self._watched = wanted

    # What the panel shows

    def refresh(self) -> None:
        """Bring every part of the panel up to the scene, the packages and the run."""
        if self.logic is None or self._showing:
            return
        self._showing = True
        try:
            self._refresh()
        finally:
            self._showing = False

    def _refresh(self) -> None:
        self._renewLostParameters()
        parameters = self._parameters
        volumeNode = parameters.inputVolume if parameters is not None else None
        listed = self.inputs.showVolumes(volumeNode)
        if parameters is not None and volumeNode is None and listed:
            # The likeliest CT, to save a click.
            parameters.inputVolume = volumeNode = listed[0]
            self.inputs.showVolumes(volumeNode)
        self.inputs.showModels(parameters.model if parameters is not None else "")
        shown = parameters.outputSegmentation if parameters is not None else None
        watched = [shown, self.followUp.table, None if shown is None else lesionTableOf(shown)]
        self._watch(listed + [node for node in watched if node is not None])
        if parameters is not None:
            for name, selector in self._choices.items():
                selector.setCurrentIndex(max(selector.findData(getattr(parameters, name)), 0))
            self._fillChosenTable()
        self.result.show(shown)
        ours = shown if shown is not None and segmentations.ourSegmentIds(shown) else None
        self.lesions.show(ours)
        self.scores.show(ours)
        self.report.show(ours)
        self.followUp.show(ours)
        self.prognosis.show(ours)
        self._showState()

    def _showState(self) -> None:
        ui, running = self.ui, self._job is not None
        reason = "" if running else self._whyNotRun()
        ui.runButton.text = "&Cancel" if running else "&Segment"
        ui.runButton.enabled = running or not reason
        ui.runButton.toolTip = (
            "Stops the run; the scene stays as it is."
            if running
            else (reason or "Finds the blood on the CT and makes a segmentation of it.")
        )
        ui.reasonLabel.text = reason
        ui.reasonLabel.visible = bool(reason)
        busy = running or self.install.installing
        for section in (ui.inputSelector, ui.modelSelector, ui.outputsSection, ui.advancedSection):
            section.enabled = not busy
        parameters = self._parameters
        ui.sensitivitySpin.enabled = parameters is not None and parameters.useSensitivity
        ui.mapThresholdSpin.enabled = parameters is not None and parameters.useMapThreshold
        ui.removeFilesButton.toolTip = (
            "Wait until the run has ended."
            if busy
            else "Removes models of your own folder and the temporary files of the segmentation; asks which."
        )

    def _whyNotRun(self) -> str:
        """Why a run cannot start; empty where it can."""
        parameters = self._parameters
        if parameters is None:
            return "The scene is being closed."
        volumeNode = parameters.inputVolume
        reason = self.install.problem() or self.inputs.problem(volumeNode)
        if reason:
            return reason
        if parameters.outputMap is volumeNode:
            return "The localization map would be written over the CT: choose another output, or none."
        if parameters.outputSegmentation is not None:
            return segmentations.problemWithOutput(parameters.outputSegmentation, volumeNode)
        return ""

    def _whyNoCut(self) -> str:
        """Why the result cannot be cut again just now; empty where it can."""
        if self._job is not None:
            return "A segmentation is under way: wait until it has ended."
        return self.install.problem()

    def _whyNotAsk(self) -> str:
        """Why nothing can be asked about a result just now; empty where it can. No network is needed for that."""
        if self._job is not None:
            return "A segmentation is under way: wait until it has ended."
        return "Wait until the packages are installed." if self.install.installing else ""

    def _whyNoForecast(self, volumeNode: Any) -> str:
        """Why no outcome can be forecast just now; empty where it can."""
        return self._whyNotAsk() or self.install.problem() or problemWith(volumeNode)

    def _chosenLesionTable(self) -> Any:
        return None if self._parameters is None else self._parameters.outputLesionTable

    def _shownCt(self) -> Any:
        """The CT of the shown result, else the one that is chosen."""
        if self._parameters is None:
            return None
        shown = self._parameters.outputSegmentation
        if shown is not None and segmentations.ourSegmentIds(shown):
            return segmentations.referenceVolume(shown)
        return self._parameters.inputVolume

    def _fillChosenTable(self) -> None:
        """Write the result into a table that was chosen after the run, if that is empty."""
        segmentationNode, table = self._parameters.outputSegmentation, self._parameters.outputTable
        if segmentationNode is None or table is None or table.GetNumberOfColumns():
            return
        result = self.result.resultOf(segmentationNode)
        if result is not None and self._job is None:
            tables.writeTable(table, result)
            tables.linkTable(segmentationNode, table)

    # Running

    def _runOrCancel(self) -> None:
        if self._job is None:
            self._run()
        else:
            self._job.cancel()
            self._ended("Cancelled; the scene is as it was.")

    def _run(self) -> None:
        chosen = self._parameters
        self._began = time.monotonic()
        self.ui.logText.clear()
        try:
            self._job = self.logic.start(
                chosen.inputVolume,
                chosen.outputSegmentation,
                model=self.inputs.model or None,
                method=chosen.method or None,
                refine=chosen.refine or None,
                threshold=chosen.mapThreshold if chosen.useMapThreshold else None,
                sensitivity=chosen.sensitivity if chosen.useSensitivity else None,
                device=chosen.device,
                outputMap=chosen.outputMap,
                outputTable=chosen.outputTable,
                outputLesionTable=chosen.outputLesionTable,
                onProgress=self.status.showProgress,
                onFinished=self._finished,
                onError=self._failed,
                onLog=self.status.log,
            )
        except InputError as problem:
            self._ended(str(problem), error=True)
            return
        except Exception as problem:
            logging.exception("The segmentation could not start")
            self._ended(f"The segmentation could not start ({problem}); see Slicer's log.", error=True)
            return
        self.status.showProgress("starting", 0, 0)
        self.refresh()

    def _finished(self, job: Any) -> None:
        if job is not self._job:
            return
        self.result.remember(job.segmentationNode, job.result)
        self._renewLostParameters()
        self._parameters.outputSegmentation = job.segmentationNode
        took = durationText(time.monotonic() - self._began)
        self._ended(f"Finished in {took}: {job.segmentationNode.GetName()}.")

    def _failed(self, job: Any, sentence: str) -> None:
        if job is self._job:
            self.status.log(sentence)
            self._ended(sentence, error=True)

    def _ended(self, sentence: str, error: bool = False) -> None:
        self._job = None
        self.status.endProgress()
        self.status.say(sentence, error)
        self.refresh()


class ICHWeakSegTest(ScriptedLoadableModuleTest):
    """Self-test inside the application, on a phantom; the README has its command line."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all; also what the button "Reload and Test" calls."""
        self.setUp()
        self.test_segmentsThePhantom()

    def test_segmentsThePhantom(self) -> None:
        """One call segments the phantom, about as large as it is; another threshold cuts it anew."""
        logic = ICHWeakSegLogic()
        try:
            assert logic.dependenciesInstalled(), logic.dependencies.describe()
            self.delayDisplay("Making the phantom")
            volumeNode, truth = addPhantom(slicer.mrmlScene, size=256)
            true = self.volumeMl(volumeNode, truth)
            self.delayDisplay("Segmenting")
            segmentationNode = logic.segment(volumeNode, device="cpu")
            mask = self.maskOf(segmentationNode, volumeNode)
            found = self.volumeMl(volumeNode, mask)
            overlap = 2 * (mask & (truth != 0)).sum() / (mask.sum() + truth.sum())
            assert overlap > 0.6, f"{found:.1f} mL found of {true:.1f} mL"
            assert abs(found - true) < 0.5 * true
            self.delayDisplay("Looking at its lesions")
            table = lesionTableOf(segmentationNode).GetTable()
            listed = table.GetColumnByName("Volume (mL)").GetValue(table.GetNumberOfRows() - 1)
            assert abs(listed - found) < 0.01, f"{listed:.2f} mL listed of {found:.2f} mL"
            logic.jumpToLesion(segmentationNode, 1)
            assert logic.clinicalScores(segmentationNode, gcs=15).scores[0].missing
            self.delayDisplay("Cutting again")
            logic.setThreshold(segmentationNode, 0.9)
            assert logic.thresholdOf(segmentationNode) == 0.9
            again = self.maskOf(segmentationNode, volumeNode)
            # Blood grows from where the map is sure: another place to start from, the same bleed.
            assert (again & mask).any()
            assert (again != mask).any()
            self.delayDisplay("Removing the CT")
            slicer.mrmlScene.RemoveNode(volumeNode)
            assert logic.canRecut(segmentationNode) != ""
        finally:
            logic.close()
        self.delayDisplay("ICH WeakSeg works.")

    def maskOf(self, segmentationNode: Any, volumeNode: Any) -> Any:
        """The hemorrhage as bool, shape (K, J, I)."""
        segmentId = segmentations.ourSegmentIds(segmentationNode)[0]
        return slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode) != 0

    def volumeMl(self, volumeNode: Any, mask: Any) -> float:
        """Volume of a mask on a volume's grid."""
        i, j, k = volumeNode.GetSpacing()
        return float((mask != 0).sum()) * i * j * k / 1000
