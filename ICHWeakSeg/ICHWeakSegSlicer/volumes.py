"""From a volume node to a CT: can it be segmented, and where in the world do its voxels lie?"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from slicer.util import arrayFromVolume, arrayFromVTKMatrix
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.hu import AIR_HU, HUVolume
from ICHWeakSegLib.ct.shape import FEWEST_SLICES, check_grid
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegSlicer.placing import ijkToRas, nodesOf, subjectHierarchy
from ICHWeakSegSlicer.provenance import KIND_ATTRIBUTE

MODALITY_ATTRIBUTE = "DICOM.Modality"
# Slices count as moved rigidly, and as evenly spaced, within this.
TOLERANCE_MM = 0.05
# Below this change of volume nobody would see it in mL.
SMALLEST_CHANGE = 0.005
# A look at this many voxels along each axis tells CT from other images.
SAMPLES = 40
AIR, TISSUE, BONE = -500, (0, 100), 250


def problemWith(volumeNode) -> str:
    """Why a node cannot be segmented, as one sentence that says what to do; empty where it can.

    Quick enough for a tooltip: it never looks at all voxels.
    """
    if volumeNode is None:
        return "No volume is chosen; load a head CT and choose it."
    if not isinstance(volumeNode, slicer.vtkMRMLNode):
        return f"{volumeNode!r} is not a volume node; load the head CT into the scene and give its node."
    name = _nameOf(volumeNode)
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        return f"{name} is a label map; choose the CT itself."
    if not volumeNode.IsA("vtkMRMLVolumeNode"):
        return f"{name} is not a volume; choose a head CT."
    if volumeNode.GetScene() is None:
        return f"{name} is not in a scene; add it with slicer.mrmlScene.AddNode first."
    if volumeNode.GetAttribute(KIND_ATTRIBUTE):
        return f"{name} was written by this module; choose the CT itself."
    image = volumeNode.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        return f"{name} holds no voxels; load the head CT again."
    components = image.GetNumberOfScalarComponents()
    if components != 1 or not volumeNode.IsA("vtkMRMLScalarVolumeNode"):
        return f"{name} has {components} values in each voxel (a colour or vector image); choose a CT in HU."
    return _wrongModality(volumeNode, name) or _wrongUnits(volumeNode, name) or _wrongGrid(volumeNode, name)


def ctFromVolume(volumeNode) -> CT:
    """The CT of a volume node on its own voxel grid, in world RAS.

    Parent transforms are honoured: linear ones, and non-linear ones that only put whole slices in their place,
    as Slicer's DICOM import adds them to tilted or unevenly spaced series. Any other warp is left aside with a
    warning. The HU are a view of the node's voxels where nothing has to be corrected.

    Raises:
        InputError: what `problemWith` says, or voxels that are not a number.
    """
    problem = problemWith(volumeNode)
    if problem:
        raise InputError(problem)
    name = _nameOf(volumeNode)
    hu = _huOf(volumeNode, name)
    local = ijkToRas(volumeNode)
    ct = CT(hu, local, source=name)
    parent = volumeNode.GetParentTransformNode()
    if parent is None:
        return ct
    if parent.IsTransformToWorldLinear():
        ct.ijk_to_ras = _linearToWorld(parent) @ local
    else:
        placed = _placeSlices(parent, local, hu.shape)
        if placed is None:
            ct.warnings.append(
                f"The non-linear transform of {name} is left aside: volumes and places are those of the "
                "volume before it."
            )
            return ct
        ct.ijk_to_ras, ct.slice_positions_mm = placed
    ct.warnings += _volumeChange(ct, local, name)
    return ct


def modalityOf(volumeNode) -> str:
    """DICOM modality of a volume node, such as CT or MR; empty where nothing is known of it."""
    known = volumeNode.GetAttribute(MODALITY_ATTRIBUTE)
    if known:
        return known.strip().upper()
    hierarchy = subjectHierarchy(volumeNode.GetScene())
    item = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    while item and item != hierarchy.GetSceneItemID():
        known = hierarchy.GetItemAttribute(item, MODALITY_ATTRIBUTE)
        if known:
            return known.strip().upper()
        item = hierarchy.GetItemParent(item)
    return ""


def isLikelyCt(volumeNode) -> bool:
    """Whether a node can be segmented and is a CT by DICOM, by its units, or by the range of its values."""
    if problemWith(volumeNode):
        return False
    if modalityOf(volumeNode) == "CT" or _isHounsfield(volumeNode.GetVoxelValueUnits()):
        return True
    array = arrayFromVolume(volumeNode)
    sample = array[tuple(slice(None, None, max(1, size // SAMPLES)) for size in array.shape)]
    tissue = (sample > TISSUE[0]) & (sample < TISSUE[1])
    return bool((sample < AIR).any() and tissue.mean() > 0.01 and (sample > BONE).any())


def volumesCtFirst(scene) -> list:
    """Scalar volumes to choose from: CTs, then the others, then those that have a problem.

    Hidden nodes, label maps, colour images and the maps that this module wrote are left out.
    """
    nodes = [node for node in nodesOf(scene, "vtkMRMLScalarVolumeNode") if _canBeChosen(node)]
    return sorted(nodes, key=lambda node: 0 if isLikelyCt(node) else 2 if problemWith(node) else 1)


def _canBeChosen(node) -> bool:
    image = node.GetImageData()
    return (
        # Colour, vector and tensor volumes and label maps are other classes that descend from this one.
        node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and not node.GetAttribute(KIND_ATTRIBUTE)
        and (image is None or image.GetNumberOfScalarComponents() == 1)
    )


def _nameOf(node) -> str:
    return node.GetName() or node.GetID() or "The volume"


def _wrongModality(volumeNode, name: str) -> str:
    modality = modalityOf(volumeNode)
    if modality in ("", "CT"):
        return ""
    known = {"MR": "an MR image", "PT": "a PET image", "US": "an ultrasound image"}
    return f"{name} is {known.get(modality, f'of modality {modality}')}; choose a non-contrast head CT."


def _wrongUnits(volumeNode, name: str) -> str:
    units = volumeNode.GetVoxelValueUnits()
    # "1" is DICOM's code for no units: it says nothing.
    if units is None or not units.GetCodeValue() or units.GetCodeValue() == "1" or _isHounsfield(units):
        return ""
    return (
        f"{name} has values in {units.GetCodeMeaning() or units.GetCodeValue()}, not in HU; choose a head CT."
    )


def _isHounsfield(units) -> bool:
    if units is None:
        return False
    return (
        "hnsf" in (units.GetCodeValue() or "").lower()
        or "hounsfield" in (units.GetCodeMeaning() or "").lower()
    )


def _wrongGrid(volumeNode, name: str) -> str:
    shape = volumeNode.GetImageData().GetDimensions()
    if min(shape) < FEWEST_SLICES:
        few = "one slice" if min(shape) == 1 else f"{min(shape)} slices"
        return f"{name} has only {few}; a 3D CT is needed, load the whole series."
    try:
        local = ijkToRas(volumeNode)
        check_grid(shape, local, name)
        parent = volumeNode.GetParentTransformNode()
        if parent is not None and parent.IsTransformToWorldLinear():
            check_grid(shape, _linearToWorld(parent) @ local, f"{name} under its transform")
    except InputError as problem:
        return str(problem)
    return ""


def _huOf(volumeNode, name: str) -> np.ndarray:
    array = arrayFromVolume(volumeNode)
    if array.dtype == np.int16 and array.min() >= AIR_HU:
        return array
    volume = HUVolume(array.shape, name)
    for k, plane in enumerate(array):
        volume.put(k, plane)
    return volume.hu


def _linearToWorld(transformNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    transformNode.GetMatrixTransformToWorld(matrix)
    return arrayFromVTKMatrix(matrix)


def _placeSlices(
    transformNode, local: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """World grid of a volume whose slices a non-linear transform moves as a whole.

    Returns:
        Matrix from IJK to world RAS, with the places of the slices along their normal in mm where they are
        uneven; or None where the transform bends or turns slices, or shifts them off a straight line.
    """
    count = shape[0]
    # Five points each way: a warp between the corners must not go unseen.
    i, j = (
        coordinate.ravel() for coordinate in np.meshgrid(*(np.linspace(0, n - 1, 5) for n in shape[:0:-1]))
    )
    ijk = np.stack([np.tile(i, count), np.tile(j, count), np.repeat(np.arange(count), i.size)])
    world = _toWorld(transformNode, (local[:3, :3] @ ijk + local[:3, 3:]).T).reshape(count, i.size, 3)
    if not np.isfinite(world).all():
        return None
    middle = world.mean(axis=1)
    off = world - middle[:, None]
    i, j = i - i.mean(), j - j.mean()
    iStep, jStep = ((off * at[:, None]).sum((0, 1)) / (count * (at @ at)) for at in (i, j))
    if np.abs(off - i[:, None] * iStep - j[:, None] * jStep).max() > TOLERANCE_MM:
        return None
    normal = np.cross(iStep, jStep)
    normal /= np.linalg.norm(normal)
    origins = middle - (shape[2] - 1) / 2 * iStep - (shape[1] - 1) / 2 * jStep
    way = origins[-1] - origins[0]
    if abs(way @ normal) < TOLERANCE_MM:
        return None
    way /= np.linalg.norm(way)
    along = (origins - origins[0]) @ way
    if np.linalg.norm(origins - origins[0] - np.outer(along, way), axis=1).max() > TOLERANCE_MM:
        return None
    gaps = np.diff(along)
    if gaps.min() <= TOLERANCE_MM:
        return None
    even = np.abs(along - along[-1] * np.linspace(0, 1, count)).max() <= TOLERANCE_MM
    step = along[-1] / (count - 1) if even else np.median(gaps)
    matrix = np.eye(4)
    matrix[:3] = np.stack([iStep, jStep, way * step, origins[0]], axis=1)
    return matrix, None if even else along * (way @ normal)


def _toWorld(transformNode, points: np.ndarray) -> np.ndarray:
    """Points of shape (n, 3) in RAS mm, transformed to the world."""
    transform = vtk.vtkGeneralTransform()
    transformNode.GetTransformToWorld(transform)
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    # Doubles: single precision is too coarse for the tolerance.
    after.SetDataTypeToDouble()
    before.SetData(numpy_to_vtk(np.ascontiguousarray(points, float)))
    transform.TransformPoints(before, after)
    return vtk_to_numpy(after.GetData()).copy()


def _volumeChange(ct: CT, local: np.ndarray, name: str) -> list[str]:
    """A warning where Segment Statistics, which counts voxels before the transform, will say otherwise."""
    before = abs(np.linalg.det(local[:3, :3])) / 1000
    each = ct.slice_voxel_ml() / before
    if ct.slice_positions_mm is not None and np.ptp(each) > SMALLEST_CHANGE:
        return [
            f"The slices of {name} are unevenly spaced: the volumes here count each with its own thickness, "
            "Segment Statistics counts all alike."
        ]
    change = each.mean() - 1
    if abs(change) <= SMALLEST_CHANGE:
        return []
    return [
        f"The transform of {name} changes volumes by {100 * change:+.1f} %: the volumes here account for it, "
        "Segment Statistics does not."
    ]
