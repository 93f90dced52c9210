"""Patient-wise cross-validated quality of a classifier and its maps on slice pairs with boxes (CT-ICH).

Takes the run folder of `ichweakseg train classifier DATA --folds K --output RUN` and measures every fold's
network on the patients that it was not trained on, through the pipeline, as `ichweakseg evaluate --folds-run`
does: slice and patient AUC, pointing game and energy in box beside a random point and the brightest spot, all
with 95 % intervals by a bootstrap over patients.

    python Testing/benchmarks/bench_starter.py ../shared/data/ct-ich RUN --output OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ICHWeakSegLib.evaluation.cases import read_cases
from ICHWeakSegLib.evaluation.folds import fold_system
from ICHWeakSegLib.evaluation.run import evaluate
from ICHWeakSegLib.localize import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--boxes", type=Path, help="default: boxes.csv in DATA")
    parser.add_argument("--methods", nargs="+", default=["hgi-sam", "grad-cam"], choices=list(METHODS))
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"Skipped: {options.data} is not there.")
        return
    cases = read_cases(options.data, boxes=options.boxes)
    patients = {case.patient for case in cases}
    systems = [
        fold_system(f"{options.run}:{name}", patients, options.output / "folds") for name in options.methods
    ]
    print(evaluate(cases, systems, options.output, data=options.data.name).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
