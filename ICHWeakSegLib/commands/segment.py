"""`ichweakseg segment`: a head CT in, a segmentation on its own grid out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.quantify import write_lesions
from ICHWeakSegLib.commands.sensitivity import HELP, sensitivity
from ICHWeakSegLib.commands.targets import check_apart, check_target
from ICHWeakSegLib.refine.refine_maps import REFINEMENTS
from ICHWeakSegLib.segment import DEFAULT_MODEL, Result, segment

if TYPE_CHECKING:
    from ICHWeakSegLib.quantify import Quantities

# MetaImage has no place for the sheared grid of a tilted gantry.
MAP_ENDINGS = (".nii.gz", ".nii", ".nrrd")


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
        type=os.path.expanduser,
        metavar="OUT",
        help=".seg.nrrd (Slicer segmentation), or .nii.gz or .nrrd (label map of 0 and 1)",
    )
    command.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="default: %(default)s")
    command.add_argument(
        "--method",
        choices=("hgi-sam", "swin-sam", "grad-cam", "layer-cam", "hires-cam", "cam", "probability"),
        help="localization; default: the model card's",
    )
    command.add_argument("--refine", choices=REFINEMENTS, help="from map to mask; default: the model card's")
    command.add_argument("--threshold", type=float, metavar="X", help="of the map, 0-1")
    command.add_argument(
        "--sensitivity",
        type=sensitivity,
        metavar="S",
        help=HELP,
    )
    command.add_argument(
        "--map",
        type=os.path.expanduser,
        metavar="MAP.nii.gz",
        help="write the localization map, 0-1 (or .nii, .nrrd)",
    )
    command.add_argument(
        "--slice-scores",
        type=os.path.expanduser,
        metavar="CSV",
        help="write the probability of each axial slice",
    )
    command.add_argument(
        "--lesions", type=os.path.expanduser, metavar="CSV", help="write the measurements of each lesion"
    )
    command.add_argument(
        "--preview", type=os.path.expanduser, metavar="PNG", help="write a montage of the positive slices"
    )
    command.add_argument(
        "--report", type=os.path.expanduser, metavar="HTML", help="write the page of `ichweakseg report`"
    )
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    command.add_argument("--series", metavar="UID", help="DICOM series, where the input holds several")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    check_targets(options)
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.quantify import measure

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
        measured = None
        if options.lesions or options.json:
            bar("measuring", 0, 1)
            measured = measure(result.ct, result.masks, brain=result.head.brain)
        if options.report:
            bar("report", 0, 1)
            write_report(options.report, result, options.input, measured)
        bar("writing", 0, 1)
        if options.lesions:
            write_lesions(options.lesions, measured)
        written = write_outputs(result, options)
        if options.lesions:
            written["lesions"] = options.lesions
        if options.report:
            written["report"] = options.report
    summary = summarize(result, written, measured)
    if options.json:
        print(json.dumps(summary, indent=2, allow_nan=False))
    elif not options.quiet:
        for sentence in result.warnings:
            print(f"Warning: {sentence}", file=sys.stderr)
        print(sentence_of(summary))


def check_targets(options: argparse.Namespace) -> None:
    """Refuse targets that cannot be written, before the long work.

    Raises:
        InputError: wrong ending, no permission, or an output that would overwrite the input or another one.
    """
    from ICHWeakSegLib.output import MASK_ENDINGS

    check_target("--output", options.output, MASK_ENDINGS)
    optional = (
        ("--map", options.map, MAP_ENDINGS),
        ("--slice-scores", options.slice_scores, (".csv",)),
        ("--lesions", options.lesions, (".csv",)),
        ("--preview", options.preview, (".png",)),
        ("--report", options.report, (".html",)),
    )
    for flag, target, endings in optional:
        if target:
            check_target(flag, target, endings)
    targets = {"--output": options.output} | {flag: target for flag, target, _ in optional}
    check_apart(targets, options.input)


def write_outputs(result: Result, options: argparse.Namespace) -> dict[str, str]:
    """Write what was asked for; the segmentation comes last, so that where it is, all is."""
    from ICHWeakSegLib.ct.write import write_volume, writing_warnings
    from ICHWeakSegLib.output import write_result_mask, write_result_preview, write_slice_scores

    for target in filter(None, (options.output, options.map)):
        result.warnings.extend(writing_warnings(target, result.ct))
    written = {}
    if options.map:
        write_volume(options.map, result.map, result.ct, dtype=np.float32)
        written["map"] = options.map
    if options.slice_scores:
        write_slice_scores(options.slice_scores, result.slice_scores)
        written["slice_scores"] = options.slice_scores
    if options.preview:
        write_result_preview(options.preview, result, Path(result.ct.source).name)
        written["preview"] = options.preview
    # Segments need one mask a subtype; a label map of 0 and 1 takes them together.
    masks = result.masks if result.subtype_names else result.mask
    write_result_mask(options.output, masks, result.ct, result.provenance)
    return {"segmentation": options.output, **written}


def write_report(target: str, result: Result, source: str, measured: Quantities | None) -> None:
    """The page of the case; nothing in it names the patient."""
    from ICHWeakSegLib.commands.report import scrubber_of
    from ICHWeakSegLib.report import case_of, write_html

    write_html(target, case_of(result, scrub=scrubber_of(source, keep=False), quantities=measured))


def summarize(
    result: Result, written: dict[str, str], measured: Quantities | None = None
) -> dict[str, object]:
    """The result in plain values; `lesion_table` has what was measured of each lesion."""
    from ICHWeakSegLib.output import result_facts
    from ICHWeakSegLib.refine import count_lesions

    return {
        **result_facts(result),
        "lesions": count_lesions(result.mask),
        **({} if measured is None else {"lesion_table": measured.rows()}),
        "files": written,
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
