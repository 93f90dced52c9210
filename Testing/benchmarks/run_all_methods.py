"""Every method on one cohort: train by patient-wise folds, measure all alike. The tables of docs/evaluation.md.

Runs `ichweakseg` commands one after the other and prints each. A run that was stopped goes on with the same
call; finished steps are told from the files that they leave. Two calls with different
`--only` share two cores well.

    python Testing/benchmarks/run_all_methods.py ../shared/data/ct-ich ROOT
    python Testing/benchmarks/run_all_methods.py ../shared/data/ct-ich ROOT --only swin lstm gru --threads 1
    python Testing/benchmarks/run_all_methods.py ../shared/data/ct-ich ROOT --only measure
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import subprocess
import sys
import time
from pathlib import Path

SEQUENCE = (
    "sequence --painted 5 --epochs 8 0 2 --reader-epochs 15 --samples 512 --rotation 25 --patience 0 --cell"
)
SUPERVISED = "segmenter --on painted --painted 20 --loss dice-ce --mix 8 4 0 4 --image-weight 0 --network"
# Short runs, so that all of them end on two CPU cores within hours.
TRAININGS = {
    "swin": "classifier --painted 8 --epochs 12 --samples 1024 --batch 16 --rotation 25 --patience 0",
    "lstm": f"{SEQUENCE} lstm",
    "gru": f"{SEQUENCE} gru --slices-from {{root}}/lstm",
    "unet-pseudo": "segmenter --on pseudo-masks --by {root}/gru --epochs 2 --steps 50",
    "unet-painted": f"{SUPERVISED} unet --epochs 4 --steps 100",
    "swin-unetr": f"{SUPERVISED} swin-unetr --epochs 2 --steps 100",
    "weak": "segmenter --on painted --painted 20 --network weak --epochs 12 --steps 100",
    "weak-two-rounds": "segmenter --on painted --painted 20 --network weak --epochs 5 --steps 100 --rate 5e-4 "
    "--teacher {root}/weak --keep-teacher",
}
# HGI-SAM, Swin-SAM and Grad-CAM share a network and cut their maps as published; `either` joins a fold's
# pseudo-masks with its U-Net.
SYSTEMS = (
    *("swin:hgi-sam/threshold", "swin:swin-sam/threshold", "swin:grad-cam/threshold"),
    *("lstm:cam/kmeans", "gru:grad-cam/kmeans", "unet-pseudo", "gru:grad-cam/kmeans/either"),
    *("unet-painted", "swin-unetr", "weak", "weak-two-rounds"),
)
CASES = {"patients": "{data}", "painted": "{root}/painted-cases/cases.csv"}
PHANTOMS = {
    "EDH": "epidural",
    "SDH": "subdural",
    "IPH": "intraparenchymal",
    "IVH": "intraventricular",
    "SAH": "subarachnoid",
}
VOLUMES_ML = (5, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("root", type=Path, help="folder of all runs")
    parser.add_argument("--only", nargs="+", choices=(*TRAININGS, "measure"), metavar="STEP")
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: %(default)s")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"Skipped: {options.data} is not there.")
        return
    for name, words in TRAININGS.items():
        if options.only is None or name in options.only:
            train(name, words, options)
    if options.only is None or "measure" in options.only:
        measure(options)


def train(name: str, words: str, options: argparse.Namespace) -> None:
    """Cross-validate one network, unless that is done."""
    run = options.root / name
    if (run / "results.json").exists():
        return
    kind, *settings = shlex.split(words.format(root=options.root))
    shared = (
        f"--folds {options.folds} --folds-only --valid 0 --precision bf16-mixed --threads {options.threads}"
    )
    place = ["--output", run, "--cache", options.root / "cache", "--name", name]
    call("train", kind, options.data, *place, *shared.split(), *settings)


def measure(options: argparse.Namespace) -> None:
    """Measure every system on the patients and on painted bleeds."""
    painted = options.root / "painted-cases"
    if not (painted / "cases.csv").exists():
        script = Path(__file__).parent / "make_painted_cases.py"
        subprocess.run([sys.executable, script, options.data, painted, "--cases", "10"], check=True)
    systems = [f"{options.root}/{system}" for system in SYSTEMS]
    beside = ["--folds-beside", options.root / "unet-pseudo", "--threads", options.threads]
    for name, cases in CASES.items():
        cases = cases.format(data=options.data, root=options.root)
        call("evaluate", cases, "--output", options.root / name, "--folds-run", *systems, *beside)
    # Nobody's head: any fold's network may look at phantoms.
    models = [first_fold(options.root, system) for system in SYSTEMS]
    cases = make_phantoms(options.root / "phantom-cases")
    call("evaluate", cases, "--output", options.root / "phantoms", "--models", *models, "starter")


def first_fold(root: Path, system: str) -> str:
    """The package of the system's first fold, which the measurement of the patients has left, and its words."""
    name, _, words = system.partition(":")
    package = f"{name}_unet-pseudo-fold-0" if words.endswith("either") else f"{name}-fold-0"
    return f"{root / 'patients' / 'folds' / package}{words and ':'}{words}"


def make_phantoms(folder: Path) -> Path:
    """Made-up heads with a bleed of each subtype and size, and a table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["case,ct,mask,subtype"]
    for (short, subtype), ml in itertools.product(PHANTOMS.items(), VOLUMES_ML):
        ct, mask = f"{short}-{ml}.nii.gz", f"{short}-{ml}-mask.nii.gz"
        if not (folder / mask).exists():
            words = ["--subtype", subtype, "--volume-ml", ml, "--truth", folder / mask]
            call("phantom", folder / ct, *words)
        rows.append(f"{short}-{ml},{ct},{mask},{short}")
    table = folder / "cases.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def call(*words: object) -> None:
    """Run one command and say how long it took."""
    command = [sys.executable, "-m", "ICHWeakSegLib", *map(str, words)]
    print("ichweakseg", shlex.join(command[3:]), flush=True)
    start = time.monotonic()
    subprocess.run(command, check=True)
    print(f"{time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
