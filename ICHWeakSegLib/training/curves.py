"""Learning curves as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_curves(metrics: Path, target: Path) -> None:
    """Draw loss and slice AUC over epochs from Lightning's `metrics.csv`."""
    columns: dict[str, list[tuple[float, float]]] = {}
    with open(metrics, newline="") as file:
        for row in csv.DictReader(file):
            for name in ("train_loss", "val_loss", "val_auc"):
                if row.get(name):
                    columns.setdefault(name, []).append((float(row["epoch"]), float(row[name])))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, auc = figure.subplots(1, 2)
    for name, label in (("train_loss", "training"), ("val_loss", "validation")):
        if name in columns:
            losses.plot(*zip(*columns[name], strict=True), label=label)
    losses.set(xlabel="epoch", ylabel="loss", title="Loss")
    if losses.lines:
        losses.legend()
    if "val_auc" in columns:
        auc.plot(*zip(*columns["val_auc"], strict=True), color="C1")
    auc.set(xlabel="epoch", ylabel="slice AUC", ylim=(0.4, 1.0), title="Validation patients")
    auc.axhline(0.5, color="0.7", linewidth=0.8)
    figure.savefig(target, dpi=110)
