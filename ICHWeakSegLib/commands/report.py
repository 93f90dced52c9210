"""`ichweakseg report`: the page of a case, as HTML or PDF."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands.entered import add_entered, entered_of
from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.targets import check_apart, check_target
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.vocabulary import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from ICHWeakSegLib.ct.volume import CT
    from ICHWeakSegLib.report import Case

_SEGMENTATION, _SCORES, _RESULT = "segmentation.seg.nrrd", "slices.csv", "result.json"
# What of a DICOM header is shown with --keep-identifiers.
_IDENTITY = {
    "PatientName": "Patient",
    "PatientID": "Patient ID",
    "PatientBirthDate": "Born",
    "PatientSex": "Sex",
    "StudyDate": "Study date",
    "AccessionNumber": "Accession number",
}


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "report",
        help="one page a case: HTML or PDF",
        description="One page of a case: key slices, the blood in space, map, lesions, clinical scores, slice "
        "probabilities, warnings, model and software. Without MASK the CT is segmented first. Nothing names the "
        "patient unless --keep-identifiers. For research use only.",
    )
    command.add_argument("ct", metavar="CT", help="NIfTI, NRRD, MHA, DICOM file, folder or zip")
    command.add_argument(
        "mask",
        nargs="?",
        metavar="MASK",
        type=os.path.expanduser,
        help=".seg.nrrd, .nii.gz, .nii, .nrrd or .mha on the CT's voxels; or a case folder of `ichweakseg batch`",
    )
    command.add_argument(
        "--html", type=os.path.expanduser, metavar="OUT", help="write the page; needs no network"
    )
    command.add_argument("--pdf", type=os.path.expanduser, metavar="OUT", help="write the same as PDF, A4")
    command.add_argument("--map", type=os.path.expanduser, help="localization map that `segment --map` wrote")
    command.add_argument(
        "--slice-scores", type=os.path.expanduser, metavar="CSV", help="that `segment --slice-scores` wrote"
    )
    command.add_argument(
        "--result",
        type=os.path.expanduser,
        metavar="JSON",
        help="that `segment --json` printed: warnings, model",
    )
    command.add_argument(
        "--model",
        metavar="NAME|DIR",
        help=f"segments the CT where no MASK is given; default: {DEFAULT_MODEL}",
    )
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    command.add_argument("--series", metavar="UID", help="DICOM series, where the CT holds several")
    command.add_argument("--case", default="", metavar="NAME", help="what the page calls the case")
    command.add_argument(
        "--keep-identifiers",
        action="store_true",
        help="show the file's name and, from DICOM, who the patient is",
    )
    scores = command.add_argument_group("for the ICH score and the FUNC score")
    add_entered(scores)
    scores.add_argument(
        "--volume", type=float, metavar="ML", help="of the intraparenchymal hematoma; default: as measured"
    )
    command.add_argument("--quiet", action="store_true", help="print errors only")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    _check(options)
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.report import pictures_of, write_html, write_pdf

    with Bar(options.quiet) as bar:
        bar("reading", 0, 1)
        ct = read_ct(options.ct, series=options.series)
        case = _from_mask(ct, options) if options.mask else _segmented(ct, options, bar)
        bar("drawing", 0, 1)
        pictures = pictures_of(case)
        written = []
        if options.pdf:
            written.append(write_pdf(options.pdf, case, pictures))
        if options.html:
            written.append(write_html(options.html, case, pictures))
    if not options.quiet:
        for sentence in case.warnings:
            print(f"Warning: {sentence}", file=sys.stderr)
        print(f"{case.summary()} For research use only.")
        for path in written:
            print(f"  report: {path}")


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot work, before the long work."""
    if not (options.html or options.pdf):
        raise InputError("There is nothing to write: give --html OUT.html or --pdf OUT.pdf.")
    for flag, target, kind in (("--html", options.html, ".html"), ("--pdf", options.pdf, ".pdf")):
        if target:
            check_target(flag, target, (kind,))
            check_apart({flag: target}, options.ct)
    stored = {"--map": options.map, "--slice-scores": options.slice_scores, "--result": options.result}
    given = [flag for flag, value in stored.items() if value]
    if options.mask and options.model:
        raise InputError("--model segments the CT, but a MASK is given: give one of them.")
    if given and not options.mask:
        raise InputError(f"{given[0]} belongs to a MASK: give that, too.")
    # A wrong age must not cost a segmentation.
    from ICHWeakSegLib.quantify import clinical_scores

    clinical_scores(entered_of(options))


def scrubber_of(path: str, keep: bool) -> Callable[[str], str]:
    """Takes paths and what a DICOM header says of the patient out of sentences, unless they are kept."""
    if keep:
        return str
    from ICHWeakSegLib.output.private import Scrubber, header_words

    source = Path(path).expanduser()
    return Scrubber("the CT", [source], header_words(source))


def _segmented(ct: CT, options: argparse.Namespace, bar: Bar) -> Case:
    from ICHWeakSegLib.report import case_of
    from ICHWeakSegLib.segment import segment

    result = segment(
        ct, options.model or DEFAULT_MODEL, device=options.device, threads=options.threads, progress=bar
    )
    bar("measuring", 0, 1)
    return case_of(result, **_shared(options))


def _from_mask(ct: CT, options: argparse.Namespace) -> Case:
    from ICHWeakSegLib.quantify.masks import read_masks
    from ICHWeakSegLib.report import make_case
    from ICHWeakSegLib.report.stored import read_map, read_provenance, read_result, read_slice_scores

    mask, scores, stored = Path(options.mask), options.slice_scores, options.result
    if mask.is_dir():
        folder, mask = mask, mask / _SEGMENTATION
        if not mask.is_file():
            raise InputError(f"{folder} has no {_SEGMENTATION}: give a case's folder of `ichweakseg batch`.")
        scores = scores or _if_there(folder / _SCORES)
        stored = stored or _if_there(folder / _RESULT)
    result = read_result(stored) if stored else {}
    # The run has told of the CT, too.
    said: dict[str, Any] = {"warnings": result["warnings"]} if result.get("warnings") is not None else {}
    shared = _shared(options)
    shared["name"] = shared["name"] or str(result.get("case") or "")
    return make_case(
        ct,
        read_masks(mask, ct),
        probabilities=read_slice_scores(scores) if scores else None,
        map=read_map(options.map, ct) if options.map else None,
        provenance=read_provenance(mask) | result.get("provenance", {}),
        **said,
        **shared,
    )


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _shared(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "entered": entered_of(options),
        "name": options.case,
        "identity": identity_of(options.ct) if options.keep_identifiers else {},
        "scrub": scrubber_of(options.ct, options.keep_identifiers),
    }


def identity_of(path: str) -> dict[str, str]:
    """Name of the file and, from DICOM, who the patient is."""
    import pydicom

    from ICHWeakSegLib.ct.dicom.files import dicom_files
    from ICHWeakSegLib.ct.dicom.frames import quiet_pydicom, read_frames
    from ICHWeakSegLib.ct.read import VOLUME_ENDINGS

    source = Path(path).expanduser()
    found = {"File": source.name}
    if source.is_file() and source.name.lower().endswith(VOLUME_ENDINGS):
        return found
    with quiet_pydicom(), dicom_files(source) as files:
        for file in files:
            if not read_frames(file):
                continue
            with file.open() as stream:
                header = pydicom.dcmread(
                    stream, stop_before_pixels=True, force=True, specific_tags=list(_IDENTITY)
                )
            words = {what: str(header.get(tag) or "") for tag, what in _IDENTITY.items()}
            return found | {what: text for what, text in words.items() if text}
    return found
