"""The evaluation: every case with every system, then tables, plots and their provenance."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.evaluation.cases import EvalCase
from ICHWeakSegLib.evaluation.measure import Record, measure_case
from ICHWeakSegLib.evaluation.store import Store
from ICHWeakSegLib.evaluation.systems import Loaded, System, name_apart
from ICHWeakSegLib.version import __version__

Progress = Callable[[str, int, int], None]
_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "monai", "timm")


@dataclass
class Measured:
    """What one system gave on all cases.

    Attributes:
        system: what was measured.
        cases: in their order.
        records: of the cases.
    """

    system: System
    cases: list[EvalCase]
    records: list[Record]

    def rows(self, level: str) -> list[dict[str, Any]]:
        """Rows of `slices`, `lesions` or `case`, with case and patient."""
        found = []
        for case, record in zip(self.cases, self.records, strict=True):
            part = record[level] if level != "case" else [record["case"]]
            found += [{"case": case.name, "patient": case.patient, **row} for row in part]
        return found


def measure_all(
    cases: Sequence[EvalCase],
    systems: Sequence[System],
    store: Store,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Measured]:
    """Measure all cases with all systems, or take from `store` what an earlier run finished.

    Raises:
        InputError: two cases of one name, or a case or model that cannot be used; names it.
    """
    name_apart(systems)
    names = [case.name for case in cases]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"The case {twice} is named twice: give each case its own name.")
    if not cases:
        raise InputError("There is no case to measure.")
    loaded = Loaded()
    records: list[list[Record]] = [[] for _ in systems]
    for number, case in enumerate(cases):
        # Read on first need, and once for all systems.
        head: Head | None = None
        for place, system in enumerate(systems):
            if progress:
                progress("measuring", number * len(systems) + place, len(cases) * len(systems))
            record = store.get(case, system)
            if record is None:
                try:
                    head = head or Head.of(case.read())
                    model = loaded.model(system.package(case.patient).folder)
                    record = measure_case(case, head.ct, system, model, device, head)
                except InputError as problem:
                    raise InputError(f"Case {case.name}: {problem}") from problem
                store.put(case, system, record)
            records[place].append(record)
    return [Measured(system, list(cases), found) for system, found in zip(systems, records, strict=True)]


def evaluate(
    cases: Sequence[EvalCase],
    systems: Sequence[System],
    output: str | Path,
    *,
    draws: int = 1000,
    seed: int = 0,
    device: str = "auto",
    data: str = "",
    progress: Progress | None = None,
) -> Path:
    """Measure and write `slices.csv`, `patients.csv`, `lesions.csv`, `summary.md`, plots and `provenance.json`.

    Args:
        cases: see `read_cases`.
        systems: see `package_systems` and `fold_system`.
        output: a folder; its subfolder `cases` keeps finished measurements for a later run.
        draws, seed: of the bootstrap over patients.
        device: as for `segment`.
        data: what the cases are, for the provenance.
        progress: called as (stage, done, total).

    Returns:
        The summary.

    Raises:
        InputError: see `measure_all`.
    """
    from ICHWeakSegLib.evaluation.plots import draw_plots
    from ICHWeakSegLib.evaluation.summary import write_summary
    from ICHWeakSegLib.evaluation.tables import write_provenance, write_tables

    output = Path(output)
    measured = measure_all(cases, systems, Store(output / "cases"), device, progress)
    if progress:
        progress("summarizing", 0, 1)
    facts = provenance(cases, measured, data, draws, seed)
    write_tables(output, measured)
    plots = draw_plots(output, measured, facts)
    write_provenance(output / "provenance.json", facts)
    # The summary comes last: where it is, all is.
    return write_summary(output / "summary.md", measured, facts, plots, draws, seed)


def provenance(
    cases: Sequence[EvalCase], measured: Sequence[Measured], data: str, draws: int, seed: int
) -> dict[str, Any]:
    """What was measured with what."""
    patients = sorted({case.patient for case in cases})
    systems = {}
    for part in measured:
        models: dict[str, dict[str, Any]] = {}
        for patient in patients:
            facts = part.system.facts(patient)
            models.setdefault(str(facts["sha256"]), {**facts, "patients": []})["patients"].append(patient)
        systems[part.system.name] = {"cross_validated": part.system.folds, "models": list(models.values())}
    return {
        "data": data,
        "cases": len(cases),
        "patients": len(patients),
        "with_mask": sum(case.mask is not None for case in cases),
        "with_boxes": sum(bool(case.boxes) for case in cases),
        "systems": systems,
        "thresholds": "from the model cards or the sensitivity asked for; none was chosen on these cases",
        "bootstrap": {"over": "patients", "draws": draws, "seed": seed, "level": 0.95},
        "warnings": _warnings(measured),
        "software": f"ICHWeakSeg {__version__}",
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "notice": "For research use only.",
    }


def _warnings(measured: Sequence[Measured]) -> list[str]:
    found = [part.system.caution for part in measured if part.system.caution]
    found += [sentence for part in measured for record in part.records for sentence in record["warnings"]]
    return list(dict.fromkeys(found))
