"""From a map and HU to a mask."""

import numpy as np
import pytest
from scipy import ndimage

from ICHWeakSegLib.refine import (
    HuOptions,
    bounding_box,
    count_lesions,
    refine_hu,
    refine_otsu,
    refine_threshold,
    remove_specks,
    touching,
)

SHAPE = (6, 120, 110)
SPACING = (1.0, 1.0)
# 1 x 1 x 5 mm.
SLICE_ML = np.full(SHAPE[0], 0.005)
BRAIN_HU = 32.0


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def blob(centre, radii, shape=SHAPE):
    index = np.ogrid[tuple(slice(size) for size in shape)]
    return sum(((i - c) / r) ** 2 for i, c, r in zip(index, centre, radii, strict=True)) <= 1


@pytest.fixture
def head():
    """HU with noise, bone around, a dense and an isodense bleed; brain; truths; a coarse map."""
    rng = np.random.default_rng(8)
    brain = np.broadcast_to(blob((0, 60, 55), (1, 50, 44), (1, *SHAPE[1:])), SHAPE).copy()
    bleed = blob((2.5, 50, 40), (2.6, 14, 10))
    hu = np.where(brain, BRAIN_HU, 900.0) + np.where(brain, rng.normal(0, 4, SHAPE), 0)
    hu[bleed] += 32
    return hu, brain, bleed


def coarse_map(truth, sd=9.0, lift=1.0):
    """A blurred map, as a network gives it."""
    found = ndimage.gaussian_filter(truth.astype(np.float32), (0, sd, sd))
    return np.clip(found / found.max() * lift, 0, 1)


def hu_mask(hu, maps, brain, threshold=0.2, options=None, slice_ml=SLICE_ML):
    return refine_hu(hu, maps, brain, SPACING, slice_ml, threshold, BRAIN_HU, options)


class TestThreshold:
    def test_inside_the_brain_from_the_threshold_on(self, head):
        _, brain, bleed = head
        maps = coarse_map(bleed)
        np.testing.assert_array_equal(refine_threshold(maps, brain, 0.3), (maps >= 0.3) & brain)
        outside = np.ones(SHAPE, np.float32)
        assert not refine_threshold(outside, brain, 0.5)[~brain].any()

    @pytest.mark.parametrize("threshold", [0.0, 0.05])
    def test_zero_map(self, head, threshold):
        assert not refine_threshold(np.zeros(SHAPE, np.float32), head[1], threshold).any()

    def test_planes_one_by_one(self, head):
        _, brain, bleed = head
        maps = coarse_map(bleed)
        np.testing.assert_array_equal(
            refine_threshold(list(maps), list(brain), 0.3), refine_threshold(maps, brain, 0.3)
        )


class TestOtsu:
    def test_parts_the_map(self, head):
        _, brain, bleed = head
        found = refine_otsu(coarse_map(bleed, 4.0), brain)
        assert dice(found, bleed) > 0.75
        assert not found[~brain].any()

    def test_each_plane_has_its_own_cut(self, head):
        _, brain, bleed = head
        maps = coarse_map(bleed, 4.0)
        dimmed = maps * np.array([1, 0.2, 1, 1, 0.5, 1], np.float32)[:, None, None]
        assert dice(refine_otsu(dimmed, brain), refine_otsu(maps, brain)) > 0.99

    @pytest.mark.parametrize("value", [0.0, 0.7])
    def test_constant_map(self, head, value):
        assert not refine_otsu(np.full(SHAPE, value, np.float32), head[1]).any()


