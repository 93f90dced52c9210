"""The ICH score and the FUNC score as forecasts, for the same cases as a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.score_facts import ScoreFacts
from ICHWeakSegLib.quantify.func_score import INDEPENDENT_PERCENT, func_score
from ICHWeakSegLib.quantify.ich_score import MORTALITY_PERCENT, ich_score
from ICHWeakSegLib.quantify.score import MOST_ML, Score

# No patient of the publication had 6 points; all with 5 died.
_ICH_PERCENT = [*MORTALITY_PERCENT.values(), 100]
_FUNC_PERCENT = [
    next(percent for lowest, percent, _ in INDEPENDENT_PERCENT if total >= lowest) for total in range(12)
]
ASSUMED = (
    "ICH score: probability = published 30-day mortality of the score (6 points as 5: 100 %); FUNC score: 100 % - "
    "published 90-day independence. Neither is the outcome asked for here, so judge their ranking (AUC) before "
    "their calibration. Where inputs are missing, the middle of the possible scores is taken and its percentage "
    "interpolated."
)


@dataclass(frozen=True)
class Baseline:
    """A score as a forecast.

    Attributes:
        score: with its parts.
        probability: of the bad end by the publication, 0-1; interpolated at `middle`.
        middle: of the totals that are possible with what is known; the total where nothing is missing.
    """

    score: Score
    probability: float
    middle: float

    @property
    def complete(self) -> bool:
        """Whether no input was missing."""
        return self.score.total is not None


def baselines(clinical: Clinical, facts: ScoreFacts, volume_ml: float | None) -> dict[str, Baseline]:
    """Both scores of a patient, by name.

    Args:
        clinical: admission fields; age and Glasgow Coma Scale are used.
        facts: further inputs.
        volume_ml: of the (intraparenchymal) hematoma; None unknown. Above 500 mL it counts as 500.
    """
    volume = None if volume_ml is None else min(float(volume_ml), MOST_ML)
    ich = ich_score(
        gcs=clinical.gcs,
        age=clinical.age,
        volume_ml=volume,
        ivh=facts.ivh,
        infratentorial=facts.infratentorial,
    )
    func = func_score(
        volume_ml=volume,
        age=clinical.age,
        location=facts.location,
        gcs=clinical.gcs,
        cognitive_impairment=facts.cognitive_impairment,
    )
    return {
        ich.name: _baseline(ich, lambda total: np.interp(total, range(7), _ICH_PERCENT) / 100),
        func.name: _baseline(func, lambda total: 1 - np.interp(total, range(12), _FUNC_PERCENT) / 100),
    }


def _baseline(score: Score, percent: Callable[[float], float]) -> Baseline:
    middle = (score.lowest + score.highest) / 2
    return Baseline(score, float(percent(middle)), middle)
