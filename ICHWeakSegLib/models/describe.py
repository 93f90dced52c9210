"""A card for people: the text of `ichweakseg models info`."""

from __future__ import annotations

import textwrap
from typing import Any

from ICHWeakSegLib.models.card import ModelCard, PrognosisPart

_WIDTH = 96
_LABEL = 16


def describe(card: ModelCard) -> str:
    """The card as readable text, lines of at most 96 characters where words allow it."""
    size = card.preprocessing.size
    lines = [f"{card.name} {card.version}"]
    lines += textwrap.wrap(card.description, _WIDTH)
    rows: list[tuple[str, str]] = [
        ("Network", f"{card.architecture.backbone}, {card.architecture.num_classes} outputs"),
        ("Learned as", f"{card.strategy}: {', '.join(card.classes)}; decides by {card.target_name}"),
        ("Input", f"{size} x {size} pixels, {_framing(card)}"),
        ("Windows", ", ".join(f"level {a:g} width {b:g} HU" for a, b in card.preprocessing.windows)),
        ("", f"scaled to {'the window' if card.preprocessing.scaling == 'fixed' else 'the slice'}'s range"),
        ("Positive from", f"probability {card.operating.probability:g}"),
        ("", "; ".join(f"{p:g} for sensitivity {s:g}" for s, p in card.operating.table)),
        ("Mask", f"{card.map.method}, threshold {card.map.threshold:g}, refined by {card.map.refine}"),
        ("Learned from", card.training.data),
        ("", _counts(card)),
        ("", card.training.attribution),
        ("Data licence", card.training.licence),
        ("Recipe", card.training.recipe),
        *(() if card.prognosis is None else _prognosis(card.prognosis)),
        *_results(card.results),
        *((("Limits" if i == 0 else ""), f"- {limit}") for i, limit in enumerate(card.limits)),
        ("Licence", card.licence),
        ("Cite", card.citation),
    ]
    if card.weights is not None:
        megabytes = card.weights.bytes / 1e6
        rows.append(("Weights", f"{card.weights.file}, {megabytes:.1f} MB, {card.weights.dtype}"))
        rows.append(("", f"sha256 {card.weights.sha256}"))
    rows.append(("", "Research use only; not for diagnosis."))
    # An indented row whose label row was empty would hang in the air: carry the label down.
    label = ""
    for name, text in rows:
        label = name or label
        if text:
            lines += _row(label, text)
            label = ""
    return "\n".join(lines)


def _prognosis(part: PrognosisPart) -> list[tuple[str, str]]:
    """What the outcome is, what marks the model, and the text it reads."""
    rule = ", ".join(f"{key} {value}" for key, value in part.outcome.items())
    rows = [("Tells", f"the probability of a poor outcome ({rule})")]
    if part.leaks:
        rows.append(("LEAKAGE", f"learned from what is known only after admission: {', '.join(part.leaks)}"))
    known = (
        f"{len(part.held_out)} held-out cases of {part.folds} folds" if part.folds else "no held-out cases"
    )
    rows.append(("Patients", f"{len({row.get('patient') for row in part.trained_on})} trained on, {known}"))
    for number, sentence in enumerate(part.template.get("sentences", ())):
        rows.append(
            ("Text template" if number == 0 else "", f"{sentence.get('field')}: {sentence.get('text')}")
        )
    return rows


def _row(label: str, text: str) -> list[str]:
    head = label.ljust(_LABEL)
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _framing(card: ModelCard) -> str:
    chosen = card.preprocessing
    if chosen.framing == "brain-crop":
        text = f"{chosen.pixel_mm:g} mm around the brain"
    else:
        text = f"centre of the slice resized to {chosen.resize}"
    if chosen.blank_outside_brain:
        text += ", blank outside the brain"
    return text + (f", slices of {chosen.slice_mm:g} mm" if chosen.slice_mm else "")


def _counts(card: ModelCard) -> str:
    counts = (("patients", card.training.patients), ("slices", card.training.slices))
    return ", ".join(f"{number} {what}" for what, number in counts if number is not None)


def _results(results: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in results.items():
        if isinstance(value, dict):
            rows += _results(value, f"{prefix}{key} / ")
        else:
            rows.append(
                ("", f"{prefix}{key}: {value:g}" if isinstance(value, float) else f"{prefix}{key}: {value}")
            )
    if rows and not prefix:
        rows[0] = ("Results", rows[0][1])
    return rows