class TestHu:
    @pytest.mark.parametrize(("sd", "least"), [(6.0, 0.85), (10.0, 0.85), (14.0, 0.75)])
    def test_much_better_than_the_map_alone(self, head, sd, least):
        hu, brain, bleed = head
        maps = coarse_map(bleed, sd)
        found = hu_mask(hu, maps, brain)
        best = max(dice(refine_threshold(maps, brain, t), bleed) for t in (0.05, 0.1, 0.2, 0.3, 0.5))
        assert dice(found, bleed) > least
        assert dice(found, bleed) > dice(refine_threshold(maps, brain, 0.2), bleed) + 0.1
        if sd > 6:
            assert dice(found, bleed) > best + 0.05

    def test_nothing_outside_brain_and_no_bone(self, head):
        hu, brain, _ = head
        hu = hu.copy()
        hu[2, 48:52, 38:42] = 400
        found = hu_mask(hu, np.ones(SHAPE, np.float32), brain)
        assert found.any()
        assert not found[~brain].any()
        assert not found[hu > HuOptions().highest_hu].any()

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_no_blood_no_mask(self, value):
        rng = np.random.default_rng(1)
        brain = np.ones(SHAPE, bool)
        hu = BRAIN_HU + rng.normal(0, 4, SHAPE)
        assert not hu_mask(hu, np.full(SHAPE, value, np.float32), brain).any()

    @pytest.mark.parametrize("threshold", [0.0, 0.2])
    def test_zero_map(self, head, threshold):
        hu, brain, _ = head
        assert not hu_mask(hu, np.zeros(SHAPE, np.float32), brain, threshold).any()

    def test_empty_brain(self, head):
        hu, brain, bleed = head
        assert not hu_mask(hu, coarse_map(bleed), np.zeros_like(brain)).any()

    def test_specks_go_by_volume(self, head):
        hu, brain, bleed = head
        hu = hu.copy()
        speck = np.zeros(SHAPE, bool)
        speck[1, 85:91, 60:66] = True
        hu[speck] += 35
        maps = np.maximum(coarse_map(bleed), coarse_map(speck, 4.0))
        volume = np.count_nonzero(speck) * 0.005
        kept = hu_mask(hu, maps, brain, options=HuOptions(smallest_ml=0.5 * volume))
        gone = hu_mask(hu, maps, brain, options=HuOptions(smallest_ml=1.5 * volume))
        assert kept[speck].mean() > 0.6
        assert not gone[speck].any()
        assert dice(gone, bleed) > 0.85
        # The same voxels, twice as thick: now they are large enough.
        thick = hu_mask(hu, maps, brain, options=HuOptions(smallest_ml=1.5 * volume), slice_ml=2.2 * SLICE_ML)
        assert thick[speck].any()

    def test_bright_blood_far_from_the_map_is_not_taken(self, head):
        hu, brain, bleed = head
        hu = hu.copy()
        other = blob((2.5, 85, 75), (2.6, 8, 8))
        hu[other] += 35
        found = hu_mask(hu, coarse_map(bleed, 6.0), brain)
        assert not found[other].any()

    def test_reach(self, head):
        hu, brain, bleed = head
        maps = coarse_map(bleed, 2.0)
        # The map knows only the upper half of the bleed.
        maps[:, 50:] = 0
        reaches = {
            mm: hu_mask(hu, maps, brain, options=HuOptions(reach_mm=mm, seed_mm=0.0))
            for mm in (0.5, 5.0, 20.0)
        }
        shares = [np.count_nonzero(mask & bleed) / np.count_nonzero(bleed) for mask in reaches.values()]
        assert shares[0] < 0.6 < shares[1] < shares[2]
        assert shares[2] > 0.9
        assert not reaches[5.0][:, 56:].any()

    def test_thin_rim_at_the_inner_table_goes_and_a_thick_bleed_there_stays(self):
        rng = np.random.default_rng(2)
        brain = np.broadcast_to(blob((0, 60, 55), (1, 50, 44), (1, *SHAPE[1:])), SHAPE).copy()
        depth = np.stack([ndimage.distance_transform_edt(plane) for plane in brain])
        hu = np.where(brain, BRAIN_HU, 900.0) + np.where(brain, rng.normal(0, 3, SHAPE), 0)
        right = np.broadcast_to(np.arange(SHAPE[2]) > 70, SHAPE)
        film, subdural = brain & (depth <= 1.5) & ~right, brain & (depth <= 7) & right
        hu[film] += 30
        hu[subdural] += 30
        found = hu_mask(hu, np.ones(SHAPE, np.float32), brain)
        assert found[film & (np.arange(SHAPE[2]) < 60)].mean() < 0.05
        assert found[subdural].mean() > 0.85
        rimmed = hu_mask(hu, np.ones(SHAPE, np.float32), brain, options=HuOptions(rim_mm=0.0, bridge_mm=0.0))
        assert rimmed[film].mean() > 0.5

    @pytest.mark.parametrize("above", [16, 20])
    def test_isodense_bleed(self, head, above):
        hu, brain, bleed = head
        hu = hu.copy()
        hu[bleed] -= 32 - above
        maps = coarse_map(bleed, 6.0)
        found = hu_mask(hu, maps, brain)
        assert dice(found, bleed) > 0.75
        assert dice(found, bleed) > dice(refine_threshold(maps, brain, 0.2), bleed)

    def test_another_scanner_shifts_nothing(self, head):
        hu, brain, bleed = head
        maps = coarse_map(bleed)
        shifted = refine_hu(hu + 7, maps, brain, SPACING, SLICE_ML, 0.2, BRAIN_HU + 7)
        assert dice(shifted, hu_mask(hu, maps, brain)) > 0.999

    def test_a_seed_no_brighter_than_brain_is_dropped(self, head):
        hu, brain, bleed = head
        elsewhere = blob((2.5, 80, 75), (2.6, 6, 6))
        maps = np.maximum(coarse_map(bleed), coarse_map(elsewhere))
        found = hu_mask(hu, maps, brain)
        assert not found[elsewhere].any()
        assert dice(found, bleed) > 0.85

    def test_every_seed_has_its_own_cut(self, head):
        hu, brain, bleed = head
        hu, faint = hu.copy(), blob((2.5, 80, 75), (2.6, 9, 9))
        hu[faint] += 17
        found = hu_mask(hu, np.maximum(coarse_map(bleed, 4.0), coarse_map(faint, 4.0)), brain, threshold=0.4)
        assert dice(found & (np.arange(SHAPE[1]) > 65)[:, None], faint) > 0.8
        assert dice(found & (np.arange(SHAPE[1]) < 65)[:, None], bleed) > 0.9

    def test_thin_bridges_part_what_they_join(self, head):
        hu, brain, bleed = head
        hu = hu.copy()
        other = blob((2.5, 50, 75), (2.6, 9, 9))
        hu[other] += 32
        hu[2, 50, 40:75] = BRAIN_HU + 60
        maps = coarse_map(bleed, 3.0)
        assert not hu_mask(hu, maps, brain, threshold=0.5)[other].any()
        joined = hu_mask(hu, maps, brain, threshold=0.5, options=HuOptions(bridge_mm=0.0, smooth_mm=0.3))
        assert joined[other].mean() > 0.8

    def test_holes_are_filled(self, head):
        hu, brain, bleed = head
        hu = hu.copy()
        hu[2, 47:53, 38:42] = BRAIN_HU
        assert hu_mask(hu, coarse_map(bleed), brain)[2, 48:52, 39:41].all()

    def test_planes_and_margins_change_nothing(self, head):
        hu, brain, bleed = head
        maps = coarse_map(bleed)
        maps[maps < 0.2] = 0
        expected = hu_mask(hu, maps, brain)
        np.testing.assert_array_equal(hu_mask(list(hu), list(maps), list(brain)), expected)
        wide = [np.pad(a, ((0, 0), (30, 20), (25, 40))) for a in (hu, maps, brain)]
        np.testing.assert_array_equal(hu_mask(*wide)[:, 30:-20, 25:-40], expected)

    def test_anisotropic_pixels(self, head):
        hu, brain, bleed = head
        stretched = [np.repeat(a, 2, axis=1) for a in (hu, coarse_map(bleed), brain, bleed)]
        found = refine_hu(*stretched[:3], (0.5, 1.0), SLICE_ML / 2, 0.2, BRAIN_HU)
        assert dice(found, stretched[3]) > 0.85

    @pytest.mark.parametrize("times", [10, 20])
    def test_thin_noisy_slices(self, head, times):
        rng = np.random.default_rng(4)
        hu, brain, bleed = (np.repeat(a, times, axis=0) for a in head)
        hu[bleed] -= 14
        # The same dose in thinner slices: more noise in each, with the grain of a soft kernel.
        noise = ndimage.gaussian_filter(rng.normal(0, 1, hu.shape), (0, 1.5, 1.5))
        hu = hu + np.where(brain, 4 * np.sqrt(times) / noise.std() * noise, 0)
        # A map that rules out nothing.
        maps = np.ones(hu.shape, np.float32)
        slice_ml = np.full(len(hu), 0.005 / times)
        found = hu_mask(hu, maps, brain, slice_ml=slice_ml)
        assert dice(found, bleed) > 0.85
        single = hu_mask(hu, maps, brain, slice_ml=slice_ml, options=HuOptions(slice_mm=0.0))
        assert dice(found, bleed) > dice(single, bleed) + 0.02

    def test_thick_slices_stay_single(self, head):
        hu, brain, bleed = head
        maps = coarse_map(bleed)
        expected = hu_mask(hu, maps, brain, options=HuOptions(slice_mm=0.0))
        np.testing.assert_array_equal(hu_mask(hu, maps, brain), expected)

    def test_input_is_left_alone(self, head):
        hu, brain, bleed = head
        maps = coarse_map(bleed)
        before = [a.copy() for a in (hu, maps, brain)]
        hu_mask(hu, maps, brain)
        for now, then in zip((hu, maps, brain), before, strict=True):
            np.testing.assert_array_equal(now, then)


