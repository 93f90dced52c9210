"""The panel on stand-ins for Qt and the application, with a real MRML scene and the real worker process."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN_PACKAGES = ("ICHWeakSegSlicer", "ICHWeakSegLib")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("slicer_core", reason="slicer-core is not installed: pip install slicer-core")
pytest.importorskip("PySide6", reason="PySide6 is not installed: pip install PySide6-Essentials")

# The scene is that of the tests without a panel. Its names are handed on: a test there may import from `conftest`
# when both folders are run together.
_spec = importlib.util.spec_from_file_location("slicer_scene", ROOT / "Testing" / "slicer" / "conftest.py")
_scene = importlib.util.module_from_spec(_spec)
sys.modules["slicer_scene"] = _scene
_spec.loader.exec_module(_scene)
globals().update({name: value for name, value in vars(_scene).items() if not name.startswith("_")})

import slicer  # noqa: E402

# Only now: slicer-core takes a folder `slicer` on the path, such as Testing/slicer, for a part of itself.
sys.path.append(str(ROOT / "Testing"))
import standins  # noqa: E402
from PySide6 import QtCore  # noqa: E402
from standins import ctk_widgets, pythonqt  # noqa: E402
from widget_tools import PATIENCE, Panel  # noqa: E402


@cache
def _phantom() -> tuple:
    from ICHWeakSegLib.phantom import make_phantom

    return make_phantom("intraparenchymal", 20.0, size=256, pixel_mm=0.9)


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings and own models of this test alone."""
    if pythonqt.miscounts_none():
        pytest.skip("PySide6 miscounts None and would abort Python: pip install 'PySide6-Essentials!=6.12.0'")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(
        QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, str(tmp_path / "settings")
    )
    QtCore.QCoreApplication.setOrganizationName("tests")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("ICHWEAKSEG_MODELS", raising=False)


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    """A test that reloads ours must not leave later ones with classes of which their own imports know nothing."""

    def ours() -> dict[str, ModuleType]:
        return {name: sys.modules[name] for name in sys.modules if name.split(".")[0] in OWN_PACKAGES}

    before = ours()
    yield
    if any(sys.modules.get(name) is not module for name, module in before.items()):
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture
def application(scene_setup) -> Iterator[standins.Application]:
    """The application with the module loaded. No popup and no exception in a slot goes unseen."""
    pythonqt.slot_errors.clear()
    ctk_widgets.ctkMessageBox.answers.clear()
    ctk_widgets.ctkMessageBox.shown.clear()
    application = standins.install(scene_setup.scene, scene_setup.logics)
    application.loadModule(ROOT / "ICHWeakSeg" / "ICHWeakSeg.py")
    yield application
    environment = os.environ.get("ICHWEAKSEG_MODELS")
    standins.uninstall()
    if environment is not None:
        os.environ.pop("ICHWEAKSEG_MODELS", None)
    assert not pythonqt.slot_errors, "\n".join(pythonqt.slot_errors)
    assert not ctk_widgets.ctkMessageBox.answers, "A popup that the test expected did not come"


@pytest.fixture
def panel(application) -> Panel:
    """The opened panel, 420 pixels wide; its worker starts with the first run."""
    return Panel(application)


@pytest.fixture(scope="session")
def shared_worker() -> Iterator[list]:
    """One worker for many tests: it starts once and keeps its model loaded."""
    kept: list = []
    yield kept
    for client in kept:
        client.close()


@pytest.fixture
def warm(panel: Panel, shared_worker: list) -> Iterator[Panel]:
    """The panel with the shared worker."""
    if not shared_worker:
        shared_worker.append(panel.logic.client)
    logic = panel.logic
    logic._client = shared_worker[0]
    yield panel
    for job in logic._queue[:]:
        job.cancel()
    # It serves the next test.
    logic._client = None


@pytest.fixture
def add_head(scene) -> Callable[..., slicer.vtkMRMLScalarVolumeNode]:
    """Adds the phantom to the scene; its truth is `add_head.truth`."""

    def add(name: str = "Head CT", modality: str | None = None) -> slicer.vtkMRMLScalarVolumeNode:
        phantom = _phantom()
        node = _scene.add_volume(scene, phantom.ct.hu, phantom.ct.ijk_to_ras, name)
        if modality is not None:
            node.SetAttribute("DICOM.Modality", modality)
        return node

    add.truth = _phantom().truth != 0
    return add


@pytest.fixture
def wait() -> Callable[..., None]:
    """Lets Qt's events pass until something is so."""

    def until(what: Callable[[], object], seconds: float = PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "It did not come about in time"
            slicer.app.processEvents()
            time.sleep(0.005)

    return until


@pytest.fixture
def shown_on(load_ct) -> Callable[..., tuple]:
    """Shows a result that no worker made: `shown_on(panel, masks)` gives the loaded CT and the segmentation."""
    from ICHWeakSegSlicer import maps, segmentations

    def show(panel: Panel, masks=None, name: str = "Head CT", transform: str | None = None) -> tuple:
        loaded = load_ct("axial", transform, name)
        facts = {"run": "r1", "map_threshold": 0.4, "refine": "threshold", "brain_hu": 30}
        result = _scene.make_result(loaded, masks, **facts)
        segmentation = segmentations.createSegmentationNode(loaded.node)
        segmentations.writeResult(segmentation, loaded.node, result)
        mapNode = maps.createMapNode(loaded.node, True)
        maps.writeMap(mapNode, loaded.node, result.map)
        mapNode.SetAttribute("ICHWeakSeg.run", "r1")
        maps.linkMap(segmentation, mapNode)
        panel.settle()
        panel.widget.result.remember(segmentation, result)
        panel.parameters.outputSegmentation = segmentation
        panel.settle()
        return loaded, segmentation

    return show
