"""Patient-wise cross-validated quality of a classifier and its maps on slice pairs with boxes (CT-ICH).

Takes the run folder of `ichweakseg train classifier DATA --folds K --output RUN` and measures every fold's
network on the patients that it was not trained on:

- slice AUC with a bootstrap 95 % interval over patients;
- pointing game: how often the map's highest point lies in a box drawn by others, over positive slices that
  have a box, beside two rivals on the same slices: a random point in the brain (its expectation), and the
  brightest spot of the smoothed slice;
- false positives: share of slices without blood that the operating point calls positive.

    python Testing/benchmarks/bench_starter.py ../shared/data/ct-ich RUN
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from folds import read_fold
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from ICHWeakSegLib.ct import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.network_input import NetworkInput
from ICHWeakSegLib.localize import METHODS
from ICHWeakSegLib.training.cases import Case, read_cohort
from ICHWeakSegLib.training.package import map_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--boxes", type=Path, help="default: boxes.csv in DATA")
    parser.add_argument("--methods", nargs="+", default=["hgi-sam", "grad-cam"], choices=list(METHODS))
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"Skipped: {options.data} is not there.")
        return
    cases = {case.name: case for case in read_cohort(options.data)}
    boxes = read_boxes(options.boxes or options.data / "boxes.csv")
    rows: list[dict] = []
    for fold in sorted(options.run.glob("fold-*")):
        rows += measure_fold(fold, cases, boxes, options.methods)
        print(f"{fold.name}: {len(rows)} slices so far", flush=True)
    figures = summarize(rows, options.methods)
    for name, value in figures.items():
        print(f"{name:48} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def read_boxes(path: Path) -> dict[tuple[str, int], list[tuple[float, ...]]]:
    """Boxes (x0, y0, x1, y1) by patient and slice number."""
    found = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            found[row["patient"], int(row["slice"])].append(
                tuple(float(row[k]) for k in ("x0", "y0", "x1", "y1"))
            )
    return found


def measure_fold(fold: Path, cases: dict[str, Case], boxes: dict, methods: list[str]) -> list[dict]:
    found = read_fold(fold)
    recipe, network = found.recipe, found.network
    # HGI-SAM as the package of such a network uses it.
    own = map_settings(recipe, network).method_options
    target = 1 if recipe.strategy == "binary" else 0
    rows = []
    for case in cases.values():
        if case.patient in found.held:
            rows += measure_case(
                case, network, recipe.strategy, target, recipe.preprocessing, boxes, methods, own
            )
    return rows


def measure_case(case, network, strategy, target, preprocessing, boxes, methods, own) -> list[dict]:
    ct = case.read()
    numbers = case.read.args[2]
    grid = AxialGrid(ct)
    brain = BrainMask(grid)
    source = NetworkInput(grid, brain, preprocessing)
    rows = []
    for s, number in enumerate(numbers):
        row = {"patient": case.patient, "slice": number, "label": int(case.labels[s, 0]), "probability": 0.0}
        rows.append(row)
        mine = boxes.get((case.patient, number), []) if row["label"] else []
        row["boxed"] = bool(mine)
        if not brain[s].any():
            row |= {name: 0.0 for name in (*methods, "random point", "brightest spot")} if mine else {}
            continue
        images, brains = source.batch([s])
        images, brains = torch.from_numpy(images), torch.from_numpy(brains)
        with torch.inference_mode():
            row["probability"] = float(network.probabilities(network(images), strategy)[0, target])
        if not mine:
            continue
        inside = np.zeros(brain[s].shape, bool)
        for x0, y0, x1, y1 in mine:
            inside[round(y0) : round(y1) + 1, round(x0) : round(x1) + 1] = True
        row["random point"] = float(inside[brain[s]].mean())
        hu = np.where(brain[s], np.clip(grid.slice_hu(s), -20, 100), 0).astype(np.float32)
        bright = ndimage.gaussian_filter(hu, 3.0 / grid.spacing_mm[0])
        row["brightest spot"] = float(inside[peak(bright)])
        for name in methods:
            options = {} if name == "swin-sam" else {"target": target}
            options |= own if name == "hgi-sam" else {}
            found = METHODS[name](network, images, brains, **options)[0].numpy()
            row[name] = float(inside[peak(source.frame.paste(found))]) if found.any() else 0.0
    return rows


def peak(plane: np.ndarray) -> tuple[int, int]:
    return np.unravel_index(int(plane.argmax()), plane.shape)


def summarize(rows: list[dict], methods: list[str]) -> dict[str, str]:
    patients = sorted({row["patient"] for row in rows})
    by_patient = {name: [row for row in rows if row["patient"] == name] for name in patients}
    rng = np.random.default_rng(0)
    draws = [rng.choice(patients, len(patients)) for _ in range(1000)]

    def interval(figure) -> str:
        values = [figure([row for name in draw for row in by_patient[name]]) for draw in draws]
        low, high = np.nanpercentile(values, [2.5, 97.5])
        return f"{figure(rows):.3f} ({low:.3f} to {high:.3f})"

    def auc(part: list[dict]) -> float:
        labels = [row["label"] for row in part]
        return (
            roc_auc_score(labels, [row["probability"] for row in part]) if len(set(labels)) == 2 else np.nan
        )

    def patient_auc(part: list[dict]) -> float:
        highest, label = defaultdict(float), defaultdict(int)
        for row in part:
            highest[row["patient"]] = max(highest[row["patient"]], row["probability"])
            label[row["patient"]] = max(label[row["patient"]], row["label"])
        names = list(label)
        values = [label[name] for name in names]
        return roc_auc_score(values, [highest[n] for n in names]) if len(set(values)) == 2 else np.nan

    figures = {
        "patients": str(len(patients)),
        "slices": f"{len(rows)}, {sum(row['label'] for row in rows)} with blood",
        "slice AUC (95 % by patient)": interval(auc),
        "patient AUC (highest slice)": interval(patient_auc),
    }
    boxed = sum(row["boxed"] for row in rows)
    for name in (*methods, "brightest spot", "random point"):
        figures[f"pointing game, {name} ({boxed} slices)"] = interval(
            lambda part, name=name: float(np.mean([row[name] for row in part if row["boxed"]] or [np.nan]))
        )
    return figures


if __name__ == "__main__":
    main()
