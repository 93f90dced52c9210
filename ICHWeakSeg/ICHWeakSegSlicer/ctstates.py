"""Whether a CT is still as it was: voxels, grid, transforms."""

from __future__ import annotations

from typing import Any

import vtk


def stateOf(volumeNode: Any) -> tuple:
    """What the CT of a volume node depends on; another tuple after a change. Names and display do not count."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    image = volumeNode.GetImageData()
    return (
        volumeNode.GetID(),
        None if image is None else image.GetMTime(),
        tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4)),
        transformStateOf(volumeNode),
    )


def transformStateOf(node: Any) -> tuple | None:
    """The same for the transforms above a node; None without any."""
    transform = node.GetParentTransformNode()
    return None if transform is None else (transform.GetID(), transform.GetTransformToWorldMTime())
