"""From masks to numbers: every lesion of a CT and all of them together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.ct.axes import slice_coordinates
from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.quantify.diameters import diameters
from ICHWeakSegLib.quantify.find_lesions import find_lesions
from ICHWeakSegLib.quantify.lesion import Lesion, Quantities, Totals
from ICHWeakSegLib.quantify.midline import Midplane, Planes, find_midplane
from ICHWeakSegLib.quantify.nearby import lesions_near
from ICHWeakSegLib.quantify.surface import irregularity, sphericity

# The names that mean "blood of any kind" rather than a subtype.
ANY = ("hemorrhage", "any")
# A lesion belongs to the side that holds this share of it.
ONE_SIDE = 0.9
# ... unless half of it lies this close to the midline: falx, interhemispheric fissure, third ventricle.
MIDLINE_MM = 5.0


def measure(
    ct: CT,
    masks: Mapping[str, np.ndarray],
    *,
    brain: np.ndarray | BrainMask | None = None,
    ventricles: np.ndarray | None = None,
) -> Quantities:
    """Measure the blood of a CT, lesion by lesion and in total.

    A lesion is a 26-connected component of all masks together, on the CT's own voxels; volumes use each slice's
    true volume. Diameters, slices and shapes are measured on the axial slices, straightened where the gantry was
    tilted.

    Args:
        ct: the CT.
        masks: `{"hemorrhage": mask}`, or one a subtype (EDH, IPH, ...), as `Result.masks` has them; nonzero is
            blood, shape (K, J, I).
        brain: everything inside the skull, bool, shape (K, J, I), or the `BrainMask` of the CT's `AxialGrid`;
            None finds it.
        ventricles: bool, shape (K, J, I); None leaves `touches_ventricles` out. Nothing in this package finds
            ventricles: filled with blood they have no density of their own.

    Raises:
        InputError: no mask, or a mask that is not on the CT's voxels.

    Example:
        >>> quantities = measure(ct, {"hemorrhage": mask})
        >>> quantities.total.volume_ml, quantities.lesions[0].abc2_ml
    """
    _check(ct, masks, brain, ventricles)
    subtypes = tuple(name for name in masks if name.lower() not in ANY)
    labels, order, volumes = find_lesions(ct, masks)
    if not order:
        empty = {name: 0.0 for name in subtypes}
        return Quantities((), Totals(0.0, 0, 0, None, None, 0.0, 0.0, 0.0, *[None] * 4, empty))
    grid = AxialGrid(ct)
    axial = _axial_labels(grid, ct, labels, order)
    warnings: list[str] = []
    planes = _brain_planes(grid, brain)
    midplane = None if planes is None else find_midplane(grid, planes)
    if midplane is None:
        warnings.append("No skull with brain inside was found: side and contact with the skull are unknown.")
    near_skull = None if midplane is None else lesions_near(axial, lambda s: ~planes[s], grid.spacing_mm)
    near_fluid = None
    if ventricles is not None:
        fluid = grid.from_native(np.asarray(ventricles) != 0)
        near_fluid = lesions_near(axial, lambda s: fluid[s], grid.spacing_mm)

    thickness = grid.slice_ml * 1000.0 / float(np.prod(grid.spacing_mm))
    voxel_ml = ct.slice_voxel_ml()
    along = slice_coordinates(ct)
    native_boxes, axial_boxes = ndimage.find_objects(labels), ndimage.find_objects(axial)
    lesions, sides_ml = [], np.zeros(2)
    for number, old in enumerate(order, start=1):
        box = native_boxes[old - 1]
        inside = labels[box] == old
        k, j, i = np.nonzero(inside)
        weight = voxel_ml[box[0]][k]
        ijk = np.stack([i + box[2].start, j + box[1].start, along[box[0]][k]], 1)
        ras = ijk @ ct.ijk_to_ras[:3, :3].T + ct.ijk_to_ras[:3, 3]
        right, left, side = _sides(ras, weight, midplane)
        sides_ml += right, left
        centroid = weight @ ras / weight.sum()
        by_subtype = {
            name: float(weight[np.asarray(masks[name])[box][inside] != 0].sum()) for name in subtypes
        }
        flat_box = axial_boxes[old - 1]
        body = axial[flat_box] == old
        slices = slice(flat_box[0].start, flat_box[0].stop)
        size = diameters(body, grid.spacing_mm, thickness[slices])
        lesions.append(
            Lesion(
                number=number,
                subtype=max(by_subtype, key=by_subtype.get) if by_subtype else None,
                volume_ml=float(volumes[old]),
                abc2_ml=size.abc2_ml,
                a_mm=size.a_mm,
                b_mm=size.b_mm,
                c_mm=size.c_mm,
                c_slices=size.c_slices,
                abc2_unweighted_ml=size.abc2_unweighted_ml,
                height_mm=size.height_mm,
                diameter_mm=size.diameter_mm,
                **_density(ct.hu[box][inside]),
                centroid_r_mm=float(centroid[0]),
                centroid_a_mm=float(centroid[1]),
                centroid_s_mm=float(centroid[2]),
                side=side,
                touches_skull=None if near_skull is None else old in near_skull,
                touches_ventricles=None if near_fluid is None else old in near_fluid,
                slices=int(np.count_nonzero(body.any(axis=(1, 2)))),
                first_slice=int(slices.start),
                last_slice=int(slices.stop - 1),
                sphericity=sphericity(body, grid.spacing_mm, grid.positions_mm[slices]),
                irregularity=irregularity(body[size.largest_slice], grid.spacing_mm),
                subtypes_ml=by_subtype,
            )
        )
    blood = np.flatnonzero([plane.any() for plane in axial])
    everything = ndimage.find_objects((labels > 0).view(np.uint8))[0]
    total = Totals(
        volume_ml=float(volumes.sum()),
        lesions=len(lesions),
        slices=len(blood),
        first_slice=int(blood[0]),
        last_slice=int(blood[-1]),
        largest_ml=lesions[0].volume_ml,
        left_ml=None if midplane is None else float(sides_ml[1]),
        right_ml=None if midplane is None else float(sides_ml[0]),
        **_density(ct.hu[everything][labels[everything] > 0]),
        subtypes_ml={name: sum(lesion.subtypes_ml[name] for lesion in lesions) for name in subtypes},
    )
    return Quantities(tuple(lesions), total, tuple(warnings))


def _check(
    ct: CT,
    masks: Mapping[str, np.ndarray],
    brain: np.ndarray | BrainMask | None,
    ventricles: np.ndarray | None,
) -> None:
    if not masks:
        raise InputError("There is no mask to measure: give at least one.")
    given = dict(masks) | {"ventricles": ventricles}
    if not isinstance(brain, BrainMask):
        given["brain"] = brain
    for name, mask in given.items():
        if mask is not None and np.shape(mask) != ct.hu.shape:
            raise InputError(
                f"The mask {name} has shape {np.shape(mask)}, the CT {ct.hu.shape}: give it on the CT's voxels."
            )


def _axial_labels(grid: AxialGrid, ct: CT, labels: np.ndarray, order: list[int]) -> np.ndarray:
    axial = grid.from_native(labels)
    if grid.native_slice is not None or grid.is_view:
        return axial
    # Resampling may step over a lesion of a voxel or two: it keeps the axial voxel at its middle.
    found = set(np.unique(axial).tolist())
    for number in order:
        if number in found:
            continue
        k, j, i = (float(index.mean()) for index in np.nonzero(labels == number))
        ras = ct.ijk_to_ras @ [i, j, np.interp(k, np.arange(len(labels)), slice_coordinates(ct)), 1.0]
        place = np.rint(np.linalg.inv(grid.ijk_to_ras) @ ras)[2::-1].astype(int)
        axial[tuple(np.clip(place, 0, np.array(grid.shape) - 1))] = number
    return axial


def _brain_planes(grid: AxialGrid, brain: np.ndarray | BrainMask | None) -> Planes | None:
    if brain is None:
        brain = BrainMask(grid)
    if isinstance(brain, BrainMask):
        return None if brain.empty else brain
    planes = grid.from_native(np.asarray(brain) != 0)
    return planes if planes.any() else None


def _sides(ras: np.ndarray, weight: np.ndarray, midplane: Midplane | None) -> tuple[float, float, str | None]:
    """Volume to the right and to the left of the midline in mL, and the lesion's side."""
    if midplane is None:
        return 0.0, 0.0, None
    distance = midplane.right_of(ras)
    right, left = float(weight[distance > 0].sum()), float(weight[distance <= 0].sum())
    close = float(weight[np.abs(distance) <= MIDLINE_MM].sum())
    if close >= (right + left) / 2:
        return right, left, "midline"
    if right >= ONE_SIDE * (right + left):
        return right, left, "right"
    return right, left, "left" if left >= ONE_SIDE * (right + left) else "both"


def _density(hu: np.ndarray) -> dict[str, float]:
    hu = hu.astype(np.float64)
    low, high = np.percentile(hu, [5, 95])
    return {"mean_hu": float(hu.mean()), "sd_hu": float(hu.std()), "p5_hu": float(low), "p95_hu": float(high)}
