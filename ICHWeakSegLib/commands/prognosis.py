"""`ichweakseg prognosis`: the probability of a poor outcome from a CT, admission fields, or both."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.commands.progress import Bar
from ICHWeakSegLib.commands.targets import check_apart, check_target
from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.prognosis.admission_file import Admission

_GIVEN = ("age", "sex", "gcs", "onset_hours", "history")
_FACTS = ("ivh", "infratentorial", "location", "cognitive_impairment")


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "prognosis",
        help="forecast an outcome from CT and admission fields",
        description="The probability of a poor outcome by a model of 'ichweakseg train prognosis', with the ICH "
        "score and the FUNC score beside it. No model comes with ICHWeakSeg. For research use only.",
    )
    command.add_argument(
        "input",
        nargs="?",
        metavar="CT",
        help="NIfTI, NRRD, MHA, DICOM file, folder or zip; left out: text only",
    )
    command.add_argument("--model", required=True, metavar="NAME|DIR", help="package of 'train prognosis'")
    fields = command.add_argument_group("admission fields; what is left out is not known")
    fields.add_argument(
        "--clinical",
        type=os.path.expanduser,
        metavar="FILE",
        help=".json with one object, or .csv with the columns of a cohort; the options below go before it",
    )
    fields.add_argument("--case", metavar="NAME", help="row of the CSV of --clinical, by its column case")
    fields.add_argument("--age", metavar="YEARS")
    fields.add_argument("--sex", metavar="female|male")
    fields.add_argument("--gcs", metavar="N", help="Glasgow Coma Scale on admission, 3-15")
    fields.add_argument("--onset-hours", metavar="H", help="hours from onset to CT")
    fields.add_argument("--history", metavar="TEXT", help="what was known before and at admission")
    scores = command.add_argument_group("for the ICH score and the FUNC score only")
    scores.add_argument(
        "--volume", type=float, metavar="ML", help="of the hematoma; default: all blood that the network sees"
    )
    scores.add_argument("--ivh", choices=("yes", "no"), help="blood in the ventricles")
    scores.add_argument("--infratentorial", choices=("yes", "no"), help="began below the tentorium")
    scores.add_argument("--location", choices=("lobar", "deep", "infratentorial"))
    scores.add_argument("--cognitive-impairment", choices=("yes", "no"), help="before the hemorrhage")
    command.add_argument("-o", "--output", type=os.path.expanduser, metavar="JSON", help="write all as JSON")
    command.add_argument(
        "--picture",
        type=os.path.expanduser,
        metavar="PNG",
        help="draw the slices and words that weighed in the forecast",
    )
    command.add_argument("--json", action="store_true", help="print all as JSON")
    command.add_argument("--series", metavar="UID", help="DICOM series, where the input holds several")
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    command.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.inference.settings import choose_device
    from ICHWeakSegLib.models import load_model
    from ICHWeakSegLib.prognosis.assess import NOTHING_GIVEN, assess, check_model

    check_targets(options)
    choose_device(options.device)
    # The cheap checks first: fields before weights and CT.
    card = _card(options.model)
    admission = read_fields(options, check_model(card).leaks)
    if options.input is None and not admission.clinical.known and not admission.leaked:
        raise InputError(NOTHING_GIVEN)
    with Bar(options.quiet or options.json) as bar:
        bar("loading", 0, 1)
        model: Model = load_model(options.model)
        ct = None
        if options.input is not None:
            from ICHWeakSegLib.ct.read import read_ct

            bar("reading", 0, 1)
            ct = read_ct(options.input, series=options.series)
        found = assess(
            model,
            ct,
            admission.clinical,
            admission.facts,
            volume_ml=options.volume,
            leaked=admission.leaked,
            device=options.device,
            threads=options.threads,
            progress=bar,
        )
        found.notices[:0] = admission.warnings
        if options.picture:
            from ICHWeakSegLib.prognosis.picture import write_picture

            bar("drawing", 0, 1)
            write_picture(options.picture, found, Path(options.input).name if options.input else "")
    text = json.dumps(found.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)
    if options.output:
        from ICHWeakSegLib.ct.atomic import atomic_path

        with atomic_path(options.output) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    if options.json:
        print(text)
        return
    print(found.sentences())
    for path in (options.output, options.picture):
        if path:
            print(f"  {path}", file=sys.stderr)


def check_targets(options: argparse.Namespace) -> None:
    """Refuse targets that cannot be written, before the long work.

    Raises:
        InputError: wrong ending, no permission, or two of one name.
    """
    if options.output:
        check_target("--output", options.output, (".json",))
    if options.picture:
        check_target("--picture", options.picture, (".png",))
    check_apart(
        {"--output": options.output, "--picture": options.picture, "--clinical": options.clinical},
        options.input,
    )


def read_fields(options: argparse.Namespace, leaks: tuple[str, ...]) -> Admission:
    """Admission fields of the file and the options.

    Raises:
        InputError: see `read_admission`.
    """
    from ICHWeakSegLib.prognosis.admission_file import read_admission

    given: dict[str, Any] = {name: getattr(options, name) for name in (*_GIVEN, *_FACTS)}
    return read_admission(options.clinical, given, options.case, leaks)


def _card(model: str) -> Any:
    """Something with the card: the folder's, without its weights."""
    from ICHWeakSegLib.models import find_model

    return find_model(model)
