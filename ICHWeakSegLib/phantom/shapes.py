"""Shapes of the five kinds of bleed as level-set functions on the working grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from .anatomy import Anatomy
from .fields import smooth_noise

SUBTYPES = ("epidural", "subdural", "intraparenchymal", "intraventricular", "subarachnoid")


@dataclass
class Shape:
    """Where blood may lie.

    Attributes:
        level: float32, (Z, R, C): about the distance inside the bleed in mm; above a level there is blood.
        allowed: bool, same shape: where blood can be at all.
        edge_mm: width of the soft border.
        on_bone: the bleed lies against the skull.
        fills_fluid: the bleed takes the place of dark fluid.
    """

    level: np.ndarray
    allowed: np.ndarray
    edge_mm: float = 0.8
    on_bone: bool = False
    fills_fluid: bool = False


def make_shape(subtype: str, volume_ml: float, place: Anatomy, rng: np.random.Generator) -> Shape:
    """A random shape of one subtype whose level 0 holds about `volume_ml`.

    Raises:
        ValueError: unknown subtype.
    """
    makers = {
        "epidural": _epidural,
        "subdural": _subdural,
        "intraparenchymal": _intraparenchymal,
        "intraventricular": _intraventricular,
        "subarachnoid": _subarachnoid,
    }
    if subtype not in makers:
        raise ValueError(f"Unknown subtype '{subtype}': choose one of {', '.join(SUBTYPES)}.")
    return makers[subtype](volume_ml, place, rng)


def _fit(build: Callable[[float], np.ndarray], volume_ml: float, place: Anatomy) -> np.ndarray:
    # Grow the whole shape first, so that the final level only trims it.
    size = 1.0
    level = build(size)
    for _ in range(4):
        got = np.count_nonzero((level > 0) & place.inside) * place.voxel_ml
        ratio = volume_ml / max(got, 0.05 * volume_ml)
        if 0.9 < ratio < 1.1:
            break
        size *= float(np.clip(ratio ** (1 / 3), 0.6, 1.7))
        level = build(size)
    return level


def _noise(place: Anatomy, scale_mm: float, rng: np.random.Generator) -> np.ndarray:
    return smooth_noise(place.inside.shape, place.spacing_mm, scale_mm, rng)


def _pick(weight: np.ndarray, place: Anatomy, rng: np.random.Generator) -> tuple[int, int, int]:
    # The skull base is left to rare lesions: low slices are full of bone.
    usual = place.inside * np.clip((118 - place.below_vertex) / 12, 0, 1)
    flat = (usual * weight).ravel().astype(float)
    if flat.sum() <= 0:
        flat = place.inside.ravel().astype(float)
    total = np.cumsum(flat)
    index = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    return np.unravel_index(min(index, flat.size - 1), weight.shape)


def _offsets(place: Anatomy, at: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances in mm from a grid point: up, backwards and towards image right, each (Z, R, C)-like."""
    z = place.axes_mm[0]
    up = (z - z[at[0]])[:, None, None].astype(np.float32)
    return up, place.posterior - place.posterior[at], place.lateral - place.lateral[at]


def _wall_weight(place: Anatomy) -> np.ndarray:
    """Weight of voxels on the lateral wall of the skull, away from the base and the vertex."""
    grad = np.gradient(ndi.gaussian_filter(place.depth, 2.0))
    flat = np.hypot(grad[1], grad[2]) / (np.sqrt(grad[0] ** 2 + grad[1] ** 2 + grad[2] ** 2) + 1e-3)
    return ((place.depth < 3.0) & (flat > 0.75) & (np.abs(place.lateral) > 12)).astype(np.float32)


