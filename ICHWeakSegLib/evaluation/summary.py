"""The figures as Markdown tables, with intervals and the rules they were measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.evaluation import detection as detect
from ICHWeakSegLib.evaluation.bootstrap import Bootstrap, Figure
from ICHWeakSegLib.evaluation.boxes import RIVALS
from ICHWeakSegLib.evaluation.cases import SUBTYPES
from ICHWeakSegLib.evaluation.compare import compare
from ICHWeakSegLib.evaluation.levels import classifiers
from ICHWeakSegLib.evaluation.measure import GATINGS
from ICHWeakSegLib.evaluation.overlap import EMPTY_RULE, NAMES
from ICHWeakSegLib.evaluation.run import Measured

Row = dict[str, Any]
HEADINGS = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95_mm": "HD95, mm",
    "relative_volume": "relative volume difference",
    "volume_error_ml": "absolute volume error, mL",
    "sensitivity": "voxel sensitivity",
    "precision": "voxel precision",
}
COMPARED = {
    "predicted_dice": ("case", "Dice in 3D, predicted gating, patients with blood"),
    "oracle_dice": ("case", "Dice in 3D, oracle gating, patients with blood"),
    "predicted_volume_error_ml": (
        "case",
        "absolute volume error in mL, predicted gating, patients with blood",
    ),
    "pointing": ("slices", "pointing game"),
    "energy": ("slices", "energy in box"),
}


class _Writer:
    """Collects Markdown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def text(self, *lines: str) -> None:
        self.lines += [*lines, ""]

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.lines += [_line(header), _line(["---"] * len(header)), *map(_line, rows), ""]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def write_summary(
    path: Path,
    measured: Sequence[Measured],
    facts: dict[str, Any],
    plots: Sequence[Path],
    draws: int,
    seed: int,
) -> Path:
    """Write the summary.

    Args:
        path: `.md`.
        measured: of all systems.
        facts: the provenance.
        plots: pictures beside it.
        draws, seed: of the bootstrap.
    """

    def mean(rows: Sequence[Row], name: str) -> Figure:
        known = [row for row in rows if name in row]
        patients = [row["patient"] for row in known]
        return Bootstrap(patients, draws, seed).mean([row[name] for row in known])

    out = _Writer()
    out.text("# Evaluation")
    out.text(
        f"{facts['cases']} CTs of {facts['patients']} patients ({facts['data'] or 'unnamed data'}); "
        f"{facts['with_mask']} with a mask, {facts['with_boxes']} with boxes. In brackets: 95 % interval, "
        f"bootstrap over patients ({draws} draws, seed {seed}), and n. {facts['software']}. For research use only."
    )
    _systems(out, facts)
    _detection(out, measured, draws, seed)
    if facts["with_mask"]:
        _segmentation(out, measured, mean)
        _lesions(out, measured, mean)
    if any("pointing" in row for part in measured for row in part.rows("slices")):
        _localization(out, measured, mean)
    _comparisons(out, measured)
    _rules(out, facts)
    for plot in plots:
        out.text(f"![{plot.stem}]({plot.name})")
    with atomic_path(path) as temporary:
        temporary.write_text(
            "\n".join(out.lines).rstrip() + "\n", encoding="utf-8", errors="backslashreplace"
        )
    return path


def _systems(out: _Writer, facts: dict[str, Any]) -> None:
    rows = []
    for name, system in facts["systems"].items():
        for model in system["models"]:
            rows.append(
                [
                    name,
                    f"{model['model']} {model['version']}",
                    (model["sha256"] or "")[:12],
                    f"{model['method']} / {model['refine']}",
                    f"{model['slice_threshold']:.4g}: {model['slice_threshold_from']}",
                    f"{model['map_threshold']:.4g}: {model['map_threshold_from']}",
                    len(model["patients"]),
                    model["trained_on"].replace("\n", " ") or "not said",
                ]
            )
    header = [
        "system",
        "model",
        "sha256",
        "method / refinement",
        "slice threshold",
        "map threshold",
        "patients",
    ]
    out.text("## Systems")
    out.table([*header, "trained on"], rows)
    out.text(
        "Thresholds: "
        + facts["thresholds"]
        + ". Where the data that a model was trained on and the data here "
        "share patients, its figures are too good, unless the system is cross-validated."
    )


