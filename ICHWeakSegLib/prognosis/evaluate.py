"""Prognosis models on a cohort, beside the ICH score and the FUNC score on the same cases."""

from __future__ import annotations

import csv
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.baselines import ASSUMED, Baseline, baselines
from ICHWeakSegLib.prognosis.cohort_table import (
    OUTCOMES,
    PrognosisCase,
    PrognosisCohort,
    read_prognosis_cohort,
)
from ICHWeakSegLib.prognosis.forecasts import Forecast, forecasts
from ICHWeakSegLib.prognosis.leakage import plain
from ICHWeakSegLib.prognosis.outcome import OutcomeRule
from ICHWeakSegLib.prognosis.simulated_cohort import NOTICE, read_truth_probabilities
from ICHWeakSegLib.quantify.table import write_rows
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    from ICHWeakSegLib.models import FoundModel
    from ICHWeakSegLib.prognosis.evaluation_figures import Forecaster

KIND = "sc-network"
LEAST_CASES = 10
TRUTH_NAME = "best possible (true probability)"
_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "timm")
Progress = Callable[[str, int, int], None]


def prognosis_models(specs: Sequence[str], cases: str | Path) -> list[FoundModel] | None:
    """The packages of `--models` where prognosis is to be measured; None where segmentation is.

    A model of prognosis also segments: the cases decide. Prognosis is measured on a CSV with an outcome.

    Args:
        specs: as given to `--models`.
        cases: CSV or folder.

    Raises:
        InputError: some are for prognosis and some are not, or one is named twice.
    """
    from ICHWeakSegLib.evaluation.systems import parse
    from ICHWeakSegLib.models import find_model

    found = [(text, find_model(parse(text).model)) for text in specs]
    kinds = [model.card.architecture.kind == KIND for _, model in found]
    if not any(kinds) or not has_outcome(cases):
        return None
    if not all(kinds):
        yes = found[kinds.index(True)][0]
        no = found[kinds.index(False)][0]
        raise InputError(
            f"{cases} has outcomes, {yes} is a model for prognosis and {no} is not: evaluate them in two "
            "commands, or leave the outcome column out to compare their segmentations."
        )
    names = [model.name for _, model in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"The model {twice} is named twice: give each once.")
    return [model for _, model in found]


def has_outcome(path: str | Path) -> bool:
    """Whether a file is a CSV with a column of outcomes."""
    path = Path(path)
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return any(plain(name) in OUTCOMES for name in header)


@dataclass
class Scored:
    """A case that every model has a forecast of.

    Attributes:
        case: with `outcome` 0 good or 1 poor.
        forecasts: by model name.
        baselines: by score name.
        volume_ml: of the hematoma for the scores; None unknown.
        volume_from: `mask`, `mask (IPH)`, `model` or empty.
        truth: true probability, where the cohort is simulated.
    """

    case: PrognosisCase
    forecasts: dict[str, Forecast]
    baselines: dict[str, Baseline]
    volume_ml: float | None
    volume_from: str
    truth: float | None = None


