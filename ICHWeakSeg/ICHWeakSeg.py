"""ICH WeakSeg in 3D Slicer: the module, its panel, its logic and its self-test."""

import importlib.util
import sys
import time
import unittest
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

from ICHWeakSegSlicer import paneloutputs, segmentations, tables
from ICHWeakSegSlicer.entries import Entries
from ICHWeakSegSlicer.lesiontables import lesionTableOf
from ICHWeakSegSlicer.logic import SceneLogic
from ICHWeakSegSlicer.orphans import removeOrphans
from ICHWeakSegSlicer.panelfollowup import FollowUpPanel
from ICHWeakSegSlicer.panelinputs import InputsPanel
from ICHWeakSegSlicer.panelinstall import InstallPanel
from ICHWeakSegSlicer.panellesions import LesionsPanel
from ICHWeakSegSlicer.panelmodels import ModelsPanel, applyModelsFolder
from ICHWeakSegSlicer.panelprognosis import PrognosisPanel
from ICHWeakSegSlicer.panelreport import ReportPanel
from ICHWeakSegSlicer.panelresult import ResultPanel, volumeText
from ICHWeakSegSlicer.panelscores import ScoresPanel
from ICHWeakSegSlicer.panelsettings import SettingsPanel
from ICHWeakSegSlicer.panelstatus import StatusPanel, durationText
from ICHWeakSegSlicer.samples import addPhantom, registerPhantom
from ICHWeakSegSlicer.volumes import problemWith

# What a reload has to load anew.
OWN_PACKAGES = ("ICHWeakSegSlicer", "ICHWeakSegLib")
# Changes of the scene come in bursts; what they change in the panel is looked up once after each.
SETTLE_MS = 100


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
        # An edited result that the run leaves alone.
        self._kept: Any = None
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
            ui, self.logic, self.status, self._whyNotAsk, self._chosenLesionTable, self.refresh
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
        self.settings = SettingsPanel(ui, lambda: self._parameters, self.refresh)
        ui.runButton.connect("clicked()", self._runOrCancel)

        self._settling = qt.QTimer()
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLE_MS)
        self._settling.connect("timeout()", self._settled)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._sceneCloses)
        self.addObserver(scene, scene.EndCloseEvent, self._sceneClosed)
        for event in (
            scene.NodeAddedEvent,
            scene.NodeRemovedEvent,
            scene.EndBatchProcessEvent,
        ):
            self.addObserver(scene, event, self._sceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self._sceneImported)
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
        self._job = self._kept = None
        self.logic.close()
        self.logic = None

    def enter(self) -> None:
        """The user opens the module: models or packages may have come meanwhile."""
        self.install.refresh()
        self._useParameterNode()

    def onReload(self) -> None:
        """Reload the module with its packages; a run is stopped."""
        # It may be this button that shall help where the panel could not be built.
        if self.logic is not None:
            self.logic.close()
        for name in [name for name in sys.modules if name.split(".")[0] in OWN_PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # Parameters

    def getParameters(self) -> ICHWeakSegParameterNode | None:
        """What is chosen; None while the scene is closed."""
        return self._parameters

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

    def _volumeChosen(self, volumeNode: Any) -> None:
        parameters = self._parameters
        if parameters is None:
            return
        parameters.inputVolume = volumeNode
        paneloutputs.chooseFor(parameters, volumeNode)
        # What was said belongs to the CT of before.
        if self._job is None:
            self.status.say("")
        self.refresh()

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
        else:
            self.status.say("")
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

    def _sceneImported(self, caller: Any, event: Any) -> None:
        # A loaded scene fills our parameter node without a word: what its wrapper remembers is out of date.
        if self._parameters is not None:
            self._setParameterNode(self.logic.getParameterNode())
        self._sceneChanged()

    def _settled(self) -> None:
        # Looking costs: while the user edits in another module, nobody sees it. The end of a batch tells again.
        if self.parent.isEntered and not slicer.mrmlScene.IsBatchProcessing():
            self.refresh()

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
            paneloutputs.chooseFor(parameters, volumeNode)
            self.inputs.showVolumes(volumeNode)
        self.inputs.showModels(parameters.model if parameters is not None else "")
        if self._job is None:
            removeOrphans(slicer.mrmlScene)
        shown = parameters.outputSegmentation if parameters is not None else None
        watched = [shown, self.followUp.table, None if shown is None else lesionTableOf(shown)]
        self._watch(listed + [node for node in watched if node is not None])
        if parameters is not None:
            self.settings.show(*self.inputs.cards)
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
            "Stops the run; the scene stays as it is." if running else reason or self._whatRunDoes()
        )
        ui.reasonLabel.text = reason
        ui.reasonLabel.visible = bool(reason)
        busy = running or self.install.installing
        # The labels too: their shortcuts would take that of Cancel.
        for part in (ui.inputSelector, ui.inputLabel, ui.modelSelector, ui.modelLabel):
            part.enabled = not busy
        for section in (ui.outputsSection, ui.advancedSection):
            section.enabled = not busy
        self.models.showState(busy)

    def _whatRunDoes(self) -> str:
        parameters = self._parameters
        kept = None if parameters is None else paneloutputs.keptBack(parameters)
        if kept is not None:
            return (
                f"Finds the blood on the CT. {kept.GetName()} was edited and stays: the result is a new one."
            )
        if parameters is not None and parameters.outputSegmentation is not None:
            return f"Finds the blood on the CT and puts it into {parameters.outputSegmentation.GetName()}."
        return "Finds the blood on the CT and makes a segmentation of it."

    def _whyNotRun(self) -> str:
        """Why a run cannot start; empty where it can."""
        parameters = self._parameters
        if parameters is None:
            return "The scene is being closed."
        return (
            self.install.problem()
            or self.inputs.problem(parameters.inputVolume)
            or self.settings.problem(*self.inputs.cards)
            or paneloutputs.problemWith(parameters)
        )

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
        self._kept = paneloutputs.keptBack(chosen)
        self.ui.logText.clear()
        self._job = self.status.attempt(
            "The segmentation",
            lambda: self.logic.start(
                chosen.inputVolume,
                model=self.inputs.model or None,
                **paneloutputs.forRun(chosen, self._kept),
                **self.settings.forRun(),
                onProgress=self.status.showProgress,
                onFinished=self._finished,
                onError=self._failed,
                onLog=self.status.log,
            ),
        )
        if self._job is not None:
            self.status.showProgress("starting", 0, 0)
        self.refresh()

    def _finished(self, job: Any) -> None:
        if job is not self._job:
            return
        made, total = job.segmentationNode, job.result.total
        self.result.remember(made, job.result)
        self._renewLostParameters()
        if self._kept is not None:
            for name in paneloutputs.COMPANIONS:
                setattr(self._parameters, name, None)
        self._parameters.outputSegmentation = made
        took = durationText(time.monotonic() - self._began)
        sentence = f"Finished in {took}: {made.GetName()}."
        if self._kept is not None:
            sentence += f" {self._kept.GetName()} keeps your edits."
        self.status.log(
            f"{made.GetName()}: {volumeText(total.volume_ml)} on {job.volumeNode.GetName()}, {took}."
        )
        self._ended(sentence)

    def _failed(self, job: Any, sentence: str) -> None:
        if job is self._job:
            self.status.log(sentence)
            self._ended(sentence, error=True)

    def _ended(self, sentence: str, error: bool = False) -> None:
        self._job = self._kept = None
        self.status.endProgress()
        self.status.say(sentence, error)
        self.refresh()


