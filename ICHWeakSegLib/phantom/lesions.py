"""Paint bleeds of known shape and volume into a head CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from .anatomy import Anatomy, find_anatomy
from .fields import smooth_noise
from .shapes import SUBTYPES, Shape, make_shape

_MEAN_HU = {
    "epidural": (54, 74),
    "subdural": (50, 70),
    "intraparenchymal": (54, 78),
    "intraventricular": (50, 70),
    "subarachnoid": (52, 72),
}

_IN_PLANE = ndi.generate_binary_structure(3, 1)
_IN_PLANE[[0, 2]] = False


@dataclass
class Painted:
    """A CT with a painted bleed.

    Attributes:
        hu: new HU, float32, (S, H, W).
        mask: bool, same shape: voxels at least half filled with blood. The partial-volume rim of the skull,
            where blood cannot be told from bone, is left out.
        volume_ml: volume of the mask in mL.
    """

    hu: np.ndarray
    mask: np.ndarray
    volume_ml: float


def paint_lesion(
    hu: np.ndarray,
    brain: np.ndarray,
    spacing_mm: tuple[float, float, float],
    subtype: str,
    volume_ml: float,
    rng: np.random.Generator,
    *,
    falx: np.ndarray | None = None,
    ventricles: np.ndarray | None = None,
    mean_hu: float | None = None,
    anatomy: Anatomy | None = None,
) -> Painted:
    """Paint one bleed of a subtype and an exact volume; the input is left alone.

    Args:
        hu: HU, (S, H, W), slice 0 inferior, rows anterior to posterior, columns right to left.
        brain: bool, same shape, everything inside the inner table.
        spacing_mm: (slice, row, column).
        subtype: one of `SUBTYPES`.
        volume_ml: volume of the mask that is asked for.
        rng: source of all randomness.
        falx: bool, same shape, optional: fixes the midline.
        ventricles: bool, same shape, optional; otherwise they are found by their low HU.
        mean_hu: mean HU of pure blood; random for the subtype when not given.
        anatomy: result of `find_anatomy` for this head, to save its cost over many bleeds.

    Raises:
        ValueError: unknown subtype, wrong shapes, or a volume for which the brain has no room.
    """
    if subtype not in SUBTYPES:
        raise ValueError(f"Unknown subtype '{subtype}': choose one of {', '.join(SUBTYPES)}.")
    if not np.isfinite(volume_ml) or volume_ml <= 0:
        raise ValueError(f"The volume must be above 0 mL, got {volume_ml}.")
    hu = np.asarray(hu, np.float32)
    place = anatomy or find_anatomy(hu, brain, spacing_mm, falx=falx, ventricles=ventricles)
    if place.full_shape != hu.shape or brain.shape != hu.shape:
        raise ValueError(
            f"The CT {hu.shape}, its brain mask {brain.shape} and its anatomy do not fit together."
        )
    shape = make_shape(subtype, volume_ml, place, rng)
    room = 0.6 * np.count_nonzero(shape.allowed) * place.voxel_ml
    if volume_ml > room:
        raise ValueError(f"No room for {volume_ml:g} mL of {subtype} blood: about {room:.3g} mL would fit.")
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    box, share, mask, room_for_blood = _fill(shape, place, hu, brain, max(1, round(volume_ml / voxel_ml)))
    held = float(np.count_nonzero(mask)) * voxel_ml
    if abs(held - volume_ml) > max(0.05 * volume_ml, 3 * voxel_ml):
        raise ValueError(f"No room for {volume_ml:g} mL of {subtype} blood here: {held:.3g} mL would fit.")
    if mean_hu is None:
        mean_hu = rng.uniform(*_MEAN_HU[subtype])
        if rng.random() < 0.06 and subtype in ("subdural", "epidural", "intraparenchymal"):
            mean_hu = rng.uniform(44, 51)
        # A scan whose HU are off as a whole shows its blood off by as much.
        mean_hu += float(np.clip(np.median(place.hu[place.inside]) - 32, -4, 12))
    out = hu.copy()
    out[box] = _blend(hu[box], room_for_blood, share, spacing_mm, shape, float(mean_hu), rng, subtype)
    full = np.zeros(hu.shape, bool)
    full[box] = mask
    return Painted(out, full, held)


def _fill(
    shape: Shape, place: Anatomy, hu: np.ndarray, brain: np.ndarray, target: int
) -> tuple[tuple[slice, slice, slice], np.ndarray, np.ndarray, np.ndarray]:
    """A box, and in it: blood share per voxel, its mask of about `target` voxels, where blood can be seen."""
    # First on the working grid: which level holds the volume, and where that is.
    values = shape.level[shape.allowed]
    wanted = max(1, round(target * np.prod(place.full_spacing_mm) / np.prod(place.spacing_mm)))
    wanted = min(wanted, len(values))
    level = float(np.partition(values, len(values) - wanted)[len(values) - wanted])
    margin = 1.2 + shape.edge_mm
    samples = int(np.clip(np.ceil(place.full_spacing_mm[0] / 1.7), 1, 7))
    for _ in range(4):
        box = place.box_around((shape.level > level - margin) & shape.allowed)
        fine = place.upsample(np.maximum(shape.level, level - 40), box, samples)
        fine = fine.reshape(-1, samples, *fine.shape[1:])
        free = _free(hu[box], np.asarray(brain[box], bool), place.full_spacing_mm)
        inside = free & (place.upsample(shape.allowed, box, 1) > 0.3)
        middle = fine[:, 0] if samples == 1 else np.median(fine, axis=1)
        candidates = middle[inside]
        enough = len(candidates) >= target
        start = np.inf
        if len(candidates):
            rank = max(0, len(candidates) - target)
            start = float(np.partition(candidates, rank)[rank])
        # Full resolution may need a lower level than the coarse grid said: then look wider.
        if enough and start > level - margin + shape.edge_mm:
            break
        margin *= 2.5
    target = min(target, len(candidates))
    if not target:
        return box, np.zeros(free.shape, np.float32), np.zeros(free.shape, bool), free
    # The soft border makes the half-filled surface differ a little from the median's: bisect near it.
    close = inside & (np.abs(middle - start) < 2.5 * shape.edge_mm + 1.0)
    sure = np.count_nonzero(inside & (middle > start) & ~close)
    column = fine.transpose(1, 0, 2, 3)[:, close]
    low, high = start - 2.5 * shape.edge_mm, start + 2.5 * shape.edge_mm
    for _ in range(14):
        trial = (low + high) / 2
        held = np.count_nonzero(_soft(column - trial, shape.edge_mm).mean(axis=0) >= 0.5) + sure
        low, high = (trial, high) if held > target else (low, trial)
    share = _soft(fine - high, shape.edge_mm).mean(axis=1)
    return box, share, inside & (share >= 0.5), free


def _free(hu: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Brain without the bone, calcification, fat and air in it: there blood could not be seen."""
    smooth = ndi.gaussian_filter(hu, [0, 0.7 / spacing_mm[1], 0.7 / spacing_mm[2]], truncate=3)
    return brain & (smooth < 80) & (smooth > -25)


