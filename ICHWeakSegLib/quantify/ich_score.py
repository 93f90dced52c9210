"""The ICH score (Hemphill et al., Stroke 2001;32:891-897, doi 10.1161/01.STR.32.4.891)."""

from __future__ import annotations

from ICHWeakSegLib.quantify.score import (
    Part,
    Score,
    add_up,
    check_age,
    check_gcs,
    check_volume,
    check_yes_no,
)

SOURCE = "Hemphill et al., Stroke 2001;32:891-897, doi:10.1161/01.STR.32.4.891"
# Deaths within 30 days, per cent of 152 patients, by score. No patient had 6 points.
MORTALITY_PERCENT = {0: 0, 1: 13, 2: 26, 3: 72, 4: 97, 5: 100}


def ich_score(
    *,
    gcs: int | None = None,
    age: float | None = None,
    volume_ml: float | None = None,
    ivh: bool | None = None,
    infratentorial: bool | None = None,
) -> Score:
    """The ICH score, 0 to 6 points; more is worse.

    Args:
        gcs: Glasgow Coma Scale on admission, 3 to 15.
        age: years.
        volume_ml: of the intraparenchymal hematoma on the first CT; blood in ventricles does not count.
        ivh: whether there is blood in the ventricles.
        infratentorial: whether the bleed began below the tentorium.

    Returns:
        The score; without a total where an argument is None.

    Raises:
        InputError: an input is out of its range.

    Example:
        >>> ich_score(gcs=9, age=71, volume_ml=34, ivh=True, infratentorial=False).total
        3
    """
    gcs, age, volume = check_gcs(gcs), check_age(age), check_volume(volume_ml)
    ivh = check_yes_no(ivh, "Intraventricular blood")
    below = check_yes_no(infratentorial, "Infratentorial origin")
    coma = None if gcs is None else 2 if gcs <= 4 else 1 if gcs <= 12 else 0
    large = None if volume is None else int(volume >= 30)
    parts = (
        Part("gcs", "Glasgow Coma Scale", gcs, coma, (0, 1, 2), "3-4: 2, 5-12: 1, 13-15: 0"),
        Part("volume_ml", "volume (mL)", volume, large, (0, 1), "30 mL or more: 1, less: 0"),
        Part("ivh", "intraventricular blood", ivh, _point(ivh), (0, 1), "yes: 1, no: 0"),
        Part("infratentorial", "infratentorial origin", below, _point(below), (0, 1), "yes: 1, no: 0"),
        Part("age", "age (years)", age, None if age is None else int(age >= 80), (0, 1), "80 or more: 1"),
    )
    total, lowest, highest, missing = add_up(parts)
    percent = None if total is None else MORTALITY_PERCENT.get(total)
    outcome = None
    if total is not None:
        outcome = (
            "No patient of the published cohort had 6 points; all with 5 died within 30 days."
            if percent is None
            else f"{percent} % of the published cohort's patients with this score died within 30 days."
        )
    return Score("ICH score", parts, total, lowest, highest, missing, outcome, percent, SOURCE)


def _point(yes: bool | None) -> int | None:
    return None if yes is None else int(yes)
