"""The measurements of a system seen slice by slice, patient by patient, and by classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ICHWeakSegLib.evaluation.run import Measured


@dataclass
class Detected:
    """Labels and scores at one level, rows alike.

    Attributes:
        labels: 1 blood, 0 none, NaN unknown.
        scores: probability of blood.
        positive: what the operating point says.
        patients: of the rows.
    """

    labels: np.ndarray
    scores: np.ndarray
    positive: np.ndarray
    patients: list[str]

    def among(self, rows: np.ndarray) -> Detected:
        """Some of the rows."""
        patients = [name for name, wanted in zip(self.patients, rows, strict=True) if wanted]
        return Detected(self.labels[rows], self.scores[rows], self.positive[rows], patients)


@dataclass
class Classifier:
    """One classification, which several systems may share.

    Attributes:
        names: of the systems.
        slices, patients: at the two levels; a patient's score is that of the highest slice.
        rows: of the slices.
    """

    names: list[str]
    slices: Detected
    patients: Detected
    rows: list[dict[str, Any]] = field(repr=False)

    @property
    def name(self) -> str:
        """The systems' names; what they share, once."""
        models = dict.fromkeys(name.partition(":")[0] for name in self.names)
        return ", ".join(models) if len(models) < len(self.names) else ", ".join(self.names)


def classifiers(measured: Sequence[Measured]) -> list[Classifier]:
    """The different classifications among the systems: methods of one model share theirs."""
    found: dict[tuple, Classifier] = {}
    for part in measured:
        rows = part.rows("slices")
        key = tuple((row["probability"], row["positive"]) for row in rows)
        if key in found:
            found[key].names.append(part.system.name)
        else:
            found[key] = Classifier([part.system.name], _detected(rows, "any"), by_patient(part), rows)
    return list(found.values())


def by_patient(part: Measured) -> Detected:
    """A row a patient over all CTs: bleeding if one shows blood, unknown if none does and one is unknown."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for row in part.rows("case"):
        cases.setdefault(row["patient"], []).append(row)
    rows = [
        {
            "patient": patient,
            "blood": 1.0 if any(row["blood"] == 1 for row in group) else sum(row["blood"] for row in group),
            "probability": max(row["probability"] for row in group),
            "positive": max(row["positive"] for row in group),
        }
        for patient, group in cases.items()
    ]
    return _detected(rows, "blood")


def _detected(rows: list[dict[str, Any]], label: str) -> Detected:
    return Detected(
        np.array([row[label] for row in rows], float),
        np.array([row["probability"] for row in rows], float),
        np.array([row["positive"] for row in rows], bool),
        [row["patient"] for row in rows],
    )
