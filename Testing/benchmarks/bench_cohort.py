"""What `ichweakseg batch` costs beside a loop that starts `ichweakseg segment` for every case.

    python Testing/benchmarks/bench_cohort.py [--cases N] [--model NAME|DIR] [--cache DIR] [--simulate N ...]

Every way segments the same phantom heads of 32 slices of 5 mm from a cold start, and writes segmentation, table of
slices, table of lesions and preview of each; the batch writes thumbnails, tables and gallery too. Memory is the
largest sum over the process tree, sampled every 0.3 s, of each process's own pages (USS), with what processes
share counted once a process only in the second figure (RSS). Then the way from a task to its outcome is measured
alone, with workers that do nothing. Goals: at least 3 times the loop's cases an hour; a thousandth of a second a
case for handing over, up to 100,000 cases.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from bench_segment import ROOT, machine

SLICES, SPACING_MM = 32, 5.0
GOAL_RATIO, GOAL_SECONDS = 3.0, 0.001


@dataclass
class Cost:
    """Wall and CPU seconds for all cases, and the peak of the process tree in MB: own pages, and resident sets."""

    name: str
    seconds: float
    cpu: float
    own_mb: float
    resident_mb: float


class Watched:
    """Runs commands one after the other and watches what their process trees take.

    Example:
        >>> with Watched() as watched:
        ...     watched.run(["true"])
        >>> watched.own, watched.resident
    """

    def __init__(self) -> None:
        self.own = self.resident = 0
        self.cpu = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def run(self, command: Sequence[str], threads: int) -> None:
        """Run a command to its end; the benchmark ends with it if it fails."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        before = _children_cpu()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        self.cpu += _children_cpu() - before
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")

    def _watch(self) -> None:
        mine = psutil.Process()
        while not self._over.wait(0.3):
            own = resident = 0
            for process in mine.children(recursive=True):
                try:
                    memory = process.memory_full_info()
                except psutil.Error:
                    continue
                own, resident = own + memory.uss, resident + memory.rss
            self.own, self.resident = max(self.own, own), max(self.resident, resident)


def _children_cpu() -> float:
    """CPU seconds of all ended processes below this one: other programs on the machine change them little."""
    used = os.times()
    return used.children_user + used.children_system


class NoWork:
    """A worker's work that takes no time."""

    def prepare(self, task: dict) -> None:
        return None

    def finish(self, task: dict, prepared: Callable[[], None]):
        from ICHWeakSegLib.cohort.work import DONE, Outcome

        prepared()
        return Outcome(task["id"], DONE)


def phantoms(folder: Path, count: int) -> list[Path]:
    """CTs of 32 slices with bleeds of different kinds and sizes; made once."""
    from ICHWeakSegLib.ct import write_volume
    from ICHWeakSegLib.ct.volume import CT
    from ICHWeakSegLib.phantom import SUBTYPES, make_phantom

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        path = folder / f"cohort-{number:03d}.nii.gz"
        if not path.exists():
            print(f"making {path.name} ...", flush=True)
            subtype = sorted(SUBTYPES)[number % len(SUBTYPES)]
            made = make_phantom(subtype, 10.0 + 5 * (number % 5), spacing_mm=SPACING_MM, seed=number).ct
            air = np.full((max(0, SLICES - len(made.hu)), *made.hu.shape[1:]), -1000, np.int16)
            whole = CT(np.concatenate([made.hu, air])[:SLICES], made.ijk_to_ras)
            write_volume(path, whole.hu, whole)
        paths.append(path)
    return paths


def loop(cts: Sequence[Path], out: Path, model: str) -> Cost:
    """The command anew for every case, with all cores."""
    threads = os.cpu_count() or 1
    with Watched() as watched:
        start = time.perf_counter()
        for ct in cts:
            name = out / ct.name.removesuffix(".nii.gz")
            command = [
                sys.executable,
                "-m",
                "ICHWeakSegLib",
                "segment",
                str(ct),
                "--device",
                "cpu",
                "--quiet",
            ]
            command += ["--output", f"{name}.seg.nrrd", "--preview", f"{name}.png", "--model", model]
            command += ["--slice-scores", f"{name}.csv", "--lesions", f"{name}-lesions.csv"]
            command += ["--threads", str(threads)]
            watched.run(command, threads)
        seconds = time.perf_counter() - start
    return Cost("loop of segment", seconds, watched.cpu, watched.own / 1e6, watched.resident / 1e6)