class TestComponents:
    def test_specks_and_counts(self):
        mask = np.zeros((4, 20, 20), bool)
        mask[0, 2:6, 2:6] = True
        mask[3, 15, 15] = True
        # Corners touch: 26 neighbours.
        mask[1, 6, 6] = True
        assert count_lesions(mask) == 2
        slice_ml = np.array([0.1, 0.1, 0.1, 0.5])
        kept = remove_specks(mask, slice_ml, 1.0)
        assert count_lesions(kept) == 1
        assert kept[1, 6, 6]
        # The same voxel in a thicker slice.
        assert count_lesions(remove_specks(mask, np.array([0.1, 0.1, 0.1, 1.5]), 1.0)) == 2
        assert count_lesions(np.zeros_like(mask)) == 0
        assert not remove_specks(np.zeros_like(mask), slice_ml, 1.0).any()

    def test_touching(self):
        mask, seeds = np.zeros((3, 12, 12), bool), np.zeros((3, 12, 12), bool)
        mask[1, 2:4, 2:4] = mask[1, 8:10, 8:10] = True
        seeds[1, 9, 9] = seeds[0, 0, 0] = True
        found = touching(mask, seeds)
        assert found.sum() == 4
        assert found[1, 8, 8]
        np.testing.assert_array_equal(touching(mask, list(seeds)), found)

    def test_bounding_box(self):
        assert bounding_box(np.zeros((3, 3), bool)) is None
        mask = np.zeros((3, 9), np.uint8)
        mask[1, 2] = mask[2, 7] = 1
        assert bounding_box(mask) == (slice(1, 3), slice(2, 8))

    def test_more_lesions_than_two_bytes_count(self):
        mask = np.zeros((3, 600, 600), bool)
        mask[1, ::2, ::2] = True
        assert count_lesions(mask) == 90000
        assert touching(mask, mask).sum() == 90000
