"""Where things are in a head: a small isotropic grid with depth, midline and fluid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from .fields import linear_matrix, resample, spline_matrix

_GRID_MM = 1.4


@dataclass
class Anatomy:
    """A head on a working grid of about 1.4 mm, cropped to the brain; all arrays have shape (Z, R, C).

    Attributes:
        hu: smoothed HU of brain voxels, float32.
        inside: brain (all inside the inner table).
        depth: distance to the inner table in mm, float32, 0 outside.
        lateral: signed distance from the midline plane in mm, positive towards image right.
        posterior: distance along the midline in mm, positive backwards, 0 at the brain's centre.
        below_vertex: distance below the top of the brain in adult millimetres (scaled by head size).
        scale: head size relative to an adult (brain half length 85 mm).
        spacing_mm: spacing of the working grid, (Z, R, C).
        axes_mm: positions of the grid planes in the full volume's millimetres, one array per axis.
        full_spacing_mm: spacing of the full volume, (S, H, W).
        full_shape: shape of the full volume.
        ventricles: fluid-filled ventricles given by the caller on this grid, or None.
    """

    hu: np.ndarray
    inside: np.ndarray
    depth: np.ndarray
    lateral: np.ndarray
    posterior: np.ndarray
    below_vertex: np.ndarray
    scale: float
    spacing_mm: tuple[float, float, float]
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    full_spacing_mm: tuple[float, float, float]
    full_shape: tuple[int, int, int]
    ventricles: np.ndarray | None = None

    @property
    def voxel_ml(self) -> float:
        """Volume of a working voxel in mL."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def box_around(self, hit: np.ndarray) -> tuple[slice, slice, slice]:
        """The box of the full volume that holds all true voxels of a working-grid mask, with a margin."""
        parts = []
        for axis in range(3):
            at = np.flatnonzero(hit.any(axis=tuple(a for a in range(3) if a != axis)))
            line, step = self.axes_mm[axis], self.full_spacing_mm[axis]
            pad = 3.0 if axis else 0.75 * step
            first = int(np.floor((line[at[0]] - pad) / step))
            last = int(np.ceil((line[at[-1]] + pad) / step))
            parts.append(slice(max(0, first), min(self.full_shape[axis], last + 1)))
        return tuple(parts)

    def upsample(self, field: np.ndarray, box: tuple[slice, slice, slice], samples: int) -> np.ndarray:
        """Read a working-grid field on a box of the full volume.

        Args:
            field: (Z, R, C).
            box: slices into the full volume.
            samples: sub-positions through each slice's thickness.

        Returns:
            float32, shape (slices * samples, rows, columns), sub-positions of a slice side by side.
        """
        offsets = (np.arange(samples) + 0.5) / samples - 0.5
        matrices = []
        for axis, part in enumerate(box):
            at = np.arange(part.start, part.stop, dtype=float)
            if axis == 0:
                at = (at[:, None] + offsets[None]).ravel()
            line = self.axes_mm[axis]
            index = (at * self.full_spacing_mm[axis] - line[0]) / self.spacing_mm[axis]
            matrices.append(spline_matrix(index, len(line)))
        return resample(field, *matrices)


