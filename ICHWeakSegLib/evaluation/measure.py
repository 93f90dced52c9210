"""One case measured with one system: everything that the tables need, as plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.head import Head
from ICHWeakSegLib.ct.truth import read_truth
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.evaluation.boxes import energy, inside, pointing, rivals
from ICHWeakSegLib.evaluation.cases import SUBTYPES, EvalCase
from ICHWeakSegLib.evaluation.gating import Gated, only, oracle
from ICHWeakSegLib.evaluation.lesions import lesion_rows
from ICHWeakSegLib.evaluation.overlap import overlap
from ICHWeakSegLib.evaluation.systems import System
from ICHWeakSegLib.models import Model
from ICHWeakSegLib.segment import Result, segment
from ICHWeakSegLib.training.cases import CLASSES

# Changed whenever a measurement changes its meaning, so that stored ones are made again.
VERSION = 1
GATINGS = ("predicted", "oracle")

Record = dict[str, Any]


def measure_case(
    case: EvalCase, ct: CT, system: System, model: Model, device: str = "auto", head: Head | None = None
) -> Record:
    """Measure one case with one system, through the one pipeline.

    Predicted gating: the classifier decides which slices get a mask, as in use. Oracle gating: the true labels
    do, as where only the outlines are compared; its maps are those that boxes judge.

    Args:
        case: what is known about the CT.
        ct: its CT.
        system: how the model is used.
        model: the system's, for this patient.
        device: as for `segment`.
        head: of `ct`, where several systems are measured on it; made here by default.

    Returns:
        `slices`: a row for each axial slice; `case`: one row; `lesions`: a row a lesion and gating;
        `warnings`; `provenance` of the pipeline. NaN where something is unknown or undefined.

    Raises:
        InputError: mask or labels do not fit the CT, or `head` is of another one.
    """
    truth = None if case.mask is None else read_truth(case.mask, ct)
    model = replace(model, card=system.card(case.patient))
    options = {
        "method": system.spec.method,
        "refine": system.spec.refine,
        "sensitivity": system.sensitivity,
        "device": device,
        "head": head or Head.of(ct),
    }
    result = segment(ct, model, **options)
    grid = result.grid
    axial = None if truth is None else np.asarray(grid.from_native(truth), bool)
    warnings = [f"{case.name}: {sentence}" for sentence in result.warnings]
    labels = _labels(case, grid.shape[0], axial, warnings)
    boxes = {s: drawn for s, drawn in case.boxes.items() if labels[s, 0] != 0}
    gate = labels[:, 0] == 1
    gate[list(boxes)] = True
    gated = None
    if axial is not None or boxes:
        gated = oracle(ct, model, gate, result, **options)
    slices = _slice_rows(case, result, labels)
    for s, row in enumerate(slices):
        row |= _localization(s, boxes.get(s, []), result, gated)
    whole: dict[str, Any] = {
        "blood": _blood(case, labels),
        "subtypes": "+".join(_subtypes(case, labels)),
        "probability": max(row["probability"] for row in slices),
        "positive": int(result.positive.any()),
        "slices": len(slices),
        "predicted_ml": result.volume_ml,
    }
    lesions = []
    if axial is not None:
        whole["truth_ml"] = ct.volume_ml(truth)
        # Boxes may lie on slices without a label: a mask is gated by labels alone.
        masks = {"predicted": result.mask, "oracle": only(gated.mask, labels[:, 0] == 1, result)}
        for name in GATINGS:
            whole[f"{name}_ml"] = ct.volume_ml(masks[name])
            found = np.asarray(grid.from_native(masks[name]), bool)
            lesions += _compared(name, found, axial, result, slices, whole)
    return {
        "slices": slices,
        "case": whole,
        "lesions": lesions,
        "warnings": warnings,
        "provenance": result.provenance,
    }


def _labels(case: EvalCase, count: int, truth: np.ndarray | None, warnings: list[str]) -> np.ndarray:
    """Labels (S, 6), NaN unknown; from the mask where there are no others."""
    labels = np.full((count, len(CLASSES)), np.nan)
    if case.labels is not None:
        if len(case.labels) != count:
            raise InputError(f"{case.name} has {count} axial slices and {len(case.labels)} labels.")
        labels[:] = case.labels
    elif case.blood is False:
        labels[:, 0] = 0
    wrong = [s for s in case.boxes if not 0 <= s < count]
    if wrong:
        raise InputError(f"A box lies on slice {wrong[0]} of {case.name}, which has {count} slices.")
    if truth is not None:
        shown = truth.any(axis=(1, 2))
        unknown = np.isnan(labels[:, 0])
        apart = int((~unknown & ((labels[:, 0] == 1) != shown)).sum())
        if apart:
            warnings.append(
                f"{case.name}: label and mask disagree on {apart} slice(s); labels decide the gating."
            )
        labels[unknown, 0] = shown[unknown]
    if len(case.subtypes) == 1 and np.isnan(labels[:, 1:]).all():
        # One subtype in the case: it is that of every slice with blood.
        bleeding = labels[:, 0] == 1
        labels[bleeding, 1:] = 0
        labels[bleeding, CLASSES.index(case.subtypes[0])] = 1
    return labels


def _blood(case: EvalCase, labels: np.ndarray) -> float:
    if case.blood is not None:
        return float(case.blood)
    if (labels[:, 0] == 1).any():
        return 1.0
    return float("nan") if np.isnan(labels[:, 0]).any() else 0.0


def _subtypes(case: EvalCase, labels: np.ndarray) -> list[str]:
    shown = [name for name in SUBTYPES if (labels[:, CLASSES.index(name)] == 1).any()]
    return shown or list(case.subtypes)


def _slice_rows(case: EvalCase, result: Result, labels: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for s, score in enumerate(result.slice_scores):
        rows.append(
            {
                "slice": s if case.numbers is None else case.numbers[s],
                **{name: float(labels[s, place]) for place, name in enumerate(CLASSES)},
                "probability": float(score["probability"]),
                "positive": int(result.positive[s]),
            }
        )
    return rows


def _localization(s: int, drawn: list, result: Result, gated: Gated | None) -> dict[str, float]:
    if not drawn or gated is None:
        return {}
    grid, source = result.grid, result.square_maps.source
    target = inside(drawn, grid.shape[1:])
    plane = gated.maps.planes([s])[0] if s in gated.maps.slices() else np.zeros(grid.shape[1:], np.float32)
    values = {"pointing": pointing(plane, target), "energy": energy(plane, target)}
    brain_hu = source.median_brain_hu or 0.0
    for name, pair in rivals(grid.slice_hu(s), source.brain[s], target, grid.spacing_mm[0], brain_hu).items():
        key = name.replace(" ", "_")
        values |= {f"pointing_{key}": pair[0], f"energy_{key}": pair[1]}
    return values


def _compared(
    gating: str,
    found: np.ndarray,
    truth: np.ndarray,
    result: Result,
    slices: list[dict[str, Any]],
    whole: dict[str, Any],
) -> list[dict[str, Any]]:
    """Add a mask's metrics to the rows of slices with true blood and of the case; its lesions."""
    grid = result.grid
    for s in np.flatnonzero(truth.any(axis=(1, 2))):
        ml = [float(np.count_nonzero(mask[s]) * grid.slice_ml[s]) for mask in (found, truth)]
        values = overlap(found[s], truth[s], grid.spacing_mm, *ml)
        slices[s] |= {f"{gating}_{name}": value for name, value in values.items()}
    steps = np.diff(grid.positions_mm)
    spacing = (float(np.median(steps)) if len(steps) else 1.0, *grid.spacing_mm)
    values = overlap(found, truth, spacing, whole[f"{gating}_ml"], whole["truth_ml"])
    whole |= {f"{gating}_{name}": value for name, value in values.items()}
    return [{"gating": gating, **row} for row in lesion_rows(found, truth, grid.slice_ml)]