def _epidural(volume_ml: float, place: Anatomy, rng: np.random.Generator) -> Shape:
    temporal = np.exp(-(((place.below_vertex - 75) / 28) ** 2)) * np.exp(-((place.posterior / 60) ** 2))
    at = _pick(_wall_weight(place) * (0.25 + temporal), place, rng)
    up, back, side = _offsets(place, at)
    aspect = rng.uniform(0.2, 0.52) * np.clip((volume_ml / 15.0) ** 0.08, 0.7, 1.1)
    radius0 = (2000 * volume_ml / (np.pi * aspect)) ** (1 / 3)
    stretch = rng.uniform(0.85, 1.2)
    along = np.sqrt(np.clip((up * stretch) ** 2 + (back**2 + side**2) / stretch - place.depth**2, 0, None))
    bumps = _noise(place, max(8.0, radius0 * 0.8), rng)
    own_side = np.sign(place.lateral[at]) * place.lateral
    power = rng.uniform(1.8, 2.6)

    def build(size: float) -> np.ndarray:
        radius = radius0 * size
        lens = aspect * radius * (1 - (along / radius) ** power) * (1 + 0.1 * bumps) - place.depth
        return np.minimum(lens, own_side + 1.0)

    return Shape(_fit(build, volume_ml, place), place.inside, edge_mm=0.7, on_bone=True)


def _subdural(volume_ml: float, place: Anatomy, rng: np.random.Generator) -> Shape:
    kind = rng.choice(["convexity", "falx", "tentorium"], p=[0.78, 0.14, 0.08])
    if volume_ml > 25:
        kind = "convexity"
    thick0 = max(2.4, 2.1 * volume_ml ** (1 / 3) * rng.uniform(0.75, 1.3))
    ripple = _noise(place, 18.0, rng)
    fine = _noise(place, 7.0, rng)
    if kind == "convexity":
        high = np.exp(-(((place.below_vertex - 45) / 35) ** 2))
        at = _pick(_wall_weight(place) * (0.2 + high), place, rng)
        distance = place.depth
    else:
        near = np.abs(place.lateral) < 6
        if kind == "falx":
            near = near & (place.below_vertex < 60) & (np.abs(place.posterior) > 25 * place.scale)
        else:
            near = near & (np.abs(place.below_vertex - 80) < 12) & (place.posterior > 25 * place.scale)
        at = _pick(near.astype(np.float32), place, rng)
        distance = np.abs(place.lateral)
    up, back, side = _offsets(place, at)
    sign = np.sign(place.lateral[at]) or 1.0
    own_side = sign * place.lateral
    if kind == "tentorium":
        own_side = (1.0 if rng.random() < 0.5 else -1.0) * place.lateral
        roof = -up - 0.55 * np.clip(np.abs(place.lateral), 0, 45) - 0.12 * back + 2.5 * ripple
        distance = np.abs(roof)
    beside = np.full(1, 1e3, np.float32)
    if kind == "falx":
        # The falx ends above the corpus callosum: no film among the ventricles.
        ring = np.hypot(place.posterior / (50 * place.scale), (place.below_vertex - 72) / 34)
        beside = (ring - 1) * 30
    reach0 = np.sqrt(1000 * volume_ml / (np.pi * 0.75 * thick0))
    stretch = rng.uniform(1.15, 1.7)
    along = np.sqrt((up * stretch) ** 2 + (back**2 + side**2) / stretch**1.2)

    def build(size: float) -> np.ndarray:
        fade = np.clip(1 - (along / (reach0 * size)) ** 3, -3, None) + 0.12 * ripple
        film = thick0 * size**0.6 * fade * (1 + 0.18 * ripple + 0.12 * fine)
        return np.minimum(np.minimum(film - distance, own_side + 0.6), beside)

    return Shape(_fit(build, volume_ml, place), place.inside, edge_mm=1.0, on_bone=kind == "convexity")


