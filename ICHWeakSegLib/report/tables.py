"""The report's tables as plain words: lesions and provenance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ICHWeakSegLib.ct.geometry import tilt_deg
from ICHWeakSegLib.quantify import Lesion, Score
from ICHWeakSegLib.report.case import Case
from ICHWeakSegLib.version import __version__

MOST_LESIONS = 8


@dataclass(frozen=True)
class Table:
    """A table of words.

    Attributes:
        heads: of the columns.
        rows: cells.
        last: the row of the total; empty without one.
        note: a sentence below; empty without one.
    """

    heads: list[str]
    rows: list[list[str]]
    last: list[str]
    note: str = ""


def lesion_table(case: Case, most: int = MOST_LESIONS) -> Table:
    """The largest lesions and all together; the others in a sentence."""
    subtypes = bool(case.subtypes)
    heads = ["Lesion", *(["Subtype"] if subtypes else []), "Side", "Volume (mL)", "ABC/2 (mL)"]
    heads += ["Diameter (mm)", "Mean HU ± SD", "Slices", "At the skull", "Sphericity"]
    lesions, total = case.quantities.lesions, case.quantities.total
    rows = [_row(lesion, subtypes) for lesion in lesions[:most]]
    if not lesions:
        return Table(heads, [], [], "There is no lesion.")
    last = ["All", *([""] if subtypes else []), "", f"{total.volume_ml:.1f}", "", ""]
    last += [f"{total.mean_hu:.0f} ± {total.sd_hu:.0f}", _slices(total), "", ""]
    note = ""
    if len(lesions) > most:
        rest = lesions[most:]
        note = (
            f"{len(rest)} smaller lesions, {sum(lesion.volume_ml for lesion in rest):.1f} mL together, are not "
            "listed."
        )
    if subtypes:
        by_name = ", ".join(f"{name} {volume:.1f} mL" for name, volume in total.subtypes_ml.items() if volume)
        note = f"By subtype: {by_name}. {note}".strip()
    return Table(heads, rows, last, note)


def _row(lesion: Lesion, subtypes: bool) -> list[str]:
    row = [str(lesion.number), *([lesion.subtype or ""] if subtypes else []), lesion.side or "unknown"]
    row += [f"{lesion.volume_ml:.1f}", f"{lesion.abc2_ml:.1f}", f"{lesion.diameter_mm:.0f}"]
    row += [f"{lesion.mean_hu:.0f} ± {lesion.sd_hu:.0f}", _slices(lesion)]
    row.append({True: "yes", False: "no", None: "unknown"}[lesion.touches_skull])
    row.append("" if lesion.sphericity is None else f"{lesion.sphericity:.2f}")
    return row


def _slices(found) -> str:
    if found.first_slice == found.last_slice:
        return f"{found.slices} ({found.first_slice})"
    return f"{found.slices} ({found.first_slice}\N{EN DASH}{found.last_slice})"


# Facts of the provenance that get words of their own, in their order.
_WORDS = {
    "method": "Localization",
    "threshold": "Threshold of the map",
    "refine": "Refinement",
    "slice_threshold": "Threshold of slices",
    "sensitivity": "Sensitivity asked for",
    "mode": "Networks together",
    "brain_hu": "Brain (HU)",
    "device": "Device",
    "software": "Segmented by",
}
_MODEL = ("model", "version", "sha256", "segmenter_sha256")


def provenance_rows(case: Case) -> list[tuple[str, str]]:
    """How the result was made, as (what, value); the report's own software last."""
    facts = case.provenance
    rows = []
    if facts.get("model"):
        rows.append(("Model", f"{facts['model']} {facts.get('version', '')}".strip()))
    for key in ("sha256", "segmenter_sha256"):
        if facts.get(key):
            rows.append(
                ("Weights (SHA-256)" if key == "sha256" else "Second network (SHA-256)", str(facts[key]))
            )
    if not facts:
        rows.append(("Model", "not known: the file of the mask does not say how it was made"))
    for key in (*_WORDS, *(key for key in facts if key not in _WORDS and key not in _MODEL)):
        if facts.get(key) is not None:
            rows.append((_WORDS.get(key, key.replace("_", " ")), _value(facts[key])))
    rows.append(("CT", geometry_words(case)))
    rows.append(("Report by", f"ICHWeakSeg {__version__}"))
    return rows


def geometry_words(case: Case) -> str:
    """Size and spacing of the CT."""
    k, j, i = case.ct.hu.shape
    x, y, z = case.ct.spacing
    steps = np.diff(case.ct.slice_positions_mm) if case.ct.slice_positions_mm is not None else None
    apart = f"{z:.2f}" if steps is None else f"{np.abs(steps).min():.2f} to {np.abs(steps).max():.2f}"
    tilt = tilt_deg(case.ct.ijk_to_ras)
    tilted = f", gantry tilt {tilt:.1f}°" if tilt > 0.5 else ""
    return f"{i} × {j} × {k} voxels of {x:.2f} × {y:.2f} × {apart} mm{tilted}"


def _value(value: object) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)


def score_head(score: Score) -> str:
    """The score's total in a sentence, or what is missing."""
    most = sum(part.possible[-1] for part in score.parts)
    if score.total is not None:
        return f"{score.name}: {score.total} of {most}. {score.outcome}"
    missing = ", ".join(part.words for part in score.parts if part.name in score.missing)
    return f"{score.name}: no total, missing: {missing}. {score.lowest} to {score.highest} of {most} are possible."


def score_inputs(score: Score) -> list[tuple[str, str, str]]:
    """Each part of a score as (what, input, points)."""
    return [
        (part.words, _given(part.given), "" if part.points is None else str(part.points))
        for part in score.parts
    ]


def _given(value: float | int | bool | str | None) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}"
