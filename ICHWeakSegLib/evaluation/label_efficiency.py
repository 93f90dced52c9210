"""How many labels does it take? Training with a share of the positive slices, or with few patients.

After the label-efficiency study of Ramananda & Sundaresan (Medical Physics 2025, doi 10.1002/mp.17689), which
trained with a part of the positive slices. Ours, where the paper is silent: positive slices are taken by whole
patients; those left out become unlabelled, slices without blood stay; the larger share holds the smaller; the
number of epochs is fixed, so that no held-out patient decides when to stop.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Picture
from sklearn.metrics import average_precision_score, roc_auc_score

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.evaluation.bootstrap import Bootstrap, Figure
from ICHWeakSegLib.evaluation.cases import EvalCase
from ICHWeakSegLib.evaluation.levels import by_patient
from ICHWeakSegLib.evaluation.plots import save
from ICHWeakSegLib.evaluation.run import Measured, measure_all, provenance
from ICHWeakSegLib.evaluation.store import Store
from ICHWeakSegLib.evaluation.systems import package_systems
from ICHWeakSegLib.evaluation.tables import write_provenance
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.cases import split_patients
from ICHWeakSegLib.training.package import package
from ICHWeakSegLib.training.train_classifier import Recipe, train_classifier

# A fifth of the patients is held out of each run.
PARTS = 5
FIGURES = {
    "slice AUC": "slices",
    "slice AUPRC": "slices",
    "patient AUC": "patients",
    "pointing game": "pointing",
    "energy in box": "energy",
    "Dice per slice, oracle gating": "oracle_dice",
}


@dataclass(frozen=True)
class Regime:
    """How much is trained with.

    Attributes:
        kind: `share` of the positive slices, or `patients`.
        amount: the share, 0-1, or the number of patients.
    """

    kind: str
    amount: float

    def __str__(self) -> str:
        return f"{self.amount:g} of positive slices" if self.kind == "share" else f"{self.amount:g} patients"

    @property
    def folder(self) -> str:
        """Name of its runs."""
        return f"{self.kind}-{self.amount:g}"


@dataclass
class Run:
    """A network trained in one regime with one seed, measured on the patients held out of it."""

    regime: Regime
    seed: int
    positive_slices: int
    patients: int
    measured: Measured


def thin(cases: Sequence[Cropped], regime: Regime, seed: int) -> list[Cropped]:
    """What a regime trains with.

    - share: all cases; positive slices of all but some patients, drawn one after the other until the share
      is reached, have no label.
    - patients: that many, bleeding ones as often as in all, at least one of each kind.

    Raises:
        InputError: not so many patients, or the share is not above 0 and at most 1.
    """
    rng = np.random.default_rng([seed, 7])
    bleeding = _positives(cases)
    order = {
        state: [
            str(name) for name in rng.permutation(sorted(n for n, c in bleeding.items() if (c > 0) == state))
        ]
        for state in (True, False)
    }
    if regime.kind == "patients":
        wanted = round(regime.amount)
        share = len(order[True]) / len(bleeding)
        positive = min(max(1, round(wanted * share)), wanted - 1)
        chosen = {*order[True][:positive], *order[False][: wanted - positive]}
        if len(chosen) < wanted or wanted < 2:
            raise InputError(
                f"{wanted} patients cannot be trained on: {len(order[True])} with and {len(order[False])} without "
                "blood are there, and it takes one of each."
            )
        return [case for case in cases if case.patient in chosen]
    if not 0 < regime.amount <= 1:
        raise InputError(
            f"A share of the positive slices lies above 0 and at most at 1; {regime.amount:g} does not."
        )
    goal, count, kept = regime.amount * sum(bleeding.values()), 0, set()
    for name in order[True]:
        if count >= goal - 1e-9:
            break
        kept.add(name)
        count += bleeding[name]
    return [
        case if case.patient in kept else replace(case, labels=_without_positives(case)) for case in cases
    ]


def _positives(cases: Sequence[Cropped]) -> dict[str, int]:
    found: dict[str, int] = {}
    for case in cases:
        found[case.patient] = found.get(case.patient, 0) + int((case.labels[:, 0] == 1).sum())
    return found


def _without_positives(case: Cropped) -> np.ndarray:
    labels = case.labels.copy()
    labels[labels[:, 0] == 1] = np.nan
    return labels


def label_efficiency(
    recipe: Recipe,
    crops: Sequence[Cropped],
    cases: Sequence[EvalCase],
    regimes: Sequence[Regime],
    seeds: int,
    output: Path,
    *,
    painted: Sequence[Cropped] = (),
    draws: int = 1000,
    data: str = "",
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Path:
    """Train and measure every regime with every seed, and draw the curves; a run that was stopped goes on.

    Run n holds out the n-th fifth of the patients, so that five seeds measure each patient once.

    Args:
        recipe: of every training; its seed is that of the first run.
        crops: the cohort as the network sees it.
        cases: the same cohort, to measure on; cases of the same names.
        regimes: see `Regime`.
        seeds: runs of each regime.
        output: a folder.
        painted: painted slices; those of the patients that a run trains on take part.
        draws: of the bootstrap over patients.
        data: what the cohort is.
        progress: called as (stage, done, total).
        options: of `train_classifier`.

    Returns:
        `summary.md`; beside it `curve.csv`, `runs.csv`, `curve.png` and `provenance.json`.

    Raises:
        InputError: too few patients for a regime, or what `train_classifier` refuses.
    """
    if seeds < 1 or not regimes:
        raise InputError("The study needs at least one seed and one share or number of patients.")
    for regime in regimes:
        # All are tried before hours go into the first.
        for number in range(seeds):
            thin(_train_part(crops, number, recipe.seed)[0], regime, recipe.seed + number)
    runs = []
    for place, regime in enumerate(regimes):
        for number in range(seeds):
            if progress:
                progress("training and measuring", place * seeds + number, len(regimes) * seeds)
            runs.append(_run(regime, number, recipe, crops, cases, painted, output, options))
    return _report(runs, regimes, output, draws, recipe.seed, data, cases)


def _train_part(crops: Sequence[Cropped], number: int, seed: int) -> tuple[list[Cropped], set[str]]:
    held = split_patients(crops, PARTS, seed + number // PARTS, "the study needs at least five")[
        number % PARTS
    ]
    return [case for case in crops if case.patient not in held], held


def _run(
    regime: Regime,
    number: int,
    recipe: Recipe,
    crops: Sequence[Cropped],
    cases: Sequence[EvalCase],
    painted: Sequence[Cropped],
    output: Path,
    options: dict[str, Any],
) -> Run:
    seed = recipe.seed + number
    everybody, held = _train_part(crops, number, recipe.seed)
    train = thin(everybody, regime, seed)
    mine = {case.patient for case in train}
    folder = output / "runs" / f"{regime.folder}-seed-{seed}"
    how = replace(recipe, seed=seed, patience=0)
    extra = [case for case in painted if case.patient in mine]
    trained = train_classifier(how, train, [], folder, extra, **options)
    name = f"{regime.folder}-seed-{seed}"
    package(folder / name, name, how, trained.network, [], train, {}, data=str(regime), overwrite=True)
    (system,) = package_systems([str(folder / name)])
    (measured,) = measure_all(
        [case for case in cases if case.patient in held],
        [system],
        Store(output / "cases"),
        options.get("device", "auto"),
    )
    return Run(regime, seed, sum(_positives(train).values()), len(mine), measured)


def figure_of(runs: Sequence[Run], name: str, draws: int, seed: int) -> Figure:
    """A figure of a regime: the mean over its runs, with an interval over patients.

    Args:
        runs: of one regime.
        name: one of `FIGURES`.
        draws, seed: of the bootstrap; a patient of several runs is drawn for all of them at once.
    """
    kind = FIGURES[name]
    labels, scores, patients, owner = [], [], [], []
    for place, run in enumerate(runs):
        if kind == "patients":
            part = by_patient(run.measured)
            rows = list(zip(part.labels, part.scores, part.patients, strict=True))
        else:
            rows = [
                (row["any"], row["probability" if kind == "slices" else kind], row["patient"])
                for row in run.measured.rows("slices")
                if kind == "slices" or kind in row
            ]
        for label, score, patient in rows:
            if not np.isnan(score) and (kind not in ("slices", "patients") or not np.isnan(label)):
                labels.append(label == 1)
                scores.append(score)
                patients.append(patient)
                owner.append(place)
    labels, scores, owner = np.array(labels, bool), np.array(scores, float), np.array(owner, int)
    measure = average_precision_score if name == "slice AUPRC" else roc_auc_score

    def over_runs(weights: np.ndarray) -> float:
        values = []
        for place in range(len(runs)):
            drawn = (owner == place) & (weights > 0)
            if kind not in ("slices", "patients"):
                value = np.average(scores[drawn], weights=weights[drawn]) if drawn.any() else np.nan
            elif len(set(labels[drawn])) == 2:
                value = measure(labels[drawn], scores[drawn], sample_weight=weights[drawn])
            else:
                value = np.nan
            values.append(value)
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    if not len(scores):
        return Figure(float("nan"), float("nan"), float("nan"), 0)
    return Bootstrap(patients, draws, seed).figure(over_runs)


def _report(
    runs: list[Run],
    regimes: Sequence[Regime],
    output: Path,
    draws: int,
    seed: int,
    data: str,
    cases: Sequence[EvalCase],
) -> Path:
    by_regime = {regime: [run for run in runs if run.regime == regime] for regime in regimes}
    curve = {
        (regime, name): figure_of(mine, name, draws, seed)
        for regime, mine in by_regime.items()
        for name in FIGURES
    }
    names = [name for name in FIGURES if any(not np.isnan(curve[regime, name].value) for regime in regimes)]
    facts = provenance(cases, [], data, draws, seed)
    facts["systems"] = {
        str(run.regime) + f", seed {run.seed}": run.measured.system.facts("")
        | {"trained_patients": run.patients, "positive_slices": run.positive_slices}
        for run in runs
    }
    _write_csv(
        output / "curve.csv",
        ["kind", "amount", "figure", "value", "low", "high", "n"],
        [
            [regime.kind, regime.amount, name, found.value, found.low, found.high, found.n]
            for (regime, name), found in curve.items()
            if name in names
        ],
    )
    single = {(id(run), name): figure_of([run], name, 1, seed).value for run in runs for name in names}
    _write_csv(
        output / "runs.csv",
        ["kind", "amount", "seed", "patients", "positive_slices", *names],
        [
            [run.regime.kind, run.regime.amount, run.seed, run.patients, run.positive_slices]
            + [single[id(run), name] for name in names]
            for run in runs
        ],
    )
    save(_draw(by_regime, names, curve, single), output / "curve.png", facts)
    write_provenance(output / "provenance.json", facts)
    lines = [
        "# Label efficiency",
        "",
        f"{data or 'unnamed data'}: {facts['cases']} CTs of {facts['patients']} patients. Each run holds out a "
        f"fifth of the patients and is measured on them. Mean over the runs; in brackets: 95 % interval, "
        f"bootstrap over patients ({draws} draws, seed {seed}). {facts['software']}. For research use only.",
        "",
        "| trained with | runs | patients | positive slices | " + " | ".join(names) + " |",
        "|" + " --- |" * (4 + len(names)),
    ]
    for regime, mine in by_regime.items():
        patients = sorted({run.patients for run in mine})
        slices = sorted(run.positive_slices for run in mine)
        cells = [
            str(regime),
            str(len(mine)),
            _span(patients),
            _span(slices),
            *(str(curve[regime, name]) for name in names),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "![curve](curve.png)", ""]
    path = output / "summary.md"
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
    return path


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


def _write_csv(path: Path, columns: list[str], rows: list[list[Any]]) -> None:
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)


def _draw(
    by_regime: dict[Regime, list[Run]],
    names: list[str],
    curve: dict[tuple[Regime, str], Figure],
    single: dict[tuple[int, str], float],
) -> Picture:
    """A column a kind of regime, a row a figure; dots are single runs."""
    kinds = list(dict.fromkeys(regime.kind for regime in by_regime))
    figure = Picture(figsize=(5 * len(kinds), 3.2 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), len(kinds), squeeze=False)
    for row, name in zip(grid, names, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            regimes = sorted((r for r in by_regime if r.kind == kind), key=lambda r: r.amount)
            x = [regime.amount for regime in regimes]
            found = [curve[regime, name] for regime in regimes]
            axes.plot(x, [f.value for f in found], "o-", color="C0")
            axes.fill_between(x, [f.low for f in found], [f.high for f in found], color="C0", alpha=0.2)
            for regime in regimes:
                values = [single[id(run), name] for run in by_regime[regime]]
                axes.plot([regime.amount] * len(values), values, ".", color="0.4", markersize=4)
            label = "share of positive slices" if kind == "share" else "patients"
            axes.set(xlabel=f"{label} trained with", ylabel=name)
    return figure
