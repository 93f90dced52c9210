"""Options of what people enter for the clinical scores."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ICHWeakSegLib.quantify import Entered


def add_entered(group: argparse._ActionsContainer) -> None:
    """The options that `entered_of` reads; the volume is the caller's, as `volume`."""
    group.add_argument("--gcs", type=int, metavar="N", help="Glasgow Coma Scale on admission, 3-15")
    group.add_argument("--age", type=float, metavar="YEARS")
    group.add_argument("--ivh", choices=("yes", "no"), help="blood in the ventricles")
    group.add_argument("--infratentorial", choices=("yes", "no"), help="began below the tentorium")
    group.add_argument("--location", choices=("lobar", "deep", "infratentorial"), help="for the FUNC score")
    group.add_argument(
        "--cognitive-impairment", choices=("yes", "no"), help="before the hemorrhage; for the FUNC score"
    )


def entered_of(options: argparse.Namespace) -> Entered:
    """What was entered."""
    from ICHWeakSegLib.quantify import Entered

    return Entered(
        gcs=options.gcs,
        age=options.age,
        ivh=_yes(options.ivh),
        infratentorial=_yes(options.infratentorial),
        location=options.location,
        cognitive_impairment=_yes(options.cognitive_impairment),
        volume_ml=options.volume,
    )


def _yes(word: str | None) -> bool | None:
    return None if word is None else word == "yes"
