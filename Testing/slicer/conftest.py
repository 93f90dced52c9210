"""A real MRML scene for every test, as the application sets one up, and phantom CTs in it: slicer-core, no Qt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
# As the extension's installation does: the module's folder holds the package of the Slicer side.
sys.path[:0] = [str(ROOT / "ICHWeakSeg"), str(ROOT / "Testing" / "lib")]

pytest.importorskip("slicer_core", reason="slicer-core is not installed: pip install slicer-core")
slicer = pytest.importorskip("slicer", reason="slicer-core is not whole")
vtk = pytest.importorskip("vtk", reason="vtk is not installed: it comes with slicer-core")

from phantom_heads import HeadWithBleed, on_grid  # noqa: E402
from slicer.util import arrayFromGridTransform, updateVolumeFromArray, vtkMatrixFromArray  # noqa: E402

from ICHWeakSegLib.ct.volume import CT  # noqa: E402
from ICHWeakSegLib.refine.components import count_lesions  # noqa: E402
from ICHWeakSegLib.worker.exchange import Box, CaseResult, Found, FoundSegment  # noqa: E402

# In the order in which Slicer's modules need each other.
LOGICS = (
    "vtkMRMLColorLogic",
    "vtkSlicerSubjectHierarchyModuleLogic",
    "vtkSlicerTerminologiesModuleLogic",
    "vtkSlicerVolumesLogic",
    "vtkSlicerTablesLogic",
    "vtkSlicerSegmentationsModuleLogic",
    "vtkSlicerSequencesLogic",
)
PROVENANCE = {
    "model": "tiny",
    "version": "0.1",
    "sha256": "ab" * 32,
    "method": "hgi-sam",
    "threshold": 0.05,
    "software": "ICHWeakSeg test",
    "device": "cpu",
}

SHAPE = (20, 60, 56)
_TILT = np.tan(np.radians(20))
_TURN = np.radians(15)
# World grids, IJK to RAS in mm, that hold the phantom's head; the slices are 8 mm apart.
GRIDS = {
    "axial": np.array([[-4, 0, 0, 110], [0, -4, 0, 118], [0, 0, 8, -40], [0, 0, 0, 1.0]]),
    "flipped": np.array([[4, 0, 0, -110], [0, 4, 0, -118], [0, 0, -8, 112], [0, 0, 0, 1.0]]),
    # A gantry tilt: the k step leans although i and j stay.
    "sheared": np.array([[-4, 0, 0, 110], [0, -4, -8 * _TILT, 145], [0, 0, 8, -40], [0, 0, 0, 1.0]]),
    "oblique": np.array(
        [
            [-4 * np.cos(_TURN), 0, 8 * np.sin(_TURN), 100],
            [0, -4, 0, 118],
            [4 * np.sin(_TURN), 0, 8 * np.cos(_TURN), -60],
            [0, 0, 0, 1.0],
        ]
    ),
}
# Two halves of different thickness, as of an old sequence; mm along the normal.
UNEVEN_MM = np.concatenate([np.arange(10) * 5.0, 45 + np.arange(1, 11) * 10.0])


def _rotation() -> np.ndarray:
    """A head that was turned and moved, as a registration does."""
    angle = np.radians(12)
    return np.array(
        [
            [np.cos(angle), -np.sin(angle), 0, 15],
            [np.sin(angle), np.cos(angle), 0, -20],
            [0, 0, 1, 30],
            [0, 0, 0, 1.0],
        ]
    )


@pytest.fixture(scope="session", autouse=True)
def conversion_rules() -> None:
    """The application's Segmentations module registers these when it starts; slicer-core leaves it to us."""
    factory = slicer.vtkSegmentationConverterFactory.GetInstance()
    if not factory.GetConverterRules():
        factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
        factory.RegisterConverterRule(slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule())


@dataclass
class SceneSetup:
    """A scene and what stands around it in the application; the parts live as long as this."""

    scene: slicer.vtkMRMLScene
    application: slicer.vtkSlicerApplicationLogic
    logics: dict[str, slicer.vtkMRMLAbstractLogic]
    cache: slicer.vtkCacheManager
    data: slicer.vtkDataIOManager


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[[], SceneSetup]]:
    """Makes whole scenes: application logic, module logics, cache and data manager (else no .mrb)."""
    made = []

    def make() -> SceneSetup:
        folder = tmp_path / f"slicer-{len(made)}"
        folder.mkdir()
        scene = slicer.vtkMRMLScene()
        cache_manager = slicer.vtkCacheManager()
        cache_manager.SetRemoteCacheDirectory(str(folder))
        data = slicer.vtkDataIOManager()
        data.SetCacheManager(cache_manager)
        scene.SetCacheManager(cache_manager)
        scene.SetDataIOManager(data)
        application = slicer.vtkSlicerApplicationLogic()
        application.SetTemporaryPath(str(folder))
        application.SetMRMLScene(scene)
        logics = {name: getattr(slicer, name)() for name in LOGICS}
        # Terminology files come with the application, not with slicer-core: that they are missing is known.
        vtk.vtkObject.GlobalWarningDisplayOff()
        for logic in logics.values():
            logic.SetMRMLApplicationLogic(application)
            logic.SetMRMLScene(scene)
        vtk.vtkObject.GlobalWarningDisplayOn()
        made.append(SceneSetup(scene, application, logics, cache_manager, data))
        return made[-1]

    yield make
    vtk.vtkObject.GlobalWarningDisplayOff()
    for setup in made:
        setup.scene.Clear(True)
        for logic in reversed(setup.logics.values()):
            logic.SetMRMLScene(None)
        setup.application.SetMRMLScene(None)
    vtk.vtkObject.GlobalWarningDisplayOn()