def _intraparenchymal(volume_ml: float, place: Anatomy, rng: np.random.Generator) -> Shape:
    kind = rng.choice(["deep", "lobar", "contusion"], p=[0.4, 0.33, 0.27])
    if volume_ml > 40 and kind == "contusion":
        kind = "lobar"
    s = place.scale
    across = np.abs(place.lateral) / s
    if kind == "deep":
        weight = (
            np.exp(-(((across - 23) / 7) ** 2))
            * np.exp(-(((place.posterior / s - 2) / 14) ** 2))
            * np.exp(-(((place.below_vertex - 70) / 9) ** 2))
        )
    elif kind == "lobar":
        weight = np.exp(-(((place.depth / s - 20) / 8) ** 2)) * (across > 14) * (place.below_vertex < 95)
    else:
        pole = np.exp(-(((place.below_vertex - 85) / 18) ** 2)) * (place.posterior < 15 * s)
        weight = np.exp(-(((place.depth / s - 7) / 3) ** 2)) * (pole + 0.05) * (across > 6)
    first = _pick(weight, place, rng)
    radius0 = (750 * volume_ml / np.pi) ** (1 / 3)
    pieces = int(rng.integers(1, 4 if kind != "contusion" else 6))
    blobs = []
    for number in range(pieces):
        at = first
        if number:
            spread = radius0 * (0.9 if kind != "contusion" else rng.uniform(1.0, 2.2))
            up, back, side = _offsets(place, first)
            near = np.exp(-(((np.sqrt(up**2 + back**2 + side**2) - spread) / (0.35 * spread + 1)) ** 2))
            at = _pick(near * (place.depth > 3), place, rng)
        up, back, side = _offsets(place, at)
        turn = rng.uniform(-0.6, 0.6) + (0.35 * np.sign(place.lateral[at]) if kind == "deep" else 0)
        long = rng.uniform(1.0, 1.7) if kind != "contusion" else rng.uniform(0.9, 1.3)
        a = (np.cos(turn) * back + np.sin(turn) * side) / long
        b = (np.cos(turn) * side - np.sin(turn) * back) * np.sqrt(long)
        c = up * np.sqrt(long) * rng.uniform(0.8, 1.1)
        blobs.append((np.sqrt(a**2 + b**2 + c**2), 1.0 if number == 0 else rng.uniform(0.35, 0.8)))
    coarse = _noise(place, max(6.0, 0.9 * radius0), rng)
    fine = _noise(place, max(3.5, 0.4 * radius0), rng)
    rough = rng.uniform(0.12, 0.4)
    # Little fingers along the edge, whatever the size.
    frayed = rng.uniform(0.2, 1.3) * _noise(place, 4.0, rng)
    allowed = place.inside & (place.depth > 1.0)

    def build(size: float) -> np.ndarray:
        radius = radius0 * size * pieces**-0.2
        level = np.full(place.inside.shape, -1e3, np.float32)
        for distance, share in blobs:
            level = np.maximum(level, radius * share - distance)
        level = level + radius * rough * (coarse + 0.5 * fine) + frayed
        return np.minimum(level, place.depth - 1.5)

    return Shape(_fit(build, volume_ml, place), allowed, edge_mm=rng.uniform(0.9, 2.2))


def find_ventricles(place: Anatomy) -> np.ndarray:
    """Ventricles by darkness, central place and size; bool (Z, R, C), empty when none is seen."""
    if place.ventricles is not None:
        return place.ventricles
    s = place.scale
    central = (
        place.inside
        & (place.depth > 22 * s)
        & (np.abs(place.lateral) < 38 * s)
        & (np.abs(place.posterior) < 55 * s)
        & (np.abs(place.below_vertex - 66) < 26)
    )
    if not central.any():
        return central
    tissue = float(np.median(place.hu[central]))
    dark = central & (ndi.gaussian_filter(place.hu, 0.8) < min(22.0, tissue - 8.0))
    labels, count = ndi.label(dark)
    if not count:
        return dark
    sizes = np.bincount(labels.ravel()) * place.voxel_ml
    sizes[0] = 0
    keep = sizes > max(0.4, 0.08 * sizes.max())
    return keep[labels]


def _slit(place: Anatomy) -> np.ndarray:
    """Two thin lateral ventricles where they would be."""
    s = place.scale
    back = place.posterior / s
    across = np.abs(place.lateral) / s
    path = 6 + 0.012 * np.clip(back + 10, 0, None) ** 2 + 0.1 * np.clip(-back, 0, None)
    height = place.below_vertex - 62 + 0.004 * back**2
    slit = ((across - path) / 3.0) ** 2 + (height / 7.0) ** 2 + (back / 36) ** 6 < 1
    return slit & place.inside


