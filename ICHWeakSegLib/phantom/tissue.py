"""The tissues of a made-up head: smooth level functions in RAS space, and the HU that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .fields import smooth_noise

_STEP_MM = 1.8
_X_MM, _Y_MM, _LOW_MM, _HIGH_MM = 98.0, 118.0, -92.0, 100.0


@dataclass
class Head:
    """Level functions of a head on a grid in RAS space.

    Attributes:
        fields: name to float32 array of shape (Z, R, C); mostly distances in mm, positive inside.
        axes_mm: z (upwards), minus y (backwards) and minus x (towards the left) of the grid planes.
        spacing_mm: grid spacing.
        inside: bool (Z, R, C), everything inside the inner table.
    """

    fields: dict[str, np.ndarray]
    axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
    spacing_mm: tuple[float, float, float]
    inside: np.ndarray


def make_head(rng: np.random.Generator) -> Head:
    """A random adult head."""
    axes = (
        np.arange(_LOW_MM, _HIGH_MM, _STEP_MM),
        np.arange(-_Y_MM, _Y_MM + 0.1, _STEP_MM),
        np.arange(-_X_MM, _X_MM + 0.1, _STEP_MM),
    )
    spacing = (_STEP_MM,) * 3
    shape = tuple(len(a) for a in axes)
    z = axes[0][:, None, None].astype(np.float32)
    y = -axes[1][None, :, None].astype(np.float32)
    x = -axes[2][None, None, :].astype(np.float32)

    def noise(scale: float | tuple[float, float, float]) -> np.ndarray:
        return smooth_noise(shape, spacing, scale, rng)

    wave, fold, slow = noise(45.0), noise((10.0, 8.5, 8.5)), noise(20.0)
    wide, long, high = rng.normal(64.5, 1.5), rng.normal(82, 2), rng.normal(72, 1.5)
    fluid = rng.uniform(0.8, 1.3)

    skull_depth, outer = _vault(x, y, z, wide, long, high, wave)
    base = _base_height(x, y)
    depth = _soft_min(skull_depth, (z - base) * 0.9, 3.0)
    # The skull's floor is thin, above all over the orbits.
    floor = _step(skull_depth - (z - base) * 0.9, 8.0)
    thickness = 5.4 - 2.6 * floor + 1.3 * wave + 1.5 * np.exp(-(((y + 80) / 25) ** 2)) + 0.6 * slow
    lateral = x + 0.8 * slow
    fields = {
        "depth": depth,
        "outer": outer,
        "thickness": np.clip(thickness, 2.0, 11.0),
        "scalp": 1.5 + 0.7 * slow + 4.5 * np.exp(-(((z + 20) / 28) ** 2) - (((y - 15) / 30) ** 2)),
        "fold": fold,
        "slow": slow,
        "lateral": lateral,
        "falx": _falx(y, z, depth),
        "tentorium": _tentorium(x, y, z),
        "ventricle": _ventricles(x, y, z, fluid) + 0.5 * slow,
        "cistern": _cisterns(x, y, z) + 0.8 * fold - 0.3,
        "nuclei": _nuclei(x, y, z),
        "petrous": _petrous(x, y, z) + 1.2 * fold,
        "air": _air(x, y, z, long) + 1.0 * fold,
        "orbit": _orbits(x, y, z),
        "calcium": _calcium(x, y, z, rng),
    }
    full = {name: np.ascontiguousarray(np.broadcast_to(v, shape), np.float32) for name, v in fields.items()}
    inside = (full["depth"] > 0) & (full["petrous"] < 0)
    return Head(full, axes, spacing, inside)


def tissue_hu(fields: dict[str, np.ndarray]) -> np.ndarray:
    """HU without noise of sampled level functions, float32, of the fields' shape."""
    depth, outer, slow, fold = fields["depth"], fields["outer"], fields["slow"], fields["fold"]
    bone_depth = depth + fields["thickness"]

    hu = np.full(depth.shape, -1000.0, np.float32)
    soft = _step(outer)
    hu = _mix(hu, -88.0 + 8 * slow, soft)
    hu = _mix(hu, 55.0, soft * _step(bone_depth + fields["scalp"]))
    # Below the base there are muscles and fat.
    hu = _mix(hu, 45.0, soft * _step(0.6 * slow + 0.35, 0.4) * _step(-bone_depth - 4))
    hu = _mix(hu, 35.0, soft * _step(2.2 - outer))
    hu = _mix(hu, _orbit_hu(fields["orbit"]), _step(fields["orbit"]))

    share = np.clip(-depth / fields["thickness"], 0, 1)
    diploe = _step(share - 0.28, 0.15) * _step(0.72 - share, 0.15)
    bone = 1150.0 + 120 * slow - diploe * (560 + 160 * fold)
    hu = _mix(hu, bone, _step(bone_depth) * _step(outer - 2.5))
    hu = _mix(hu, _brain_hu(fields), _step(depth))
    hu = _mix(hu, 1250.0 + 250 * fold, _step(fields["petrous"]) * _step(outer - 6))
    hu = _mix(hu, -950.0, _step(fields["air"]) * _step(-depth - 1.5) * _step(outer - 5))
    return hu