def find_anatomy(
    hu: np.ndarray,
    brain: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    falx: np.ndarray | None = None,
    ventricles: np.ndarray | None = None,
) -> Anatomy:
    """Measure a head once; several lesions can be painted with the result.

    Args:
        hu: HU, (S, H, W), slice 0 inferior, rows anterior to posterior.
        brain: bool, same shape, everything inside the inner table.
        spacing_mm: (slice, row, column).
        falx: bool, same shape, optional: fixes the midline.
        ventricles: bool, same shape, optional: fixes the ventricles.

    Raises:
        ValueError: the brain mask is empty, or shapes disagree.
    """
    if hu.ndim != 3 or hu.shape != brain.shape:
        raise ValueError(f"The CT {hu.shape} and the brain mask {brain.shape} must be 3D and of one shape.")
    for name, given in (("falx", falx), ("ventricles", ventricles)):
        if given is not None and given.shape != hu.shape:
            raise ValueError(f"The {name} mask {given.shape} and the CT {hu.shape} must be of one shape.")
    brain = np.asarray(brain, bool)
    if np.count_nonzero(brain) < 50:
        raise ValueError("The brain mask is empty: no blood can be painted.")
    spans = [np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    factors = [max(1, round(_GRID_MM / step)) for step in spacing_mm]
    # Cut to whole blocks around the brain, so that block means line up with pixel centres.
    starts = [max(0, (int(s[0]) // f - 2) * f) for s, f in zip(spans, factors, strict=True)]
    stops = [min(n, (int(s[-1]) // f + 3) * f) for s, f, n in zip(spans, factors, hu.shape, strict=True)]
    counts = [(b - a) // f for a, b, f in zip(starts, stops, factors, strict=True)]
    cut = tuple(slice(a, a + n * f) for a, n, f in zip(starts, counts, factors, strict=True))

    def blocks(volume: np.ndarray) -> np.ndarray:
        part = np.asarray(volume[cut], np.float32)
        shape = [v for n, f in zip(counts, factors, strict=True) for v in (n, f)]
        return part.reshape(shape).mean(axis=(1, 3, 5))

    steps = [f * s for f, s in zip(factors, spacing_mm, strict=True)]
    firsts = [(a + (f - 1) / 2) * s for a, f, s in zip(starts, factors, spacing_mm, strict=True)]
    # Bone and air that a rough mask took in are no brain; a calcification inside is.
    small_brain = blocks(brain & (hu < 200) & (hu > -200))
    small_brain = np.stack([_without_leaks(part) for part in small_brain])
    in_plane = np.stack([_signed_distance(part > 0.5, steps[1:]) for part in small_brain])
    # Half a slice beyond the first and last one belongs to the volume too.
    z_count = max(2, round(counts[0] * steps[0] / _GRID_MM))
    z_step = counts[0] * steps[0] / z_count
    z_mm = firsts[0] - steps[0] / 2 + (np.arange(z_count) + 0.5) * z_step
    along_z = linear_matrix((z_mm - firsts[0]) / steps[0], counts[0])

    def lift(volume: np.ndarray) -> np.ndarray:
        return np.tensordot(along_z, volume, axes=(1, 0)).astype(np.float32)

    spacing = (z_step, steps[1], steps[2])
    axes = (z_mm, firsts[1] + np.arange(counts[1]) * steps[1], firsts[2] + np.arange(counts[2]) * steps[2])
    inside = lift(in_plane) > 0
    if not inside.any():
        inside = lift(small_brain) > 0.25
    depth = _depth(inside, spacing)
    small_hu = lift(np.where(small_brain > 0.5, np.clip(blocks(hu), -20, 90), 30.0))
    lateral, posterior, half_length = _midline(
        inside, axes, None if falx is None else lift(blocks(falx)) > 0.5
    )
    scale = float(np.clip(half_length / 85.0, 0.5, 1.3))
    top = z_mm[np.flatnonzero(inside.any(axis=(1, 2)))[-1]]
    below = np.broadcast_to(((top - z_mm) / scale)[:, None, None], inside.shape).astype(np.float32)
    given = None if ventricles is None else (lift(blocks(ventricles)) > 0.4) & inside
    return Anatomy(
        hu=ndi.gaussian_filter(small_hu, [0.6 / s for s in spacing]),
        inside=inside,
        depth=depth,
        lateral=lateral,
        posterior=posterior,
        below_vertex=below,
        scale=scale,
        spacing_mm=spacing,
        axes_mm=axes,
        full_spacing_mm=tuple(float(s) for s in spacing_mm),
        full_shape=hu.shape,
        ventricles=given,
    )


def _without_leaks(part: np.ndarray) -> np.ndarray:
    """Brain share of one slice, its holes filled, without strips and islands beyond the skull."""
    mask = part > 0.5
    holes, count = ndi.label(ndi.binary_fill_holes(mask) & ~mask)
    if count:
        # A small hole is a calcification; a long one is skull between brain and a strip outside.
        mask |= (holes > 0) & (np.bincount(holes.ravel()) < 60)[holes]
    core = ndi.binary_opening(mask, iterations=3)
    labels, count = ndi.label(core)
    if not count:
        return np.where(mask, np.maximum(part, 0.6), part)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = ndi.binary_dilation((sizes > 0.06 * sizes.max())[labels], iterations=3) & mask
    return np.where(kept, np.maximum(part, 0.6), np.minimum(part, 0.4)).astype(np.float32)


def _signed_distance(mask: np.ndarray, spacing: list[float]) -> np.ndarray:
    if not mask.any():
        return np.full(mask.shape, -20.0, np.float32)
    inner = ndi.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
    outer = ndi.distance_transform_edt(~mask, sampling=spacing)
    return (inner - outer).astype(np.float32)


def _depth(inside: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    # The cut through the neck or the vertex is no inner table: repeat the end planes.
    padded = np.pad(np.pad(inside, ((3, 3), (0, 0), (0, 0)), mode="edge"), ((0, 0), (1, 1), (1, 1)))
    depth = ndi.distance_transform_edt(padded, sampling=spacing)[3:-3, 1:-1, 1:-1].astype(np.float32)
    depth = np.clip(depth - np.mean(spacing) / 2, 0, None)
    return ndi.gaussian_filter(depth, 0.7)


def _midline(
    inside: np.ndarray, axes: tuple[np.ndarray, np.ndarray, np.ndarray], falx: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Lateral and posterior coordinates in mm (in-plane axes of inertia), and the brain's half length."""
    z, r, c = axes
    area = inside.sum(axis=(1, 2)).astype(float)
    wide = area > 0.6 * area.max()
    plane = inside[wide].sum(axis=0).astype(float)
    total = plane.sum()
    row0 = float((plane.sum(axis=1) @ r) / total)
    col0 = float((plane.sum(axis=0) @ c) / total)
    dr, dc = r[:, None] - row0, c[None, :] - col0
    spread = [[(plane * dr * dr).sum(), (plane * dr * dc).sum()], [0, (plane * dc * dc).sum()]]
    matrix = np.array(spread) / total
    matrix[1, 0] = matrix[0, 1]
    values, vectors = np.linalg.eigh(matrix)
    back = vectors[:, 1] * np.sign(vectors[0, 1] or 1.0)
    # A nearly round brain has no long axis to trust.
    if back[0] < np.cos(np.radians(40)) or values[1] < 1.08 * values[0]:
        back = np.array([1.0, 0.0])
    offset = 0.0
    if falx is not None and falx.any():
        _, fr, fc = np.nonzero(falx)
        slope, offset = np.polyfit(r[fr] - row0, c[fc] - col0, 1)
        back = np.array([1.0, slope]) / np.hypot(1.0, slope)
    side = np.array([-back[1], back[0]])
    lateral = dr * side[0] + (dc - offset) * side[1]
    posterior = dr * back[0] + (dc - offset) * back[1]
    # A head that rolls to one side moves its midline with height.
    shift = np.zeros(len(z))
    full = np.flatnonzero(area > 0.25 * area.max())
    if len(full) > 5:
        centre = np.array([lateral[inside[k]].mean() for k in full])
        shift = np.polyval(np.polyfit(z[full], centre, 1), z)
    lateral = (lateral[None] - shift[:, None, None]).astype(np.float32)
    posterior = np.broadcast_to(posterior[None], inside.shape).astype(np.float32)
    reach = posterior[inside]
    half = float(np.percentile(reach, 99.5) - np.percentile(reach, 0.5)) / 2
    return lateral, posterior, half
