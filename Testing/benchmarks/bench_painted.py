"""Segmentation of painted bleeds in real heads that the network was not trained on.

Takes the run folder of `ichweakseg train classifier DATA --folds K --output RUN`. For every fold, CTs without
blood of the patients that were held out get one painted bleed each (exact mask known) and go through the
whole pipeline; the same CTs unpainted give the false blood. Painted bleeds are easier than real ones: these
figures compare refinements and methods with each other, they do not say how good the model is on patients.

    python Testing/benchmarks/bench_painted.py ../shared/data/ct-ich RUN [--refine hu threshold otsu]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct import CT, AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.evaluation.folds import Fold, read_fold
from ICHWeakSegLib.models import Model, load_model
from ICHWeakSegLib.phantom import SUBTYPES, paint_lesion
from ICHWeakSegLib.segment import segment
from ICHWeakSegLib.training.cases import Case, read_cohort
from ICHWeakSegLib.training.package import package

VOLUMES_ML = (5.0, 30.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--refine", nargs="+", default=["hu", "threshold"], choices=("hu", "threshold", "otsu")
    )
    parser.add_argument("--patients", type=int, default=4, help="of each fold; default: %(default)s")
    parser.add_argument("--threshold", type=float, help="of the map")
    parser.add_argument("--refine-options", default="{}", help="JSON, options of the HU refinement")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"Skipped: {options.data} is not there.")
        return
    cases = read_cohort(options.data)
    folds = sorted(fold for fold in options.run.glob("fold-*") if (fold / "scores.json").exists())
    scores = [tuple(row) for fold in folds for row in json.loads((fold / "scores.json").read_text())]
    dice: dict[tuple[str, str, float], list[float]] = {}
    false_ml: dict[str, list[float]] = {name: [] for name in options.refine}
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(folds):
            fold = read_fold(path)
            model = fold_model(
                fold, Path(folder) / f"fold-{number}", scores, cases, json.loads(options.refine_options)
            )
            empty = [c for c in cases if c.patient in fold.held and not (c.labels[:, 0] != 0).any()]
            for order, case in enumerate(empty[: options.patients]):
                measure(case, model, options, dice, false_ml, np.random.default_rng([number, order]))
            print(f"{path.name} done", flush=True)
    report(dice, false_ml, options)


def fold_model(fold: Fold, folder: Path, scores: list, cases: list[Case], refine_options: dict) -> Model:
    package(folder, folder.name, fold.recipe, fold.network, scores, cases, {})
    model = load_model(folder)
    model.card.map.refine_options.update(refine_options)
    return model


def measure(
    case: Case,
    model: Model,
    options: argparse.Namespace,
    dice: dict,
    false_ml: dict,
    rng: np.random.Generator,
) -> None:
    ct = case.read()
    grid = AxialGrid(ct)
    brain = BrainMask(grid).to_array()
    step = float(np.median(np.diff(grid.positions_mm)))
    for name in options.refine:
        result = segment(ct, model, refine=name, threshold=options.threshold)
        false_ml[name].append(result.volume_ml)
    for subtype in SUBTYPES:
        volume = float(rng.choice(VOLUMES_ML))
        try:
            painted = paint_lesion(
                grid.hu.astype(np.float32), brain, (step, *grid.spacing_mm), subtype, volume, rng
            )
        except ValueError:
            continue  # no room for this bleed in this head
        hu = grid.to_native(np.rint(painted.hu).astype(np.int16))
        truth = grid.to_native(painted.mask)
        for name in options.refine:
            result = segment(CT(hu, ct.ijk_to_ras), model, refine=name, threshold=options.threshold)
            both = np.count_nonzero(truth & (result.mask > 0))
            value = 2 * both / (np.count_nonzero(truth) + np.count_nonzero(result.mask))
            dice.setdefault((name, subtype, volume), []).append(value)


def report(dice: dict, false_ml: dict, options: argparse.Namespace) -> None:
    print(f"{'':18}" + "".join(f"{name:>14}" for name in options.refine) + "    n")
    for subtype in SUBTYPES:
        for volume in VOLUMES_ML:
            values = [dice.get((name, subtype, volume), []) for name in options.refine]
            if values[0]:
                cells = "".join(f"{np.mean(v):14.3f}" for v in values)
                print(f"{subtype[:12]:12} {volume:3.0f} mL{cells} {len(values[0]):4}")
    means = [
        np.mean([v for key, part in dice.items() if key[0] == name for v in part]) for name in options.refine
    ]
    print(f"{'mean Dice':18}" + "".join(f"{value:14.3f}" for value in means))
    print(
        f"{'false mL, median':18}" + "".join(f"{np.median(false_ml[name]):14.2f}" for name in options.refine)
    )
    print(f"{'false mL, mean':18}" + "".join(f"{np.mean(false_ml[name]):14.2f}" for name in options.refine))


if __name__ == "__main__":
    main()