def _detection(out: _Writer, measured: Sequence[Measured], draws: int, seed: int) -> None:
    out.text("## Detection")
    rows, subtypes = [], []
    for found in classifiers(measured):
        for level, part in (("slice", found.slices), ("patient, highest slice", found.patients)):
            figures = detect.detection(part.labels, part.scores, part.positive, part.patients, draws, seed)
            counts = f"{int((~np.isnan(part.labels)).sum())}, {int((part.labels == 1).sum())}"
            rows.append([found.name, level, counts, *(_short(figures[name]) for name in detect.NAMES)])
        for name in SUBTYPES:
            mine = np.array([row[name] == 1 for row in found.rows])
            if mine.any():
                part = found.slices.among(mine | (found.slices.labels == 0))
                figures = detect.detection(
                    part.labels, part.scores, part.positive, part.patients, draws, seed
                )
                subtypes.append(
                    [
                        found.name,
                        name,
                        int(mine.sum()),
                        _short(figures["AUC"]),
                        _short(figures["sensitivity"]),
                    ]
                )
    out.table(["classifier", "level", "n, with blood", *detect.NAMES], rows)
    if subtypes:
        out.text("Slices of each subtype against slices without blood:")
        out.table(["classifier", "subtype", "slices", "AUC", "sensitivity"], subtypes)


def _short(figure: Figure) -> str:
    return str(figure).split("; n=")[0].split(" (n=")[0] + (")" if "; n=" in str(figure) else "")


def _segmentation(
    out: _Writer, measured: Sequence[Measured], mean: Callable[[Sequence[Row], str], Figure]
) -> None:
    out.text("## Segmentation")
    for gating in GATINGS:
        for level, title in (
            ("slices", "per slice with true blood"),
            ("case", "per CT with true blood, in 3D"),
        ):
            out.text(f"{_gated(gating)}, {title}:")
            rows = []
            for part in measured:
                bleeding = _bleeding(part, level)
                rows.append([part.system.name, *(mean(bleeding, f"{gating}_{name}") for name in NAMES)])
            out.table(["system", *HEADINGS.values()], rows)
    out.text("All CTs with a mask, with and without true blood (Dice by the rule for empty masks):")
    rows = []
    for part in measured:
        cases = [row for row in part.rows("case") if "truth_ml" in row]
        none = [{**row, "any": float(row["predicted_ml"] > 0)} for row in cases if row["truth_ml"] == 0]
        rows.append(
            [
                part.system.name,
                mean(cases, "predicted_dice"),
                mean(cases, "oracle_dice"),
                mean(none, "predicted_ml"),
                mean(none, "any"),
            ]
        )
    header = ["system", "Dice, predicted gating", "Dice, oracle gating", "mL found in CTs without blood"]
    out.table([*header, "share of these with any"], rows)
    rows = []
    for name in SUBTYPES:
        for part in measured:
            slices = [row for row in _bleeding(part, "slices") if row[name] == 1]
            cases = [row for row in _bleeding(part, "case") if name in row["subtypes"].split("+")]
            if slices or cases:
                figures = [mean(rows_, f"{gating}_dice") for rows_ in (slices, cases) for gating in GATINGS]
                rows.append([name, part.system.name, *figures])
    if rows:
        out.text("Dice by subtype (a slice or CT with several subtypes counts in each):")
        levels = [
            f"{level}, {gating} gating" for level in ("per slice", "per CT in 3D") for gating in GATINGS
        ]
        out.table(["subtype", "system", *levels], rows)


def _gated(gating: str) -> str:
    return {
        "predicted": "Predicted gating (the classifier chooses the slices)",
        "oracle": "Oracle gating (the true slice labels choose the slices)",
    }[gating]


def _bleeding(part: Measured, level: str) -> list[Row]:
    """Rows with true blood: of slices those that were compared, of CTs those with blood in the mask."""
    rows = [row for row in part.rows(level) if "predicted_dice" in row]
    return [row for row in rows if level == "slices" or row["truth_ml"] > 0]