class ICHWeakSegTest(ScriptedLoadableModuleTest):
    """Self-test inside the application, on a phantom; the README has its command line."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all; also what the button "Reload and Test" calls."""
        try:
            for test in (self.test_segmentsThePhantom, self.test_thePanelSegmentsThePhantom):
                self.setUp()
                test()
        except unittest.SkipTest as reason:
            self.delayDisplay(f"Skipped: {reason}")

    def test_thePanelSegmentsThePhantom(self) -> None:
        """The panel segments a phantom at a click on its button."""
        module = slicer.modules.ichweakseg.widgetRepresentation()
        entered = module.isEntered
        if not entered:
            module.enter()
        try:
            panel = module.self()
            self.skipWithoutPackages(panel.logic)
            volumeNode, _ = addPhantom(slicer.mrmlScene, size=256)
            slicer.app.processEvents()
            panel.refresh()
            assert panel.ui.runButton.enabled, panel.ui.runButton.toolTip
            self.delayDisplay("Pressing Segment")
            panel.ui.runButton.click()
            self.finish(panel.logic)
            segmentationNode = panel.getParameters().outputSegmentation
            assert segmentationNode is not None, panel.ui.statusLabel.text
            assert segmentations.referenceVolume(segmentationNode) is volumeNode
            assert "mL" in panel.ui.volumeLabel.text, panel.ui.volumeLabel.text
            self.delayDisplay("Moving the threshold")
            panel.ui.thresholdSlider.value = 0.9
            self.finish(panel.logic)
            assert panel.logic.thresholdOf(segmentationNode) == 0.9
        finally:
            if not entered:
                module.exit()

    def finish(self, logic: ICHWeakSegLogic) -> None:
        """Wait until nothing is under way."""
        while logic.busy:
            logic.poll()
            logic.keepAlive()

    def skipWithoutPackages(self, logic: ICHWeakSegLogic) -> None:
        """A machine that only builds extensions has none of them."""
        if not logic.dependenciesInstalled():
            self.skipTest(logic.dependencies.describe())

    def test_segmentsThePhantom(self) -> None:
        """One call segments the phantom, about as large as it is; another threshold cuts it anew."""
        logic = ICHWeakSegLogic()
        try:
            self.skipWithoutPackages(logic)
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
