"""A small simulated cohort and tiny random prognosis packages: they know nothing, but run as trained ones do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.networks.sc_network import ScNetwork
from ICHWeakSegLib.prognosis.cohort_table import PrognosisCase, read_prognosis_cohort
from ICHWeakSegLib.prognosis.dataset import cached_crops
from ICHWeakSegLib.prognosis.identity import case_identity
from ICHWeakSegLib.prognosis.outcome import OutcomeRule
from ICHWeakSegLib.prognosis.package import package_prognosis
from ICHWeakSegLib.prognosis.simulated_cohort import Simulation, simulate_cohort
from ICHWeakSegLib.prognosis.train import PrognosisRecipe

SMALL = Preprocessing(
    32, ((40, 80), (80, 200), (55, 50)), pixel_mm=6.0, blank_outside_brain=True, slice_mm=8.0
)
TINY = {
    "image": {"kind": "conv", "widths": [8, 8, 16]},
    "text": {"kind": "small", "width": 16, "heads": 2, "buckets": 64},
    "width": 16,
    "heads": 2,
}


def small_cohort(folder: Path, patients: int = 12, seed: int = 3) -> Path:
    """The CSV of a simulated cohort."""
    return simulate_cohort(folder, Simulation(patients, seed, missing=0.1, size=64, pixel_mm=3.6))


def rows_of(cases: Sequence[PrognosisCase], probability: float = 0.3) -> list[dict[str, Any]]:
    """Held-out rows that are right, told apart by their digits: CT and text, CT, text."""
    return [
        {
            **case_identity(case),
            "outcome": int(case.outcome),
            "probability": probability + 0.4 * case.outcome,
            "image_only": probability + 0.01 + 0.4 * case.outcome,
            "text_only": probability + 0.02 + 0.4 * case.outcome,
            "fold": 0,
        }
        for case in cases
    ]


def tiny_prognosis_model(
    folder: Path,
    cohort: Path,
    trained_on: Sequence[str] = (),
    held_out: Sequence[str] | None = None,
    outcome: OutcomeRule | None = None,
    leaks: tuple[str, ...] = (),
    seed: int = 0,
) -> Path:
    """A package with random weights.

    Args:
        folder: whose name is the model's.
        cohort: its cases are what it says to have learned from.
        trained_on: names of cases that it says to have learned from; none: the first two.
        held_out: those with held-out rows; all of them by default.
        outcome: default mRS 4.
        leaks: marks it.
        seed: of the weights.
    """
    rule = outcome or OutcomeRule("mrs")
    cases = read_prognosis_cohort(cohort, allow_leakage=bool(leaks), rule=rule).cases
    learned = [case for case in cases if case.name in trained_on] if trained_on else list(cases[:2])
    kept = [case for case in learned if held_out is None or case.name in held_out]
    torch.manual_seed(seed)
    network = ScNetwork(SMALL.size, len(SMALL.windows), **TINY)
    with torch.no_grad():
        # Random heads say 0.5 of everybody.
        for parameter in network.head.parameters():
            parameter.mul_(3)
    recipe = PrognosisRecipe(SMALL, TINY, outcome=rule.to_dict(), leaks=leaks, epochs=1)
    crops = cached_crops(learned, SMALL, folder.parent / "cache")
    package_prognosis(folder, folder.name, recipe, network.eval(), crops, rows_of(kept), folds=2)
    return folder
