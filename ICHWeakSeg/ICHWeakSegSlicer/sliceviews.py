"""Slice views brought to a place in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import vtk
from slicer.util import arrayFromVTKMatrix

from ICHWeakSegSlicer.placing import nodesOf


def jumpTo(scene: Any, ras: Sequence[float]) -> int:
    """Let every slice view show a place; one that would not have it in its field of view is centred on it.

    Args:
        scene: holds the views.
        ras: world RAS in mm.

    Returns:
        How many views there are.
    """
    views = nodesOf(scene, "vtkMRMLSliceNode")
    for view in views:
        view.JumpSliceByOffsetting(*ras)
        if not _inView(view, ras):
            view.JumpSliceByCentering(*ras)
    return len(views)


def _inView(view: Any, ras: Sequence[float]) -> bool:
    toXy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(view.GetXYToRAS(), toXy)
    x, y = (arrayFromVTKMatrix(toXy) @ np.append(ras, 1.0))[:2]
    width, height = view.GetDimensions()[:2]
    return 0 <= x < width and 0 <= y < height
