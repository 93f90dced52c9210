"""The evaluation of prognosis as one Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.evaluation.bootstrap import Figure
from ICHWeakSegLib.prognosis.evaluation_figures import HEADINGS, Difference


def write_summary(
    path: Path,
    figures: Mapping[str, Mapping[str, Figure]],
    pairs: Sequence[Difference],
    facts: Mapping[str, Any],
) -> Path:
    """Write the page.

    Args:
        path: `.md`.
        figures: by system, then by key of `HEADINGS`.
        pairs: differences.
        facts: the provenance.
    """
    lines = [
        "# Prognosis",
        "",
        f"Poor outcome: {facts['outcome']['words']}. {facts['cases']} cases of {facts['patients']} patients, "
        f"{facts['poor']} with a poor outcome. Every system is measured on the same cases.",
        "",
    ]
    for name, one in facts["systems"].items():
        lines.append(
            f"- {name} {one['version']}: {one['new_cases']} cases that it never saw, {one['held_out_cases']} by "
            "the held-out forecasts of its cross-validation."
        )
    for reason, count in facts["left_out"].items():
        lines.append(f"- Left out: {count} case{'s' * (count != 1)} ({reason}).")
    lines += [f"- {sentence}" for sentence in facts["warnings"]]
    lines += ["", "## Figures", "", *_figures(figures), ""]
    lines += [
        f"Value (95 % interval from {facts['bootstrap']['draws']} draws of patients). Best: AUC, AUPRC and scaled "
        f"Brier 1, Brier 0, intercept 0, slope 1. AUPRC by chance: {facts['poor'] / facts['cases']:.3f}; "
        "Brier of the prevalence for all: "
        f"{facts['poor'] / facts['cases'] * (1 - facts['poor'] / facts['cases']):.3f}.",
        "",
    ]
    if pairs:
        lines += ["## Differences", "", *_table(["one", "other", "AUC", "Brier score"], _pairs(pairs)), ""]
        lines += ["One less other, on the same draws of patients.", ""]
    lines += ["## Scores", "", f"{facts['baselines']}", ""]
    complete = ", ".join(
        f"{name} {count} of {facts['cases']}" for name, count in facts["complete_scores"].items()
    )
    volumes = ", ".join(f"{origin} {count}" for origin, count in facts["volume_from"].items())
    lines += [f"All inputs known: {complete}. Volume from: {volumes}.", ""]
    lines += ["## Curves", ""]
    for name, words in (
        ("roc", "ROC"),
        ("calibration", "Calibration"),
        ("decision-curve", "Decision curve"),
    ):
        lines += [f"![{words}]({name}.png)", ""]
    lines += [facts["notice"]]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")
    return path


def _figures(figures: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    rows = [[name, *(shown(mine[key]) for key in HEADINGS)] for name, mine in figures.items()]
    return _table(["system", *HEADINGS.values()], rows)


def _pairs(pairs: Sequence[Difference]) -> list[list[str]]:
    return [[pair.one, pair.other, shown(pair.auc, "+"), shown(pair.brier, "+")] for pair in pairs]


def shown(figure: Figure, sign: str = "") -> str:
    """A figure with its interval; the number of rows stands above the table."""
    if np.isnan(figure.value):
        return "-"
    if np.isnan(figure.low):
        return f"{figure.value:{sign}.3f}"
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |"
        for row in (header, ["---"] * len(header), *rows)
    ]