def _lesions(
    out: _Writer, measured: Sequence[Measured], mean: Callable[[Sequence[Row], str], Figure]
) -> None:
    out.text("## Lesions", "", "26-connected components; one shared voxel is a hit.")
    rows = []
    for part in measured:
        found = part.rows("lesions")
        cases = [row for row in part.rows("case") if "truth_ml" in row]
        for gating in GATINGS:
            mine = [row for row in found if row["gating"] == gating]
            false: dict[str, int] = {}
            for row in mine:
                if row["kind"] == "found" and not row["hit"]:
                    false[row["case"]] = false.get(row["case"], 0) + 1
            counted = [{**row, "false": float(false.get(row["case"], 0))} for row in cases]
            rows.append(
                [
                    part.system.name,
                    gating,
                    mean([row for row in mine if row["kind"] == "true"], "hit"),
                    mean([row for row in mine if row["kind"] == "found"], "hit"),
                    mean(counted, "false"),
                ]
            )
    out.table(
        [
            "system",
            "gating",
            "true lesions that were hit",
            "found lesions that are true",
            "false lesions a CT",
        ],
        rows,
    )


def _localization(
    out: _Writer, measured: Sequence[Measured], mean: Callable[[Sequence[Row], str], Figure]
) -> None:
    out.text(
        "## Localization against boxes",
        "",
        "On slices that have a box and are not labelled as without blood, whether or not the classifier calls "
        "them positive. Pointing game: the map's highest point lies in a box. Energy: share of the map's sum "
        "in boxes. The rivals need no network.",
    )
    rows = []
    for part in measured:
        slices = [row for row in part.rows("slices") if "pointing" in row]
        rows.append([part.system.name, mean(slices, "pointing"), mean(slices, "energy")])
    for name in RIVALS:
        key = name.replace(" ", "_")
        slices = [row for row in measured[0].rows("slices") if "pointing" in row]
        rows.append([f"*{name}*", mean(slices, f"pointing_{key}"), mean(slices, f"energy_{key}")])
    out.table(["system", "pointing game", "energy in box"], rows)


def _comparisons(out: _Writer, measured: Sequence[Measured]) -> None:
    if len(measured) < 2:
        return
    rows = []
    for name, (level, title) in COMPARED.items():
        values = {part.system.name: _per_patient(part, level, name) for part in measured}
        for pair in compare(values):
            rows.append(
                [
                    title,
                    pair.one,
                    pair.other,
                    f"{pair.difference:+.3f}",
                    pair.patients,
                    f"{pair.p:.3g}",
                    f"{pair.holm:.3g}",
                ]
            )
    if rows:
        out.text(
            "## Comparisons",
            "",
            "Wilcoxon signed-rank, two-sided, on paired patients; Holm over the pairs of a metric.",
        )
        out.table(["metric", "one", "other", "median of one - other", "patients", "p", "p after Holm"], rows)


def _per_patient(part: Measured, level: str, name: str) -> dict[str, float]:
    """Mean of a metric over a patient's rows."""
    rows = _bleeding(part, "case") if level == "case" else part.rows(level)
    values: dict[str, list[float]] = {}
    for row in rows:
        if name in row and not np.isnan(row[name]):
            values.setdefault(row["patient"], []).append(row[name])
    return {patient: float(np.mean(found)) for patient, found in values.items()}


def _rules(out: _Writer, facts: dict[str, Any]) -> None:
    out.text(
        "## Rules",
        "",
        f"- {EMPTY_RULE}",
        "- HD95: symmetric 95th percentile of surface distances in mm, in the plane per slice, with the true "
        "spacing in 3D (of unevenly spaced slices the median one).",
        "- Overlap is counted on the orthogonal axial grid, volumes on the CT's own voxels.",
        "- A patient's score is that of the highest slice; he is positive when one slice is.",
        "- A subtype's detection is measured on its slices and those without any blood.",
    )
    if facts["warnings"]:
        out.text("## Warnings", "", *(f"- {sentence}" for sentence in facts["warnings"]))
