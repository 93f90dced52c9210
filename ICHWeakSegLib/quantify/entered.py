"""What people enter for the clinical scores, and the scores from it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.quantify.func_score import func_score
from ICHWeakSegLib.quantify.ich_score import ich_score
from ICHWeakSegLib.quantify.score import Score

INFRATENTORIAL = "infratentorial"


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


def clinical_scores(entered: Entered, measured_ml: float | None = None) -> tuple[Score, Score]:
    """ICH score and FUNC score; without a total where an input is missing.

    Location and infratentorial origin tell a part of each other.

    Args:
        entered: what was entered.
        measured_ml: volume of the hematoma where none was entered.

    Raises:
        InputError: a value is out of its range, or location and infratentorial origin contradict each other.
    """
    below, location = entered.infratentorial, entered.location
    if location is not None:
        told = location == INFRATENTORIAL
        if below is not None and below != told:
            raise InputError(
                f"The location {location} contradicts infratentorial: {'yes' if below else 'no'}; correct one of "
                "them."
            )
        below = told
    elif below:
        location = INFRATENTORIAL
    volume = measured_ml if entered.volume_ml is None else entered.volume_ml
    return (
        ich_score(gcs=entered.gcs, age=entered.age, volume_ml=volume, ivh=entered.ivh, infratentorial=below),
        func_score(
            volume_ml=volume,
            age=entered.age,
            location=location,
            gcs=entered.gcs,
            cognitive_impairment=entered.cognitive_impairment,
        ),
    )
