"""Memory and time of the prognosis network (after ICH-SCNet), each case in a process of its own.

Usage: python Testing/benchmarks/bench_sc_network.py [CASE ...] [--size 256] [--slices 32]

Training: forward, loss and backward of one patient, then an optimizer step, twice (goal: 16 GB on a CPU at 256 x
256 x 32). Inference: one pass (goal with ViT-B: 6 GB). Weights are random; ViT-B has SAM's own size, which is what
memory and time depend on.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

CASES = {
    "train-small": ("conv", "full", True),
    "train-vit_b-frozen": ("vit_b", "frozen", True),
    "train-vit_b-lora": ("vit_b", "lora", True),
    "train-vit_b-full": ("vit_b", "full", True),
    "infer-small": ("conv", "full", False),
    "infer-vit_b": ("vit_b", "full", False),
}


def measure(case: str, size: int, slices: int) -> dict[str, float]:
    """Peak memory in GB and seconds of one case, in this process."""
    import torch

    from ICHWeakSegLib.networks.sc_network import ScNetwork
    from ICHWeakSegLib.networks.tuning import tune

    kind, how, training = CASES[case]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = ScNetwork(size, image={"kind": kind})
    images, texts = (
        torch.rand(1, slices, 3, size, size),
        ["Glasgow Coma Scale 6, coma, severe. Aged 84 years."],
    )
    began = time.perf_counter()
    if training:
        tune(network.image, how)
        network.train()
        optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-4)
        for _ in range(2):
            optimizer.zero_grad()
            out = network(images, texts)
            blood = torch.nn.functional.binary_cross_entropy_with_logits(
                out.blood, (images[:, :, 0] > 0.9).float()
            )
            (out.outcome.sum() + blood).backward()
            optimizer.step()
    else:
        with torch.inference_mode():
            network.eval()(images, texts)
    seconds = (time.perf_counter() - began) / (2 if training else 1)
    # Linux counts in kB, macOS in bytes.
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return {
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 2),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "parameters_million": round(sum(p.numel() for p in network.parameters()) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.size, options.slices)))
        return
    print(f"{options.size} x {options.size} x {options.slices}, one CPU thread")
    for case in options.cases or CASES:
        command = [sys.executable, __file__, "--one", case, "--size", str(options.size)]
        done = subprocess.run([*command, "--slices", str(options.slices)], capture_output=True, text=True)
        print(f"{case:20} {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    main()
