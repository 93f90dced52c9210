"""Does the prognosis network find a planted signal? Simulated patients, training by folds, patients never seen.

    python Testing/benchmarks/bench_prognosis.py OUT [--patients 240] [--new 120] [--folds 4] [--epochs 20]

Heads, patients and outcomes are made up by a stated model (prognosis/simulated_outcome.py): what comes
out shows that the machinery works and says nothing about medicine. Prints a Markdown table of AUC (fused, CT only,
text only, ICH score, FUNC score, best possible, chance), held out and on new patients, and the wall time of each
step; exits with 1 where fused is not above each modality alone and chance on the new patients.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument(
        "--new", type=int, default=120, help="patients of a second cohort, for measuring only"
    )
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    home = options.output
    seconds = {}

    def step(name: str, *arguments: object) -> None:
        start = time.perf_counter()
        command = [sys.executable, "-m", "ICHWeakSegLib", *map(str, arguments)]
        subprocess.run(command, check=True, stdout=sys.stderr)
        seconds[name] = time.perf_counter() - start

    for name, count, seed in (
        ("train", options.patients, options.seed),
        ("new", options.new, options.seed + 1000),
    ):
        step(f"simulate {name}", "simulate-cohort", home / name, "--patients", count, "--seed", seed)
    model = home / "run" / "simulated"
    if not (model / "model.json").is_file():
        how = [
            "--folds",
            options.folds,
            "--epochs",
            options.epochs,
            "--size",
            options.size,
            "--name",
            "simulated",
        ]
        # Few patients: a text that keeps all its fields would be learned by heart.
        how += ["--dropout", 0.15, 0.15, 0.3]
        place = ["--output", home / "run", "--device", "cpu", "--threads", 1, "--seed", options.seed]
        step("train", "train", "prognosis", home / "train" / "cohort.csv", *how, *place)
    tables = {}
    for title, cohort in (("held out by folds", "train"), ("new patients", "new")):
        out = home / f"evaluation-{cohort}"
        step(
            f"evaluate {cohort}",
            *("evaluate", home / cohort / "cohort.csv", "--models", model, "--output", out),
            *("--device", "cpu", "--threads", 1),
        )
        with open(out / "systems.csv", newline="", encoding="utf-8") as file:
            tables[title] = {row["system"]: row for row in csv.DictReader(file)}
    print(report(tables))
    print("\n" + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))
    facts = json.loads((model / "model.json").read_text(encoding="utf-8"))
    print(f"\n{facts['training']['recipe']}\n\nMade-up patients: machinery, not medicine.")
    found = {name: float(row["auc"]) for name, row in tables["new patients"].items()}
    fused = found["simulated: CT and text"]
    alone = max(found["simulated: CT only"], found["simulated: text only"], 0.5)
    sys.exit(0 if fused > alone else 1)


def report(tables: dict[str, dict[str, dict[str, str]]]) -> str:
    """AUC with 95 % interval, and Brier score, of each system."""
    lines = ["| system | " + " | ".join(f"AUC, {title} | Brier, {title}" for title in tables) + " |"]
    lines.append("| --- |" + " --- | --- |" * len(tables))
    for name in next(iter(tables.values())):
        cells = []
        for rows in tables.values():
            row = rows[name]
            auc = " to ".join(f"{float(row[f'auc_{end}']):.3f}" for end in ("low", "high"))
            cells += [f"{float(row['auc']):.3f} ({auc})", f"{float(row['brier']):.3f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "| chance |" + " 0.500 | |" * len(tables)])


if __name__ == "__main__":
    main()
