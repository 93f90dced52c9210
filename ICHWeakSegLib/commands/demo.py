"""`ichweakseg demo`: phantom, segmentation and picture in one go."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("demo", help="make a phantom, segment it, and show what came out")
    command.add_argument("--output", default="out/demo", metavar="DIR", help="default: %(default)s")
    command.add_argument("--subtype", default="intraparenchymal", help="of the phantom's bleed")
    command.add_argument("--volume-ml", type=float, default=30.0, metavar="V")
    command.add_argument("--seed", type=int, default=1, metavar="N")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.commands import phantom as phantom_command
    from ICHWeakSegLib.commands import segment as segment_command
    from ICHWeakSegLib.commands.progress import Bar
    from ICHWeakSegLib.ct.write import write_volume
    from ICHWeakSegLib.output import write_result_mask, write_slice_scores
    from ICHWeakSegLib.segment import segment

    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    print("Making a head CT phantom with a bleed of known volume ...", flush=True)
    phantom = phantom_command.make(options.subtype, options.volume_ml, seed=options.seed)
    write_volume(folder / "phantom.nii.gz", phantom.ct.hu, phantom.ct)
    write_result_mask(folder / "truth.seg.nrrd", phantom.truth, phantom.ct)

    print("Segmenting it with the bundled model ...", flush=True)
    with Bar() as bar:
        result = segment(folder / "phantom.nii.gz", progress=bar)
    write_volume(folder / "map.nii.gz", result.map, result.ct, dtype=np.float32)
    write_slice_scores(folder / "slice-scores.csv", result.slice_scores)
    segment_command.preview(result, folder / "preview.png")
    write_result_mask(folder / "segmentation.seg.nrrd", result.mask, result.ct, result.provenance)

    both = np.count_nonzero(result.mask & phantom.truth)
    total = np.count_nonzero(result.mask) + np.count_nonzero(phantom.truth)
    print(
        f"\nVolume found: {result.volume_ml:.1f} mL; the phantom's true volume: {phantom.volume_ml:.1f} mL."
    )
    print(f"Dice with the phantom's truth: {2 * both / total if total else 1.0:.2f}.")
    print("A phantom is not a patient: the model card (ichweakseg models info starter) has measured quality.")
    print(f"Files in {folder}: segmentation.seg.nrrd, map.nii.gz, preview.png, slice-scores.csv,")
    print("  phantom.nii.gz and truth.seg.nrrd; drop them on 3D Slicer's window to look at them.")
    print("For research use only.")