def evaluate_prognosis(
    table: str | Path,
    models: Sequence[FoundModel],
    output: str | Path,
    *,
    draws: int = 1000,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Measure and write `summary.md`, `systems.csv`, `cases.csv`, plots and `provenance.json`.

    Cases whose patient a model learned from count with the model's held-out probabilities, or not at all; every
    system is measured on the same cases.

    Args:
        table: CSV of a cohort, see `read_prognosis_cohort`.
        models: see `prognosis_models`.
        output: a folder; its subfolder `cases` keeps finished forecasts.
        draws, seed: of the bootstrap over patients.
        device, threads: as `prognose`.
        progress: called as (stage, done, total).

    Returns:
        The summary.

    Raises:
        InputError: table, case or model cannot be used, or too few cases are left.
    """
    output = Path(output)
    rule = common_rule(models)
    cohort = _read(table, models, rule)
    known = [case for case in cohort.cases if case.outcome is not None]
    left_out = {case.name: "outcome not known" for case in cohort.cases if case.outcome is None}
    by_model: dict[str, dict[str, Forecast]] = {}
    for number, found in enumerate(models):
        by_model[found.name] = forecasts(
            known,
            found,
            output / "cases",
            device=device,
            threads=threads,
            progress=None
            if progress is None
            else lambda done, n=number: progress(
                "forecasting", n * len(known) + done, len(models) * len(known)
            ),
        )
    truth = read_truth_probabilities(table) or {}
    scored = []
    for case in known:
        without = [name for name, made in by_model.items() if case.name not in made]
        if without:
            left_out[case.name] = f"{without[0]} learned from the patient and has no held-out forecast"
            continue
        scored.append(_scored(case, {name: made[case.name] for name, made in by_model.items()}, truth))
    _check_enough(scored, left_out, table)
    return _write(output, cohort, scored, left_out, models, rule, draws, seed, progress)


def common_rule(models: Sequence[FoundModel]) -> OutcomeRule:
    """The outcome that all models forecast.

    Raises:
        InputError: they forecast different ones.
    """
    rules = [OutcomeRule.from_dict(model.card.prognosis.outcome) for model in models]
    other = next((place for place, rule in enumerate(rules) if rule != rules[0]), None)
    if other is not None:
        raise InputError(
            f"{models[0].name} forecasts {rules[0].words} and {models[other].name} {rules[other].words}: "
            "evaluate them in two commands."
        )
    return rules[0]


def _read(table: str | Path, models: Sequence[FoundModel], rule: OutcomeRule) -> PrognosisCohort:
    leaks = {name for model in models for name in model.card.prognosis.leaks}
    cohort = read_prognosis_cohort(table, allow_leakage=bool(leaks), rule=rule)
    missing = sorted(leaks - set(cohort.leaking))
    if missing:
        cohort = replace(
            cohort,
            warnings=(
                *cohort.warnings,
                f"{table} lacks the columns {', '.join(missing)} that a model learned from.",
            ),
        )
    return cohort


def _scored(case: PrognosisCase, made: dict[str, Forecast], truth: dict[str, float]) -> Scored:
    volume, origin, ivh = None, "", None
    if case.mask is not None:
        volume, origin, ivh = mask_volume(case)
    else:
        volume = next((one.blood_ml for one in made.values() if one.blood_ml is not None), None)
        origin = "" if volume is None else "model"
    facts = case.facts if case.facts.ivh is not None else replace(case.facts, ivh=ivh)
    return Scored(case, made, baselines(case.clinical, facts, volume), volume, origin, truth.get(case.name))


def mask_volume(case: PrognosisCase) -> tuple[float, str, bool | None]:
    """Volume in mL from a case's mask, what it is of, and whether it shows ventricular blood (None: not told).

    Intraparenchymal blood alone where the mask has segments by subtype.

    Raises:
        InputError: CT or mask cannot be used; names the case.
    """
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.quantify.masks import read_masks

    try:
        ct = read_ct(case.ct)
        masks = read_masks(case.mask, ct)
    except InputError as problem:
        raise InputError(f"Case {case.name}: {problem}") from problem
    if "hemorrhage" in masks:
        return ct.volume_ml(masks["hemorrhage"]), "mask", None
    ivh = bool(masks["IVH"].any()) if "IVH" in masks else False
    return (ct.volume_ml(masks["IPH"]) if "IPH" in masks else 0.0), "mask (IPH)", ivh


def _check_enough(scored: Sequence[Scored], left_out: dict[str, str], table: str | Path) -> None:
    kinds = {int(part.case.outcome) for part in scored}
    if len(scored) >= LEAST_CASES and len(kinds) == 2:
        return
    reason = next(iter(left_out.values()), "")
    more = f" ({len(left_out)} left out: {reason})" if left_out else ""
    have = (
        f"{len(scored)} cases"
        if len(kinds) == 2 or not scored
        else f"{len(scored)} cases of one outcome only"
    )
    raise InputError(
        f"{table} leaves {have} to measure{more}: at least {LEAST_CASES} with both outcomes are needed; give "
        "patients that no model learned from, or train with --folds."
    )


def _forecasters(scored: Sequence[Scored], models: Sequence[FoundModel]) -> list[Forecaster]:
    from ICHWeakSegLib.prognosis.evaluation_figures import Forecaster
    from ICHWeakSegLib.prognosis.forecasts import WAYS

    found = [
        Forecaster(
            f"{model.name}: {way}",
            np.array([part.forecasts[model.name].by_way()[way] for part in scored]),
            model.name,
        )
        for model in models
        for way in WAYS
    ]
    for name in scored[0].baselines:
        found.append(Forecaster(name, np.array([part.baselines[name].probability for part in scored])))
    if all(part.truth is not None for part in scored):
        found.append(Forecaster(TRUTH_NAME, np.array([part.truth for part in scored]), "truth"))
    return found


def _write(
    output: Path,
    cohort: PrognosisCohort,
    scored: Sequence[Scored],
    left_out: dict[str, str],
    models: Sequence[FoundModel],
    rule: OutcomeRule,
    draws: int,
    seed: int,
    progress: Progress | None,
) -> Path:
    from ICHWeakSegLib.evaluation.bootstrap import Bootstrap
    from ICHWeakSegLib.evaluation.tables import write_provenance
    from ICHWeakSegLib.prognosis.evaluation_figures import Outcomes, differences, measure
    from ICHWeakSegLib.prognosis.evaluation_plots import draw_plots
    from ICHWeakSegLib.prognosis.evaluation_summary import write_summary

    forecasters = _forecasters(scored, models)
    outcomes = Outcomes(
        np.array([part.case.outcome for part in scored], int), [part.case.patient for part in scored]
    )
    bootstrap = Bootstrap(outcomes.patients, draws, seed)
    figures = {}
    for number, one in enumerate(forecasters):
        if progress:
            progress("measuring", number, len(forecasters))
        figures[one.name] = measure(one, outcomes, bootstrap)
    pairs = differences(forecasters, outcomes, bootstrap)
    facts = _provenance(cohort, scored, left_out, models, rule, draws, seed)
    _write_cases(output / "cases.csv", scored, forecasters)
    _write_rows(
        output / "systems.csv",
        [
            {
                "system": name,
                **{
                    f"{key}{suffix}": value
                    for key, figure in mine.items()
                    for suffix, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high))
                },
                "cases": len(scored),
            }
            for name, mine in figures.items()
        ],
    )
    draw_plots(output, forecasters, outcomes, figures, bootstrap, facts)
    write_provenance(output / "provenance.json", facts)
    # The summary comes last: where it is, all is.
    return write_summary(output / "summary.md", figures, pairs, facts)


def _write_cases(path: Path, scored: Sequence[Scored], forecasters: Sequence[Forecaster]) -> None:
    rows = []
    for place, part in enumerate(scored):
        rows.append(
            {
                "case": part.case.name,
                "patient": part.case.patient,
                "outcome": int(part.case.outcome),
                **{one.name: float(one.probabilities[place]) for one in forecasters},
                **{f"{name}: points": one.middle for name, one in part.baselines.items()},
                **{f"{name}: missing": " ".join(one.score.missing) for name, one in part.baselines.items()},
                "volume_ml": part.volume_ml,
                "volume_from": part.volume_from,
                "held_out": " ".join(name for name, one in part.forecasts.items() if one.held_out),
            }
        )
    _write_rows(path, rows)


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    shown = [{key: _text(value) for key, value in row.items()} for row in rows]
    write_rows(path, shown, list(rows[0]))


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _provenance(
    cohort: PrognosisCohort,
    scored: Sequence[Scored],
    left_out: dict[str, str],
    models: Sequence[FoundModel],
    rule: OutcomeRule,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for reason in left_out.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    simulated = any(part.truth is not None for part in scored)
    warnings = list(cohort.warnings)
    for model in models:
        if model.card.prognosis.leaks:
            warnings.append(
                f"{model.name} learned from fields known only after admission "
                f"({', '.join(model.card.prognosis.leaks)}): its figures are no forecast."
            )
    return {
        "data": Path(cohort.source).name,
        "cases": len(scored),
        "patients": len({part.case.patient for part in scored}),
        "poor": sum(int(part.case.outcome) for part in scored),
        "outcome": {**rule.to_dict(), "words": rule.words},
        "left_out": reasons,
        "left_out_cases": left_out,
        "systems": {
            model.name: {
                "version": model.card.version,
                "sha256": model.card.weights.sha256 if model.card.weights else None,
                "held_out_cases": sum(part.forecasts[model.name].held_out for part in scored),
                "new_cases": sum(not part.forecasts[model.name].held_out for part in scored),
                "leaks": list(model.card.prognosis.leaks),
            }
            for model in models
        },
        "volume_from": {
            origin or "unknown": sum(part.volume_from == origin for part in scored)
            for origin in dict.fromkeys(part.volume_from for part in scored)
        },
        "complete_scores": {
            name: sum(part.baselines[name].complete for part in scored) for name in scored[0].baselines
        },
        "baselines": ASSUMED,
        "bootstrap": {"over": "patients", "draws": draws, "seed": seed, "level": 0.95},
        "simulated": simulated,
        "warnings": [*warnings, *([NOTICE] if simulated else [])],
        "software": f"ICHWeakSeg {__version__}",
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "notice": "For research use only.",
    }
