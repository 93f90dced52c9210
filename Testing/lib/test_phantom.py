"""The painter and the head phantom: volumes, places, HU, geometry, errors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from ICHWeakSegLib.phantom import (
    DECOYS,
    SUBTYPES,
    find_anatomy,
    make_phantom,
    paint_decoy,
    paint_lesion,
)

SMALL = {"size": 256, "pixel_mm": 0.9}
COARSE = {"size": 128, "pixel_mm": 1.8}
SPACING = (5.0, 0.9, 0.9)


@pytest.fixture(scope="module")
def head():
    """A head without blood, its HU as float, and what the painter measures on it."""
    phantom = make_phantom("none", seed=3, **SMALL)
    hu = phantom.ct.hu.astype(np.float32)
    return phantom, hu, find_anatomy(hu, phantom.brain, SPACING)


@pytest.fixture(scope="module")
def painted(head):
    """Every subtype at 5 and 30 mL on that head."""
    phantom, hu, place = head
    return {
        (subtype, volume): paint_lesion(
            hu, phantom.brain, SPACING, subtype, volume, np.random.default_rng(7), anatomy=place
        )
        for subtype in SUBTYPES
        for volume in (5.0, 30.0)
    }


@pytest.mark.parametrize("volume", [5.0, 30.0])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_volume_place_and_hu(head, painted, subtype, volume):
    phantom, hu, _ = head
    result = painted[subtype, volume]
    assert result.volume_ml == pytest.approx(volume, rel=0.05)
    assert result.volume_ml == pytest.approx(result.mask.sum() * np.prod(SPACING) / 1000)
    assert not (result.mask & ~phantom.brain).any()
    assert 38 < result.hu[result.mask].mean() < 85
    assert np.median(result.hu[result.mask]) > np.median(hu[result.mask]) + 4
    # Nothing far from the bleed changes.
    far = ndi.distance_transform_edt(~result.mask, sampling=SPACING) > 30
    np.testing.assert_array_equal(result.hu[far], hu[far])


@pytest.mark.parametrize("subtype", SUBTYPES[:4])
def test_noise_of_the_scan_stays(head, painted, subtype):
    _, hu, _ = head
    result = painted[subtype, 30.0]

    def grain(volume, where):
        fine = volume - ndi.gaussian_filter(volume, (0, 1.5, 1.5))
        return np.median(np.abs(fine[where]))

    core = ndi.binary_erosion(result.mask, iterations=2)
    core = core if core.sum() > 50 else result.mask
    assert 0.6 < grain(result.hu, core) / grain(hu, core) < 1.6


@pytest.mark.parametrize("subtype", ["epidural", "subdural"])
def test_extra_axial_blood_touches_the_inner_table(head, subtype):
    phantom, hu, place = head
    depth = ndi.distance_transform_edt(phantom.brain, sampling=(100, 0.9, 0.9))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        result = paint_lesion(hu, phantom.brain, SPACING, subtype, 30.0, rng, anatomy=place)
        # Within two or three pixels: the skull's partial-volume rim is left out.
        assert depth[result.mask].min() < 2.5
        assert np.median(depth[result.mask]) < 16
        side = place.upsample(place.lateral, (slice(0, len(hu)), slice(0, 256), slice(0, 256)), 1)[
            result.mask
        ]
        assert max((side > -3).mean(), (side < 3).mean()) > 0.97


def test_intraparenchymal_blood_keeps_off_the_skull(head, painted):
    phantom, _, _ = head
    depth = ndi.distance_transform_edt(phantom.brain, sampling=(100, 0.9, 0.9))
    assert (depth[painted["intraparenchymal", 5.0].mask] > 0.9).mean() > 0.98


def test_intraventricular_blood_lies_in_given_ventricles_and_sinks(head):
    phantom, hu, _ = head
    shape = hu.shape
    ventricles = np.zeros(shape, bool)
    ventricles[10:15, 95:160, 112:120] = True
    ventricles[10:15, 95:160, 136:144] = True
    rng = np.random.default_rng(0)
    result = paint_lesion(
        hu, phantom.brain, SPACING, "intraventricular", 5.0, rng, ventricles=ventricles & phantom.brain
    )
    near = ndi.binary_dilation(ventricles, iterations=2)
    assert (result.mask & near).sum() > 0.95 * result.mask.sum()
    assert np.nonzero(result.mask)[1].mean() > np.nonzero(ventricles)[1].mean() + 5


def test_intraventricular_blood_fills_dark_fluid(head, painted):
    _, hu, _ = head
    smooth = ndi.gaussian_filter(hu, (0, 1, 1))
    assert np.median(smooth[painted["intraventricular", 5.0].mask]) < 22


def test_subarachnoid_blood_prefers_fluid(head, painted):
    phantom, hu, _ = head
    smooth = ndi.gaussian_filter(hu, (0, 0.7, 0.7))
    mask = painted["subarachnoid", 5.0].mask
    assert np.median(smooth[mask]) < np.median(smooth[phantom.brain]) - 3


def test_mean_hu_is_kept(head):
    phantom, hu, place = head
    for value in (45.0, 75.0):
        rng = np.random.default_rng(1)
        result = paint_lesion(hu, phantom.brain, SPACING, "epidural", 20.0, rng, mean_hu=value, anatomy=place)
        core = ndi.binary_erosion(result.mask, np.ones((1, 5, 5)))
        assert result.hu[core].mean() == pytest.approx(value, abs=8)


def test_painting_is_deterministic_and_leaves_its_input_alone(head):
    phantom, hu, place = head
    before = hu.copy()
    first, second = (
        paint_lesion(hu, phantom.brain, SPACING, "subdural", 8.0, np.random.default_rng(5), anatomy=place)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.hu, second.hu)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(hu, before)


@pytest.mark.parametrize("kind", DECOYS)
def test_decoys_change_little_and_are_deterministic(head, kind):
    phantom, hu, place = head
    first, second = (
        paint_decoy(hu, phantom.brain, SPACING, kind, np.random.default_rng(2), anatomy=place)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape == hu.shape
    assert first.dtype == np.float32
    changed = np.abs(first - hu) > 3
    assert changed.any()
    assert np.isfinite(first).all()
    if kind == "scalp":
        assert not (changed & phantom.brain).any()
    if kind == "calcification":
        assert first[changed].max() > 90
        assert changed.sum() * np.prod(SPACING) / 1000 < 8


def test_painter_errors(head):
    phantom, hu, place = head
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="Unknown subtype 'extradural'"):
        paint_lesion(hu, phantom.brain, SPACING, "extradural", 5.0, rng, anatomy=place)
    with pytest.raises(ValueError, match="above 0 mL"):
        paint_lesion(hu, phantom.brain, SPACING, "epidural", 0.0, rng, anatomy=place)
    with pytest.raises(ValueError, match="No room for 5000 mL"):
        paint_lesion(hu, phantom.brain, SPACING, "epidural", 5000.0, rng, anatomy=place)
    with pytest.raises(ValueError, match="brain mask is empty"):
        paint_lesion(hu, np.zeros(hu.shape, bool), SPACING, "epidural", 5.0, rng)
    with pytest.raises(ValueError, match="one shape"):
        paint_lesion(hu, phantom.brain[1:], SPACING, "epidural", 5.0, rng)
    with pytest.raises(ValueError, match="Unknown decoy"):
        paint_decoy(hu, phantom.brain, SPACING, "ghost", rng)


def test_phantom_without_blood(head):
    phantom, _, _ = head
    assert phantom.volume_ml == 0
    assert not phantom.truth.any()
    assert phantom.ct.hu.dtype == np.int16
    assert phantom.ct.hu.min() < -900
    assert 600 < np.percentile(phantom.ct.hu, 99.5) < 1600
    tissue = phantom.ct.hu[phantom.brain]
    assert 24 < np.median(tissue) < 40
    assert 1100 < phantom.ct.volume_ml(phantom.brain) < 1900
    # Slices go upwards: there is skull base below and nothing but air at the top.
    np.testing.assert_allclose(phantom.ct.spacing, (0.9, 0.9, 5.0))
    assert phantom.ct.ijk_to_ras[2, 2] == 5.0
    assert not phantom.brain[-1].any()


@pytest.fixture(scope="module")
def straight():
    return make_phantom("intraparenchymal", 20.0, seed=1, **COARSE)


def test_phantom_is_deterministic_by_seed(straight):
    again = make_phantom("intraparenchymal", 20.0, seed=1, **COARSE)
    other = make_phantom("none", spacing_mm=10.0, seed=2, **COARSE)
    np.testing.assert_array_equal(straight.ct.hu, again.ct.hu)
    np.testing.assert_array_equal(straight.truth, again.truth)
    assert (straight.ct.hu[0] != other.ct.hu[0]).mean() > 0.5


@pytest.mark.parametrize("tilt", [-25.0, 20.0])
def test_tilt_shears_the_grid_and_keeps_the_true_volume(straight, tilt):
    tilted = make_phantom("intraparenchymal", 20.0, tilt_deg=tilt, seed=1, **COARSE)
    i, j, k = tilted.ct.ijk_to_ras[:3, :3].T
    assert i @ k == pytest.approx(0)
    shear = j @ k / np.linalg.norm(j) / np.linalg.norm(k)
    assert shear == pytest.approx(-np.sin(np.radians(tilt)))
    voxel = 1.8 * 1.8 * 5.0 * np.cos(np.radians(tilt)) / 1000
    assert tilted.ct.voxel_ml == pytest.approx(voxel)
    assert tilted.volume_ml == pytest.approx(tilted.truth.sum() * voxel)
    assert tilted.volume_ml == pytest.approx(20.0, rel=0.05)
    # The bleed and the head lie at the same place in the room.
    for what in ("truth", "brain"):
        centres = [_centre_ras(p, getattr(p, what)) for p in (straight, tilted)]
        tolerance = 2.5 if what == "truth" else 9.0
        assert np.linalg.norm(centres[0] - centres[1]) < tolerance


def _centre_ras(phantom, mask):
    k, j, i = (index.mean() for index in np.nonzero(mask))
    return (phantom.ct.ijk_to_ras @ (i, j, k, 1))[:3]


def test_thin_slices_are_noisier_and_hold_the_same_bleed():
    thick, thin = (
        make_phantom("intraventricular", 12.0, spacing_mm=step, seed=2, **COARSE) for step in (5.0, 1.0)
    )
    assert len(thin.ct.hu) > 4.5 * len(thick.ct.hu)
    for phantom in (thick, thin):
        assert phantom.volume_ml == pytest.approx(12.0, rel=0.05)
    assert np.linalg.norm(_centre_ras(thick, thick.truth) - _centre_ras(thin, thin.truth)) < 2.5

    def noise(phantom):
        fine = np.diff(phantom.ct.hu.astype(float), axis=2)[:, :, :-1]
        core = ndi.binary_erosion(phantom.brain, np.ones((1, 5, 5)))[:, :, 2:]
        return np.median(np.abs(fine[core]))

    assert 1.5 < noise(thin) / noise(thick) < 3.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subtype": "stroke"}, "Unknown subtype 'stroke'"),
        ({"volume_ml": -1.0}, "above 0"),
        ({"volume_ml": float("nan")}, "above 0"),
        ({"tilt_deg": 45.0}, "tilt must lie"),
        ({"spacing_mm": 0.0}, "spacing must lie"),
        ({"pixel_mm": 9.0}, "pixel size"),
        ({"size": 64}, "field of view"),
    ],
)
def test_phantom_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_phantom(**arguments)
