"""From cases to batches: cache, dataset, augmentation, sampling, painted bleeds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from cohorts import SMALL, bleeding_ct, cropped_cases
from scipy.ndimage import binary_erosion

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.phantom import make_phantom
from ICHWeakSegLib.training import cache
from ICHWeakSegLib.training.cache import Cropped, cached_cases, crop_case
from ICHWeakSegLib.training.cases import CLASSES, Case
from ICHWeakSegLib.training.dataset import Augmentation, SliceDataset, balanced_sampler
from ICHWeakSegLib.training.painting import SHORT, paint_case, painted_cases

PAINT_MM = (8.0, 2.0, 2.0)
STILL = Augmentation(rotation_deg=0, scale=0, shift=0, noise_hu=0, hu_offset=0, hu_gain=0)


def case(name: str = "head", bleeds: bool = True, slices: int = 10) -> Case:
    ct, any_ = bleeding_ct(bleeds, slices)
    labels = np.zeros((slices, 6), np.float32)
    labels[:, 0] = any_
    labels[:, 1] = np.nan
    return Case(name, f"of {name}", labels, lambda: ct)


# Cropping and keeping


def test_a_crop_shows_the_head_and_keeps_its_labels():
    one = case()
    crop = crop_case(one, SMALL)
    assert crop.hu.shape == crop.brain.shape == (10, 32, 32)
    assert (crop.hu.dtype, crop.brain.dtype, crop.labels.dtype) == (np.int16, bool, np.float32)
    np.testing.assert_array_equal(crop.labels, one.labels)
    middle = crop.hu[5][crop.brain[5]]
    assert abs(np.median(middle) - 33) <= 1, "brain is shifted to what the model wants"
    # Bone leaks into the rim of such large pixels.
    inside = [binary_erosion(mask, iterations=3) for mask in crop.brain]
    blood = np.array([(hu[mask] > 50).any() for hu, mask in zip(crop.hu, inside, strict=True)])
    assert (blood <= crop.labels[:, 0].astype(bool)).all()
    assert blood.sum() >= 2


def test_slabs_of_thin_slices_take_the_blood_of_any_of_them():
    ct, any_ = bleeding_ct(True, 30)
    ct.ijk_to_ras[:3, 2] /= 3.2  # 2.5 mm
    labels = np.full((30, 6), np.nan, np.float32)
    labels[:, 0] = any_
    labels[4:6, 0] = np.nan
    labels[7, 0] = np.nan
    labels[6, 0] = 1
    crop = crop_case(Case("thin", "p", labels, lambda: ct), SMALL)
    assert crop.per_slab == 2
    assert len(crop.hu) == 15
    assert np.isnan(crop.labels[2, 0])
    assert crop.labels[3, 0] == 1
    np.testing.assert_array_equal(crop.labels[4:, 0], any_.reshape(15, 2).max(axis=1)[4:])


def test_another_number_of_labels_than_slices_is_refused():
    wrong = case()
    wrong.labels = wrong.labels[:-1]
    with pytest.raises(InputError, match=r"^head has 10 axial slices and 9 labels\.$"):
        crop_case(wrong, SMALL)


@pytest.fixture
def counted(monkeypatch):
    """Names of the cases that were cropped and not taken from disk."""
    names = []

    def counting(one, preprocessing):
        names.append(one.name)
        return crop_case(one, preprocessing)

    monkeypatch.setattr(cache, "crop_case", counting)
    return names


def test_what_the_cache_gives_is_what_cropping_gives(tmp_path, counted):
    cases, told = [case("a"), case("b", bleeds=False)], []
    first = cached_cases(cases, SMALL, tmp_path, lambda *n: told.append(n))
    again = cached_cases(cases, SMALL, tmp_path)
    assert counted == ["a", "b"]
    assert told == [(1, 2), (2, 2)]
    for miss, hit in zip(first, again, strict=True):
        assert (miss.name, miss.patient) == (hit.name, hit.patient)
        for field in ("hu", "brain", "labels"):
            kept = getattr(hit, field)
            np.testing.assert_array_equal(getattr(miss, field), kept)
            assert kept.dtype == getattr(miss, field).dtype
    assert not list(tmp_path.rglob("*.part*"))


def test_the_cache_keeps_how_many_slices_a_slab_has(tmp_path, counted):
    ct, any_ = bleeding_ct(True, 30)
    ct.ijk_to_ras[:3, 2] /= 3.2  # 2.5 mm: two slices a slab of 5 mm
    labels = np.full((30, 6), np.nan, np.float32)
    labels[:, 0] = any_
    thin = [Case("thin", "p", labels, lambda: ct)]
    assert [cached_cases(thin, SMALL, tmp_path)[0].per_slab for _ in range(2)] == [2, 2]
    assert counted == ["thin"]


def test_other_preprocessing_is_another_cache(tmp_path, counted):
    one = [case()]
    cached_cases(one, SMALL, tmp_path)
    assert cached_cases(one, replace(SMALL, size=40), tmp_path)[0].hu.shape == (10, 40, 40)
    cached_cases(one, replace(SMALL, windows=((40, 80), (80, 200), (50, 50))), tmp_path)
    assert len(counted) == 3
    cached_cases(one, SMALL, tmp_path)
    assert len(counted) == 3


def test_corrected_labels_count_and_not_the_kept_ones(tmp_path, counted):
    one = case()
    cached_cases([one], SMALL, tmp_path)
    one.labels = 1 - one.labels
    np.testing.assert_array_equal(cached_cases([one], SMALL, tmp_path)[0].labels, one.labels)
    assert len(counted) == 1
    one.labels = one.labels[:-1]
    with pytest.raises(InputError, match="10 axial slices and 9 labels"):
        cached_cases([one], SMALL, tmp_path)


# Dataset


def test_items_of_the_dataset():
    cases = cropped_cases(2)
    data = SliceDataset(cases, SMALL)
    assert len(data) == 16
    assert data.labels.shape == (16, 6)
    image, labels, blood = data[8]
    assert image.shape == (3, 32, 32)
    assert image.dtype == labels.dtype == blood.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1
    np.testing.assert_array_equal(labels, cases[1].labels[0])
    np.testing.assert_array_equal(image, SMALL.images(cases[1].hu[0].astype(np.float32), cases[1].brain[0]))
    assert (blood == -1).all(), "nobody drew the blood of a real positive slice"
    assert (data[0][2] == 0).all(), "a negative slice has none"
    assert image[:, ~cases[1].brain[0]].max() == 0, "outside the brain is blank"


def test_slices_without_label_or_brain_are_left_out():
    (one,) = cropped_cases(1)
    one.labels[2, 0] = np.nan
    one.labels[3, 1:] = np.nan
    one.brain[5] = False
    data = SliceDataset([one], SMALL)
    assert [plane for _, plane in data.index] == [0, 1, 3, 4, 6, 7]
    assert len(SliceDataset([], SMALL)) == 0


def test_augmentation_changes_the_image_and_keeps_the_label():
    cases = cropped_cases(2)
    torch.manual_seed(0)
    plain, varied = SliceDataset(cases, SMALL), SliceDataset(cases, SMALL, Augmentation())
    image, labels, _ = plain[8]
    draws = [varied[8] for _ in range(8)]
    for other, other_labels, blood in draws:
        assert other.shape == image.shape
        assert 0 <= other.min() <= other.max() <= 1
        assert torch.equal(other_labels, labels)
        assert (blood.round() == -1).any()
        assert not torch.allclose(other, image, atol=0.05)
    assert not torch.equal(draws[0][0], draws[1][0])
    torch.manual_seed(0)
    assert torch.equal(varied[8][0], draws[0][0]), "the seed decides"


def test_augmentation_at_rest_only_flips():
    cases = cropped_cases(2)
    image = SliceDataset(cases, SMALL)[8][0]
    still = SliceDataset(cases, SMALL, STILL)
    found = [still[8][0] for _ in range(12)]
    assert all(torch.allclose(one, image) or torch.allclose(one, image.flip(-1)) for one in found)
    assert any(torch.allclose(one, image) for one in found)
    assert any(torch.allclose(one, image.flip(-1)) for one in found)


def test_painted_blood_moves_with_its_image():
    (one,) = cropped_cases(2)[1:]
    blood = one.hu > 55
    painted = Cropped("x", "p", one.hu, one.brain, one.labels, blood)
    data = SliceDataset([painted], SMALL, replace(STILL, rotation_deg=90, shift=0.1))
    torch.manual_seed(1)
    for _ in range(6):
        image, _, mask = data[0]
        bright = image[1] > image[1].max() * 0.75
        overlap = (bright & (mask > 0.5)).sum() / (mask > 0.5).sum()
        assert overlap > 0.7


# Sampling


def shares(real, painted, share, samples=20_000):
    sampler = balanced_sampler(np.array(real), np.array(painted), share, samples)
    drawn = np.array(list(sampler))
    labels = np.concatenate([real, painted])[drawn]
    return labels.mean(), (drawn >= len(real)).mean(), drawn


def test_draws_are_half_positive_whatever_the_cohort():
    real = np.r_[np.ones(7), np.zeros(93)]
    positive, painted, drawn = shares(real, np.zeros(0), 0.5)
    assert positive == pytest.approx(0.5, abs=0.02)
    assert painted == 0
    counts = np.bincount(drawn, minlength=100)
    assert counts[:7].min() > 1200
    assert counts[7:].min() > 50


def test_painted_slices_take_their_share_of_both_kinds():
    real, painted = np.r_[np.ones(7), np.zeros(93)], np.r_[np.ones(400), np.zeros(30)]
    positive, share, drawn = shares(real, painted, 0.3)
    assert positive == pytest.approx(0.5, abs=0.02)
    assert share == pytest.approx(0.3, abs=0.02)
    assert np.concatenate([real, painted])[drawn[drawn >= 100]].mean() == pytest.approx(0.5, abs=0.03)


def test_painted_slices_of_one_kind_leave_the_balance():
    positive, share, _ = shares(np.r_[np.ones(7), np.zeros(93)], np.ones(50), 0.4)
    assert positive == pytest.approx(0.5, abs=0.02)
    assert share == pytest.approx(0.2, abs=0.02)


def test_an_epoch_is_twice_the_minority_and_the_seed_decides_its_order():
    real = np.r_[np.ones(7), np.zeros(93)]
    make = partial(balanced_sampler, real, np.zeros(0), 0.0)
    assert len(make()) == 14
    assert list(make(seed=1)) == list(make(seed=1)) != list(make(seed=2))


@pytest.mark.parametrize(("real", "kind"), [(np.zeros(5), "positive"), (np.ones(5), "negative")])
def test_one_kind_of_slice_is_not_enough(real, kind):
    with pytest.raises(ValueError, match=f"There is no {kind} slice to train on"):
        balanced_sampler(real, np.r_[np.ones(3), np.zeros(3)], 0.5)


# Painted bleeds


@pytest.fixture(scope="module")
def empty_head() -> Cropped:
    """A phantom without blood in crops of 96 pixels of 2 mm."""
    from ICHWeakSegLib.ct.network_input import Preprocessing

    phantom = make_phantom(subtype="none", seed=3, size=128, pixel_mm=1.8, spacing_mm=8.0)
    ct = phantom.ct
    wishes = Preprocessing(96, ((40, 80),), pixel_mm=2.0, slice_mm=8.0, brain_hu=33.0)
    labels = np.zeros((ct.hu.shape[0], 6), np.float32)
    return crop_case(Case("phantom", "p1", labels, lambda: ct), wishes)


@pytest.fixture(scope="module")
def painted(empty_head) -> Cropped:
    return paint_case(empty_head, 6, PAINT_MM, np.random.default_rng(0))


def test_painted_slices_say_what_was_painted(empty_head, painted):
    assert (painted.name, painted.patient) == ("phantom", "p1")
    assert painted.hu.shape == painted.brain.shape == painted.blood.shape
    assert painted.labels.shape == (len(painted.hu), len(CLASSES))
    any_ = painted.labels[:, 0] == 1
    assert any_.any()
    assert (~any_).any(), "look-alikes are negative"
    areas = painted.blood.sum(axis=(1, 2)) * PAINT_MM[1] * PAINT_MM[2]
    assert (areas[any_] >= 25).all()
    assert (areas[~any_] == 0).all()
    assert (painted.labels[any_, 1:].sum(axis=1) == 1).all()
    assert (painted.labels[~any_] == 0).all()
    assert len(set(painted.labels[any_, 1:].argmax(axis=1))) >= 2, "several kinds of bleed"
    assert set(SHORT.values()) == set(CLASSES[1:])
    for hu, mask, label in zip(painted.hu, painted.blood, painted.labels, strict=True):
        if label[0]:
            assert 40 < np.median(hu[mask]) < 100
    assert np.abs(painted.hu[~any_].astype(int)).max() < 4000
    assert not (empty_head.labels[:, 0] == 1).any(), "the case itself stays as it was"


def test_painting_depends_on_the_generator_alone(empty_head, painted):
    again = paint_case(empty_head, 6, PAINT_MM, np.random.default_rng(0))
    for field in ("hu", "brain", "labels", "blood"):
        np.testing.assert_array_equal(getattr(again, field), getattr(painted, field))


def test_only_cases_without_blood_are_painted_and_kept_on_disk(tmp_path, empty_head):
    bleeding = replace(empty_head, name="bleeds", patient="p2", labels=empty_head.labels.copy())
    bleeding.labels[3, 0] = 1
    unsure = replace(empty_head, name="unsure", patient="p3", labels=empty_head.labels.copy())
    unsure.labels[3, 0] = np.nan
    cases, told = [bleeding, empty_head, unsure], []
    first = painted_cases(cases, 2, PAINT_MM, tmp_path, 5, lambda *n: told.append(n))
    assert [one.patient for one in first] == ["p1"]
    assert told == [(1, 1)]
    again = painted_cases(cases, 2, PAINT_MM, tmp_path, 5)
    np.testing.assert_array_equal(first[0].hu, again[0].hu)
    np.testing.assert_array_equal(first[0].blood, again[0].blood)
    assert not np.array_equal(first[0].hu, painted_cases(cases, 2, PAINT_MM, tmp_path, 6)[0].hu)
    # Another case in the same place is painted anew.
    other = replace(empty_head, name="other", patient="p9", hu=np.roll(empty_head.hu, 1, axis=2))
    assert not np.array_equal(first[0].hu, painted_cases([other], 2, PAINT_MM, tmp_path, 5)[0].hu)


def test_a_case_without_brain_is_not_painted(tmp_path, empty_head):
    none = replace(empty_head, brain=np.zeros_like(empty_head.brain))
    assert painted_cases([none], 2, PAINT_MM, tmp_path) == []


def test_a_dataset_of_painted_slices_knows_their_blood(painted):
    from ICHWeakSegLib.ct.network_input import Preprocessing

    wishes = Preprocessing(96, ((40, 80),), pixel_mm=2.0)
    data = SliceDataset([painted], wishes)
    assert len(data) == len(painted.hu)
    for item in (0, len(data) - 1):
        np.testing.assert_array_equal(data[item][2] > 0.5, painted.blood[item])
