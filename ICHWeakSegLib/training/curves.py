"""Learning curves as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ICHWeakSegLib.training.resumable import log_name


def read_curves(folder: Path) -> dict[str, dict[int, float]]:
    """Values by metric and epoch (from 1), from the log folders of all attempts."""
    curves: dict[str, dict[int, float]] = {}
    number = 1
    while (folder / log_name(number)).exists():
        path = folder / log_name(number) / "metrics.csv"
        number += 1
        if not path.exists():
            continue
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                for name in ("train_loss", "val_loss", "val_auc"):
                    if row.get(name):
                        curves.setdefault(name, {})[int(row["epoch"]) + 1] = float(row[name])
    return curves


def draw_curves(folder: Path, target: Path) -> None:
    """Draw loss and slice AUC over epochs of the training in `folder`."""
    columns = {name: sorted(values.items()) for name, values in read_curves(folder).items()}
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
    partial = target.with_name(f".{target.name}.part")
    figure.savefig(partial, dpi=110, format="png")
    partial.replace(target)
