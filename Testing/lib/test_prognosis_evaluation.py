"""Figures against independent computations; the interval; baselines; the whole evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ICHWeakSegLib.evaluation.bootstrap import Bootstrap
from ICHWeakSegLib.prognosis.baselines import baselines
from ICHWeakSegLib.prognosis.calibration import (
    brier,
    calibration_curve,
    calibration_line,
    scaled_brier,
)
from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.decision_curve import net_benefit, treat_all
from ICHWeakSegLib.prognosis.discrimination import Auc, auprc
from ICHWeakSegLib.prognosis.evaluation_figures import Forecaster, Outcomes, differences, measure
from ICHWeakSegLib.prognosis.score_facts import ScoreFacts
from ICHWeakSegLib.prognosis.venn_abers import venn_abers


@pytest.fixture(scope="module")
def sample():
    """Forecasts that are too extreme by a factor of 2 and 0.5 too high, in logits; with ties and weights."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1, 4000)
    outcomes = (rng.random(4000) < 1 / (1 + np.exp(-logits))).astype(int)
    forecast = np.round(1 / (1 + np.exp(-(2 * logits + 0.5))), 2)
    return outcomes, forecast, rng.integers(0, 4, 4000).astype(float)


def test_auc_auprc_and_brier_are_those_of_scikit_learn(sample):
    y, p, w = sample
    some = slice(0, 500)
    y, p, w = y[some], p[some], w[some]
    used = w > 0
    assert Auc(y, p)(w) == pytest.approx(roc_auc_score(y[used], p[used], sample_weight=w[used]))
    assert auprc(y, p, w) == pytest.approx(average_precision_score(y[used], p[used], sample_weight=w[used]))
    assert brier(y, p, w) == pytest.approx(brier_score_loss(y, p, sample_weight=w))
    share = np.average(y, weights=w)
    assert scaled_brier(y, np.full(len(y), share), w) == pytest.approx(0)
    assert scaled_brier(y, y.astype(float), w) == 1
    # Weights are repetitions.
    again = np.repeat(np.arange(len(y)), w.astype(int))
    assert Auc(y, p)(w) == pytest.approx(Auc(y[again], p[again])(np.ones(len(again))))


def test_figures_without_both_outcomes_are_undefined():
    y, p, w = np.array([1, 1, 0]), np.array([0.2, 0.4, 0.9]), np.array([1.0, 1.0, 0.0])
    assert np.isnan(Auc(y, p)(w))
    assert np.isnan(auprc(y, p, w))
    assert np.isnan(scaled_brier(y, p, w))
    assert np.isnan(calibration_line(y, p, w)).all()
    assert brier(y, p, w) == pytest.approx((0.64 + 0.36) / 2)


def test_calibration_line_is_that_of_a_direct_search(sample):
    y, p, w = sample
    logit = np.log(np.clip(p, 0.005, 0.995) / (1 - np.clip(p, 0.005, 0.995)))

    def loss(line, offset):
        at = line[0] + (line[1] if len(line) > 1 else 0) * logit + offset
        return np.sum(w * (np.logaddexp(0, at) - y * at))

    both = minimize(loss, [0.0, 1.0], args=(0.0,), method="BFGS").x
    alone = minimize(loss, [0.0], args=(logit,), method="BFGS").x
    intercept, slope = calibration_line(y, p, w)
    assert slope == pytest.approx(both[1], abs=1e-3)
    assert intercept == pytest.approx(alone[0], abs=1e-3)
    assert slope == pytest.approx(0.5, abs=0.08)
    assert intercept < -0.2


def test_calibration_of_extreme_and_constant_forecasts():
    y = np.array([0, 1, 0, 1, 0, 1])
    ones = np.ones(6)
    # Parted without error: the slope has no end.
    assert np.isnan(calibration_line(y, y.astype(float), ones)[1])
    intercept, slope = calibration_line(y, np.full(6, 0.25), ones)
    assert intercept == pytest.approx(np.log(3))
    assert np.isnan(slope)


def test_calibration_curve_groups_all_cases(sample):
    y, p, _ = sample
    points = calibration_curve(y, p)
    assert sum(point.cases for point in points) == len(y)
    assert 6 <= len(points) <= 8
    assert all(point.low <= point.observed <= point.high for point in points)
    forecast = [point.forecast for point in points]
    assert forecast == sorted(forecast)
    assert len(calibration_curve(y[:3], p[:3])) == 1
    # Shares of 0 and 1 lie within their intervals, whatever the rounding.
    for share in (0, 1):
        for count in range(1, 60):
            (point,) = calibration_curve(np.full(count, share), np.full(count, 0.4), most=1)
            assert point.low <= point.observed <= point.high
    assert calibration_curve(np.array([0, 1]), np.array([0.5, 0.5]))[0].observed == 0.5


