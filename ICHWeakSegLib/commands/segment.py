"""`ichweakseg segment`: a head CT in, a segmentation on its own grid out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.segment import DEFAULT_MODEL, REFINEMENTS, Result, segment

MAP_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "segment",
        help="segment hemorrhage on a head CT",
        description="Segment intracranial hemorrhage on a non-contrast head CT. For research use only.",
    )
    command.add_argument("input", metavar="INPUT", help="NIfTI, NRRD, MHA, DICOM file, folder or zip")
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help=".seg.nrrd (Slicer segmentation), or .nii.gz or .nrrd (label map of 0 and 1)",
    )
    command.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="default: %(default)s")
    command.add_argument(
        "--method",
        choices=("hgi-sam", "swin-sam", "grad-cam", "layer-cam", "hires-cam"),
        help="localization; default: the model card's",
    )
    command.add_argument("--refine", choices=REFINEMENTS, help="from map to mask; default: the model card's")
    command.add_argument("--threshold", type=float, metavar="X", help="of the map, 0-1")
    command.add_argument(
        "--sensitivity",
        type=float,
        metavar="S",
        help="slice sensitivity, 0-1, that moves the classifier's operating point (from the card's table)",
    )
    command.add_argument("--map", metavar="MAP.nii.gz", help="write the localization map, 0-1")
    command.add_argument("--slice-scores", metavar="CSV", help="write the probability of each axial slice")
    command.add_argument("--preview", metavar="PNG", help="write a montage of the positive slices")
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    command.add_argument("--series", metavar="UID", help="DICOM series, where the input holds several")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    check_targets(options)
    from ICHWeakSegLib.ct.read import read_ct

    with Bar(options.quiet) as bar:
        bar("reading", 0, 1)
        ct = read_ct(options.input, series=options.series)
        result = segment(
            ct,
            options.model,
            method=options.method,
            refine=options.refine,
            threshold=options.threshold,
            sensitivity=options.sensitivity,
            device=options.device,
            threads=options.threads,
            progress=bar,
        )
        bar("writing", 0, 1)
        written = write_outputs(result, options)
    summary = summarize(result, written)
    if options.json:
        print(json.dumps(summary, indent=2))
    elif not options.quiet:
        for sentence in result.warnings:
            print(f"Warning: {sentence}", file=sys.stderr)
        print(sentence_of(summary))


def check_targets(options: argparse.Namespace) -> None:
    """Refuse targets that cannot be written, before the long work.

    Raises:
        InputError: wrong ending, no folder, no permission, or two outputs with one name.
    """
    from ICHWeakSegLib.output import check_output_path

    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads needs at least 1, not {options.threads}.")
    check_output_path(options.output)
    for flag, target, endings in (
        ("--map", options.map, MAP_ENDINGS),
        ("--slice-scores", options.slice_scores, (".csv",)),
        ("--preview", options.preview, (".png",)),
    ):
        if target and not target.lower().endswith(endings):
            raise InputError(f"{flag} writes {' or '.join(endings)}, not {target}.")
        if target and Path(target).is_dir():
            raise InputError(f"{flag} cannot be written to {target}: that is a folder.")
    targets = [options.output, options.map, options.slice_scores, options.preview]
    targets = [Path(target).absolute() for target in targets if target]
    if len(set(targets)) < len(targets):
        raise InputError("Two outputs have the same name: give each its own.")
    if Path(options.input).absolute() in targets:
        raise InputError(f"An output would overwrite the input {options.input}: choose another name.")


def write_outputs(result: Result, options: argparse.Namespace) -> dict[str, str]:
    """Write what was asked for; the segmentation comes last, so that where it is, all is."""
    from ICHWeakSegLib.ct.write import write_volume
    from ICHWeakSegLib.output import write_result_mask, write_slice_scores

    written = {}
    if options.map:
        write_volume(options.map, result.map, result.ct, dtype=np.float32)
        written["map"] = options.map
    if options.slice_scores:
        write_slice_scores(options.slice_scores, result.slice_scores)
        written["slice_scores"] = options.slice_scores
    if options.preview:
        preview(result, options.preview)
        written["preview"] = options.preview
    write_result_mask(options.output, result.mask, result.ct, result.provenance)
    return {"segmentation": options.output, **written}


def preview(result: Result, target: str | Path) -> None:
    """Montage of the result as the networks saw the CT: axial, radiological view."""
    from ICHWeakSegLib.output import write_preview

    grid = result.grid
    positions = np.asarray(grid.positions_mm)
    step = float(np.median(np.diff(positions))) if len(positions) > 1 else 1.0
    write_preview(
        target,
        grid.hu,
        grid.from_native(result.mask),
        (step, *grid.spacing_mm),
        probabilities=[row["probability"] for row in result.slice_scores],
        slice_ml=list(grid.slice_ml * np.count_nonzero(grid.from_native(result.mask), axis=(1, 2))),
        total_ml=result.volume_ml,
        model=f"{result.provenance['model']} {result.provenance['version']}",
        case=Path(result.ct.source).name,
        provenance=result.provenance,
    )


def summarize(result: Result, written: dict[str, str]) -> dict[str, object]:
    """The result in plain values."""
    from ICHWeakSegLib.refine.components import count_lesions

    with_blood = np.flatnonzero(result.grid.from_native(result.mask).any(axis=(1, 2)))
    return {
        "volume_ml": round(result.volume_ml, 3),
        "lesions": count_lesions(result.mask),
        "slices": len(result.slice_scores),
        "positive_slices": [int(s) for s in np.flatnonzero(result.positive)],
        "slices_with_blood": [int(s) for s in with_blood],
        "highest_probability": round(max(row["probability"] for row in result.slice_scores), 4),
        "warnings": result.warnings,
        "provenance": result.provenance,
        "files": {name: str(path) for name, path in written.items()},
        "notice": "For research use only.",
    }


def sentence_of(summary: dict[str, object]) -> str:
    """The result in words."""
    slices = summary["slices_with_blood"]
    if slices:
        found = (
            f"{summary['volume_ml']:.1f} mL of blood in {summary['lesions']} lesion(s) on {len(slices)} of "
            f"{summary['slices']} slices ({slices[0]} to {slices[-1]}, counted from the lowest, 0)."
        )
    else:
        found = f"No blood found on {summary['slices']} slices (0 mL)."
    files = "\n".join(f"  {name}: {path}" for name, path in summary["files"].items())
    return f"{found} For research use only.\n{files}"
