"""The FUNC score (Rost et al., Stroke 2008;39:2304-2309, doi 10.1161/STROKEAHA.107.512202)."""

from __future__ import annotations

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.quantify.score import (
    Part,
    Score,
    add_up,
    check_age,
    check_gcs,
    check_volume,
    check_yes_no,
)

SOURCE = "Rost et al., Stroke 2008;39:2304-2309, doi:10.1161/STROKEAHA.107.512202"
LOCATIONS = {"lobar": 2, "deep": 1, "infratentorial": 0}
# Lowest score of a group, per cent functionally independent (Glasgow Outcome Scale 4 or more) after 90 days:
# of all 629 patients, and of those who survived.
INDEPENDENT_PERCENT = ((11, 82, 95), (9, 66, 75), (8, 42, 48), (5, 13, 29), (0, 0, 0))


def func_score(
    *,
    volume_ml: float | None = None,
    age: float | None = None,
    location: str | None = None,
    gcs: int | None = None,
    cognitive_impairment: bool | None = None,
) -> Score:
    """The FUNC score, 0 to 11 points; more is better.

    Args:
        volume_ml: of the intraparenchymal hematoma on the first CT.
        age: years.
        location: `lobar`, `deep` or `infratentorial`.
        gcs: Glasgow Coma Scale on admission, 3 to 15.
        cognitive_impairment: whether there was one before the hemorrhage.

    Returns:
        The score; without a total where an argument is None.

    Raises:
        InputError: an input is out of its range.

    Example:
        >>> func_score(volume_ml=34, age=71, location="lobar", gcs=9, cognitive_impairment=False).total
        8
    """
    gcs, age, volume = check_gcs(gcs), check_age(age), check_volume(volume_ml)
    impaired = check_yes_no(cognitive_impairment, "Cognitive impairment before the hemorrhage")
    if location is not None and location not in LOCATIONS:
        raise InputError(f"The location is one of {', '.join(LOCATIONS)}, not {location}.")
    size = None if volume is None else 4 if volume < 30 else 2 if volume <= 60 else 0
    years = None if age is None else 2 if age < 70 else 1 if age < 80 else 0
    where = None if location is None else LOCATIONS[location]
    awake = None if gcs is None else 2 if gcs >= 9 else 0
    parts = (
        Part("volume_ml", "volume (mL)", volume, size, (0, 2, 4), "below 30: 4, 30-60: 2, above 60: 0"),
        Part("age", "age (years)", age, years, (0, 1, 2), "below 70: 2, 70-79: 1, 80 or more: 0"),
        Part("location", "location", location, where, (0, 1, 2), "lobar: 2, deep: 1, infratentorial: 0"),
        Part("gcs", "Glasgow Coma Scale", gcs, awake, (0, 2), "9 or more: 2, 8 or less: 0"),
        Part(
            "cognitive_impairment",
            "cognitive impairment before",
            impaired,
            None if impaired is None else int(not impaired),
            (0, 1),
            "no: 1, yes: 0",
        ),
    )
    total, lowest, highest, missing = add_up(parts)
    outcome = percent = None
    if total is not None:
        _, percent, survivors = next(row for row in INDEPENDENT_PERCENT if total >= row[0])
        outcome = (
            f"{percent} % of the published cohort's patients in this group were functionally independent after "
            f"90 days ({survivors} % of those who survived)."
        )
    return Score("FUNC score", parts, total, lowest, highest, missing, outcome, percent, SOURCE)
