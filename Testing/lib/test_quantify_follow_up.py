"""Follow-up on a phantom head that was moved by a known shift and rotation and scanned anew."""

from __future__ import annotations

import json

import numpy as np
import pytest
from heads import axial_affine, head_ct, rotation
from phantom_heads import HeadWithBleed, dice, head, on_grid
from PIL import Image
from scipy import ndimage

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.phantom import make_phantom
from ICHWeakSegLib.quantify import follow_up
from ICHWeakSegLib.quantify.follow_up import is_expansion
from ICHWeakSegLib.quantify.follow_up_picture import write_follow_up_picture
from ICHWeakSegLib.quantify.moved import moved_mask
from ICHWeakSegLib.quantify.register import register

# Points all over the head, RAS mm, homogeneous, shape (4, n).
POINTS = np.array([[x, y, z, 1.0] for x in (-55, 0, 55) for y in (-70, 0, 70) for z in (0, 35, 75)]).T


def pose(axes: dict[str, float], shift: tuple[float, float, float]) -> np.ndarray:
    move = np.eye(4)
    for axis, degrees in axes.items():
        move[:3, :3] = rotation(axis, degrees) @ move[:3, :3]
    move[:3, 3] = shift
    return move


def scanned_again(move: np.ndarray, count: int = 34, step: float = 5.0, tilt: float = 0.0) -> HeadWithBleed:
    """The phantom head after `move`, on new slices."""
    shape = (count, 128, 128)
    scanner = axial_affine(shape, (1.8, 1.8, step), tilt_deg=tilt)
    scanner[:3, 3] += (0, 0, 25)
    again = on_grid(shape, np.linalg.inv(move) @ scanner)
    again.ct.ijk_to_ras = scanner
    return again


def grown(case: HeadWithBleed) -> np.ndarray:
    """The bleed one pixel larger, in the CT too."""
    more = ndimage.binary_dilation(case.blood, iterations=1) & case.brain
    case.ct.hu[more & ~case.blood] = 62
    return more


@pytest.fixture(scope="module")
def first():
    return head()


@pytest.fixture(scope="module")
def compared(first):
    """A turned, shifted, tilted second scan on which the bleed has grown."""
    move = pose({"R": 8, "S": -10, "A": 6}, (10, -5, 4))
    second = scanned_again(move, tilt=12.0)
    before_growth = second.blood.copy()
    mask = grown(second)
    change = follow_up(first.ct, {"hemorrhage": first.blood}, second.ct, {"hemorrhage": mask})
    return move, second, before_growth, mask, change


def error_mm(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm((found @ POINTS - truth @ POINTS)[:3], axis=0).max())


class TestFollowUp:
    def test_change_after_a_known_shift_and_rotation(self, first, compared):
        move, second, _, mask, change = compared
        assert error_mm(change.registration.before_to_after, move) < 1.0
        assert not change.registration.poor
        assert change.warnings == ()
        angle = np.degrees(np.arccos((np.trace(move[:3, :3]) - 1) / 2))
        assert change.registration.rotation_deg == pytest.approx(angle, abs=0.5)
        before, after = first.blood_ml, second.ct.volume_ml(mask)
        assert after - before > 6
        assert change.change_ml == pytest.approx(after - before)
        assert change.change_percent == pytest.approx(100 * (after - before) / before)
        assert change.expansion

    def test_overlay(self, compared):
        _, second, before_growth, mask, change = compared
        assert change.overlay.shape == second.ct.hu.shape
        assert dice(change.before_on_after, before_growth) > 0.9
        np.testing.assert_array_equal(change.overlay >= 2, mask)
        np.testing.assert_array_equal((change.overlay & 1).astype(bool), change.before_on_after > 0)

    def test_plain_values_and_words(self, compared):
        change = compared[-1]
        said = change.to_dict()
        assert json.loads(json.dumps(said, allow_nan=False)) == said
        assert said["expansion"] is True
        assert len(change.rows()) == len(change.before.lesions) + len(change.after.lesions)
        assert {row["scan"] for row in change.rows()} == {"before", "after"}
        assert "expansion by the rule more than 6 mL" in change.sentence()

    def test_picture(self, first, compared, tmp_path):
        _, second, *_, change = compared
        path = write_follow_up_picture(tmp_path / "a.png", change, first.ct, second.ct)
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert pixels.shape[1] > 600
        amber = (np.abs(pixels - (255, 176, 0)).max(axis=-1) < 40).sum()
        blue = (np.abs(pixels - (86, 180, 233)).max(axis=-1) < 40).sum()
        assert amber > 100
        assert blue > 100
        # The later scan's outlines are in the lower row alone.
        upper = pixels[: int(0.55 * len(pixels))]
        assert (np.abs(upper - (255, 176, 0)).max(axis=-1) < 40).sum() == 0


