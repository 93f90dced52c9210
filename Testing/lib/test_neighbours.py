"""Slice probabilities with a word of the neighbouring slices; operating points measured so."""

import numpy as np
import pytest

from ICHWeakSegLib.inference.neighbours import smooth_over_slices
from ICHWeakSegLib.training.package import operating_point, slice_auc, smoothed


def test_weighted_means_by_hand():
    values = np.array([0.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(smooth_over_slices(values, [0.5]), [0.5 / 1.5, 0.5, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(
        smooth_over_slices(values, [0.5, 0.25]), [0.5 / 1.75, 1 / 2.25, 0.5 / 2.25, 0.25 / 1.75], atol=1e-6
    )
    np.testing.assert_array_equal(smooth_over_slices(values, []), values)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_volumes(count):
    values = np.linspace(0.2, 0.8, count)
    found = smooth_over_slices(values, [0.5, 0.5])
    assert found.shape == (count,)
    # All slices see all others: their means differ by the weights only.
    assert values.min() - 1e-6 <= found.min()
    assert found.max() <= values.max() + 1e-6


def test_slices_without_brain_take_no_part():
    values = np.array([0.9, 0.0, 0.6])
    here = np.array([True, False, True])
    np.testing.assert_allclose(smooth_over_slices(values, [0.5], here), [0.9, 0.0, 0.6], atol=1e-6)


def scores(cases=20, seed=0):
    """Bleeds of three slices, and noise that does not go on from slice to slice."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(cases):
        for plane in range(12):
            label = int(case % 2 and 4 <= plane < 7)
            logit = 1.5 * label + rng.normal() - 1
            rows.append((f"case {case}", plane, label, float(1 / (1 + np.exp(-logit)))))
    return rows


def test_noise_counts_less_with_neighbours():
    rows = scores()
    better = smoothed(rows, [0.5])
    assert {row[:3] for row in better} == {row[:3] for row in rows}
    assert slice_auc(better) > slice_auc(rows) + 0.02


def test_operating_points_are_those_of_the_smoothed_probabilities():
    rows = scores()
    point = operating_point(rows, [0.5])
    assert point.smoothing == (0.5,)
    labels = np.array([row[2] for row in rows])
    found = np.array([row[3] for row in smoothed(rows, [0.5])])
    assert ((found >= point.probability) & (labels == 0)).sum() / (labels == 0).sum() == pytest.approx(
        0.1, abs=0.02
    )
    assert (found >= point.points["high"])[labels == 1].mean() >= 0.9
    assert (found < point.points["low"])[labels == 0].mean() >= 0.97
    assert point.points["low"] >= point.points["normal"] >= point.points["high"]
    assert point.points["normal"] == point.probability
    assert operating_point(rows).probability != point.probability
    assert operating_point(rows[:2], [0.5]).smoothing == (0.5,)
