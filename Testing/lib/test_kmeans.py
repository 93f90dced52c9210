"""Pseudo-masks by brightness clusters inside the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phantom_heads import dice, head
from scipy import ndimage

from ICHWeakSegLib.ct.windows import apply_windows
from ICHWeakSegLib.phantom import paint_lesion
from ICHWeakSegLib.refine import KMeansOptions, refine_kmeans

BARE = KMeansOptions(dilations=0)


def disc(centre: tuple[float, float], radius: float, size: int = 100) -> np.ndarray:
    row, column = np.mgrid[:size, :size]
    return (row - centre[0]) ** 2 + (column - centre[1]) ** 2 < radius**2


@pytest.fixture
def plane() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU with noise, the brain, and a map of a region around (40, 45)."""
    rng = np.random.default_rng(2)
    brain = disc((50, 50), 42)
    hu = np.where(brain, 33.0, 900.0) + np.where(brain, rng.normal(0, 3, brain.shape), 0)
    hu[~disc((50, 50), 47)] = -1000
    return hu, brain, np.where(disc((40, 45), 16), 1.0, 0.1)


def one(hu, maps, brain, options=BARE, **more) -> np.ndarray:
    return refine_kmeans(hu[None], maps[None], brain[None], options=options, **more)[0]


def test_the_limit_is_grey_140_of_255():
    limit = KMeansOptions().brightest_hu
    assert limit == pytest.approx(-20 + 200 * 140 / 255, abs=0.01)
    grey = apply_windows(np.full((1, 1), limit), [(80, 200)])[0, 0, 0] * 255
    assert grey == pytest.approx(140, abs=0.01)


def test_published_parameters():
    how = KMeansOptions()
    assert (how.level_hu, how.width_hu, how.clusters) == (80, 200, 4)
    assert (how.brightest_hu, how.dilation, how.dilations) == (89.8, 4, 2)


def test_blood_beside_brain_and_calcification(plane):
    hu, brain, maps = plane
    bleed, stone = disc((40, 42), 7), disc((44, 56), 3)
    hu[bleed] += 35
    hu[stone] = 160
    found = one(hu, maps, brain)
    assert dice(found, bleed) > 0.97
    assert not found[stone].any()
    grown = one(hu, maps, brain, KMeansOptions())
    assert (grown & ~ndimage.binary_dilation(bleed, iterations=12)).sum() == 0
    assert grown[ndimage.binary_dilation(found, np.ones((5, 5))) & brain].all()
    # Blood outside the region stays unseen.
    hu[disc((75, 60), 6)] += 35
    assert np.array_equal(one(hu, maps, brain), found)


def test_a_painted_bleed_is_found():
    truth = head()
    hu = truth.ct.hu.astype(np.float32)
    assert truth.ct.ijk_to_ras[2, 2] > 0
    assert truth.ct.ijk_to_ras[1, 1] < 0
    hu[truth.blood] = 33
    brain = truth.brain & (hu < 130)
    painted = paint_lesion(
        hu, brain, (5.0, 1.8, 1.8), "intraparenchymal", 25.0, np.random.default_rng(3), mean_hu=66
    )
    slices = np.flatnonzero(painted.mask.sum(axis=(1, 2)) > 40)
    assert len(slices) >= 3
    around = ndimage.gaussian_filter(painted.mask.astype(np.float32), (0, 4, 4))
    maps = around / np.maximum(around.max(axis=(1, 2), keepdims=True), 1e-6)
    found = refine_kmeans(painted.hu[slices], maps[slices], brain[slices], threshold=0.2, options=BARE)
    assert dice(found, painted.mask[slices]) > 0.75
    region = (maps[slices] > 0.2) & brain[slices]
    assert dice(found, painted.mask[slices]) > dice(region, painted.mask[slices]) + 0.05


def test_a_region_of_bone_only_is_empty(plane):
    hu, brain, _ = plane
    bone = disc((40, 45), 6)
    rng = np.random.default_rng(0)
    for bright in (np.full(bone.sum(), 900.0), rng.uniform(110, 300, bone.sum()), np.full(bone.sum(), 90.0)):
        hu[bone] = bright
        assert not one(hu, bone.astype(float), brain, KMeansOptions()).any()
    hu[bone] = 89.0
    assert one(hu, bone.astype(float), brain).sum() == bone.sum()


def test_no_label_no_map_no_brain_no_mask(plane):
    hu, brain, maps = plane
    hu[disc((40, 45), 6)] += 35
    stack = [np.stack([part] * 3) for part in (hu, maps, brain)]
    found = refine_kmeans(*stack, labels=[0, 1, 1])
    assert found.any(axis=(1, 2)).tolist() == [False, True, True]
    stack[1][1] = 0
    assert refine_kmeans(*stack).any(axis=(1, 2)).tolist() == [True, False, True]
    stack[2][2] = False
    assert refine_kmeans(*stack).any(axis=(1, 2)).tolist() == [True, False, False]
    assert not one(hu, np.full_like(maps, 0.7), brain).any(), "the map has to be above its threshold"
    with pytest.raises(ValueError, match="argument"):
        refine_kmeans(*stack, labels=[1])


def test_the_brain_bounds_the_mask(plane):
    hu, _, maps = plane
    hu[disc((40, 45), 10)] = 70
    brain = disc((50, 50), 42) & (np.arange(100) < 45)
    found = one(hu, maps, brain, KMeansOptions(dilations=5))
    assert found.any()
    assert not found[~brain].any()


@pytest.mark.parametrize(
    ("side", "times", "reach"),
    [(4, 2, (3, 3)), (3, 1, (1, 1)), (1, 3, (0, 0)), (4, 1, (2, 1)), (2, 2, (1, 1))],
)
def test_dilation_is_even_on_all_sides(side, times, reach):
    hu, brain = np.full((40, 40), 33.0), np.ones((40, 40), bool)
    hu[18:23, 18:23] = 70
    maps = np.zeros((40, 40))
    maps[10:31, 10:31] = 1
    found = one(hu, maps, brain, replace(BARE, dilation=side, dilations=times))
    rows, columns = np.nonzero(found)
    assert (18 - rows.min(), rows.max() - 22) == reach
    assert (18 - columns.min(), columns.max() - 22) == reach
    assert found.sum() == (5 + sum(reach)) ** 2


def test_the_same_each_time_and_the_input_is_left_alone(plane):
    hu, brain, maps = plane
    hu[disc((40, 42), 7)] += 20
    before = [part.copy() for part in (hu, maps, brain)]
    first = one(hu, maps, brain)
    np.random.seed(5)  # noqa: NPY002
    assert np.array_equal(one(hu, maps, brain), first)
    for now, then in zip((hu, maps, brain), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_planes_one_by_one_are_a_stack(plane):
    hu, brain, maps = plane
    other = np.roll(hu, 3)
    stacked = refine_kmeans(np.stack([hu, other]), np.stack([maps] * 2), np.stack([brain] * 2))
    assert np.array_equal(refine_kmeans([hu, other], [maps] * 2, [brain] * 2), stacked)


@pytest.mark.parametrize("wrong", [{"clusters": 1}, {"width_hu": 0}, {"dilation": 0}, {"dilations": -1}])
def test_options_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="must be above 0"):
        KMeansOptions(**wrong)