def _brain_hu(fields: dict[str, np.ndarray]) -> np.ndarray:
    depth, fold, slow = fields["depth"], fields["fold"], fields["slow"]
    # A random field's zero surface is a folded sheet: about 4 mm per unit gives the distance to it.
    sheet = 4.3 * np.abs(fold)
    gap = 1.1 + 0.5 * slow
    width = (0.95 + 0.35 * slow) * np.clip(1 - depth / 24.0, -1, 1)
    from_fluid = np.minimum(depth - gap, np.maximum(sheet - width, 0.8 * (depth - 23)))
    midline = np.abs(fields["lateral"])
    fissure = np.where(fields["falx"] > -4, midline - 0.9 - 0.5 * slow, 20.0)
    from_fluid = np.minimum(from_fluid, fissure)
    grey = np.maximum(_step(3.2 - from_fluid, 1.2), _step(fields["nuclei"], 1.5))
    hu = 28.0 + 9.0 * grey + 0.6 * slow
    hu = _mix(hu, 8.0, _step(-from_fluid, 1.0))
    hu = _mix(hu, 8.0, np.maximum(_step(fields["cistern"], 1.2), _step(fields["ventricle"], 0.8)))
    sheet_of_dura = np.maximum(
        _step(fields["falx"]) * _step(0.75 - midline, 0.8), _step(fields["tentorium"], 0.9)
    )
    hu = _mix(hu, 48.0, sheet_of_dura)
    hu = _mix(hu, 190.0, _step(fields["calcium"], 1.0))
    # Cupping: the skull hardens the beam, tissue beside it looks a little denser.
    return hu + 3.0 * np.exp(-np.clip(depth, 0, None) / 7.0)


def _orbit_hu(orbit: np.ndarray) -> np.ndarray:
    # Bony wall, then fat, then the globe.
    orbit = np.asarray(orbit)
    return np.where(orbit < 2.0, 700.0, np.where(orbit < 6.5, -85.0, np.where(orbit < 8.0, 45.0, 12.0)))


def _step(level: np.ndarray, width: float = 0.7) -> np.ndarray:
    return np.clip(level / width + 0.5, 0, 1)


def _mix(under: np.ndarray, over: np.ndarray | float, share: np.ndarray) -> np.ndarray:
    return under + share * (over - under)


def _soft_min(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    return 0.5 * (a + b - np.sqrt((a - b) ** 2 + width**2)) + 0.1 * width


def _ellipsoid(x: np.ndarray, y: np.ndarray, z: np.ndarray, radii: tuple[float, float, float]) -> np.ndarray:
    """About the distance inside an ellipsoid in mm."""
    a, b, c = radii
    return (1 - np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)) * min(radii)


def _vault(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, wide: float, long: float, high: float, wave: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Radial distances inside the inner table and inside the skin, mm."""
    narrow = wide * (1 - 0.12 * np.clip(y / long, -1, 1))
    plane = (np.abs(x) / narrow) ** 2.25 + (np.abs(y) / long) ** 2.25
    up = np.where(z > 0, (np.abs(z) / high) ** 2.25, 0.25 * (np.abs(z) / high) ** 2.25)
    rho = (plane + up) ** (1 / 2.25) + 1e-3
    centre = np.sqrt(x**2 + y**2 + z**2)
    inner = centre * (1 / rho - 1) + 1.4 * wave
    face = np.clip(-z - 25, 0, 60) * 0.12 * np.clip(y / long, 0, 1)
    outer = inner + 12.0 + 0.8 * wave + face
    return inner, outer


def _base_height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the skull base: anterior, middle and posterior fossa, mm."""

    def rise(t: np.ndarray, at: float, width: float) -> np.ndarray:
        return 1 / (1 + np.exp(-(t - at) / width))

    middle = -44 + 10 * np.exp(-((x / 16) ** 2))
    behind = -62.0
    orbit = np.exp(-(((np.abs(x) - 30) / 15) ** 2) - ((y - 58) / 22) ** 2)
    front = -33 + 11 * orbit + 3 * np.exp(-((x / 6) ** 2))
    base = behind + (middle - behind) * rise(y, -2, 4) + (front - middle) * rise(y, 32, 3)
    return base.astype(np.float32)


def _falx(y: np.ndarray, z: np.ndarray, depth: np.ndarray) -> np.ndarray:
    # All of the midline outside a ring around the corpus callosum and the deep structures.
    ring = np.sqrt((y / 58) ** 2 + ((z - 2) / 36) ** 2)
    return np.minimum((ring - 1) * 36, np.where(y < 0, z + 12 + 0.1 * y, z + 20)) + 0 * depth


def _tentorium(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    sheet = np.abs(z - (4 - 0.55 * np.abs(x) + 0.22 * (y + 30)) + 8)
    notch = np.sqrt((x / 24) ** 2 + ((y + 5) / 32) ** 2)
    outside = np.clip((1 - notch) * 24, 0, None) + np.clip(y - 8, 0, None)
    return 0.95 - sheet * 0.85 - outside


def _tube(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, points: list[tuple[float, float, float, float]], flat: float
) -> np.ndarray:
    """Distance inside a tube along (x, y, z, radius) points; `flat` narrows it sideways."""
    best = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), -1e3, np.float32)
    for (ax, ay, az, ar), (bx, by, bz, br) in pairwise(points):
        dx, dy, dz = (bx - ax) / flat, by - ay, bz - az
        length = dx * dx + dy * dy + dz * dz
        t = np.clip((((x - ax) / flat) * dx + (y - ay) * dy + (z - az) * dz) / length, 0, 1)
        far = ((x - ax) / flat - t * dx) ** 2 + (y - ay - t * dy) ** 2 + (z - az - t * dz) ** 2
        best = np.maximum(best, (ar + t * (br - ar) - np.sqrt(far)) * flat)
    return best


