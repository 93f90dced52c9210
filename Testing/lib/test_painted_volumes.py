"""Painted whole volumes: slices in their order, exact masks, labels that follow from them, kept on disk."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from phantom_heads import head
from scipy import ndimage

from ICHWeakSegLib.training import painted_volumes as module
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import CLASSES
from ICHWeakSegLib.training.painted_volumes import painted_volumes
from ICHWeakSegLib.training.painting import CLEAR_MM2

SPACING = (10.0, 3.6, 3.6)


@cache
def _healthy() -> tuple[np.ndarray, np.ndarray]:
    """HU and brain of a head without blood, small: every other pixel and slice."""
    truth = head(10)
    hu = np.where(truth.blood, 33, truth.ct.hu)[:, ::2, ::2]
    brain = truth.brain[:, ::2, ::2] & (ndimage.gaussian_filter(hu.astype(np.float32), (0, 0.5, 0.5)) < 110)
    return hu.astype(np.int16), brain


def healthy(name: str = "case-a", patient: str = "p1") -> Cropped:
    hu, brain = _healthy()
    return Cropped(name, patient, hu.copy(), brain.copy(), np.zeros((len(hu), 6), np.float32), per_slab=2)


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painted")
    told = []
    found = painted_volumes([healthy()], 6, SPACING, folder, 3, lambda *n: told.append(n))
    return folder, found, told


def test_copies_are_whole_volumes_of_the_patient(painted):
    _, found, told = painted
    assert [item.name for item in found] == [f"case-a/painted-{n}" for n in range(6)]
    assert told == [(1, 1)]
    case = healthy()
    for item in found:
        assert item.patient == "p1"
        assert item.per_slab == 2
        assert item.hu.shape == item.blood.shape == case.hu.shape
        assert item.hu.dtype == np.int16
        assert item.labels.shape == (len(case.hu), 6)
        np.testing.assert_array_equal(item.brain, case.brain)
        # The same head, slice by slice: most of it is as it was.
        assert np.median(np.abs(item.hu.astype(int) - case.hu)) <= 1


def test_labels_follow_from_the_masks(painted):
    _, found, _ = painted
    pixel = SPACING[1] * SPACING[2]
    for item in found:
        area = item.blood.sum(axis=(1, 2)) * pixel
        any_ = item.labels[:, 0]
        np.testing.assert_array_equal(any_[area >= CLEAR_MM2], 1)
        np.testing.assert_array_equal(any_[area == 0], 0)
        assert np.isnan(any_[(area > 0) & (area < CLEAR_MM2)]).all()
        assert (np.nan_to_num(item.labels[any_ == 1][:, 1:], nan=1).sum(axis=1) >= 1).all()
        assert not np.nan_to_num(item.labels[any_ == 0][:, 1:]).any()
    bled = [item for item in found if item.blood.any()]
    assert len(bled) >= 3
    assert {CLASSES[c] for item in bled for c in range(1, 6) if (item.labels[:, c] == 1).any()}


def test_blood_is_brighter_than_the_brain_that_it_replaced(painted):
    case = healthy()
    for item in (item for item in painted[1] if item.blood.any()):
        assert (item.hu[item.blood] - case.hu[item.blood]).mean() > 8


def test_every_fifth_copy_holds_a_look_alike_and_no_blood(painted):
    bare = painted[1][4]
    assert not bare.blood.any()
    assert not bare.labels.any()
    assert np.abs(bare.hu.astype(int) - healthy().hu).max() > 8


def test_small_and_clear_areas():
    blood = np.zeros((4, 10, 10), bool)
    blood[1, 0, 0] = blood[2, :5, :5] = True
    labels = np.zeros(4, np.float32)
    module._mark(labels, blood, (5.0, 1.0, 1.0))
    np.testing.assert_array_equal(labels, [0, np.nan, 1, 0])
    # A second bleed of the same kind: what was clear stays clear.
    blood[:] = False
    blood[2, 0, 0] = blood[1, :6, :6] = True
    module._mark(labels, blood, (5.0, 1.0, 1.0))
    np.testing.assert_array_equal(labels, [0, 1, 1, 0])


def test_kept_copies_are_read_not_painted_again(painted, monkeypatch):
    folder, found, _ = painted
    monkeypatch.setattr(module, "paint_copies", lambda *_: pytest.fail("painted again"))
    again = painted_volumes([healthy()], 6, SPACING, folder, 3)
    assert isinstance(again[0].hu, np.memmap), "on disk until a slice is asked for"
    for mine, theirs in zip(again, found, strict=True):
        np.testing.assert_array_equal(mine.hu, theirs.hu)
        np.testing.assert_array_equal(mine.blood, theirs.blood)
        np.testing.assert_array_equal(mine.labels, theirs.labels)


def test_copies_depend_on_case_and_seed_alone_and_follow_the_image(tmp_path):
    first = painted_volumes([healthy()], 1, SPACING, tmp_path / "a", 3)[0]
    pair = painted_volumes([healthy("case-0"), healthy()], 1, SPACING, tmp_path / "b", 3)
    np.testing.assert_array_equal(pair[1].hu, first.hu)
    assert not np.array_equal(pair[0].hu, first.hu)
    other = painted_volumes([healthy()], 1, SPACING, tmp_path / "a", 4)[0]
    assert not np.array_equal(other.hu, first.hu)
    changed = healthy()
    changed.hu += 5
    moved = painted_volumes([changed], 1, SPACING, tmp_path / "a", 3)[0]
    assert np.median(moved.hu[moved.brain].astype(int) - first.hu[moved.brain]) == 5
    assert not list(tmp_path.rglob("*.part"))


def test_a_copy_that_was_cut_off_is_painted_anew(tmp_path):
    first = painted_volumes([healthy()], 1, SPACING, tmp_path, 3)[0]
    expected = np.array(first.hu)
    (place,) = (path.parent for path in tmp_path.rglob("painted.json"))
    place.rename(place.with_name(place.name + ".part"))
    np.testing.assert_array_equal(painted_volumes([healthy()], 1, SPACING, tmp_path, 3)[0].hu, expected)
    facts = json.loads((place / "painted.json").read_text())
    assert facts["case"] == "case-a"


def test_only_cases_without_blood_are_painted(tmp_path):
    bleeding, unknown, empty = healthy("b"), healthy("u"), healthy("e")
    bleeding.labels[2, 0], unknown.labels[1, 0], empty.brain[:] = 1, np.nan, False
    assert painted_volumes([bleeding, unknown, empty], 2, SPACING, tmp_path) == []
    assert painted_volumes([healthy()], 0, SPACING, tmp_path) == []
