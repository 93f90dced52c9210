"""How much time and memory does localization take?

Compares, each in its own process and with the same random weights, images and threads:

- ours: `classify_and_localize`: every slice once through the network, a backward pass for the positive ones
only. - naive: slice by slice, all of them, gradients of all parameters, all attention and all its gradients
kept. - floor: nothing but a forward pass of every slice, the network as timm builds it.
- fused floor: the same with torch's fused attention, which `SwinClassifier` turns on.

Run:  python Testing/benchmarks/bench_localize.py [--slices 32] [--positive 8] [--threads 2] [--repeats 1]
                                                [--backbone NAME]

Goals: at least twice as fast as naive, at most 1.4 times the floor, no more memory than naive, maps equal to
1e-5.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

CONTENDERS = ("ours", "naive", "floor", "fused floor")


def main() -> None:
    options = _options()
    if options.contender:
        _run(options)
        return
    print(_machine(options))
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for name in CONTENDERS:
            results[name] = _in_its_own_process(name, Path(folder), options)
            print(_row(name, results[name]), flush=True)
        maps = [np.load(Path(folder) / f"{name}.npy") for name in ("ours", "naive")]
    print(_verdict(results, float(np.abs(maps[0] - maps[1]).max())))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--positive", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="how often to measure; the best counts")
    parser.add_argument("--backbone", default="swin_base_patch4_window12_384")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_its_own_process(name: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--contender", name, "--folder", str(folder)]
    for option in ("slices", "positive", "threads", "repeats", "backbone"):
        command += [f"--{option}", str(getattr(options, option))]
    subprocess.run(command, check=True)
    return json.loads((folder / f"{name}.json").read_text())


def _run(options: argparse.Namespace) -> None:
    """One contender: its maps and figures go into the folder."""
    import torch

    from ICHWeakSegLib.networks import SwinClassifier

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    fused = options.contender in ("ours", "fused floor")
    classifier = SwinClassifier(options.backbone, 2, fused_attention=fused).eval()
    _sharpen(classifier)
    images = torch.rand(options.slices, 3, *classifier.image_size)
    positive = torch.zeros(options.slices, dtype=torch.bool)
    # Blood lies in neighbouring slices.
    first = (options.slices - options.positive) // 2
    positive[first : first + options.positive] = True
    work = {"ours": _ours, "naive": _naive}.get(options.contender, _floor)
    _floor(classifier, images[:1], positive[:1])
    loaded = _peak()
    walls, cpus = [], []
    for _ in range(options.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        maps = work(classifier, images, positive)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    # The best of the repeats: what else runs on the machine can only add.
    figures = {"wall": min(walls), "cpu": min(cpus), "peak": _peak(), "loaded": loaded}
    np.save(options.folder / f"{options.contender}.npy", maps)
    (options.folder / f"{options.contender}.json").write_text(json.dumps(figures))


def _sharpen(classifier) -> None:
    """Random weights attend evenly; a map of rounding errors would compare nothing."""
    import torch

    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            if "relative_position_bias" in name:
                parameter.normal_(std=1.0)


def _ours(classifier, images, positive) -> np.ndarray:
    from ICHWeakSegLib.localize import classify_and_localize

    # Random weights know no blood, so the answer is given.
    answers = iter(positive)

    def is_positive(logits):
        import torch

        return torch.stack([next(answers) for _ in logits])

    return classify_and_localize(classifier, images, is_positive).maps.numpy()


def _floor(classifier, images, positive) -> np.ndarray:
    import torch

    with torch.inference_mode():
        for image in images:
            classifier(image[None])
    return np.zeros(0)


def _naive(classifier, images, positive) -> np.ndarray:
    import torch

    attention, gradient = {}, {}

    def keep(name):
        def forward(module, inputs, output):
            attention[name] = output.detach()

        def backward(module, gradients, _):
            gradient[name] = gradients[0].detach()

        return forward, backward

    for s, stage in enumerate(classifier.swin.layers):
        for b, block in enumerate(stage.blocks):
            forward, backward = keep((s, b))
            block.attn.softmax.register_forward_hook(forward)
            block.attn.softmax.register_full_backward_hook(backward)
    maps = []
    for image, wanted in zip(images, positive, strict=True):
        classifier.zero_grad()
        classifier(image[None])[0, 1].backward()
        product = torch.ones(image.shape[1:])
        for s in range(3):
            grids = [
                _naive_grid(attention[s, b], gradient[s, b], block)
                for b, block in enumerate(classifier.swin.layers[s].blocks)
            ]
            stage = torch.stack([grids[i] * grids[i + 1] for i in range(0, len(grids), 2)]).mean(dim=0)
            stage = (stage - stage.min()) / (stage.max() - stage.min())
            product = (
                product
                * torch.nn.functional.interpolate(stage[None, None], size=image.shape[1:], mode="bilinear")[
                    0, 0
                ]
            )
        product = (product - product.min()) / (product.max() - product.min())
        maps.append(product.numpy() * bool(wanted))
    return np.stack(maps)


def _naive_grid(attention, gradient, block):
    import torch

    weight = torch.linalg.norm(gradient, dim=(2, 3))[..., None, None]
    values = (weight * attention).mean(dim=1).mean(dim=1)
    (rows, columns), (height, width) = block.input_resolution, block.window_size
    tiles = values.reshape(rows // height, columns // width, height, width).permute(0, 2, 1, 3)
    return torch.roll(tiles.reshape(rows, columns), block.shift_size, (0, 1))


def _peak() -> float:
    """Peak resident memory of this process in MiB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024 if platform.system() != "Darwin" else kilobytes / 2**20


