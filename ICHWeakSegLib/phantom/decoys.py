"""Paint things that look like blood and are not: hard negatives for training."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from .anatomy import Anatomy, find_anatomy
from .fields import smooth_noise

DECOYS = ("calcification", "falx", "sinus", "beam", "partial-volume", "motion", "scalp")


def paint_decoy(
    hu: np.ndarray,
    brain: np.ndarray,
    spacing_mm: tuple[float, float, float],
    kind: str,
    rng: np.random.Generator,
    *,
    anatomy: Anatomy | None = None,
) -> np.ndarray:
    """Paint one look-alike of blood; the input is left alone and the truth stays empty.

    Args:
        hu: HU, (S, H, W), slice 0 inferior, rows anterior to posterior.
        brain: bool, same shape, everything inside the inner table.
        spacing_mm: (slice, row, column).
        kind: one of `DECOYS`.
        rng: source of all randomness.
        anatomy: result of `find_anatomy` for this head, to save its cost.

    Returns:
        New HU, float32, same shape.

    Raises:
        ValueError: unknown kind, wrong shapes or an empty brain mask.
    """
    if kind not in DECOYS:
        raise ValueError(f"Unknown decoy '{kind}': choose one of {', '.join(DECOYS)}.")
    hu = np.asarray(hu, np.float32)
    brain = np.asarray(brain, bool)
    place = anatomy or find_anatomy(hu, brain, spacing_mm)
    if kind == "motion":
        return _motion(hu, spacing_mm, rng)
    if kind == "scalp":
        return _scalp(hu, brain, spacing_mm, rng)
    if kind == "partial-volume":
        return _partial_volume(hu, brain, spacing_mm, rng)
    if kind == "beam":
        return _beam(hu, brain, place, rng)
    makers = {"calcification": _calcification, "falx": _falx, "sinus": _sinus}
    added = makers[kind](place, rng)
    return _add(hu, brain, added, place)


def _add(hu: np.ndarray, brain: np.ndarray, added: np.ndarray, place: Anatomy) -> np.ndarray:
    """Add a working-grid field of HU inside the brain."""
    hit = np.abs(added) > 0.3
    if not hit.any():
        return hu.copy()
    box = place.box_around(hit)
    samples = int(np.clip(np.ceil(place.full_spacing_mm[0] / 1.5), 1, 6))
    fine = place.upsample(added, box, samples)
    fine = fine.reshape(-1, samples, *fine.shape[1:]).mean(axis=1)
    out = hu.copy()
    out[box] += fine * brain[box]
    return out


def _ball(
    place: Anatomy, centre: tuple[float, float, float], radius: float, rng: np.random.Generator
) -> np.ndarray:
    """A soft irregular ball, 0 to 1, at adult coordinates (below vertex, posterior, lateral)."""
    s = place.scale
    up = (place.below_vertex - centre[0]) * s
    back, side = place.posterior - centre[1] * s, place.lateral - centre[2] * s
    far = np.sqrt(up**2 + back**2 + side**2)
    bumps = smooth_noise(place.inside.shape, place.spacing_mm, max(3.0, radius), rng)
    return np.clip((radius - far + 0.3 * radius * bumps) / 1.4 + 0.5, 0, 1) * place.inside


def _calcification(place: Anatomy, rng: np.random.Generator) -> np.ndarray:
    added = np.zeros(place.inside.shape, np.float32)
    if rng.random() < 0.6:
        pineal = (rng.normal(76, 3), rng.normal(18, 3), rng.normal(0, 1))
        added += rng.uniform(80, 250) * _ball(place, pineal, rng.uniform(1.5, 3.2), rng)
    for side in (-1, 1):
        if rng.random() < 0.75 or not added.any():
            choroid = (rng.normal(70, 3), rng.normal(33, 4), side * rng.normal(23, 3))
            added += rng.uniform(70, 220) * _ball(place, choroid, rng.uniform(1.5, 4), rng)
    if rng.random() < 0.2:
        strength = rng.uniform(25, 80)
        for side in (-1, 1):
            pallidum = (rng.normal(72, 2), rng.normal(-5, 3), side * rng.normal(19, 2))
            added += strength * _ball(place, pallidum, 4.0, rng)
    return added


def _falx(place: Anatomy, rng: np.random.Generator) -> np.ndarray:
    s = place.scale
    wave = 1.2 * smooth_noise(place.inside.shape, place.spacing_mm, 25.0, rng)
    thick = rng.uniform(0.8, 1.8)
    line = np.clip((thick - np.abs(place.lateral + wave)) / 1.0 + 0.5, 0, 1)
    front = place.posterior < -38 * s
    behind = place.posterior > 28 * s
    if rng.random() < 0.4:
        front = np.zeros_like(front)
    high = place.below_vertex < rng.uniform(20, 45)
    where = ndi.gaussian_filter((front | behind | high).astype(np.float32), 2.0)
    where *= place.inside * np.clip((88 - place.below_vertex) / 6, 0, 1)
    target = rng.uniform(42, 60)
    return (line * where * np.clip(target - place.hu, 0, 40)).astype(np.float32)


def _sinus(place: Anatomy, rng: np.random.Generator) -> np.ndarray:
    s = place.scale
    target = rng.uniform(48, 68)
    near = np.clip((rng.uniform(4, 7) - place.depth) / 2 + 0.5, 0, 1)
    straight = np.clip((rng.uniform(3.5, 6) - np.abs(place.lateral)) / 2 + 0.5, 0, 1)
    sagittal = near * straight * (place.posterior > 20 * s) * (place.below_vertex < 95)
    share = sagittal
    if rng.random() < 0.5:
        # A transverse sinus runs along the inner table on one side, usually image left (patient's right).
        side = -1.0 if rng.random() < 0.65 else 1.0
        # It falls towards the ear, so that a slice holds only a short stretch of it.
        level = 112 - 0.35 * (place.posterior / s - 30)
        height = np.clip((3.5 - np.abs(place.below_vertex - level) * s) / 3 + 0.5, 0, 1)
        thin = np.clip((rng.uniform(2.5, 4.5) - place.depth) / 2 + 0.5, 0, 1)
        transverse = thin * height * (side * place.lateral > 0) * (place.posterior > 15 * s)
        share = np.maximum(share, transverse)
    share = ndi.gaussian_filter((share * place.inside).astype(np.float32), 0.6)
    return share * np.clip(target - place.hu, 0, 45)


def _partial_volume(
    hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """Skull that is only partly in the slice: a bright rim just inside the inner table."""
    out = hu.copy()
    slices = np.flatnonzero(brain.any(axis=(1, 2)))
    count = int(np.ceil(len(slices) * rng.uniform(0.15, 0.5)))
    start = int(rng.integers(0, len(slices) - count + 1))
    part = slices[start : start + count]
    box = slice(part[0], part[-1] + 1)
    uneven = smooth_noise(hu[box].shape, spacing_mm, (12.0, 30.0, 30.0), rng)
    reach, strength = rng.uniform(0.8, 2.2), rng.uniform(25, 80)
    for k, wave in zip(range(box.start, box.stop), uneven, strict=True):
        if not brain[k].any():
            continue
        rows, cols = (np.flatnonzero(brain[k].any(axis=a)) for a in (1, 0))
        crop = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        depth = ndi.distance_transform_edt(np.pad(brain[k][crop], 1), sampling=spacing_mm[1:])[1:-1, 1:-1]
        rim = np.exp(-((depth / reach) ** 2)) * np.clip(0.3 + wave[crop], 0, 1.5) * brain[k][crop]
        out[k][crop] += (strength * rim).astype(np.float32)
    return out


def _beam(hu: np.ndarray, brain: np.ndarray, place: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Dark and bright bands between the petrous bones on the lowest slices."""
    out = hu.copy()
    slices = np.flatnonzero(brain.any(axis=(1, 2)))
    low = slices[: max(1, round(len(slices) * 0.35))]
    height, width = hu.shape[1:]
    rows = np.arange(height, dtype=np.float32)[:, None] * place.full_spacing_mm[1]
    cols = np.arange(width, dtype=np.float32)[None] * place.full_spacing_mm[2]
    for n, k in enumerate(low):
        at = np.flatnonzero(brain[k].any(axis=1)) * place.full_spacing_mm[1]
        fade = (1 - n / len(low)) ** 0.7 * rng.uniform(0.6, 1.2)
        for _ in range(int(rng.integers(2, 5))):
            tilt = rng.normal(0, 0.15)
            centre = rng.uniform(at[0] + 0.3 * np.ptp(at), at[-1])
            distance = rows - centre + tilt * (cols - cols.mean())
            band = np.exp(-((distance / rng.uniform(1.5, 6)) ** 2))
            out[k] += (fade * rng.choice([-1, 1]) * rng.uniform(6, 22) * band * brain[k]).astype(np.float32)
    return out


