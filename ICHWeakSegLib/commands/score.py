"""`ichweakseg score`: ICH score and FUNC score from a volume and what is known of the patient."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError


def add_to(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "score",
        help="ICH score and FUNC score",
        description="ICH score (Hemphill 2001) and FUNC score (Rost 2008) of a spontaneous intraparenchymal "
        "hemorrhage. What is not given is named as missing. For research use only.",
    )
    command.add_argument("--gcs", type=int, metavar="N", help="Glasgow Coma Scale on admission, 3-15")
    command.add_argument("--age", type=float, metavar="YEARS")
    volume = command.add_mutually_exclusive_group()
    volume.add_argument("--volume", type=float, metavar="ML", help="of the intraparenchymal hematoma")
    volume.add_argument(
        "--result",
        type=os.path.expanduser,
        metavar="JSON",
        help="take the volume from what `segment --json` printed (IPH alone, where the model knows subtypes)",
    )
    command.add_argument("--ivh", choices=("yes", "no"), help="blood in the ventricles")
    command.add_argument("--infratentorial", choices=("yes", "no"), help="began below the tentorium")
    command.add_argument("--location", choices=("lobar", "deep", "infratentorial"), help="for the FUNC score")
    command.add_argument(
        "--cognitive-impairment", choices=("yes", "no"), help="before the hemorrhage; for the FUNC score"
    )
    command.add_argument("--json", action="store_true", help="print the scores as JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from ICHWeakSegLib.quantify import func_score, ich_score

    volume, origin = options.volume, "entered"
    if options.result:
        volume, origin = volume_of(options.result)
    infratentorial, location = _place(options)
    ich = ich_score(
        gcs=options.gcs,
        age=options.age,
        volume_ml=volume,
        ivh=_yes(options.ivh),
        infratentorial=infratentorial,
    )
    func = func_score(
        volume_ml=volume,
        age=options.age,
        location=location,
        gcs=options.gcs,
        cognitive_impairment=_yes(options.cognitive_impairment),
    )
    if options.json:
        found = {"ich_score": ich.to_dict(), "func_score": func.to_dict(), "volume_from": origin}
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    if options.result:
        print(f"Volume: {volume:.1f} mL, {origin}.")
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


def _place(options: argparse.Namespace) -> tuple[bool | None, str | None]:
    """Infratentorial or not, and the location; one says a part of the other."""
    below, location = _yes(options.infratentorial), options.location
    if location is not None:
        if below is not None and below != (location == "infratentorial"):
            raise InputError(
                f"--infratentorial {options.infratentorial} and --location {location} contradict each other: "
                "correct one of them."
            )
        below = location == "infratentorial"
    elif below:
        location = "infratentorial"
    return below, location


def _yes(word: str | None) -> bool | None:
    return None if word is None else word == "yes"
