"""Pictures of Slicer's own slice and 3D views without a screen: real logics and displayable managers, no Qt.

What Slicer's view widgets do themselves (a window, the volume's image as its lowest layer) is done here; all that
they show comes from the scene through slicer-core.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.util import arrayFromVTKMatrix
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
)
VIEW_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
)
# Slicer's names and colours of its slice views.
LAYOUTS = {
    "Axial": ("Red", (0.95, 0.29, 0.20)),
    "Sagittal": ("Yellow", (0.93, 0.84, 0.30)),
    "Coronal": ("Green", (0.43, 0.69, 0.29)),
}
_PROBE = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(True)
window.SetSize(8, 8)
window.AddRenderer(vtk.vtkRenderer())
window.Render()
picture = vtk.vtkWindowToImageFilter()
picture.SetInput(window)
picture.Update()
assert window.SupportsOpenGL(), window.GetClassName()
"""


@cache
def why_no_pictures() -> str:
    """Why nothing can be rendered here; empty where it can.

    Asked in a process of its own: without OpenGL, VTK may take the process down.
    """
    try:
        probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "OpenGL does not answer"
    if probe.returncode == 0:
        return ""
    return "no OpenGL without a screen; on Debian: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"


class _View:
    """A window without a screen, filled by displayable managers from a node of the scene."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Args: size: width and height in pixels."""
        self.renderer = vtk.vtkRenderer()
        # VTK looks for a screen first and warns that there is none.
        vtk.vtkObject.GlobalWarningDisplayOff()
        self.window = vtk.vtkRenderWindow()
        vtk.vtkObject.GlobalWarningDisplayOn()
        self.window.SetOffScreenRendering(True)
        # The same pixels on every machine.
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()

    def _fill(self, names: tuple[str, ...], node, application) -> None:
        # VTK needs the window's context before anything measures a text or picks.
        self.window.Render()
        self.group.SetRenderer(self.renderer)
        for name in names:
            manager = getattr(slicer, name)()
            manager.SetMRMLApplicationLogic(application)
            self.group.AddDisplayableManager(manager)
        self.group.SetMRMLDisplayableNode(node)

    def picture(self) -> np.ndarray:
        """What the view shows now: uint8, shape (height, width, 3), the top row first."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        columns, rows, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)
        return pixels[::-1].copy()

    def close(self) -> None:
        """Take the view out of the scene and end its window."""
        self.group.SetMRMLDisplayableNode(None)
        self.window.Finalize()


class SliceView(_View):
    """One of Slicer's slice views.

    Attributes:
        node: vtkMRMLSliceNode: where the slice lies.
        composite: vtkMRMLSliceCompositeNode: which volumes it shows.
        logic: vtkMRMLSliceLogic.
    """

    def __init__(self, scene, application, orientation: str = "Axial", size=(400, 400)) -> None:
        """Args:
        scene: vtkMRMLScene.
        application: its application logic.
        orientation: Axial, Sagittal or Coronal.
        size: width and height in pixels.
        """
        super().__init__(size)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        self.logic.SetMRMLScene(scene)
        if application.GetSliceLogics() is None:
            application.SetSliceLogics(vtk.vtkCollection())
        application.GetSliceLogics().AddItem(self.logic)
        self.application = application
        layout, color = LAYOUTS[orientation]
        # With the orientations that the scene knows.
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")
        node.UnRegister(None)
        node.SetName(layout)
        node.SetLayoutName(layout)
        # The scene gives the one that is there already.
        self.node = scene.AddNode(node)
        self.logic.SetSliceNode(self.node)
        self.node.SetLayoutColor(color)
        self.node.SetOrientation(orientation)
        self.composite = self.logic.GetSliceCompositeNode()
        self.logic.ResizeSliceNode(*size)
        # The volumes' blended image lies below all else, at its own brightness.
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self.image = vtk.vtkActor2D()
        self.image.SetMapper(mapper)
        self.image.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.image)
        self._fill(SLICE_MANAGERS, self.node, application)

    def show(self, volume) -> None:
        """Show a volume as the background, fitted into the view."""
        self.composite.SetBackgroundVolumeID(volume.GetID())
        self.logic.FitSliceToBackground(*self.window.GetSize())

    def go_to(self, ras) -> None:
        """Move the slice so that it goes through a point in world RAS, mm."""
        self.node.JumpSliceByOffsetting(*map(float, ras))

    def picture(self) -> np.ndarray:
        """What the view shows now: uint8, shape (height, width, 3), the top row first."""
        self.logic.UpdatePipeline()
        shown = self.logic.GetImageDataConnection()
        self.image.SetVisibility(shown is not None)
        if shown is not None:
            self.image.GetMapper().SetInputConnection(shown)
        return super().picture()

    def places(self) -> np.ndarray:
        """World RAS in mm of the middle of each pixel, shape (height, width, 3), the top row first."""
        width, height = self.window.GetSize()
        x, y = np.meshgrid(np.arange(width), np.arange(height)[::-1])
        xy = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], axis=-1)
        return (xy @ arrayFromVTKMatrix(self.node.GetXYToRAS()).T)[..., :3]

    def close(self) -> None:
        self.application.GetSliceLogics().RemoveItem(self.logic)
        super().close()
        self.logic.SetMRMLScene(None)


class ThreeDView(_View):
    """Slicer's 3D view.

    Attributes:
        node: vtkMRMLViewNode: what of the view itself is shown.
        camera: vtkCamera of its camera node.
    """

    def __init__(self, scene, application, size=(400, 400)) -> None:
        """Args:
        scene: vtkMRMLScene.
        application: its application logic.
        size: width and height in pixels.
        """
        super().__init__(size)
        node = slicer.vtkMRMLViewNode()
        node.SetName("View1")
        node.SetLayoutName("1")
        self.node = scene.AddNode(node)
        # Slicer's own is light blue; black makes colours easy to tell.
        self.node.SetBackgroundColor(0, 0, 0)
        self.node.SetBackgroundColor2(0, 0, 0)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self._fill(VIEW_MANAGERS, self.node, application)

    @property
    def camera(self) -> vtk.vtkCamera:
        return self.renderer.GetActiveCamera()

    def look(self, at, direction=(0.0, -1.0, 0.0), up=(0.0, 0.0, 1.0), distance: float = 400.0) -> None:
        """Look at a point in world RAS, mm.

        Args:
            at: the point, in the middle of the picture then.
            direction: where the camera looks; the default is from the front at the face.
            up: which way is up in the picture.
            distance: of the camera from the point, mm.
        """
        away = np.asarray(direction, float) / np.linalg.norm(direction) * distance
        self.camera.SetFocalPoint(*at)
        self.camera.SetPosition(*(np.asarray(at) - away))
        self.camera.SetViewUp(*up)
        self.renderer.ResetCameraClippingRange()

    def pixels_of(self, points: np.ndarray) -> np.ndarray:
        """Where points in world RAS, shape (n, 3), are seen: row and column, shape (n, 2)."""
        width, height = self.window.GetSize()
        matrix = arrayFromVTKMatrix(
            self.camera.GetCompositeProjectionTransformMatrix(width / height, -1.0, 1.0)
        )
        seen = np.column_stack([points, np.ones(len(points))]) @ matrix.T
        seen = seen[:, :2] / seen[:, 3:]
        return np.column_stack([(1 - seen[:, 1]) / 2 * height, (1 + seen[:, 0]) / 2 * width])


def set_window(volume, width: float, level: float) -> None:
    """Set a CT's grey window in HU."""
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(width, level)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture, uint8, shape (height, width, 3), the top row first."""
    rows, columns, _ = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    flat = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetCompressionLevel(9)
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