def test_net_benefit_by_hand():
    y, p = np.array([1, 1, 0, 0]), np.array([0.9, 0.3, 0.6, 0.1])
    found = net_benefit(y, p, np.ones(4), np.array([0.25, 0.5, 0.95]))
    assert found == pytest.approx([2 / 4 - 1 / 4 / 3, 1 / 4 - 1 / 4, 0])
    assert treat_all(y, np.ones(4), np.array([0.5])) == pytest.approx([0])
    # A patient drawn twice counts twice.
    doubled = net_benefit(np.append(y, 1), np.append(p, 0.9), np.ones(5), np.array([0.5]))
    assert net_benefit(y, p, np.array([2.0, 1, 1, 1]), np.array([0.5])) == pytest.approx(doubled)


def test_intervals_hold_the_truth_and_differences_are_paired(sample):
    y, p, _ = (part[:300] for part in sample)
    outcomes = Outcomes(y, [f"p{number // 2}" for number in range(300)])
    bootstrap = Bootstrap(outcomes.patients, 200, 0)
    noise = np.random.default_rng(0).random(300)
    systems = [
        Forecaster("m: CT and text", p, "m"),
        Forecaster("m: text only", noise, "m"),
        Forecaster("ICH score", p / 2),
        Forecaster("best", p, "truth"),
    ]
    figures = measure(systems[0], outcomes, bootstrap)
    assert figures["auc"].low < figures["auc"].value < figures["auc"].high
    assert figures["net_benefit_0.5"].value == pytest.approx(
        net_benefit(y, p, np.ones(300), np.array([0.5]))[0]
    )
    pairs = {pair.other: pair for pair in differences(systems, outcomes, bootstrap)}
    assert set(pairs) == {"m: text only", "ICH score"}
    assert pairs["m: text only"].auc.low > 0
    assert pairs["m: text only"].brier.high < 0
    # The same ranking: no difference on any draw.
    assert pairs["ICH score"].auc == type(pairs["ICH score"].auc)(0, 0, 0, 300)


def test_venn_abers_is_that_of_two_isotonic_regressions():
    rng = np.random.default_rng(1)
    scores = np.round(rng.random(60), 2)
    outcomes = (rng.random(60) < scores).astype(int)
    for probability in (0.0, 0.13, 0.5, float(scores[7]), 1.0):
        ends = []
        for label in (0, 1):
            fit = IsotonicRegression().fit(np.append(scores, probability), np.append(outcomes, label))
            ends.append(fit.predict([probability])[0])
        found = venn_abers(probability, scores, outcomes)
        assert (found.low, found.high) == pytest.approx(tuple(ends))
        assert found.low <= found.merged <= found.high
        assert found.cases == 60


def test_venn_abers_calibrates_what_is_too_extreme():
    rng = np.random.default_rng(2)
    truth = rng.random(600)
    outcomes = (rng.random(600) < truth).astype(int)
    extreme = 1 / (1 + np.exp(-3 * np.log(truth / (1 - truth))))
    merged = np.array([venn_abers(one, extreme[:400], outcomes[:400]).merged for one in extreme[400:]])
    ones = np.ones(200)
    assert brier(outcomes[400:], merged, ones) < brier(outcomes[400:], extreme[400:], ones) - 0.01
    low = [venn_abers(0.5, extreme[:count], outcomes[:count]) for count in (40, 400)]
    assert low[1].high - low[1].low < low[0].high - low[0].low


def test_no_interval_from_too_few_cases_or_one_outcome():
    assert venn_abers(0.5, [0.1] * 19, [0, 1] * 9 + [0]) is None
    assert venn_abers(0.5, [0.1] * 20, [0, 1] * 10) is not None
    assert venn_abers(0.5, [0.1] * 40, [1] * 40) is None
    with pytest.raises(ValueError, match="do not go together"):
        venn_abers(0.5, [0.1] * 20, [1] * 21)


def test_scores_as_forecasts():
    whole = ScoreFacts(ivh=True, infratentorial=False, location="lobar", cognitive_impairment=False)
    found = baselines(Clinical(age=71, gcs=9), whole, 34)
    assert found["ICH score"].middle == 3
    assert found["ICH score"].probability == pytest.approx(0.72)
    assert found["ICH score"].complete
    # 8 points: 42 % independent.
    assert found["FUNC score"].middle == 8
    assert found["FUNC score"].probability == pytest.approx(0.58)


def test_scores_with_missing_inputs_take_the_middle():
    found = baselines(Clinical(age=71, gcs=9), ScoreFacts(ivh=True, infratentorial=False), None)
    assert not found["ICH score"].complete
    # 2 or 3 points: between 26 and 72 %.
    assert found["ICH score"].middle == 2.5
    assert found["ICH score"].probability == pytest.approx(0.49)
    nothing = baselines(Clinical(), ScoreFacts(), None)
    assert nothing["ICH score"].middle == 3
    assert nothing["FUNC score"].middle == 5.5
    most = baselines(Clinical(age=90, gcs=3), ScoreFacts(ivh=True, infratentorial=True), 900)
    assert (most["ICH score"].middle, most["ICH score"].probability) == (6, 1)
