"""Segmentation networks on patients that they were not trained on: painted Dice, false blood, slice AUC.

Takes the run folder of `ichweakseg train segmenter DATA --folds K --output RUN`. For every fold, on the
patients that were held out:

- slice AUC and patient AUC (highest slice) from image-level labels, with a bootstrap 95 % interval over patients;
- Dice of painted bleeds of 5 and 30 mL in CTs without blood, a volume, at the network's own pixels;
- false blood in the same CTs unpainted: probability above 0.5, in mL.

Painted bleeds are easier than real ones: their Dice compares networks with each other, it does not say how good
one is on patients.
One number says what a slice costs: seconds of the network and its input on one thread.

    python Testing/benchmarks/bench_segmenter.py ../shared/data/ct-ich RUN [--json OUT.json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.evaluation.detection import detection
from ICHWeakSegLib.inference.segmenter_maps import segmenter_passes
from ICHWeakSegLib.networks.segmenter import Segmenter
from ICHWeakSegLib.phantom import SUBTYPES, paint_lesion
from ICHWeakSegLib.phantom.anatomy import find_anatomy
from ICHWeakSegLib.training.cache import Cropped, cached_cases
from ICHWeakSegLib.training.cases import read_cohort
from ICHWeakSegLib.training.segmenter_dataset import CroppedPlanes
from ICHWeakSegLib.training.train_segmenter import read_segmenter

VOLUMES_ML = (5.0, 30.0)
THRESHOLD = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--patients", type=int, default=4, help="painted, of each fold; default: %(default)s")
    parser.add_argument("--cache", type=Path, help="of cropped CTs; default: RUN/cache")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"Skipped: {options.data} is not there.")
        return
    torch.set_num_threads(1)
    cases = read_cohort(options.data)
    rows: list[dict] = []
    dice: dict[tuple[str, float], list[float]] = defaultdict(list)
    false_ml: list[float] = []
    seconds = 0.0
    for number, fold in enumerate(sorted(options.run.glob("fold-*"))):
        network, run = read_segmenter(fold)
        wishes = Preprocessing.from_json(run["recipe"]["preprocessing"])
        held = [case for case in cases if case.patient in run["valid"]]
        crops = cached_cases(held, wishes, options.cache or options.run / "cache")
        start = time.perf_counter()
        for crop in crops:
            rows += slice_rows(network, wishes, crop)
        seconds += time.perf_counter() - start
        empty = [crop for crop in crops if crop.brain.any() and not (crop.labels[:, 0] != 0).any()]
        false_ml += [float(find(network, wishes, crop).sum()) * pixel_ml(wishes) for crop in empty]
        for order, crop in enumerate(empty[: options.patients]):
            for key, value in painted(network, wishes, crop, np.random.default_rng([number, order])):
                dice[key].append(value)
        print(f"{fold.name}: {len(rows)} slices so far", flush=True)
    figures = {
        "patients": str(len({row["patient"] for row in rows})),
        "slices": f"{len(rows)}, {sum(row['label'] for row in rows)} with blood",
        "slice AUC (95 % by patient)": auc(rows),
        "patient AUC (highest slice)": auc(by_patient(rows)),
    }
    for subtype in SUBTYPES:
        for volume in VOLUMES_ML:
            found = dice.get((subtype, volume))
            if found:
                figures[f"painted Dice, {subtype}, {volume:g} mL"] = f"{np.mean(found):.3f} (n {len(found)})"
    everything = [value for found in dice.values() for value in found]
    figures["painted Dice, mean"] = f"{np.mean(everything):.3f} (n {len(everything)})"
    figures["false mL, median"] = f"{np.median(false_ml):.2f} (n {len(false_ml)})"
    figures["false mL, mean"] = f"{np.mean(false_ml):.2f}"
    figures["seconds a slice"] = f"{seconds / len(rows):.4f}"
    for name, value in figures.items():
        print(f"{name:40} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


def auc(rows: list[dict]) -> str:
    columns = [[row[name] for row in rows] for name in ("label", "probability", "patient")]
    labels, scores, patients = columns
    return str(detection(labels, scores, np.array(scores) > THRESHOLD, patients)["AUC"])


def by_patient(rows: list[dict]) -> list[dict]:
    """The highest label and probability of each patient."""
    found: dict[str, dict] = {}
    for row in rows:
        mine = found.setdefault(row["patient"], dict(row))
        mine.update({name: max(mine[name], row[name]) for name in ("label", "probability")})
    return list(found.values())


def slice_rows(network: Segmenter, wishes: Preprocessing, crop: Cropped) -> list[dict]:
    """Label and probability of every labelled slice, one row a slice."""
    known = np.flatnonzero(~np.isnan(crop.labels[:, 0])).tolist()
    return [
        {
            "patient": crop.patient,
            "slice": slab,
            "label": int(crop.labels[slab, 0]),
            "probability": score,
        }
        for slab, _, score in segmenter_passes(network, CroppedPlanes(crop), known, wishes)
    ]


def find(network: Segmenter, wishes: Preprocessing, crop: Cropped) -> np.ndarray:
    """Blood, bool (S, size, size)."""
    slabs = range(len(crop.hu))
    passes = segmenter_passes(network, CroppedPlanes(crop), slabs, wishes)
    return np.stack([square > THRESHOLD for _, square, _ in passes])


def painted(network: Segmenter, wishes: Preprocessing, crop: Cropped, rng: np.random.Generator):
    """((subtype, mL), Dice) of a bleed of each subtype."""
    spacing = (wishes.slice_mm or 5.0, wishes.pixel_mm, wishes.pixel_mm)
    hu = crop.hu.astype(np.float32)
    anatomy = find_anatomy(hu, crop.brain & (crop.hu < 130), spacing)
    for subtype in SUBTYPES:
        volume = float(rng.choice(VOLUMES_ML))
        try:
            lesion = paint_lesion(hu, crop.brain, spacing, subtype, volume, rng, anatomy=anatomy)
        except ValueError:
            continue  # no room for this bleed in this head
        mask = find(network, wishes, replace(crop, hu=np.rint(lesion.hu).astype(np.int16)))
        both = np.count_nonzero(mask & lesion.mask)
        yield (subtype, volume), 2 * both / (np.count_nonzero(mask) + np.count_nonzero(lesion.mask))


def pixel_ml(wishes: Preprocessing) -> float:
    return (wishes.slice_mm or 5.0) * wishes.pixel_mm**2 / 1000


if __name__ == "__main__":
    main()
