"""Makes the README's pictures of Slicer's views, docs/images/slice_views.png and map.png, from a phantom alone.

    .venv/bin/python Testing/slicer/make_screenshots.py [FOLDER]

The module's own logic segments the phantom with the bundled model in its worker process; slicer-core draws the
views. Takes less than a minute.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from conftest import LOGICS, ROOT, slicer
from rendering import SliceView, ThreeDView, save_png, why_no_pictures
from slicer.util import arrayFromSegmentInternalBinaryLabelmap

from ICHWeakSegSlicer.logic import SceneLogic
from ICHWeakSegSlicer.maps import mapOf, showMap
from ICHWeakSegSlicer.placing import ijkToRas
from ICHWeakSegSlicer.samples import addPhantom
from ICHWeakSegSlicer.segmentations import ourSegmentIds

SIZE = (460, 400)
MAP_SIZE = (600, 520)
# Between the views, and the coloured bar above each.
GAP, BAR = 4, 6


def open_scene(folder: str):
    """A scene with what the views need around it: scene, application logic, and the logics to keep."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetTemporaryPath(folder)
    application.SetMRMLScene(scene)
    slicer.mrmlScene = scene
    # Terminology files come with the application, not with slicer-core; nothing here looks into them.
    logics = [getattr(slicer, name)() for name in LOGICS if "Terminologies" not in name]
    # What Slicer's Colors module does when it starts.
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    for logic in logics:
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
    slicer.vtkSegmentationConverterFactory.GetInstance().RegisterConverterRule(
        slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule()
    )
    return scene, application, logics


def with_bar(picture: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """A view below a bar in the colour that Slicer gives it."""
    bar = np.full((BAR, picture.shape[1], 3), np.rint(np.array(color) * 255), np.uint8)
    return np.vstack([bar, picture])


def four_up(pictures: list[np.ndarray]) -> np.ndarray:
    """Four views as in Slicer's four-up layout, row by row."""
    height, width, _ = pictures[0].shape
    whole = np.full((2 * height + GAP, 2 * width + GAP, 3), 60, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = number // 2 * (height + GAP), number % 2 * (width + GAP)
        whole[row : row + height, column : column + width] = picture
    return whole


def draw_views(scene, application, volume, middle) -> np.ndarray:
    """Axial, 3D, coronal and sagittal views of all that the scene shows."""
    with ExitStack() as views:
        slices = {}
        for orientation in ("Axial", "Coronal", "Sagittal"):
            view = SliceView(scene, application, orientation, SIZE)
            slices[orientation] = views.enter_context(closing(view))
            view.node.SetOrientationMarkerType(view.node.OrientationMarkerTypeCube)
            view.node.SetOrientationMarkerSize(view.node.OrientationMarkerSizeSmall)
            view.show(volume)
            view.go_to(middle)
        pictures = {
            name: with_bar(view.picture(), view.node.GetLayoutColor()) for name, view in slices.items()
        }
        # The axial slice below the surface, as the eye button of its view shows it.
        slices["Axial"].node.SetSliceVisible(True)
        space = views.enter_context(closing(ThreeDView(scene, application, SIZE)))
        space.node.SetOrientationMarkerType(space.node.OrientationMarkerTypeCube)
        space.node.SetOrientationMarkerSize(space.node.OrientationMarkerSizeSmall)
        space.look(np.array([0, 0, middle[2]]), direction=(0.35, -0.7, -0.62), distance=400)
        pictures["3D"] = with_bar(space.picture(), space.node.GetLayoutColor())
        slices["Axial"].node.SetSliceVisible(False)
    return four_up([pictures[name] for name in ("Axial", "3D", "Coronal", "Sagittal")])


def draw_map(scene, application, volume, map_node, middle) -> np.ndarray:
    """The axial view with the map over the CT and its colour bar."""
    with closing(SliceView(scene, application, "Axial", MAP_SIZE)) as view:
        view.show(volume)
        view.go_to(middle)
        showMap(map_node)
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(map_node)
        legend.SetTitleText("Map")
        legend.SetLabelFormat("%.1f")
        legend.SetNumberOfLabels(6)
        legend.SetMaxNumberOfColors(256)
        legend.SetSize(0.09, 0.4)
        legend.SetPosition(0.88, 0.5)
        for text, size in ((legend.GetTitleTextProperty(), 15), (legend.GetLabelTextProperty(), 13)):
            text.SetFontFamilyToArial()
            text.ShadowOff()
            text.SetFontSize(size)
        return with_bar(view.picture(), view.node.GetLayoutColor())


def main(folder: Path) -> None:
    """Write both pictures into a folder."""
    if why_no_pictures():
        sys.exit(why_no_pictures())
    with tempfile.TemporaryDirectory() as temporary:
        scene, application, _logics = open_scene(temporary)
        volume, truth = addPhantom(scene, volumeMl=25.0)
        with closing(SceneLogic()) as logic:
            segmentation = logic.segment(volume, device="cpu")
        voxel_ml = abs(np.linalg.det(ijkToRas(volume)[:3, :3])) / 1000
        (found,) = ourSegmentIds(segmentation)
        count = np.count_nonzero(arrayFromSegmentInternalBinaryLabelmap(segmentation, found))
        print(f"Found {count * voxel_ml:.1f} mL of {np.count_nonzero(truth) * voxel_ml:.1f} mL")
        k, j, i = np.argwhere(truth).mean(axis=0).round()
        middle = (ijkToRas(volume) @ [i, j, k, 1])[:3]
        save_png(folder / "slice_views.png", draw_views(scene, application, volume, middle))
        # The mask as an outline leaves the map's colours to be seen.
        segmentation.GetDisplayNode().SetVisibility2DFill(False)
        picture = draw_map(scene, application, volume, mapOf(segmentation), middle)
        save_png(folder / "map.png", picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
