"""Made-up admission fields and outcomes with a stated dependence: machinery, not medicine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.outcome import OutcomeRule

_HISTORIES = (
    "hypertension",
    "diabetes mellitus type 2",
    "atrial fibrillation, apixaban",
    "smoker",
    "previous ischemic stroke",
    "hyperlipidemia",
)
RULE = OutcomeRule("mrs", 4)


@dataclass(frozen=True)
class OutcomeModel:
    """The logistic model that outcomes are drawn from.

    log odds of a poor outcome = intercept + per_ml (V - 30) + per_gcs_point_lost (10 - GCS) + per_year (age -
    68) + ivh (with blood in the ventricles), where V is the volume of intraparenchymal blood in mL.

    The coefficients were chosen so that CT and text each tell about as much and together more than either, and so
    that chance decides little: hundreds of patients, not thousands, are to show what a network learns. They
    are of no publication and say nothing about patients. Sex, hours from onset, history, location and cognitive
    impairment have no effect.

    Example:
        >>> round(OutcomeModel().probability(30, 10, 68, False), 3)
        0.332
    """

    intercept: float = -0.7
    per_ml: float = 0.12
    per_gcs_point_lost: float = 0.8
    per_year: float = 0.09
    ivh: float = 2.0

    def probability(self, volume_ml: float, gcs: int, age: float, ivh: bool) -> float:
        """Of a poor outcome, 0-1."""
        odds = self.intercept + self.per_ml * (volume_ml - 30) + self.per_gcs_point_lost * (10 - gcs)
        odds += self.per_year * (age - 68) + self.ivh * bool(ivh)
        return float(1 / (1 + np.exp(-odds)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the formula."""
        return {
            "formula": "logit p(poor) = intercept + per_ml (V - 30 mL) + per_gcs_point_lost (10 - GCS) "
            "+ per_year (age - 68) + ivh [blood in the ventricles]",
            "coefficients": asdict(self),
            "without_effect": ["sex", "onset_hours", "history", "location", "cognitive_impairment"],
        }


def draw_volume_ml(rng: np.random.Generator) -> float:
    """Intraparenchymal blood wished for, 2 to 90 mL, evenly on a scale of square roots."""
    return float(rng.uniform(np.sqrt(2.0), np.sqrt(90.0)) ** 2)


def draw_clinical(rng: np.random.Generator, volume_ml: float) -> Clinical:
    """All fields; a larger bleed lowers the Glasgow Coma Scale a little: 1 point for 40 mL, with an SD of 3.3."""
    gcs = 10 - (volume_ml - 30) / 40 + rng.normal(0, 3.3)
    picked = rng.choice(len(_HISTORIES), rng.integers(1, 3), replace=False)
    return Clinical(
        age=float(np.clip(np.rint(rng.normal(68, 13)), 20, 98)),
        sex=str(rng.choice(["female", "male"])),
        gcs=int(np.clip(np.rint(gcs), 3, 15)),
        onset_hours=float(np.round(rng.gamma(2.0, 3.0) + 0.5, 1)),
        history=", ".join(_HISTORIES[number] for number in picked),
    )


def draw_mrs(rng: np.random.Generator, probability: float) -> int:
    """A modified Rankin Scale that is 4 to 6 with the given probability; within a part all are equally likely."""
    return int(rng.integers(4, 7)) if rng.random() < probability else int(rng.integers(0, 4))


def lose_fields(rng: np.random.Generator, clinical: Clinical, rate: float) -> Clinical:
    """Each field is missing at `rate`, whatever its value (completely at random)."""
    fields = clinical.to_dict()
    gone = rng.random(len(fields)) < rate
    return Clinical(**{name: None if lost else fields[name] for name, lost in zip(fields, gone, strict=True)})
