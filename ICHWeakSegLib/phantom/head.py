"""A head phantom with known blood: CT, affine with gantry tilt, exact truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage as ndi
from scipy import sparse

from ICHWeakSegLib.ct.volume import CT

from .anatomy import Anatomy
from .fields import spline_matrix
from .lesions import paint_lesion
from .shapes import SUBTYPES
from .tissue import Head, make_head, tissue_hu

_NOISE_SD_AT_5MM = 4.0
_LOWEST_MM = -40.0
# Level functions of small structures, which most slices do not meet.
_STRUCTURES = ("ventricle", "cistern", "nuclei", "petrous", "air", "orbit", "calcium", "tentorium")


@dataclass
class Phantom:
    """A made-up head CT.

    Attributes:
        ct: HU int16, (K, J, I), slices from inferior to superior, with its RAS affine.
        truth: uint8, same shape: 1 where blood is.
        volume_ml: volume of the truth in mL, by the determinant of the affine.
        brain: bool, same shape: everything inside the inner table.
    """

    ct: CT
    truth: np.ndarray
    volume_ml: float
    brain: np.ndarray


def make_phantom(
    subtype: str = "intraparenchymal",
    volume_ml: float = 20.0,
    tilt_deg: float = 0.0,
    spacing_mm: float = 5.0,
    seed: int = 0,
    size: int = 512,
    pixel_mm: float = 0.45,
) -> Phantom:
    """Make a head CT with one bleed of known shape; the same arguments give the same voxels.

    The head and the bleed are fixed in RAS space by the seed. Slices are cut along planes tilted about the
    left-right axis while the table moves along z, so a tilted scan has a sheared affine.

    Args:
        subtype: one of `SUBTYPES`, or "none" for a head without blood.
        volume_ml: volume of blood asked for; met within 5%, not used for "none".
        tilt_deg: gantry tilt, -30 to 30; positive puts the anterior edge of a slice higher.
        spacing_mm: table step between slices, 0.5 to 10 mm.
        seed: anatomy, bleed and noise.
        size: rows and columns.
        pixel_mm: pixel size in mm.

    Raises:
        ValueError: an argument out of range, or more blood than the head has room for.
    """
    _check(subtype, volume_ml, tilt_deg, spacing_mm, size, pixel_mm)
    scan = _Scan.around_head(np.radians(tilt_deg), spacing_mm, size, pixel_mm)
    head = make_head(np.random.default_rng([seed, 1]))
    hu, brain = _render(head, scan, seed)
    truth = np.zeros(hu.shape, np.uint8)
    if subtype != "none":
        place = _place(head, scan)
        rng = np.random.default_rng([seed, 2])
        painted = paint_lesion(hu, brain, scan.spacing, subtype, volume_ml, rng, anatomy=place)
        hu, truth = painted.hu, painted.mask.astype(np.uint8)
        del painted
    whole = np.empty(hu.shape, np.int16)
    for k, plane in enumerate(hu):
        whole[k] = np.clip(np.rint(plane), -1024, 3071)
    ct = CT(
        hu=whole,
        ijk_to_ras=scan.affine(),
        source=f"phantom:{subtype}:{seed}",
        info={"description": f"ICHWeakSeg phantom, {subtype}"},
    )
    return Phantom(ct=ct, truth=truth, volume_ml=ct.volume_ml(truth), brain=brain)


def _check(
    subtype: str, volume_ml: float, tilt_deg: float, spacing_mm: float, size: int, pixel_mm: float
) -> None:
    if subtype not in (*SUBTYPES, "none"):
        raise ValueError(f"Unknown subtype '{subtype}': choose one of {', '.join(SUBTYPES)} or none.")
    if subtype != "none" and not 0 < volume_ml <= 300:
        raise ValueError(f"The volume must be above 0 and at most 300 mL, got {volume_ml}.")
    if not -30 <= tilt_deg <= 30:
        raise ValueError(f"The gantry tilt must lie between -30 and 30 degrees, got {tilt_deg}.")
    if not 0.5 <= spacing_mm <= 10:
        raise ValueError(f"The slice spacing must lie between 0.5 and 10 mm, got {spacing_mm}.")
    if not 0.2 <= pixel_mm <= 4:
        raise ValueError(f"The pixel size must lie between 0.2 and 4 mm, got {pixel_mm}.")
    if not 210 <= size * pixel_mm <= 500:
        raise ValueError(
            f"A field of view of {size * pixel_mm:.0f} mm does not suit a head: "
            "size x pixel_mm must lie between 210 and 500 mm."
        )


@dataclass
class _Scan:
    """Geometry of the scan: slices tilted about x, the table moving along z; RAS in mm."""

    tilt: float
    step: float
    size: int
    pixel: float
    lowest: float
    count: int

    @classmethod
    def around_head(cls, tilt: float, step: float, size: int, pixel: float) -> _Scan:
        # The same brain must be covered whatever the tilt: down to the base at both ends of the slice.
        lowest = _LOWEST_MM - 75 * abs(np.tan(tilt))
        highest = np.hypot(100 * np.sin(tilt), 86 * np.cos(tilt)) / np.cos(tilt)
        return cls(tilt, step, size, pixel, lowest, int(np.ceil((highest - lowest) / step)) + 1)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between slice planes and pixel size, whose product is the voxel's volume."""
        return (self.step * float(np.cos(self.tilt)), self.pixel, self.pixel)

    def affine(self) -> np.ndarray:
        """IJK to RAS, 4x4."""
        out = np.eye(4)
        out[:3, 0] = (-self.pixel, 0, 0)
        out[:3, 1] = (0, -self.pixel * np.cos(self.tilt), -self.pixel * np.sin(self.tilt))
        out[:3, 2] = (0, 0, self.step)
        out[:3, 3] = (0, 0, self.lowest)
        out[:3, 3] -= (out[:3, 0] + out[:3, 1]) * (self.size - 1) / 2
        return out

    def rows(self, box: tuple[slice, slice], samples: int) -> tuple[np.ndarray, np.ndarray]:
        """RAS z and y of image rows, shape (slices * samples, rows), samples through the thickness."""
        offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * self.spacing[0]
        along = (np.arange(box[1].start, box[1].stop) - (self.size - 1) / 2) * self.pixel
        k = np.arange(box[0].start, box[0].stop) * self.step + self.lowest
        z = (k[:, None] + offsets * np.cos(self.tilt)).reshape(-1, 1) - along * np.sin(self.tilt)
        y = np.tile(-offsets * np.sin(self.tilt), len(k))[:, None] - along * np.cos(self.tilt)
        return z, y

    def columns(self, part: slice) -> np.ndarray:
        """RAS x of image columns."""
        return -(np.arange(part.start, part.stop) - (self.size - 1) / 2) * self.pixel


