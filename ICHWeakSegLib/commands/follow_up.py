"""`ichweakseg follow-up`: two CTs of a patient, how much the blood changed, and both on one grid."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.ct.errors import InputError

RESULT, LESIONS, OVERLAY, PICTURE = "follow-up.json", "lesions.csv", "overlay.nii.gz", "follow-up.png"


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "follow-up",
        help="compare two CTs of one patient",
        description="Lay an earlier head CT over a later one and compare their blood: change in mL and %, "
        "expansion, overlay. For research use only.",
    )
    command.add_argument("before", metavar="BEFORE", help="the earlier CT")
    command.add_argument("after", metavar="AFTER", help="the later CT")
    masks = command.add_mutually_exclusive_group()
    masks.add_argument(
        "--masks", nargs=2, metavar=("M1", "M2"), help="masks of the two, each on its CT's voxels"
    )
    masks.add_argument(
        "--model", metavar="NAME|DIR", help="segment both with this model; default: the bundled one"
    )
    command.add_argument(
        "-o", "--output", required=True, type=os.path.expanduser, metavar="DIR",
        help=f"folder for {RESULT}, {LESIONS}, {OVERLAY} (1 only before, 2 only after, 3 both) and {PICTURE}",
    )  # fmt: skip
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    folder = Path(options.output)
    check_folder(folder)
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.ct.write import write_volume
    from ICHWeakSegLib.quantify import follow_up
    from ICHWeakSegLib.quantify.follow_up_picture import write_follow_up_picture
    from ICHWeakSegLib.quantify.lesion import columns
    from ICHWeakSegLib.quantify.masks import read_masks
    from ICHWeakSegLib.quantify.table import write_rows

    with Bar(options.quiet) as bar:
        bar("reading", 0, 2)
        before, after = read_ct(options.before), read_ct(options.after)
        notes: list[str] = []
        facts: dict[str, object] = {}
        if options.masks:
            masks = [read_masks(path, ct) for path, ct in zip(options.masks, (before, after), strict=True)]
        else:
            from ICHWeakSegLib.models import load_model
            from ICHWeakSegLib.segment import DEFAULT_MODEL, segment

            model = load_model(options.model or DEFAULT_MODEL)
            masks = []
            for ct in (before, after):
                result = segment(ct, model, device=options.device, threads=options.threads, progress=bar)
                masks.append(result.masks)
                notes += result.warnings
                facts = result.provenance
        if options.masks:
            notes = [*before.warnings, *after.warnings]
        bar("comparing", 0, 1)
        change = follow_up(before, masks[0], after, masks[1])
        bar("writing", 0, 1)
        rows = change.rows()
        names = tuple(dict.fromkeys([*change.before.total.subtypes_ml, *change.after.total.subtypes_ml]))
        write_volume(folder / OVERLAY, change.overlay, after, dtype=np.uint8)
        write_follow_up_picture(folder / PICTURE, change, before, after)
        write_rows(folder / LESIONS, rows, ["scan", *columns(names)])
    summary = change.to_dict() | {"provenance": facts, "files": [LESIONS, OVERLAY, PICTURE]}
    summary["warnings"] = [*notes, *change.warnings]
    text = json.dumps(summary, indent=2, allow_nan=False)
    # The last one, so that where it is, all is.
    write_text(folder / RESULT, text + "\n")
    if options.json:
        print(text)
    elif not options.quiet:
        for sentence in summary["warnings"]:
            print(f"Warning: {sentence}", file=sys.stderr)
        print(
            f"{change.sentence()} For research use only.\n  {folder}: {', '.join((RESULT, *summary['files']))}"
        )


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to, before the long work.

    Raises:
        InputError: there is a file of that name, or no right to write.
    """
    from ICHWeakSegLib.output import check_place

    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder} is a file: give a folder.")
    for name in (RESULT, LESIONS, OVERLAY, PICTURE):
        check_place(folder / name)


def write_text(path: Path, text: str) -> None:
    from ICHWeakSegLib.ct.atomic import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
