"""`ichweakseg quantify`: a CT and a mask in, a table of lesions out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from ICHWeakSegLib.commands.targets import check_apart, check_target

if TYPE_CHECKING:
    from ICHWeakSegLib.quantify import Quantities

NOTICE = "For research use only."


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "quantify",
        help="measure the lesions of a mask",
        description="Measure every lesion of a mask: volume, ABC/2, diameters, density, side, shape. "
        "For research use only.",
    )
    command.add_argument("ct", metavar="CT", help="NIfTI, NRRD, MHA, DICOM file, folder or zip")
    command.add_argument(
        "mask", metavar="MASK", help=".seg.nrrd, .nii.gz, .nii, .nrrd or .mha on the CT's voxels"
    )
    command.add_argument("--csv", type=os.path.expanduser, metavar="OUT", help="write one row a lesion")
    command.add_argument("--series", metavar="UID", help="DICOM series, where the CT holds several")
    command.add_argument("--json", action="store_true", help="print everything as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    if options.csv:
        check_target("--csv", options.csv, (".csv",))
        check_apart({"--csv": options.csv}, options.ct)
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.quantify import measure
    from ICHWeakSegLib.quantify.masks import read_masks

    ct = read_ct(options.ct, series=options.series)
    masks = read_masks(options.mask, ct)
    measured = measure(ct, masks)
    files = {}
    if options.csv:
        write_lesions(options.csv, measured)
        files["lesions"] = options.csv
    if options.json:
        summary = measured.to_dict() | {"files": files, "notice": NOTICE}
        summary["warnings"] = [*ct.warnings, *measured.warnings]
        print(json.dumps(summary, indent=2, allow_nan=False))
        return
    for sentence in [*ct.warnings, *measured.warnings]:
        print(f"Warning: {sentence}", file=sys.stderr)
    print(words(measured))
    for path in files.values():
        print(f"  lesions: {path}")


def write_lesions(path: str | os.PathLike[str], measured: Quantities) -> None:
    """One row a lesion as CSV; without a lesion the names of the columns."""
    from ICHWeakSegLib.quantify.lesion import columns
    from ICHWeakSegLib.quantify.table import write_rows

    write_rows(path, measured.rows(), columns(tuple(measured.total.subtypes_ml)))


def words(measured: Quantities) -> str:
    """Total and lesions, a line each."""
    total = measured.total
    if not measured.lesions:
        return f"No blood in the mask (0 mL). {NOTICE}"
    lines = [
        f"{total.volume_ml:.1f} mL of blood in {total.lesions} lesion(s) on {total.slices} slices "
        f"({total.first_slice} to {total.last_slice}, counted from the lowest, 0). {NOTICE}"
    ]
    for lesion in measured.lesions:
        parts = [
            f"{lesion.number}: {lesion.volume_ml:.2f} mL",
            *([lesion.subtype] if lesion.subtype else []),
            *([lesion.side] if lesion.side else []),
            f"ABC/2 {lesion.abc2_ml:.1f} mL "
            f"({lesion.a_mm:.0f} x {lesion.b_mm:.0f} x {lesion.c_mm:.0f} mm, C of {lesion.c_slices:g} slices)",
            f"{lesion.mean_hu:.0f} HU",
            f"slices {lesion.first_slice} to {lesion.last_slice}",
            *(["touches the skull"] if lesion.touches_skull else []),
        ]
        lines.append("  " + ", ".join(parts))
    return "\n".join(lines)
