"""What the sequence model costs beside HGI-SAM's: seconds a slice and memory, in one run.

    python Testing/benchmarks/bench_sequence.py [--model DIR] [--rival NAME|DIR] [--slices 32 400] [--threads N]
                                                [--positive 0.25] [--repeat N]

Both models get the same images of their own size, one CT slice a network input (no averaging to slabs, so that
400 slices are 400 inputs), and map the same share of slices. The images are made one by one, as they come from a
CT, so that what is measured is the networks and their streaming, not the reading of files. Every figure is
from a fresh process; memory is its largest resident set, torch and timm included. Without --model the sequence
model is untrained, which costs the same. Goal: 400 slices within 4 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
GOAL_MB = 4000.0
BATCH = 8


def main() -> None:
    options = _options()
    if options.child:
        print(json.dumps(_measure(options.child, options.slices[0], options)))
        return
    from bench_segment import machine

    print(machine(options.threads))
    print(f"{'':34}{'slices':>8}{'s':>8}{'s/slice':>9}{'CPU s':>8}{'loaded MB':>11}{'peak MB':>9}")
    peaks = {}
    for name in ("sequence", "sequence-published", "hgi-sam"):
        for slices in options.slices:
            if name == "sequence-published" and slices > options.published_slices:
                continue
            runs = [_child(name, slices, options) for _ in range(options.repeat)]
            best = min(runs, key=lambda run: run["wall"])
            peaks[name, slices] = best["peak"]
            print(
                f"{best['title'][:33]:34}{slices:8}{best['wall']:8.1f}{best['wall'] / slices:9.3f}"
                f"{best['cpu']:8.1f}{best['loaded']:11.0f}{best['peak']:9.0f}",
                flush=True,
            )
    most = max(options.slices)
    met = peaks["sequence", most] < GOAL_MB
    print(
        f"  {'met   ' if met else 'MISSED'}  {most} slices: {peaks['sequence', most]:.0f} MB, below {GOAL_MB:.0f}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", metavar="DIR", help="package of a sequence model; default: untrained")
    parser.add_argument("--rival", default="starter-hgi-sam", metavar="NAME|DIR")
    parser.add_argument("--slices", type=int, nargs="+", default=[32, 400])
    parser.add_argument(
        "--published-slices",
        type=int,
        default=0,
        metavar="N",
        help="measure the published ResNet-101 at 512 pixels as well, for up to so many slices",
    )
    parser.add_argument("--positive", type=float, default=0.25, help="share of slices that get a map")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="the fastest of N runs counts")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _child(name: str, slices: int, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--child", name, "--slices", str(slices), "--rival", options.rival]
    command += ["--positive", str(options.positive), "--threads", str(options.threads)]
    command += ["--model", options.model] if options.model else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def _measure(name: str, slices: int, options: argparse.Namespace) -> dict:
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    positive = [number % round(1 / options.positive) == 0 for number in range(slices)]
    if name == "hgi-sam":
        network, size, title = _rival(options.rival)
    else:
        network, size, title = _sequence(options.model, published=name == "sequence-published")
    work = _hgi_sam if name == "hgi-sam" else _sequence_and_maps
    # Kernels are chosen in the first pass.
    work(network, size, positive[:2])
    loaded = _peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    work(network, size, positive)
    return {
        "title": title,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "loaded": loaded,
        "peak": _peak_mb(),
    }


def _sequence(folder: str | None, published: bool):
    from ICHWeakSegLib.models import load_model
    from ICHWeakSegLib.networks import SequenceClassifier
    from ICHWeakSegLib.training.train_sequence import NARROW

    if published:
        return SequenceClassifier("resnet101").eval(), 512, "sequence, ResNet-101, 512 px"
    if folder:
        model = load_model(folder)
        return model.network, model.card.preprocessing.size, f"sequence, {model.card.name}"
    return SequenceClassifier("resnet18", overrides=NARROW).eval(), 192, "sequence, narrow ResNet-18, 192 px"


def _rival(name: str):
    from ICHWeakSegLib.models import load_model

    model = load_model(name)
    size = model.card.preprocessing.size
    return model.network, size, f"HGI-SAM, {model.card.name}, {size} px"


def _images(size: int, count: int) -> Iterator:
    import torch

    for number in range(count):
        yield torch.rand(3, size, size, generator=torch.Generator().manual_seed(number))


def _sequence_and_maps(network, size: int, positive: list[bool]) -> None:
    """Logits of the whole volume, then maps of the positive slices, each from its own pass."""
    from ICHWeakSegLib.localize import resnet_grad_cam

    network.classify_volume(_images(size, len(positive)), batch=BATCH)
    for image, wanted in zip(_images(size, len(positive)), positive, strict=True):
        if wanted:
            resnet_grad_cam(network, image[None])


def _hgi_sam(network, size: int, positive: list[bool]) -> None:
    """As the pipeline: every slice once through the network, a backward pass for the positive ones only."""
    import torch

    from ICHWeakSegLib.localize import classify_and_localize

    for image, wanted in zip(_images(size, len(positive)), positive, strict=True):
        classify_and_localize(network, image[None], lambda _, wanted=wanted: torch.tensor([wanted]))


def _peak_mb() -> float:
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    )


if __name__ == "__main__":
    main()