@pytest.fixture
def scene_setup(make_scene, monkeypatch) -> SceneSetup:
    """The scene of this test with its logics; also `slicer.mrmlScene`."""
    setup = make_scene()
    monkeypatch.setattr(slicer, "mrmlScene", setup.scene, raising=False)
    return setup


@pytest.fixture
def scene(scene_setup) -> slicer.vtkMRMLScene:
    """The scene of this test, also as `slicer.mrmlScene`."""
    return scene_setup.scene


@pytest.fixture
def no_slicer_errors(capfd) -> Iterator[None]:
    """Fails the test where Slicer or VTK reported an error or a warning meanwhile."""
    yield
    messages = [line for line in capfd.readouterr().err.splitlines() if "ERR|" in line or "WARN|" in line]
    assert not messages, "\n".join(messages)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A folder with tiny random models: at a threshold of 0 their maps rule nothing out, and HU find the blood."""
    from tiny_models import tiny_card, tiny_model

    from ICHWeakSegLib.models import MapSettings, OperatingPoint

    folder = tmp_path_factory.mktemp("models")
    low = MapSettings("hgi-sam", 0.0, "hu", {"smallest_ml": 1.0})
    tiny_model(folder / "tiny", tiny_card("tiny", map=low))
    tiny_model(folder / "many", tiny_card("many", "subtypes", map=low))
    tiny_model(folder / "blind", tiny_card("blind", operating=OperatingPoint(1.0)))
    return folder


@pytest.fixture(scope="session")
def shared() -> Iterator:
    """One logic for all tests: its worker starts once."""
    from ICHWeakSegSlicer.logic import SceneLogic

    logic = SceneLogic()
    yield logic
    logic.close()


@pytest.fixture
def logic(shared, scene, models, monkeypatch) -> Iterator:
    """The shared logic beside a fresh scene, with the tiny models; its worker lives on."""
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(models))
    yield shared
    for job in shared._queue[:]:
        job.cancel()


@pytest.fixture
def make_logic(scene, models, monkeypatch) -> Iterator[Callable]:
    """Makes logics of this test alone, each with a worker of its own."""
    from ICHWeakSegSlicer.logic import SceneLogic

    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(models))
    made = []

    def make(**options) -> SceneLogic:
        made.append(SceneLogic(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@dataclass
class LoadedCT:
    """A CT volume node with what is known of it.

    Attributes:
        node: the volume node.
        hu: int16, shape (K, J, I).
        blood: the truth, bool, shape (K, J, I).
        world: CT whose grid says where the voxels lie in world RAS; made without Slicer.
        local: 4x4 IJK-to-RAS of the node itself, without its parent transforms.
    """

    node: slicer.vtkMRMLScalarVolumeNode
    hu: np.ndarray
    blood: np.ndarray
    world: CT
    local: np.ndarray

    def world_ras(self, mask: np.ndarray) -> np.ndarray:
        """World RAS of the voxels of a mask in mm, shape (n, 3), in the order of `np.nonzero`."""
        k, j, i = np.nonzero(mask)
        affine, positions = self.world.ijk_to_ras, self.world.slice_positions_mm
        if positions is not None:
            normal = np.cross(affine[:3, 0], affine[:3, 1])
            step = abs(affine[:3, 2] @ normal / np.linalg.norm(normal))
            k = (np.abs(positions - positions[0]) / step)[k]
        return (affine @ np.stack([i, j, k, np.ones_like(i)]))[:3].T


@cache
def _head(grid: str, uneven: bool) -> HeadWithBleed:
    return on_grid(SHAPE, GRIDS[grid], UNEVEN_MM if uneven else None)


def add_volume(scene, hu: np.ndarray, ijk_to_ras: np.ndarray, name: str = "Head CT"):
    """A scalar volume node with its display node, as a reader adds it."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(vtkMatrixFromArray(np.asarray(ijk_to_ras, float)))
    updateVolumeFromArray(node, hu)
    node.CreateDefaultDisplayNodes()
    # In the application a plugin (Qt) does so when a node is added.
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    return node


