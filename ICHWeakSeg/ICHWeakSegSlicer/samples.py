"""The phantom as a volume in the scene: a made-up head CT with a bleed of known volume, for trying the module."""

from typing import Any

import numpy as np
import slicer
from slicer.util import updateVolumeFromArray, vtkMatrixFromArray

NAME = "Head phantom"
CATEGORY = "ICH WeakSeg"
# Brain window.
WINDOW, LEVEL = 80, 40


def addPhantom(scene: Any, size: int = 512, volumeMl: float = 20.0) -> tuple[Any, np.ndarray]:
    """Make a phantom with an intraparenchymal bleed; a few seconds.

    Args:
        scene: gets the volume node.
        size: rows and columns.
        volumeMl: volume of the blood.

    Returns:
        The volume node, and the truth: uint8, shape (K, J, I).
    """
    from ICHWeakSegLib.phantom import make_phantom

    phantom = make_phantom("intraparenchymal", volumeMl, size=size, pixel_mm=230.4 / size)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(NAME))
    node.SetIJKToRASMatrix(vtkMatrixFromArray(np.asarray(phantom.ct.ijk_to_ras, float)))
    updateVolumeFromArray(node, phantom.ct.hu)
    node.SetAttribute("DICOM.Modality", "CT")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(WINDOW, LEVEL)
    return node, phantom.truth


def registerPhantom(thumbnail: str) -> None:
    """Offer the phantom in the Sample Data module; it is made on this computer, nothing is downloaded.

    Args:
        thumbnail: path of its picture.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        uris="",
        fileNames="",
        nodeNames=NAME,
        thumbnailFileName=thumbnail,
        customDownloader=_makeAndShow,
    )


def _makeAndShow(source: Any = None) -> list[Any]:
    """What a click in the Sample Data module does."""
    with slicer.util.WaitCursor():
        node, _ = addPhantom(slicer.mrmlScene)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return [node]