def _intraventricular(volume_ml: float, place: Anatomy, rng: np.random.Generator) -> Shape:
    room = find_ventricles(place)
    if np.count_nonzero(room) * place.voxel_ml < 0.8:
        room = _slit(place) & (place.depth > 3)
    if not room.any():
        room = place.inside & (place.depth > 0.8 * place.depth.max())
    distance = ndi.distance_transform_edt(room, sampling=place.spacing_mm)
    distance = distance - ndi.distance_transform_edt(~room, sampling=place.spacing_mm)
    distance = ndi.gaussian_filter(distance.astype(np.float32), 0.5)
    capacity = np.count_nonzero(room) * place.voxel_ml
    allowed = place.inside & (place.depth > 2.0)
    uneven = rng.uniform(-10, 10) * np.sign(place.lateral) + 4 * _noise(place, 15.0, rng)
    if volume_ml < 0.55 * capacity:
        # Fluid level: blood sinks to the back of a patient who lies on the back.
        fill = place.posterior[room] + uneven[room]
        floor = float(np.quantile(fill, 1 - min(0.98, volume_ml / (0.8 * capacity))))
        level = np.minimum(distance + 0.3, (place.posterior + uneven - floor) * 0.5)
        # Beyond the fluid level more blood may only come from inside the ventricle.
        return Shape(level, allowed & (distance > -4), edge_mm=0.9, fills_fluid=True)
    side = rng.uniform(-0.05, 0.05) * place.lateral
    level = distance + 0.04 * place.posterior + side + 0.6 * _noise(place, 8.0, rng)
    return Shape(level, allowed, edge_mm=1.0, fills_fluid=True)


def _subarachnoid(volume_ml: float, place: Anatomy, rng: np.random.Generator) -> Shape:
    s = place.scale
    # Fluid shows as voxels darker than their surroundings; fat and air are no fluid.
    tissue = place.inside & (place.hu > -8)
    weight = ndi.gaussian_filter(tissue.astype(np.float32), 4.0) + 1e-3
    around = ndi.gaussian_filter(np.where(tissue, place.hu, 0), 4.0) / weight
    dark = np.clip((around - place.hu) / 5.0, -1.5, 2.0)
    # Folds that are too thin to see: sheets of a random field, upright as sulci are, near the surface.
    fold = 1 - 2.6 * np.abs(smooth_noise(place.inside.shape, place.spacing_mm, (16.0, 8.0, 8.0), rng))
    kind = rng.choice(["convexity", "sylvian", "basal"], p=[0.5, 0.3, 0.2])
    wide = 18.0 + 10.0 * volume_ml ** (1 / 3)
    if kind == "convexity":
        at = _pick((place.depth < 6) * (place.below_vertex < 80), place, rng)
        near_surface = np.exp(-((place.depth / (9 * s)) ** 2))
    elif kind == "sylvian":
        across = np.abs(place.lateral) / s
        spot = (np.abs(across - 42) < 8) & (np.abs(place.below_vertex - 82) < 10)
        at = _pick(spot & (np.abs(place.posterior + 14 * s) < 14 * s), place, rng)
        near_surface = np.exp(-((place.depth / (22 * s)) ** 2))
    else:
        spot = (np.abs(place.below_vertex - 92) < 8) & (np.abs(place.lateral) < 14 * s)
        at = _pick(spot & (np.abs(place.posterior + 8 * s) < 18 * s), place, rng)
        near_surface = np.ones_like(place.depth)
    up, back, side = _offsets(place, at)
    far = np.sqrt((1.2 * up) ** 2 + back**2 + side**2)
    patch = 1.0 - (far / wide) ** 2 + 0.35 * _noise(place, 14.0, rng)
    score = 1.4 * dark + 1.1 * fold + 1.5 * near_surface + 1.5 * np.clip(patch, -4, 0.5) - 1.8
    allowed = tissue & (place.depth < (60 if kind == "basal" else 32) * s)
    # About 1.6 mm per unit of score: thin streaks with soft ends.
    return Shape((1.6 * score).astype(np.float32), allowed, edge_mm=1.3, on_bone=True, fills_fluid=True)
