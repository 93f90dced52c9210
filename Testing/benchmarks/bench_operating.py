"""Operating point of a segmentation network: slice threshold and map thresholds, as a curve.

Takes the run folder of `ichweakseg train segmenter DATA --on painted --folds K`. Every fold's network looks at the
patients that it was not trained on: real CTs, and the copies painted into those without blood (exact masks).

- Map thresholds (outline, peak, smallest lesion) are chosen by the Dice of painted volumes.
- The curve goes over slice thresholds: slice sensitivity and specificity of real CTs, false blood in mL on
  patients without a positive slice, Dice of painted volumes; `low`, `normal` and `high` are marked.

Boxes take no part: `ichweakseg evaluate DATA --folds-run RUN` measures by them what was chosen here.

    python Testing/benchmarks/bench_operating.py ../shared/data/ct-ich RUN --cache CACHE --plot curve.png
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.inference.neighbours import smooth_over_slices
from ICHWeakSegLib.inference.segmenter_maps import segmenter_passes
from ICHWeakSegLib.models import find_model
from ICHWeakSegLib.refine import HysteresisOptions, refine_hysteresis
from ICHWeakSegLib.training.cache import Cropped, cached_cases
from ICHWeakSegLib.training.cases import read_cohort
from ICHWeakSegLib.training.package import operating_point
from ICHWeakSegLib.training.painted_volumes import painted_volumes
from ICHWeakSegLib.training.segmenter_dataset import CroppedPlanes
from ICHWeakSegLib.training.segmenter_package import SMOOTHING
from ICHWeakSegLib.training.train_segmenter import read_segmenter

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
PEAKS = (0.0, 0.5, 0.7, 0.8, 0.9)
SMALLEST_ML = (0.0, 0.1, 0.2, 0.3)
COPIES = 2


@dataclass
class Looked:
    """A held-out case and what its fold's network said.

    Attributes:
        case: cropped.
        maps: probability of blood, float16, shape (S, size, size).
        scores: of the slices, joined with the neighbours', shape (S,).
        fold: its number.
    """

    case: Cropped
    maps: np.ndarray
    scores: np.ndarray
    fold: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, help="of the training; default: RUN/cache")
    parser.add_argument(
        "--painted", type=int, default=20, help="copies that the training painted; default: 20"
    )
    parser.add_argument(
        "--model", metavar="NAME|DIR", help="draw the curve with this card's map settings and points"
    )
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"Skipped: {options.data} is not there.")
        return
    torch.set_num_threads(1)
    real, painted, scores = look(options)
    wishes = preprocessing(sorted(options.run.glob("fold-*"))[0])
    voxel_ml = (wishes.slice_mm or 5.0) * wishes.pixel_mm**2 / 1000
    point = operating_point(scores, SMOOTHING)

    print(
        f"{len(real)} CTs, {len(painted)} painted ones. Dice of painted volumes and false mL by map thresholds:"
    )
    negative = [one for one in real if not (one.case.labels[:, 0] != 0).any()]
    found = []
    for threshold, peak, smallest in itertools.product(THRESHOLDS, PEAKS, SMALLEST_ML):
        if peak and peak < threshold:
            continue
        how = (threshold, HysteresisOptions(peak, smallest))
        value = mean_dice(painted, point.probability, *how, voxel_ml)
        false = volumes(negative, point.probability, *how, voxel_ml)
        found.append((value, threshold, peak, smallest, float(np.median(false)), float(np.mean(false))))
    for row in sorted(found, reverse=True)[:12]:
        print(
            "  Dice {:.3f} threshold {:g} peak {:g} smallest {:g} mL: false {:.2f} median, {:.2f} mean".format(
                *row
            )
        )
    _, threshold, peak, smallest, *_ = max(found)
    how, points = (threshold, HysteresisOptions(peak, smallest)), point.points
    if options.model:
        card = find_model(options.model).card
        how = (card.map.threshold, HysteresisOptions(**card.map.refine_options))
        points = {**card.operating.points, "normal": card.operating.probability}

    rows = curve(real, painted, negative, how, voxel_ml)
    print("slice threshold, sensitivity, specificity, false mL median and mean, painted Dice")
    for row in rows:
        print("  " + "  ".join(f"{value:7.3f}" for value in row))
    print("named points")
    for name, cut in points.items():
        print(
            f"  {name:7}"
            + "  ".join(f"{value:7.3f}" for value in curve_row(cut, real, painted, negative, how, voxel_ml))
        )
    if options.plot:
        draw(options.plot, rows, points)
    if options.json:
        facts = {
            "curve": rows,
            "points": points,
            "threshold": threshold,
            "peak": peak,
            "smallest_ml": smallest,
        }
        options.json.write_text(json.dumps(facts, indent=1))


def look(options: argparse.Namespace) -> tuple[list[Looked], list[Looked], list]:
    """Real and painted held-out cases as their folds' networks see them, and the folds' scores."""
    cases = read_cohort(options.data)
    cache = options.cache or options.run / "cache"
    real, painted, scores = [], [], []
    for number, fold in enumerate(sorted(options.run.glob("fold-*"))):
        if not (fold / "scores.json").exists():
            continue
        scores += [tuple(row) for row in json.loads((fold / "scores.json").read_text())]
        network, run = read_segmenter(fold)
        wishes = preprocessing(fold)
        crops = cached_cases([case for case in cases if case.patient in run["valid"]], wishes, cache)
        real += [seen(network, wishes, crop, number) for crop in crops]
        spacing = (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm)
        copies = painted_volumes(crops, options.painted, spacing, cache, run["recipe"]["seed"])
        some = [copy for copy in copies if int(copy.name.rsplit("-", 1)[1]) < COPIES and copy.blood.any()]
        painted += [seen(network, wishes, copy, number) for copy in some]
        print(fold.name, flush=True)
    return real, painted, scores


def preprocessing(fold: Path) -> Preprocessing:
    return Preprocessing.from_json(json.loads((fold / "run.json").read_text())["recipe"]["preprocessing"])


def seen(network: torch.nn.Module, wishes: Preprocessing, case: Cropped, fold: int) -> Looked:
    slabs = range(len(case.hu))
    maps = np.zeros(case.hu.shape, np.float16)
    scores = np.zeros(len(case.hu))
    for slab, square, score in segmenter_passes(network, CroppedPlanes(case), slabs, wishes):
        maps[slab], scores[slab] = square, score
    return Looked(case, maps, smooth_over_slices(scores, SMOOTHING, case.brain.any(axis=(1, 2))), fold)


def masks(
    looked: list[Looked], probability: float, threshold: float, how: HysteresisOptions, voxel_ml: float
) -> Iterator[np.ndarray]:
    """The mask of each case, bool (S, size, size), with predicted gating."""
    for one in looked:
        maps = one.maps * (one.scores >= probability)[:, None, None]
        yield refine_hysteresis(
            one.case.hu, maps, one.case.brain, np.full(len(maps), voxel_ml), threshold, how
        )


def volumes(looked: list[Looked], *settings: object) -> np.ndarray:
    """mL of each case."""
    return np.array([mask.sum() * settings[-1] for mask in masks(looked, *settings)])


def mean_dice(painted: list[Looked], *settings: object) -> float:
    values = []
    for one, mask in zip(painted, masks(painted, *settings), strict=True):
        both = np.count_nonzero(mask & one.case.blood)
        values.append(2 * both / (np.count_nonzero(mask) + np.count_nonzero(one.case.blood)))
    return float(np.mean(values))


def curve(
    real: list[Looked],
    painted: list[Looked],
    negative: list[Looked],
    how: tuple[float, HysteresisOptions],
    voxel_ml: float,
) -> list[tuple[float, ...]]:
    """A row a slice threshold."""
    labels, values = slices(real)
    cuts = np.quantile(
        values[labels == 0], [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99]
    )
    return [curve_row(float(cut), real, painted, negative, how, voxel_ml) for cut in cuts]


def slices(real: list[Looked]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of all slices."""
    labels = np.concatenate([one.case.labels[:, 0] for one in real])
    return labels, np.concatenate([one.scores for one in real])