def _weights(head: Head, scan: _Scan, box: tuple[slice, slice, slice], samples: int) -> tuple:
    """Sparse weights of rows (slices * samples * rows, Z * R) and of columns (columns, C)."""
    z, y = scan.rows(box[:2], samples)
    z_line, r_line, c_line = head.axes_mm
    step = head.spacing_mm
    at_z = np.clip((z.ravel() - z_line[0]) / step[0], 1, len(z_line) - 3)
    at_r = np.clip((-y.ravel() - r_line[0]) / step[1], 1, len(r_line) - 3)
    base_z, base_r = np.floor(at_z).astype(np.int32), np.floor(at_r).astype(np.int32)

    def cubic(fraction: np.ndarray) -> list[np.ndarray]:
        f = fraction.astype(np.float32)
        return [
            (1 - f) ** 3 / 6,
            (3 * f**3 - 6 * f**2 + 4) / 6,
            (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
            f**3 / 6,
        ]

    wz, wr = cubic(at_z - base_z), cubic(at_r - base_r)
    columns = [(base_z + a - 1) * len(r_line) + base_r + b - 1 for a in range(4) for b in range(4)]
    values = [wz[a] * wr[b] for a in range(4) for b in range(4)]
    count = z.size
    matrix = sparse.csr_matrix(
        (np.stack(values, 1).ravel(), np.stack(columns, 1).ravel(), np.arange(count + 1) * 16),
        shape=(count, len(z_line) * len(r_line)),
    )
    x = scan.columns(box[2])
    return matrix, sparse.csr_matrix(spline_matrix((-x - c_line[0]) / step[2], len(c_line)))


def _sample(volume: np.ndarray, weights: tuple, shape: tuple[int, int, int]) -> np.ndarray:
    along, across = weights
    part = along @ np.asarray(volume, np.float32).reshape(-1, volume.shape[2])
    # Four weights per column: a sparse product beats a dense one.
    return (across @ np.ascontiguousarray(part.T)).reshape(shape[2], *shape[:2]).transpose(1, 2, 0)


@dataclass
class _TiltedAnatomy(Anatomy):
    """The head's anatomy on its own RAS grid, read along the scan's tilted planes."""

    head: Head = field(default=None)  # type: ignore[assignment]
    scan: _Scan = field(default=None)  # type: ignore[assignment]

    def upsample(self, field: np.ndarray, box: tuple[slice, slice, slice], samples: int) -> np.ndarray:
        shape = ((box[0].stop - box[0].start) * samples, *(part.stop - part.start for part in box[1:]))
        sampled = _sample(field, _weights(self.head, self.scan, box, samples), shape)
        return np.ascontiguousarray(sampled)

    def box_around(self, hit: np.ndarray) -> tuple[slice, slice, slice]:
        scan = self.scan
        z_index, r_index = np.nonzero(hit.any(axis=2))
        cols = np.flatnonzero(hit.any(axis=(0, 1)))
        z, y = self.axes_mm[0][z_index], -self.axes_mm[1][r_index]
        row_mm = -y / np.cos(scan.tilt)
        row = row_mm / scan.pixel + (scan.size - 1) / 2
        k = (z + row_mm * np.sin(scan.tilt) - scan.lowest) / scan.step
        column = self.axes_mm[2][cols[[0, -1]]] / scan.pixel + (scan.size - 1) / 2
        pads = (0.75, 3.0 / scan.pixel, 3.0 / scan.pixel)
        parts = []
        for at, pad, stop in zip((k, row, column), pads, (scan.count, scan.size, scan.size), strict=True):
            low, high = int(np.floor(at.min() - pad)), int(np.ceil(at.max() + pad)) + 1
            parts.append(slice(min(max(0, low), stop - 1), max(1, min(stop, high))))
        return tuple(parts)


def _place(head: Head, scan: _Scan) -> Anatomy:
    inside = head.inside
    z = head.axes_mm[0]
    # Blood only where every tilt has slices.
    inside = inside & (z[:, None, None] > _LOWEST_MM + 4)
    depth = ndi.distance_transform_edt(head.inside, sampling=head.spacing_mm).astype(np.float32)
    shape = inside.shape
    top = z[np.flatnonzero(inside.any(axis=(1, 2)))[-1]]
    lateral = np.broadcast_to(head.axes_mm[2][None, None].astype(np.float32), shape)
    posterior = np.broadcast_to(head.axes_mm[1][None, :, None].astype(np.float32), shape)
    below = np.broadcast_to((top - z)[:, None, None].astype(np.float32), shape)
    hu = tissue_hu(head.fields)
    return _TiltedAnatomy(
        hu=ndi.gaussian_filter(np.where(inside, np.clip(hu, -20, 90), 30.0).astype(np.float32), 0.5),
        inside=inside,
        depth=ndi.gaussian_filter(np.clip(depth - 0.8, 0, None), 0.7),
        lateral=lateral,
        posterior=posterior,
        below_vertex=below,
        scale=1.0,
        spacing_mm=head.spacing_mm,
        axes_mm=head.axes_mm,
        full_spacing_mm=scan.spacing,
        full_shape=(scan.count, scan.size, scan.size),
        ventricles=(head.fields["ventricle"] > 0) & inside,
        head=head,
        scan=scan,
    )


def _render(head: Head, scan: _Scan, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """HU with noise, float32 (K, J, I), and the brain, bool, slice by slice."""
    samples = int(np.clip(np.ceil(scan.spacing[0] / 1.7), 1, 5))
    size = scan.size
    hu = np.empty((scan.count, size, size), np.float32)
    brain = np.empty(hu.shape, bool)
    rows = np.arange(size, dtype=np.float32) * scan.pixel
    x = scan.columns(slice(0, size))
    sd = _NOISE_SD_AT_5MM * np.sqrt(5.0 / scan.spacing[0])
    tops = {name: values.max(axis=(1, 2)) for name, values in head.fields.items()}

    def slab(k: int) -> slice:
        z, _ = scan.rows((slice(k, k + 1), slice(0, size)), 1)
        low, high = np.searchsorted(head.axes_mm[0], (z.min() - 5, z.max() + 5))
        return slice(max(0, min(low, len(head.axes_mm[0]) - 1) - 1), high + 1)

    for k in range(scan.count):
        tall, wide = _window(head, scan, k)
        weights = _weights(head, scan, (slice(k, k + 1), tall, wide), samples)
        shape = (samples, tall.stop - tall.start, wide.stop - wide.start)
        sampled = {}
        for name, values in head.fields.items():
            if name in _STRUCTURES and tops[name][slab(k)].max() < -2:
                # Nothing of this structure near the slice.
                sampled[name] = np.full(shape, -9, np.float32)
            else:
                sampled[name] = _sample(values, weights, shape)
        plane = np.full((size, size), -1000.0, np.float32)
        plane[tall, wide] = tissue_hu(sampled).mean(axis=0)
        inner = np.clip(sampled["depth"], -1, 1).mean(axis=0) > 0
        brain[k] = False
        brain[k][tall, wide] = inner & (sampled["petrous"].mean(axis=0) < 0)
        _, y = scan.rows((slice(k, k + 1), slice(0, size)), 1)
        plane = np.maximum(plane, _table(x, y[0]))
        plane = ndi.gaussian_filter(plane, 0.55 / scan.pixel, truncate=3)
        hu[k] = plane + sd * _noise(seed, k, (size, size), scan.pixel) * _noise_profile(rows)
    return hu, brain


def _window(head: Head, scan: _Scan, k: int) -> tuple[slice, slice]:
    """Rows and columns of slice k that the head reaches: the rest is air."""
    z, y = scan.rows((slice(k, k + 1), slice(0, scan.size)), 1)
    near = head.fields["outer"] > -6
    low, high = np.searchsorted(head.axes_mm[0], (z.min() - 4, z.max() + 4))
    slab = near[max(0, low - 1) : high + 1]
    hits = np.argwhere(slab.any(axis=0))
    if not len(hits):
        middle = slice(scan.size // 2 - 1, scan.size // 2 + 1)
        return middle, middle
    back, left = head.axes_mm[1][hits[:, 0]], head.axes_mm[2][hits[:, 1]]
    parts = []
    for at, line in ((back, -y[0]), (left, -scan.columns(slice(0, scan.size)))):
        reach = np.flatnonzero((line > at.min() - 3) & (line < at.max() + 3))
        parts.append(slice(int(reach[0]), int(reach[-1]) + 1))
    return parts[0], parts[1]


def _table(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The head rest: a thin arc behind the head, HU (J, I)."""
    radius = np.hypot(x[None], y[:, None] - 20.0)
    arc = (np.abs(radius - 130) < 1.6) & (y[:, None] < -55)
    return np.where(arc, 60.0, -1000.0).astype(np.float32)


def _noise(seed: int, k: int, shape: tuple[int, int], pixel: float) -> np.ndarray:
    """Noise of unit sd with the grain of a soft kernel."""
    white = np.random.default_rng([seed, 3, k]).standard_normal(shape, dtype=np.float32)
    grain = ndi.gaussian_filter(white, 0.5 / pixel, truncate=3)
    grain -= 0.5 * ndi.gaussian_filter(grain, 1.6 / pixel, truncate=3)
    return grain / grain.std()


def _noise_profile(rows: np.ndarray) -> np.ndarray:
    """Noise is a little stronger in the middle of the field of view; (J, J)."""
    offset = (rows - rows.mean()) / 110.0
    return (0.85 + 0.3 * np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) * 2)).astype(np.float32)
