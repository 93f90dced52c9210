"""The figures of forecasts on one set of cases, each with its interval by drawing patients again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ICHWeakSegLib.evaluation.bootstrap import Bootstrap, Figure
from ICHWeakSegLib.prognosis.calibration import brier, calibration_line, scaled_brier
from ICHWeakSegLib.prognosis.decision_curve import NAMED, net_benefit
from ICHWeakSegLib.prognosis.discrimination import Auc, auprc

HEADINGS = {
    "auc": "AUC",
    "auprc": "AUPRC",
    "brier": "Brier score",
    "scaled_brier": "scaled Brier score",
    "intercept": "calibration intercept",
    "slope": "calibration slope",
    **{f"net_benefit_{at:g}": f"net benefit at {at:g}" for at in NAMED},
}


@dataclass
class Forecaster:
    """One way of forecasting, on the cases of an evaluation.

    Attributes:
        name: as in the tables.
        probabilities: of a poor outcome, 0-1, shape (N,).
        group: the model it belongs to; `baseline` for scores, `truth` for the best possible.
    """

    name: str
    probabilities: np.ndarray
    group: str = "baseline"


@dataclass
class Outcomes:
    """What became of the cases.

    Attributes:
        labels: 1 poor, 0 good, shape (N,).
        patients: of the cases, (N,).
    """

    labels: np.ndarray
    patients: Sequence[str]


def measure(forecaster: Forecaster, outcomes: Outcomes, bootstrap: Bootstrap) -> dict[str, Figure]:
    """The figures of `HEADINGS`."""
    y, p = outcomes.labels, forecaster.probabilities
    auc = Auc(y, p)
    measures = {
        "auc": auc,
        "auprc": lambda w: auprc(y, p, w),
        "brier": lambda w: brier(y, p, w),
        "scaled_brier": lambda w: scaled_brier(y, p, w),
        "intercept": lambda w: calibration_line(y, p, w)[0],
        "slope": lambda w: calibration_line(y, p, w)[1],
    }
    for at in NAMED:
        measures[f"net_benefit_{at:g}"] = lambda w, at=at: float(net_benefit(y, p, w, np.array([at]))[0])
    return {name: bootstrap.figure(one) for name, one in measures.items()}


@dataclass(frozen=True)
class Difference:
    """One forecaster less another on the same draws of patients.

    Attributes:
        one, other: names.
        auc, brier: difference with its interval; AUC above 0 or Brier score below 0 speaks for `one`.
    """

    one: str
    other: str
    auc: Figure
    brier: Figure


def differences(
    forecasters: Sequence[Forecaster], outcomes: Outcomes, bootstrap: Bootstrap
) -> list[Difference]:
    """Each model with CT and text against its single modalities, the other models and the scores."""
    y = outcomes.labels
    fused = [one for one in forecasters if one.group not in ("baseline", "truth") and _is_fused(one)]
    found = []
    for place, one in enumerate(fused):
        others = [
            other
            for other in forecasters
            if other is not one
            and other.group != "truth"
            and (other.group in (one.group, "baseline") or other in fused[place + 1 :])
        ]
        mine = Auc(y, one.probabilities)
        for other in others:
            theirs = Auc(y, other.probabilities)
            found.append(
                Difference(
                    one.name,
                    other.name,
                    bootstrap.figure(lambda w, a=mine, b=theirs: a(w) - b(w)),
                    bootstrap.figure(
                        lambda w, a=one, b=other: brier(y, a.probabilities, w) - brier(y, b.probabilities, w)
                    ),
                )
            )
    return found


def _is_fused(forecaster: Forecaster) -> bool:
    return forecaster.name.endswith("CT and text")