def _ventricles(x: np.ndarray, y: np.ndarray, z: np.ndarray, fluid: float) -> np.ndarray:
    f = fluid
    horn = [
        (10, 36, 8, 4.5 * f),
        (6.5, 18, 15, 6.5 * f),
        (9, -5, 22, 6.5 * f),
        (17, -28, 17, 7.0 * f),
        (25, -40, 6, 7.5 * f),
        (24, -58, 4, 2.5 * f),
    ]
    temporal = [(26, -38, 4, 6.0 * f), (31, -20, -12, 2.5 * f), (30, -4, -16, 2.0 * f)]
    side = np.abs(x)
    lateral = np.maximum(_tube(side, y, z, horn, 0.62), _tube(side, y, z, temporal, 0.8))
    third = _ellipsoid(x, y + 1, z - 2, (2.6 * f, 14, 9))
    fourth = _ellipsoid(x, y + 38, z + 34, (7 * f, 5 * f, 10))
    return np.maximum(np.maximum(lateral, third), fourth)


def _cisterns(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Fluid around the brainstem, above the sella, and in the Sylvian fissures."""
    stem = _ellipsoid(x, y + 18, z + 30, (19, 18, 34))
    stem_ring = (
        1.6 - np.abs(stem - 0.5) - np.clip(z + 6, 0, None) - 0.4 * np.clip(-20 - y, 0, None) * (z < -16)
    )
    star = _ellipsoid(x, y - 12, z + 22, (15, 9, 6))
    side = np.abs(x)
    sylvian = 2.0 - np.abs(z + 7 - 0.45 * (y - 8) * -1) * 0.55 - 0.35 * np.clip(40 - side, 0, None)
    sylvian = sylvian - 0.25 * np.clip(np.abs(y - 5) - 20, 0, None)
    insula = 1.3 - np.abs(side - 41) * 0.8 - 0.25 * np.clip(np.abs(y - 5) - 18, 0, None)
    insula = insula - 0.2 * np.clip(np.abs(z + 2) - 14, 0, None)
    quadrigeminal = _ellipsoid(x, y + 40, z + 2, (11, 3.5, 7))
    parts = (stem_ring, star, sylvian, insula, quadrigeminal)
    out = parts[0]
    for part in parts[1:]:
        out = np.maximum(out, part)
    return out


def _nuclei(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    side = np.abs(x)
    thalamus = _ellipsoid(side - 11, y + 10, z - 4, (8, 14, 9))
    lentiform = _ellipsoid(side - 24 - 0.12 * y, y - 8, z - 2, (6.5, 18, 9))
    caudate = _ellipsoid(side - 13, y - 26, z - 9, (4.5, 9, 8))
    return np.maximum(np.maximum(thalamus, lentiform), caudate)


def _petrous(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    side = np.abs(x)
    # A ridge from the sella outwards and backwards.
    along = np.clip((side - 14) / 48, 0, 1.3)
    away = np.hypot(y - (12 - 26 * along), (z + 42 + 2 * along) * 0.8)
    return (5 + 7 * along) - away - np.clip(14 - side, 0, None)


def _air(x: np.ndarray, y: np.ndarray, z: np.ndarray, long: float) -> np.ndarray:
    side = np.abs(x)
    sphenoid = _ellipsoid(x, y - 25, z + 48, (14, 12, 10))
    ethmoid = _ellipsoid(x, y - 55, z + 46, (11, 22, 14))
    frontal = _ellipsoid(side - 9, y - long - 3.5, z + 14, (12, 4.0, 14))
    mastoid = _ellipsoid(side - 60, y + 22, z + 48, (8, 9, 12))
    return np.maximum(np.maximum(sphenoid, ethmoid), np.maximum(frontal, mastoid))


def _orbits(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    side = np.abs(x)
    return _ellipsoid(side - 31, y - 68, z + 46, (20, 27, 19))


def _calcium(x: np.ndarray, y: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = np.abs(x)
    pineal = _ellipsoid(x, y + 30, z - 2, (rng.uniform(1.5, 3), rng.uniform(2, 3.5), 2.5))
    if rng.random() < 0.3:
        pineal = np.full_like(pineal, -5.0)
    choroid = _ellipsoid(side - 23.5, y + 40, z - 7, (rng.uniform(1.8, 3.5), rng.uniform(2, 4.5), 3.0))
    return np.maximum(pineal, choroid)
