"""What `ichweakseg segment` costs: the same phantom head in 32 slices of 5 mm and 300 of 0.5 mm.

    python Testing/benchmarks/bench_segment.py [--model NAME|DIR] [--cache DIR] [--threads N] [--repeat N]

Every run is a fresh process from a cold start: import, reading, model, brain mask, network, map, refinement,
writing. Memory is the largest resident set of that process, which for few slices is reached while torch's
libraries are taken down at its end. Goals on two cores: 32 slices within 30 s and
below 2 GB; time grows at most linearly with the number of slices, memory by at most a fifth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
# Slices and spacing in mm.
SIZES = ((32, 5.0), (300, 0.5))
GOAL_SECONDS, GOAL_MB, GOAL_MEMORY = 30.0, 2000.0, 1.2

# Runs a command and prints what it took; a small process, since a child starts as large as its parent.
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
megabytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
print(json.dumps([done.returncode, wall, cpu, megabytes, done.stdout]))
"""


@dataclass
class Cost:
    """One run: wall and CPU seconds, peak memory in MB, and the command's own JSON."""

    slices: int
    wall: float
    cpu: float
    peak_mb: float
    found: dict


def phantom_ct(folder: Path, slices: int, spacing: float) -> Path:
    """The CT of this many slices; made once."""
    from ICHWeakSegLib.ct import write_volume
    from ICHWeakSegLib.ct.volume import CT
    from ICHWeakSegLib.phantom import make_phantom

    path = folder / f"phantom-{slices}-{spacing:g}mm.nii.gz"
    if not path.exists():
        print(f"making {path.name} ...", flush=True)
        made = make_phantom("intraparenchymal", 30.0, spacing_mm=spacing, seed=1).ct
        # Air above the vertex, as scans have it, up to the number of slices.
        air = np.full((slices - len(made.hu), *made.hu.shape[1:]), -1000, np.int16)
        whole = CT(np.concatenate([made.hu, air]), made.ijk_to_ras)
        write_volume(path, whole.hu, whole)
    return path


def measure(ct: Path, slices: int, folder: Path, options: argparse.Namespace) -> Cost:
    """One cold run."""
    command = [sys.executable, "-m", "ICHWeakSegLib", "segment", str(ct), "--json", "--device", "cpu"]
    command += ["--output", str(folder / f"{slices}.seg.nrrd"), "--model", options.model]
    command += ["--threads", str(options.threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    status, wall, cpu, peak_mb, said = json.loads(answer.stdout)
    if status:
        sys.exit(f"segment ended with {status}")
    return Cost(slices, wall, cpu, peak_mb, json.loads(said))


def machine(threads: int) -> str:
    """What it ran on."""
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        name = models[0] if models else name
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{name}, {os.cpu_count()} cores, {threads} threads{load}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter", metavar="NAME|DIR")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ichweakseg-bench")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="the fastest of N runs counts")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    print(machine(options.threads))
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for slices, spacing in SIZES:
            ct = phantom_ct(options.cache, slices, spacing)
            runs = [measure(ct, slices, Path(folder), options) for _ in range(options.repeat)]
            costs.append(min(runs, key=lambda cost: cost.wall))
            time.sleep(0.5)
    report(*costs, options.model)


def report(few: Cost, many: Cost, model: str) -> None:
    """A table, and the goals with yes or no."""
    print(f"model {model} {few.found['provenance']['version']}")
    heads = ("slices", "wall s", "CPU s", "s/slice", "peak MB", "positive", "blood mL")
    print("".join(f"{head:>10}" for head in heads))
    for cost in (few, many):
        figures = (cost.wall, cost.cpu, cost.wall / cost.slices, cost.peak_mb)
        numbers = "".join(
            f"{figure:10.{digits}f}" for figure, digits in zip(figures, (1, 1, 3, 0), strict=True)
        )
        positive, volume = len(cost.found["positive_slices"]), cost.found["volume_ml"]
        print(f"{cost.slices:10}{numbers}{positive:10}{volume:10.1f}")
    ratio = many.slices / few.slices
    goals = [
        (f"32 slices: {few.wall:.1f} s, at most {GOAL_SECONDS:.0f}", few.wall <= GOAL_SECONDS),
        (f"32 slices: {few.peak_mb:.0f} MB, below {GOAL_MB:.0f}", few.peak_mb < GOAL_MB),
        (f"time x {many.wall / few.wall:.2f}, at most x {ratio:.2f}", many.wall / few.wall <= ratio),
        (
            f"memory x {many.peak_mb / few.peak_mb:.2f}, at most x {GOAL_MEMORY:.2f}",
            many.peak_mb / few.peak_mb <= GOAL_MEMORY,
        ),
    ]
    for sentence, met in goals:
        print(f"  {'met   ' if met else 'MISSED'}  {sentence}")


if __name__ == "__main__":
    main()
