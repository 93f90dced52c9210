"""ROC and precision-recall curves, and Bland-Altman plots of volume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.evaluation.levels import Classifier, Detected, classifiers
from ICHWeakSegLib.evaluation.measure import GATINGS
from ICHWeakSegLib.evaluation.run import Measured


def draw_plots(folder: Path, measured: Sequence[Measured], facts: dict[str, Any]) -> list[Path]:
    """Draw what the data allow: `roc.png`, `precision-recall.png`, `bland-altman-<gating>.png`.

    A plot of an earlier run that the data no longer allow is removed.
    """
    found = classifiers(measured)
    figures = {
        "roc.png": _curves(found, _roc, "1 - specificity", "sensitivity"),
        "precision-recall.png": _curves(found, _precision_recall, "sensitivity (recall)", "precision"),
        **{f"bland-altman-{gating}.png": _bland_altman(measured, gating) for gating in GATINGS},
    }
    drawn = []
    for name, figure in figures.items():
        path = folder / name
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        save(figure, path, facts)
        drawn.append(path)
    return drawn


def save(figure: Figure, path: Path, facts: dict[str, Any]) -> None:
    """Write a figure as PNG that carries its provenance."""
    FigureCanvasAgg(figure)
    text = json.dumps({key: facts[key] for key in ("data", "cases", "patients", "systems") if key in facts})
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary, dpi=110, format="png", metadata={"Software": facts["software"], "Description": text}
        )


def _curves(found: Sequence[Classifier], draw, x: str, y: str) -> Figure | None:
    levels = {
        "slices": [(part.name, part.slices) for part in found],
        "patients, highest slice": [(part.name, part.patients) for part in found],
    }
    levels = {
        title: [(name, rows) for name, part in parts if len(set((rows := _known(part)).labels)) == 2]
        for title, parts in levels.items()
    }
    if not any(levels.values()):
        return None
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    for axes, (title, parts) in zip(figure.subplots(1, 2), levels.items(), strict=True):
        for name, part in parts:
            draw(axes, name, part)
        axes.set(title=title, xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        if parts:
            axes.legend(fontsize="small")
    return figure


def _known(part: Detected) -> Detected:
    return part.among(~np.isnan(part.labels))


def _roc(axes: Axes, name: str, part: Detected) -> None:
    false, true, _ = roc_curve(part.labels, part.scores)
    (line,) = axes.plot(false, true, label=f"{name}: AUC {roc_auc_score(part.labels, part.scores):.3f}")
    bleeding = part.labels == 1
    axes.plot(part.positive[~bleeding].mean(), part.positive[bleeding].mean(), "o", color=line.get_color())


def _precision_recall(axes: Axes, name: str, part: Detected) -> None:
    precision, recall, _ = precision_recall_curve(part.labels, part.scores)
    score = average_precision_score(part.labels, part.scores)
    (line,) = axes.plot(recall, precision, drawstyle="steps-post", label=f"{name}: {score:.3f}")
    bleeding = part.labels == 1
    if part.positive.any():
        axes.plot(part.positive[bleeding].mean(), bleeding[part.positive].mean(), "o", color=line.get_color())


def _bland_altman(measured: Sequence[Measured], gating: str) -> Figure | None:
    """Found - true volume over their mean, with the mean difference and 1.96 standard deviations."""
    parts = {
        part.system.name: np.array(
            [(row[f"{gating}_ml"], row["truth_ml"]) for row in part.rows("case") if "truth_ml" in row]
        )
        for part in measured
    }
    if not any(len(part) for part in parts.values()):
        return None
    columns = min(3, len(parts))
    rows = -(-len(parts) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(parts) :]:
        axes.set_visible(False)
    for axes, (name, volumes) in zip(grid, parts.items(), strict=False):
        gaps = volumes[:, 0] - volumes[:, 1]
        middle, spread = gaps.mean(), 1.96 * gaps.std(ddof=1) if len(gaps) > 1 else 0.0
        axes.plot(volumes.mean(axis=1), gaps, "o", markersize=4, alpha=0.7)
        axes.axhline(middle, color="C1", label=f"mean {middle:+.1f} mL")
        for limit in (middle - spread, middle + spread):
            axes.axhline(limit, color="C1", linestyle="--", linewidth=1)
        axes.set(title=name, xlabel="mean of found and true volume, mL", ylabel="found - true, mL")
        axes.plot(
            [], [], "--", color="C1", label=f"limits {middle - spread:+.1f} to {middle + spread:+.1f} mL"
        )
        axes.legend(fontsize="small")
    figure.suptitle(f"Volume, {gating} gating")
    return figure
