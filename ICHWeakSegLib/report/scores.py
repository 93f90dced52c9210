"""Clinical scores of a report: from the volume that was measured and what somebody entered."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.quantify import Quantities, Score, func_score, ich_score

INTRAPARENCHYMAL = "IPH"


@dataclass(frozen=True)
class Entered:
    """What was entered; None where nothing was. `ich_score` and `func_score` say what each value may be.

    Attributes:
        volume_ml: of the intraparenchymal hematoma, instead of the measured one.
    """

    gcs: int | None = None
    age: float | None = None
    ivh: bool | None = None
    infratentorial: bool | None = None
    location: str | None = None
    cognitive_impairment: bool | None = None
    volume_ml: float | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was entered at all."""
        return all(getattr(self, field.name) is None for field in fields(self))


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
    all blood. Location and infratentorial origin tell a part of each other.

    Raises:
        InputError: a value is out of its range, or location and infratentorial origin contradict each other.
    """
    if entered.empty:
        return Scores(
            (),
            "No clinical score: nothing was entered. The ICH score and the FUNC score need the Glasgow Coma "
            "Scale, age, intraventricular blood, location, and cognitive impairment before the hemorrhage.",
        )
    below = entered.infratentorial
    if entered.location is not None:
        told = entered.location == "infratentorial"
        if below is not None and below != told:
            raise InputError(
                f"The location {entered.location} contradicts infratentorial: {'yes' if below else 'no'}; "
                "correct one of them."
            )
        below = told
    location = "infratentorial" if below else entered.location
    volume, note = _volume(entered, quantities)
    ich = ich_score(gcs=entered.gcs, age=entered.age, volume_ml=volume, ivh=entered.ivh, infratentorial=below)
    func = func_score(
        volume_ml=volume,
        age=entered.age,
        location=location,
        gcs=entered.gcs,
        cognitive_impairment=entered.cognitive_impairment,
    )
    return Scores((ich, func), note)


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
