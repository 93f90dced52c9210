"""Which labels to learn from? Binary against subtypes, as HGI-SAM's paper compares learning strategies.

Rasoulian, Salari, Xiao, MELBA 2023, arXiv 2304.04902.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.evaluation.cases import EvalCase
from ICHWeakSegLib.evaluation.folds import fold_system
from ICHWeakSegLib.evaluation.run import Progress, evaluate
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.train_classifier import NUM_CLASSES, Recipe, cross_validate


def compare_strategies(
    recipe: Recipe,
    crops: Sequence[Cropped],
    cases: Sequence[EvalCase],
    strategies: Sequence[str],
    folds: int,
    output: Path,
    *,
    methods: Sequence[str] = ("",),
    painted: Sequence[Cropped] = (),
    draws: int = 1000,
    data: str = "",
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Train each strategy by patient-wise folds, the same for all, and measure the held-out patients.

    Everything but the strategy is alike; the number of epochs is fixed.

    Args:
        recipe: of every training.
        crops: the cohort as the network sees it.
        cases: the same cohort, to measure on.
        strategies: names in `NUM_CLASSES`.
        folds: how many.
        output: a folder; runs lie in a subfolder a strategy.
        methods: localizations, `METHOD` or `METHOD/REFINE`; "" is the card's.
        painted: painted slices.
        draws: of the bootstrap over patients.
        data: what the cohort is.
        progress: called as (stage, done, total).
        options: of `train_classifier`.

    Returns:
        The summary of `evaluate`.

    Raises:
        InputError: fewer than two strategies, an unknown one, or no subtype labels where subtypes are asked for.
    """
    if len(set(strategies)) < 2:
        raise InputError("A comparison needs two strategies or more, each named once.")
    unknown = [name for name in strategies if name not in NUM_CLASSES]
    if unknown:
        raise InputError(f"The strategy is one of {', '.join(NUM_CLASSES)}, not {unknown[0]!r}.")
    if "subtypes" in strategies and all(np.isnan(case.labels[:, 1:]).all() for case in crops):
        raise InputError("The cohort has no labels of subtypes: leave out the strategy 'subtypes'.")
    for strategy in dict.fromkeys(strategies):
        how = replace(recipe, strategy=strategy, patience=0)
        cross_validate(how, list(crops), output / strategy, folds, list(painted), **options)
    patients = {case.patient for case in cases}
    systems = [
        fold_system(f"{output / strategy}{':' if method else ''}{method}", patients, output / "folds")
        for strategy in dict.fromkeys(strategies)
        for method in methods
    ]
    return evaluate(
        cases,
        systems,
        output,
        draws=draws,
        seed=recipe.seed,
        device=options.get("device", "auto"),
        data=data,
        progress=progress,
    )