@pytest.mark.parametrize(
    ("move", "slices"),
    [
        (pose({"R": -20}, (3, 4, -9)), {}),
        (pose({"S": 12}, (5, -8, 6)), {"count": 60, "step": 2.5}),
    ],
    ids=["nodded", "turned, thin slices"],
)
def test_registration_error(first, move, slices):
    second = scanned_again(move, **slices)
    found = register(Head.of(first.ct), Head.of(second.ct))
    assert error_mm(found.before_to_after, move) < 1.0
    turn = found.before_to_after[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(turn) == pytest.approx(1)
    assert not found.poor
    assert found.correlation > 0.93


def test_two_heads_are_told_and_nothing_is_random(first):
    other = make_phantom("epidural", 20.0, 0.0, 5.0, 12, size=128, pixel_mm=1.8)
    change = follow_up(first.ct, {"hemorrhage": first.blood}, other.ct, {"hemorrhage": other.truth})
    assert change.registration.poor
    assert any("same head" in sentence for sentence in change.warnings)
    again = register(Head.of(first.ct), Head.of(other.ct))
    np.testing.assert_array_equal(again.before_to_after, change.registration.before_to_after)
    assert again.quality == change.registration.quality


@pytest.mark.parametrize(
    ("before", "after", "expansion"),
    [
        (100.0, 106.0, False),
        (100.0, 106.01, True),
        (10.0, 13.29, False),
        (10.0, 13.31, True),
        (3.0, 3.0, False),
        (40.0, 10.0, False),
        (0.0, 0.0, False),
        # No share of nothing: mL alone.
        (0.0, 5.9, False),
        (0.0, 6.1, True),
    ],
)
def test_the_rule_of_expansion(before, after, expansion):
    assert is_expansion(before, after) is expansion


def test_without_blood_before():
    ct = head_ct((24, 56, 60), spacing=(4.0, 4.0, 6.0))
    nothing, mask = np.zeros(ct.hu.shape, np.uint8), np.zeros(ct.hu.shape, np.uint8)
    mask[10:13, 25:30, 25:30] = 1
    change = follow_up(ct, {"hemorrhage": nothing}, ct, {"hemorrhage": mask})
    assert change.change_ml == pytest.approx(ct.volume_ml(mask))
    assert change.change_percent is None
    assert change.expansion
    assert set(np.unique(change.overlay)) == {0, 2}
    assert "%" not in change.sentence().split(";")[0]


def test_moved_mask_on_uneven_and_other_grids(first):
    """By a known transform, without registration."""
    positions = np.concatenate([np.arange(0.0, 50, 2.5), np.arange(50.0, 160, 5)])
    shape = (len(positions), 128, 128)
    move = pose({"S": 20}, (4, 2, 1))
    scanner = axial_affine(shape, (1.8, 1.8, 5.0))
    scanner[2, 3] = -60.0
    again = on_grid(shape, np.linalg.inv(move) @ scanner, positions)
    target = CT(again.ct.hu, scanner, positions)
    moved = moved_mask(first.blood, first.ct, target, move)
    assert dice(moved, again.blood) > 0.9
    back = moved_mask(moved, target, first.ct, np.linalg.inv(move))
    assert dice(back, first.blood) > 0.85
    assert not moved_mask(np.zeros(first.ct.hu.shape), first.ct, target, move).any()
    away = pose({}, (1000, 0, 0))
    assert not moved_mask(first.blood, first.ct, target, away).any()
    np.testing.assert_array_equal(moved_mask(first.blood, first.ct, first.ct, np.eye(4)), first.blood)


def test_refused(first):
    ball = CT(np.full((10, 40, 40), 30, np.int16), axial_affine((10, 40, 40)), source="ball")
    nothing = np.zeros(ball.hu.shape, bool)
    with pytest.raises(InputError, match="no skull"):
        follow_up(first.ct, {"hemorrhage": first.blood}, ball, {"hemorrhage": nothing})
    with pytest.raises(InputError, match="shape"):
        follow_up(first.ct, {"hemorrhage": first.blood}, first.ct, {"hemorrhage": nothing})
    with pytest.raises(InputError, match="no mask"):
        follow_up(first.ct, {}, first.ct, {"hemorrhage": first.blood})
