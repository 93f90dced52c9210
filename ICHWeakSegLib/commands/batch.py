"""`ichweakseg batch`: a whole cohort, each case once, with tables and a gallery."""

from __future__ import annotations

import argparse
import os
import sys

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.sensitivity import HELP, sensitivity
from ICHWeakSegLib.refine.refine_maps import REFINEMENTS
from ICHWeakSegLib.vocabulary import DEFAULT_MODEL

_SHOWN = 5


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "batch",
        help="segment a cohort: resumable, several workers, tables and gallery",
        description="Segment every head CT of a cohort once. A run that was stopped, in whatever way, goes on "
        "with the rest when the same command is given again. Exit status: 0 all done, 1 some failed, 2 input "
        "that cannot be used, 130 stopped. For research use only.",
    )
    command.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="folder tree of DICOM or volumes, CSV with a column ct (and case, patient, series), or a quoted "
        "pattern such as 'scans/**/*.nii.gz'",
    )
    command.add_argument("-o", "--output", required=True, type=os.path.expanduser, metavar="DIR")
    command.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME|DIR", help="default: %(default)s")
    command.add_argument("--method", metavar="NAME", help="localization; default: the model card's")
    command.add_argument("--refine", choices=REFINEMENTS, help="from map to mask; default: the model card's")
    command.add_argument("--threshold", type=float, metavar="X", help="of the map, 0-1")
    command.add_argument("--sensitivity", type=sensitivity, metavar="S", help=HELP)
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument(
        "--workers",
        default="auto",
        type=_workers,
        metavar="N|auto",
        help="processes on this machine; auto: by memory and cores",
    )
    command.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of each worker; default: cores / workers"
    )
    command.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler (tcp://HOST:8786, or its scheduler file) whose workers do the work",
    )
    command.add_argument("--retry-failed", action="store_true", help="try failed cases again")
    command.add_argument(
        "--keep-identifiers",
        action="store_true",
        help="write identifiers.csv, which says whose case is whose; without it no output names a patient or file",
    )
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.cohort import run_batch

    with Bar(options.quiet) as bar:
        batch = run_batch(
            options.inputs,
            options.output,
            model=options.model,
            method=options.method,
            refine=options.refine,
            threshold=options.threshold,
            sensitivity=options.sensitivity,
            device=options.device,
            workers=options.workers,
            threads=options.threads,
            scheduler=options.scheduler,
            retry_failed=options.retry_failed,
            keep_identifiers=options.keep_identifiers,
            progress=bar,
        )
    if not options.quiet:
        left_out = (
            f" {batch.skipped} other file(s) or series left out (skipped.csv)." if batch.skipped else ""
        )
        print(
            f"{batch.done} case(s) done, {batch.new} of them now.{left_out} For research use only.\n"
            f"  look at: {batch.gallery}"
        )
    if batch.failed:
        for name, sentence in list(batch.failed.items())[:_SHOWN]:
            print(f"{name}: {sentence}", file=sys.stderr)
        more = f" The first {_SHOWN} are above." if len(batch.failed) > _SHOWN else ""
        print(
            f"ichweakseg: {len(batch.failed)} case(s) failed; failed.csv says why, --retry-failed tries them "
            f"again.{more}",
            file=sys.stderr,
        )
        sys.exit(1)


def _workers(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"auto or a number, not {text!r}") from None