def _machine(options: argparse.Namespace) -> str:
    import timm
    import torch

    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return "\n".join(
        [
            f"{names[0].split(':')[1].strip() if names else platform.processor()}, {os.cpu_count()} cores, "
            f"load {os.getloadavg()[0]:.1f} before the start",
            f"Python {platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}",
            f"{options.backbone}, {options.slices} slices, {options.positive} positive, "
            f"{options.threads} thread(s), best of {options.repeats}",
            "",
            f"{'':12} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9} {'above the loaded network':>25}",
        ]
    )


def _row(name: str, figures: dict[str, float]) -> str:
    above = figures["peak"] - figures["loaded"]
    return f"{name:12} {figures['wall']:8.1f} {figures['cpu']:8.1f} {figures['peak']:9.0f} {above:25.0f}"


def _verdict(results: dict[str, dict[str, float]], difference: float) -> str:
    ours, naive = results["ours"], results["naive"]
    lines = ["", f"{'':34} {'wall':>7} {'CPU':>7}  goal"]

    def compare(label: str, values: list[float], goal: str, met: bool) -> None:
        lines.append(f"{label:34} " + " ".join(f"{v:6.2f}x" for v in values) + f"  {goal}: {_word(met)}")

    faster = [naive[key] / ours[key] for key in ("wall", "cpu")]
    compare("naive / ours", faster, ">= 2", faster[0] >= 2)
    for name in ("floor", "fused floor"):
        over = [ours[key] / results[name][key] for key in ("wall", "cpu")]
        compare(f"ours / {name}", over, "<= 1.4", over[0] <= 1.4)
    memory = ours["peak"] / naive["peak"]
    lines.append(f"{'peak memory, ours / naive':34} {memory:6.2f}x {'':7}  <= 1: {_word(memory <= 1)}")
    lines.append(
        f"{'largest difference of the maps':34} {difference:7.1e} {'':7} <= 1e-5: {_word(difference <= 1e-5)}"
    )
    return "\n".join(lines)


def _word(met: bool) -> str:
    return "met" if met else "NOT met"


if __name__ == "__main__":
    main()
