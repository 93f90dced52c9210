"""`ichweakseg demo`: phantom, segmentation and picture in one go."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

FILES = (
    "segmentation.seg.nrrd",
    "map.nii.gz",
    "preview.png",
    "slice-scores.csv",
    "phantom.nii.gz",
    "truth.seg.nrrd",
)


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("demo", help="make a phantom, segment it, and show what came out")
    command.add_argument("--output", default="out/demo", metavar="DIR", help="default: %(default)s")
    command.add_argument("--subtype", default="intraparenchymal", help="of the phantom's bleed")
    command.add_argument("--volume-ml", type=float, default=30.0, metavar="V")
    command.add_argument("--seed", type=int, default=1, metavar="N")
    command.add_argument("--model", metavar="NAME|DIR", help="default: the bundled one")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.commands import phantom as phantom_command
    from ICHWeakSegLib.commands import segment as segment_command
    from ICHWeakSegLib.commands.progress import Bar
    from ICHWeakSegLib.ct.write import write_volume
    from ICHWeakSegLib.output import check_place, write_result_mask
    from ICHWeakSegLib.segment import DEFAULT_MODEL, segment

    folder = Path(options.output).expanduser()
    segmentation, map_file, picture, scores, ct_file, truth_file = (folder / name for name in FILES)
    for path in (folder / name for name in FILES):
        check_place(path)
    print("Making a head CT phantom with a bleed of known volume ...", flush=True)
    phantom = phantom_command.make(options.subtype, options.volume_ml, seed=options.seed)
    write_volume(ct_file, phantom.ct.hu, phantom.ct)
    write_result_mask(truth_file, phantom.truth, phantom.ct)

    print("Segmenting it ...", flush=True)
    with Bar() as bar:
        result = segment(ct_file, options.model or DEFAULT_MODEL, progress=bar)
    paths = argparse.Namespace(output=segmentation, map=map_file, slice_scores=scores, preview=picture)
    segment_command.write_outputs(result, paths)

    print(
        f"\nVolume found: {result.volume_ml:.1f} mL; the phantom's true volume: {phantom.volume_ml:.1f} mL."
    )
    print(f"Dice with the phantom's truth: {dice(result.mask, phantom.truth):.2f}.")
    model = result.provenance["model"]
    print(
        f"A phantom is not a patient: the model's card (ichweakseg models info {model}) has measured quality."
    )
    print(f"Files in {folder}: {', '.join(FILES)}; drop them on 3D Slicer's window to look at them.")
    print("For research use only.")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks, 0-1; 1 where both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0