def _soft(distance: np.ndarray, edge_mm: float) -> np.ndarray:
    return np.clip(distance / edge_mm + 0.5, 0, 1)


def _blend(
    hu: np.ndarray,
    brain: np.ndarray,
    share: np.ndarray,
    spacing_mm: tuple[float, float, float],
    shape: Shape,
    mean_hu: float,
    rng: np.random.Generator,
    subtype: str,
) -> np.ndarray:
    """Replace the slow anatomy by blood where blood is, and keep the scan's own noise on top."""
    px = spacing_mm[1:]

    def blur(volume: np.ndarray, mm: float) -> np.ndarray:
        return ndi.gaussian_filter(volume, [0, mm / px[0], mm / px[1]], truncate=3)

    grain = hu - blur(np.where(brain, np.clip(hu, -15, 90), 0), 1.3) / (
        blur(brain.astype(np.float32), 1.3) + 1e-3
    )
    # Strong details (a sulcus, a vessel, a ventricle's wall) are anatomy, not noise.
    some = grain[brain][::7]
    limit = 2.2 * 1.4826 * float(np.median(np.abs(some))) + 1.0 if some.size else 8.0
    np.clip(grain, -limit, limit, out=grain)

    scale = float(rng.uniform(6, 14))
    texture = 4.0 * smooth_noise(hu.shape, spacing_mm, scale, rng)
    texture += 2.0 * smooth_noise(hu.shape, spacing_mm, 3.5, rng)
    if subtype in ("epidural", "subdural") and rng.random() < 0.25:
        # Fresh or diluted blood swirls through clotted blood.
        texture -= rng.uniform(6, 14) * np.clip(smooth_noise(hu.shape, spacing_mm, 10.0, rng), 0, 2)
    blood = np.clip(texture, -18, 12, out=texture) + np.float32(mean_hu)
    del texture

    # The scanner blurs in plane.
    soft = blur(share.astype(np.float32), 0.45)
    touching = brain
    if shape.on_bone:
        grow = max(1, round(1.4 / px[0]))
        touching = ndi.binary_dilation(brain, _IN_PLANE, iterations=grow)
    if shape.fills_fluid:
        # Blood mixes with the fluid that it fills: no isodense half-filled rim.
        soft = np.clip(1.4 * soft, 0, 1)
    soft = soft * blur(touching.astype(np.float32), 0.3)
    # Beyond the brain's edge blood may brighten soft tissue, never darken bone.
    change = np.where(brain, blood + grain - hu, np.clip(blood - hu, 0, None) * (hu > -15))
    out = hu + soft * change
    if subtype == "intraparenchymal":
        out = out - _oedema(share, brain, spacing_mm, rng)
    return out.astype(np.float32, copy=False)


def _oedema(
    share: np.ndarray, brain: np.ndarray, spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    """HU to take away in a rim around the bleed, (s, h, w)."""
    strength = rng.uniform(3, 12)
    reach = rng.uniform(2.5, 6.0)
    px = spacing_mm[1:]
    wide = ndi.gaussian_filter(share.astype(np.float32), [0.25, reach / px[0], reach / px[1]], truncate=2.5)
    uneven = 1 + 0.4 * smooth_noise(share.shape, spacing_mm, 12.0, rng)
    rim = np.clip(2.2 * wide, 0, 1) * (1 - share) * brain
    return (strength * rim * np.clip(uneven, 0, 2)).astype(np.float32)
