"""Clinical scores of a report: from the volume that was measured and what somebody entered."""

from __future__ import annotations

from dataclasses import dataclass

from ICHWeakSegLib.quantify import Entered, Quantities, Score, clinical_scores

INTRAPARENCHYMAL = "IPH"


@dataclass(frozen=True)
class Scores:
    """Scores of a case.

    Attributes:
        scores: ICH score and FUNC score; empty where nothing was entered.
        note: a sentence on where the volume comes from, or on what is missing.
    """

    scores: tuple[Score, ...]
    note: str


def scores_of(entered: Entered, quantities: Quantities) -> Scores:
    """ICH score and FUNC score of a case.

    The volume is the one entered, else that of the intraparenchymal blood where subtypes are known, else that of
    all blood.

    Raises:
        InputError: a value is out of its range, or location and infratentorial origin contradict each other.
    """
    if entered.empty:
        return Scores(
            (),
            "No clinical score: nothing was entered. The ICH score and the FUNC score need the Glasgow Coma "
            "Scale, age, intraventricular blood, location, and cognitive impairment before the hemorrhage.",
        )
    volume, note = _volume(entered, quantities)
    return Scores(clinical_scores(entered, volume), note)


def _volume(entered: Entered, quantities: Quantities) -> tuple[float, str]:
    if entered.volume_ml is not None:
        return entered.volume_ml, "The volume was entered."
    by_subtype = quantities.total.subtypes_ml
    if INTRAPARENCHYMAL in by_subtype:
        return round(
            by_subtype[INTRAPARENCHYMAL], 1
        ), "The volume is that of the intraparenchymal blood found."
    return (
        round(quantities.total.volume_ml, 1),
        "The volume is that of all blood found: of which kind it is, is not known.",
    )
