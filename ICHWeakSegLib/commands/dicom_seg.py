"""`ichweakseg dicom-seg`: a mask as DICOM SEG, with its measurements as DICOM SR."""

from __future__ import annotations

import argparse
import os
import sys

from ICHWeakSegLib.commands.targets import check_apart, check_target

_ENDINGS = (".dcm",)


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "dicom-seg",
        help="a mask as DICOM SEG and its measurements as DICOM SR, for a PACS",
        description="Write a mask as DICOM SEG, one segment a class, and its measurements as a structured report "
        "(TID 1500). Name, ID and all else that identifies patient and study are copied from the CT, as the "
        "standard wants: without them a PACS could not file the result. For research use only.",
    )
    command.add_argument("ct", metavar="CT", help="DICOM folder, zip or multi-frame file that the mask is of")
    command.add_argument(
        "mask", metavar="MASK", help=".seg.nrrd, .nii.gz, .nii, .nrrd or .mha on the CT's voxels"
    )
    command.add_argument(
        "-o", "--output", required=True, type=os.path.expanduser, metavar="OUT.dcm", help="DICOM SEG"
    )
    command.add_argument(
        "--sr",
        type=os.path.expanduser,
        metavar="OUT.dcm",
        help="write volume and mean HU of segments and lesions",
    )
    command.add_argument("--series", metavar="UID", help="DICOM series, where the CT holds several")
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    check_target("--output", options.output, _ENDINGS)
    if options.sr:
        check_target("--sr", options.sr, _ENDINGS)
    check_apart({"--output": options.output, "--sr": options.sr}, options.ct)
    # Before the long work: it is an extra.
    import highdicom  # noqa: F401

    from ICHWeakSegLib.quantify import measure
    from ICHWeakSegLib.quantify.masks import read_masks
    from ICHWeakSegLib.report.dicom_seg import write_dicom_seg
    from ICHWeakSegLib.report.dicom_source import read_source
    from ICHWeakSegLib.report.dicom_sr import write_dicom_sr
    from ICHWeakSegLib.report.stored import read_provenance

    source = read_source(options.ct, options.series)
    masks = read_masks(options.mask, source.ct)
    facts = read_provenance(options.mask)
    measured = measure(source.ct, masks) if options.sr else None
    made = write_dicom_seg(options.output, source, masks, facts)
    if measured is not None:
        write_dicom_sr(options.sr, source, made, masks, measured, facts)
    if options.quiet:
        return
    for sentence in source.ct.warnings:
        print(f"Warning: {sentence}", file=sys.stderr)
    if source.blanked:
        print(
            f"Warning: The CT's {', '.join(source.blanked)} cannot be read or is not as DICOM wants it: it is "
            "left empty in what was written.",
            file=sys.stderr,
        )
    if not facts.get("model"):
        print(
            "Warning: The mask does not say which model made it: the algorithm is called unknown.",
            file=sys.stderr,
        )
    volume = sum(source.ct.volume_ml(mask) for mask in masks.values())
    print(
        f"{volume:.1f} mL of blood in {len(masks)} segment(s), with the identity of the CT's patient. "
        f"For research use only.\n  segmentation: {options.output}"
    )
    if options.sr:
        print(f"  measurements: {options.sr}")