def _motion(hu: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """A ghost: some slices are a mean of two positions of the head."""
    out = hu.copy()
    count = len(hu)
    length = int(rng.integers(1, max(2, count // 4) + 1))
    start = int(rng.integers(0, count - length + 1))
    for k in range(start, start + length):
        shift = rng.normal(0, 2.0, 2) / spacing_mm[1:]
        share = rng.uniform(0.2, 0.5)
        ghost = ndi.shift(hu[k], shift, order=1, mode="nearest")
        out[k] = (1 - share) * hu[k] + share * ghost
    return out


def _scalp(
    hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """A swelling of 30 to 70 HU outside the skull."""
    out = hu.copy()
    slices = np.flatnonzero(brain.any(axis=(1, 2)))
    middle = int(rng.choice(slices[len(slices) // 4 :]))
    half = rng.uniform(10, 30)
    angle = rng.uniform(0, 2 * np.pi)
    thick, value = rng.uniform(4, 14), rng.uniform(30, 68)
    wide = rng.uniform(18, 40)
    heads = brain[middle]
    row0, col0 = (np.flatnonzero(heads.any(axis=a)).mean() for a in (1, 0))
    rows = (np.arange(hu.shape[1])[:, None] - row0) * spacing_mm[1]
    cols = (np.arange(hu.shape[2])[None] - col0) * spacing_mm[2]
    turn = np.angle(np.exp(1j * (np.arctan2(rows, cols) - angle)))
    noise = smooth_noise(hu.shape, spacing_mm, (8.0, 5.0, 5.0), rng)
    for k in range(len(hu)):
        up = abs(k - middle) * spacing_mm[0] / half
        if up >= 1:
            continue
        skull = ndi.binary_fill_holes(ndi.binary_opening(hu[k] > 200, iterations=2) | brain[k])
        if not skull.any():
            continue
        away = ndi.distance_transform_edt(~skull, sampling=spacing_mm[1:])
        radius = np.hypot(rows, cols)
        cap = thick * (1 - up**2) * np.clip(1 - (turn * radius / wide) ** 2, 0, 1) + 0.8 * noise[k]
        share = np.clip((cap - away) / 1.2 + 0.5, 0, 1) * (away > 0) * (np.abs(turn) * radius < wide)
        grain = np.clip(ndi.gaussian_filter(noise[k], 1) * 2, -6, 6)
        soft = hu[k] < 150
        out[k] = np.where(soft, hu[k] + share * (value + grain - hu[k]), hu[k])
    return out