def add_linear_transform(scene, matrix: np.ndarray, name: str = "Turned head"):
    """A linear transform node."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(vtkMatrixFromArray(matrix))
    return node


def add_acquisition_transform(scene, volume, local: np.ndarray, slice_origins: np.ndarray):
    """The grid transform that Slicer's DICOM import gives a tilted or unevenly spaced series.

    A grid of one vector at each corner of each slice, in the volume's own directions; the corners lie one voxel
    beyond the last one.

    Args:
        local: IJK-to-RAS of the volume node, orthogonal.
        slice_origins: where the first voxel of each slice really lies, RAS in mm, shape (K, 3).
    """
    columns, rows, slices = volume.GetImageData().GetDimensions()
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", f"{volume.GetName()} acquisition transform")
    image = vtk.vtkImageData()
    image.SetOrigin(volume.GetOrigin())
    image.SetDimensions(2, 2, slices)
    i, j, k = volume.GetSpacing()
    image.SetSpacing(i * columns, j * rows, k)
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    transform = slicer.vtkOrientedGridTransform()
    directions = vtk.vtkMatrix4x4()
    volume.GetIJKToRASDirectionMatrix(directions)
    transform.SetGridDirectionMatrix(directions)
    transform.SetDisplacementGridData(image)
    node.SetAndObserveTransformToParent(transform)
    volume.SetAndObserveTransformNodeID(node.GetID())
    even = local[:3, 3] + np.outer(np.arange(slices), local[:3, 2])
    arrayFromGridTransform(node)[:] = (slice_origins - even)[:, None, None, :]
    return node


@pytest.fixture
def load_ct(scene) -> Callable[..., LoadedCT]:
    """Loads the phantom: `load_ct(grid, transform)`.

    `grid` is a name of `GRIDS`. `transform`: None; "linear", a parent that turns and moves the head;
    "tilted" or "uneven" or "tilted and uneven", a grid transform as DICOM import makes it (on `sheared` and
    `axial` grids by itself); "uneven, linear", the same below a linear one.
    """

    def load(grid: str = "axial", transform: str | None = None, name: str = "Head CT") -> LoadedCT:
        uneven = transform is not None and "uneven" in transform
        if transform is not None and "tilted" in transform:
            grid = "sheared"
        head = _head(grid, uneven)
        affine = GRIDS[grid]
        world = CT(head.ct.hu, affine, UNEVEN_MM if uneven else None)
        if transform is None or transform == "linear":
            local = affine
            node = add_volume(scene, head.ct.hu, local, name)
        else:
            # As ITK reads such a series: the normal as k axis, the mean way from slice to slice as its step.
            normal = np.cross(affine[:3, 0], affine[:3, 1])
            normal *= np.sign(normal @ affine[:3, 2]) / np.linalg.norm(normal)
            nominal = affine[:3, 2] @ normal
            along = UNEVEN_MM / nominal if uneven else np.arange(SHAPE[0])
            local = affine.copy()
            local[:3, 2] = normal * np.linalg.norm(affine[:3, 2]) * along[-1] / (SHAPE[0] - 1)
            node = add_volume(scene, head.ct.hu, local, name)
            add_acquisition_transform(scene, node, local, affine[:3, 3] + np.outer(along, affine[:3, 2]))
        if transform is not None and "linear" in transform:
            parent = add_linear_transform(scene, _rotation())
            (node.GetParentTransformNode() or node).SetAndObserveTransformNodeID(parent.GetID())
            world = CT(head.ct.hu, _rotation() @ affine, world.slice_positions_mm)
        return LoadedCT(node, head.ct.hu, head.blood, world, local)

    return load


def make_result(
    loaded: LoadedCT, masks: Mapping[str, np.ndarray] | np.ndarray | None = None, **provenance
) -> CaseResult:
    """What the worker would hand over for these masks; the truth's bleed by default."""
    if masks is None:
        masks = loaded.blood
    if not isinstance(masks, Mapping):
        masks = {"hemorrhage": masks}
    ct, everything = loaded.world, np.zeros(loaded.hu.shape, bool)

    def found(mask: np.ndarray) -> Found:
        mean = float(loaded.hu[mask].mean()) if mask.any() else None
        return Found(ct.volume_ml(mask), count_lesions(mask), int(mask.any((1, 2)).sum()), mean)

    segments = []
    for name, mask in masks.items():
        mask = np.asarray(mask) != 0
        everything |= mask
        segments.append(FoundSegment(name, Box.of(mask.astype(np.uint8)), found(mask)))
    heat = np.where(everything, 0.25 + 0.75 * np.linspace(0, 1, everything.size).reshape(everything.shape), 0)
    positive = everything.any((1, 2)).tolist()
    scores = [
        {"slice": s, "probability": 0.1 + 0.8 * yes, "any": 0.1 + 0.8 * yes} for s, yes in enumerate(positive)
    ]
    return CaseResult(
        shape=loaded.hu.shape,
        segments=segments,
        total=found(everything),
        map=Box.of(heat.astype(np.float32)),
        slice_scores=scores,
        positive=positive,
        warnings=[],
        provenance={**PROVENANCE, **provenance},
    )