def batch(cts: Sequence[Path], out: Path, model: str, workers: int) -> Cost:
    """One batch."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    command = [sys.executable, "-m", "ICHWeakSegLib", "batch", *map(str, cts), "--output", str(out)]
    command += ["--model", model, "--device", "cpu", "--workers", str(workers), "--threads", str(threads)]
    with Watched() as watched:
        start = time.perf_counter()
        watched.run([*command, "--quiet"], threads)
        seconds = time.perf_counter() - start
    made = [path for path in (out / "cases").iterdir() if (path / "result.json").is_file()]
    if len(made) != len(cts):
        sys.exit(f"batch made {len(made)} of {len(cts)} cases")
    return Cost(
        f"batch, {workers} worker(s)", seconds, watched.cpu, watched.own / 1e6, watched.resident / 1e6
    )


def tasks(count: int) -> Iterator[dict]:
    """As those of DICOM series of 32 files."""
    names = [f"IM{number:06d}.dcm" for number in range(SLICES)]
    for number in range(count):
        yield {"id": f"{number:012x}", "source": f"/data/series{number:06d}", "files": names, "columns": {}}


def hand_over(count: int) -> tuple[float, float]:
    """Seconds a case and MB of this process and its workers, for cases that take no time."""
    from ICHWeakSegLib.cohort.local import LocalWorkers
    from ICHWeakSegLib.cohort.work import Setup

    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    mine, most, ended = psutil.Process(), 0, 0
    start = time.perf_counter()
    for _ in LocalWorkers(Setup("bench_cohort:NoWork"), 2).run(tasks(count), lambda: None):
        if ended == 0:
            # The workers' own start is no cost of a case.
            start = time.perf_counter()
        ended += 1
        if ended % 5000 == 1:
            most = max(most, sum(part.memory_info().rss for part in [mine, *mine.children()]))
    seconds = time.perf_counter() - start
    if ended != count:
        sys.exit(f"{ended} of {count} outcomes came back")
    return seconds / count, most / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=12, metavar="N")
    parser.add_argument("--model", default="starter", metavar="NAME|DIR")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ichweakseg-bench")
    parser.add_argument("--simulate", type=int, nargs="*", default=[1000, 10000, 100000], metavar="N")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    cts = phantoms(options.cache / "cohort", options.cases)
    print(machine(os.cpu_count() or 1), flush=True)
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "loop").mkdir()
        costs.append(loop(cts, out / "loop", options.model))
        print(f"{costs[-1].name}: {costs[-1].seconds:.0f} s", flush=True)
        for workers in (1, 2):
            costs.append(batch(cts, out / f"batch{workers}", options.model, workers))
            print(f"{costs[-1].name}: {costs[-1].seconds:.0f} s", flush=True)
            shutil.rmtree(out / f"batch{workers}")
    report(costs, len(cts), options.model)
    for count in options.simulate:
        seconds, megabytes = hand_over(count)
        met = "met   " if seconds <= GOAL_SECONDS else "MISSED"
        print(
            f"  {met}  {count:7,} cases: {seconds * 1e3:.3f} ms a case for handing over, {megabytes:.0f} MB, "
            f"at most {GOAL_SECONDS * 1e3:g} ms"
        )


def report(costs: Sequence[Cost], cases: int, model: str) -> None:
    """A table, and the goal with yes or no."""
    print(f"model {model}, {cases} cases of {SLICES} slices")
    print(
        f"{'':20}{'wall s':>9}{'CPU s':>8}{'s/case':>8}{'cases/h':>9}"
        f"{'own MB':>9}{'RSS MB':>9}{'x loop':>8}{'x CPU':>8}"
    )
    for cost in costs:
        print(
            f"{cost.name:20}{cost.seconds:9.1f}{cost.cpu:8.1f}{cost.seconds / cases:8.2f}"
            f"{3600 * cases / cost.seconds:9.0f}{cost.own_mb:9.0f}{cost.resident_mb:9.0f}"
            f"{costs[0].seconds / cost.seconds:8.2f}{costs[0].cpu / cost.cpu:8.2f}"
        )
    best = max(costs[0].seconds / cost.seconds for cost in costs[1:])
    met = "met   " if best >= GOAL_RATIO else "MISSED"
    print(f"  {met}  {best:.2f} times the loop's cases an hour, at least {GOAL_RATIO:g}")


if __name__ == "__main__":
    main()
