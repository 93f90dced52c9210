"""ROC, calibration and decision curves of forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Picture
from sklearn.metrics import roc_curve

from ICHWeakSegLib.evaluation.bootstrap import Bootstrap, Figure
from ICHWeakSegLib.evaluation.plots import save
from ICHWeakSegLib.prognosis.calibration import calibration_curve
from ICHWeakSegLib.prognosis.decision_curve import THRESHOLDS, net_benefit, treat_all
from ICHWeakSegLib.prognosis.evaluation_figures import Forecaster, Outcomes

# Resampled curves for the bands: fewer than for figures do.
MOST_DRAWS = 400


def draw_plots(
    folder: Path,
    forecasters: Sequence[Forecaster],
    outcomes: Outcomes,
    figures: Mapping[str, Mapping[str, Figure]],
    bootstrap: Bootstrap,
    facts: dict[str, Any],
) -> list[Path]:
    """Write `roc.png`, `calibration.png` and `decision-curve.png`."""
    pictures = {
        "roc.png": _roc(forecasters, outcomes, figures),
        "calibration.png": _calibration(forecasters, outcomes, figures),
        "decision-curve.png": _decision(forecasters, outcomes, bootstrap),
    }
    for name, picture in pictures.items():
        save(picture, folder / name, facts)
    return [folder / name for name in pictures]


def _style(forecaster: Forecaster) -> dict[str, Any]:
    if forecaster.group == "truth":
        return {"color": "0.55", "linestyle": ":"}
    if forecaster.group == "baseline":
        return {"linestyle": "--"}
    return {"linewidth": 2.2} if forecaster.name.endswith("CT and text") else {"linewidth": 1.2}


def _roc(
    forecasters: Sequence[Forecaster], outcomes: Outcomes, figures: Mapping[str, Mapping[str, Figure]]
) -> Picture:
    picture = Picture(figsize=(9.6, 5.0), layout="constrained")
    axes = picture.subplots()
    for number, one in enumerate(forecasters):
        false, true, _ = roc_curve(outcomes.labels, one.probabilities)
        auc = figures[one.name]["auc"]
        style = {"color": f"C{number}"} | _style(one)
        axes.plot(
            false, true, label=f"{one.name}: {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})", **style
        )
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=0)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal", title="ROC, AUC (95 %)")
    picture.legend(loc="outside right upper", fontsize="small", frameon=False)
    return picture


def _calibration(
    forecasters: Sequence[Forecaster], outcomes: Outcomes, figures: Mapping[str, Mapping[str, Figure]]
) -> Picture:
    columns = min(3, len(forecasters))
    rows = -(-len(forecasters) // columns)
    picture = Picture(figsize=(3.9 * columns, 3.9 * rows), layout="constrained")
    grid = picture.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(forecasters) :]:
        axes.set_visible(False)
    for number, (axes, one) in enumerate(zip(grid, forecasters, strict=False)):
        points = calibration_curve(outcomes.labels, one.probabilities)
        axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        middle = np.array([point.observed for point in points])
        bars = [
            middle - [point.low for point in points],
            np.array([point.high for point in points]) - middle,
        ]
        axes.errorbar(
            [point.forecast for point in points], middle, bars, fmt="o-", capsize=2, color=f"C{number}"
        )
        # Where forecasts lie.
        axes.hist(
            one.probabilities,
            bins=np.linspace(0, 1, 26),
            weights=np.full(len(one.probabilities), 0.25 / len(one.probabilities)),
            color="0.75",
            zorder=0,
        )
        mine = figures[one.name]
        axes.set_title(one.name, fontsize="medium")
        axes.text(
            0.03,
            0.97,
            f"Brier {mine['brier'].value:.3f}\nintercept {mine['intercept'].value:+.2f}\n"
            f"slope {mine['slope'].value:.2f}",
            transform=axes.transAxes,
            va="top",
            fontsize="small",
        )
        axes.set(
            xlabel="forecast", ylabel="observed share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal"
        )
    picture.suptitle("Calibration: groups of cases with 95 % intervals")
    return picture


def _decision(forecasters: Sequence[Forecaster], outcomes: Outcomes, bootstrap: Bootstrap) -> Picture:
    y, ones = outcomes.labels, np.ones(len(outcomes.labels))
    picture = Picture(figsize=(9.6, 5.0), layout="constrained")
    axes = picture.subplots()
    everybody = treat_all(y, ones)
    draws = bootstrap.weights()[:MOST_DRAWS]
    for number, one in enumerate(forecasters):
        style = {"color": f"C{number}"} | _style(one)
        axes.plot(THRESHOLDS, net_benefit(y, one.probabilities, ones), label=one.name, **style)
        if one.name.endswith("CT and text"):
            band = np.array([net_benefit(y, one.probabilities, weights) for weights in draws])
            low, high = np.percentile(band, [2.5, 97.5], axis=0)
            axes.fill_between(THRESHOLDS, low, high, color=f"C{number}", alpha=0.12, linewidth=0)
    axes.plot(THRESHOLDS, everybody, color="black", linewidth=1, label="act on all")
    axes.axhline(0, color="black", linewidth=1, linestyle=":", label="act on none")
    top = max(float(y.mean()), 0.05)
    axes.set(
        xlabel="threshold probability",
        ylabel="net benefit",
        xlim=(0, 1),
        ylim=(-0.3 * top, 1.1 * top),
        title="Decision curve (band: 95 %)",
    )
    picture.legend(loc="outside right upper", fontsize="small", frameon=False)
    return picture
