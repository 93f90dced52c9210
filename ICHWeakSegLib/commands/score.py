"""`ichweakseg score`: ICH score and FUNC score from a volume and what is known of the patient."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ICHWeakSegLib.commands.entered import add_entered, entered_of
from ICHWeakSegLib.ct.errors import InputError


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "score",
        help="ICH score and FUNC score",
        description="ICH score (Hemphill 2001) and FUNC score (Rost 2008) of a spontaneous intraparenchymal "
        "hemorrhage. What is not given is named as missing. For research use only.",
    )
    add_entered(command)
    volume = command.add_mutually_exclusive_group()
    volume.add_argument("--volume", type=float, metavar="ML", help="of the intraparenchymal hematoma")
    volume.add_argument(
        "--result",
        type=os.path.expanduser,
        metavar="JSON",
        help="take the volume from what `segment --json` printed (IPH alone, where the model knows subtypes)",
    )
    command.add_argument("--json", action="store_true", help="print the scores as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.quantify import clinical_scores

    measured, origin = None, "entered"
    if options.result:
        measured, origin = volume_of(options.result)
    ich, func = clinical_scores(entered_of(options), measured)
    if options.json:
        found = {"ich_score": ich.to_dict(), "func_score": func.to_dict(), "volume_from": origin}
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    if options.result:
        print(f"Volume: {measured:.1f} mL, {origin}.")
    print(ich.text())
    print(func.text())


def volume_of(path: str | os.PathLike[str]) -> tuple[float, str]:
    """Volume in mL from a result of `segment --json`, and a few words about which it is.

    Raises:
        InputError: the file cannot be read or holds no volume.
    """
    problem = f"{path} is no result of `ichweakseg segment --json`: give the file that it was saved to."
    try:
        result: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except ValueError as error:
        raise InputError(problem) from error
    if not isinstance(result, dict):
        raise InputError(problem)
    by_subtype = result.get("subtypes_ml")
    if isinstance(by_subtype, dict) and "IPH" in by_subtype:
        found, words = by_subtype["IPH"], "intraparenchymal blood (IPH) of the result"
    else:
        found, words = result.get("volume_ml"), "all blood of the result, whatever its kind"
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise InputError(problem)
    return float(found), words