def curve_row(
    cut: float,
    real: list[Looked],
    painted: list[Looked],
    negative: list[Looked],
    how: tuple[float, HysteresisOptions],
    voxel_ml: float,
) -> tuple[float, ...]:
    """Slice threshold, sensitivity, specificity, false mL (median, mean), Dice of painted volumes."""
    labels, values = slices(real)
    false = volumes(negative, cut, *how, voxel_ml)
    return (
        cut,
        float((values[labels == 1] >= cut).mean()),
        float((values[labels == 0] < cut).mean()),
        float(np.median(false)),
        float(np.mean(false)),
        mean_dice(painted, cut, *how, voxel_ml),
    )


def draw(path: Path, rows: list[tuple[float, ...]], points: dict[str, float]) -> None:
    """Sensitivity and false blood over the slice threshold."""
    import matplotlib.pyplot as plt

    cut, sensitivity, specificity, median, mean, dice = np.array(rows).T
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(cut, sensitivity, "o-", label="slice sensitivity")
    left.plot(cut, specificity, "s-", label="slice specificity")
    left.plot(cut, dice, "^-", label="Dice of painted bleeds")
    right.plot(cut, median, "o-", label="median")
    right.plot(cut, mean, "s-", label="mean")
    right.set_ylabel("mL found on CTs without blood")
    for axes in (left, right):
        axes.set_xlabel("slice threshold")
        axes.set_xscale("log")
        for name, value in points.items():
            axes.axvline(value, color="grey", linestyle=":")
            axes.text(value, axes.get_ylim()[1], name, ha="center", va="bottom", fontsize=8)
        axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
