"""Admission fields as sentences for a text encoder.

The template is ours: the paper (Yu et al., BIBM 2024, arXiv 2411.04656) names the fields, not the sentences.
Text encoders read digits badly, so a sentence says the number and its band in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.clinical import FIELDS, Clinical

# Sentences in their order. `bands`: (from, words) ascending; {band} is the last that begins at or below the value.
DEFAULT_TEMPLATE: dict[str, Any] = {
    "version": 1,
    "sentences": [
        {
            "field": "gcs",
            "text": "Glasgow Coma Scale {value}, {band}.",
            # Mild, moderate and severe as usual (Teasdale & Jennett); 3-4 and 5-8 parted as the ICH score does.
            "bands": [
                [3, "deep coma, very severe"],
                [5, "coma, severe"],
                [9, "drowsy, moderate"],
                [13, "awake, mild"],
            ],
        },
        {
            "field": "age",
            "text": "Aged {value} years, {band}.",
            "bands": [
                [0, "a child"],
                [18, "a young adult"],
                [40, "in the forties"],
                [50, "in the fifties"],
                [60, "in the sixties"],
                [70, "in the seventies, old"],
                [80, "in the eighties, very old"],
                [90, "ninety or more, very old"],
            ],
        },
        {"field": "sex", "text": "{value}.", "words": {"female": "Woman", "male": "Man"}},
        {
            "field": "onset_hours",
            "text": "CT {value} hours after onset, {band}.",
            "bands": [
                [0, "very early"],
                [3, "early"],
                [6, "within the first day"],
                [24, "late"],
                [72, "very late"],
            ],
        },
        {"field": "history", "text": "History: {value}."},
    ],
    "leaked": "{name}: {value}.",
}


def admission_text(
    clinical: Clinical | None,
    template: Mapping[str, Any] = DEFAULT_TEMPLATE,
    leaked: Mapping[str, str] | None = None,
) -> str:
    """The sentences of the fields that are known, in the template's order; empty when nothing is known.

    Args:
        clinical: the fields; None for none.
        template: as `DEFAULT_TEMPLATE`, plain JSON.
        leaked: further fields that `--allow-leakage` let in, name to text; at the end, blank ones left out.

    Example:
        >>> admission_text(Clinical(gcs=6))
        'Glasgow Coma Scale 6, coma, severe.'
    """
    known = {} if clinical is None else clinical.to_dict()
    sentences = []
    for sentence in template["sentences"]:
        value = known.get(sentence["field"])
        if value in (None, ""):
            continue
        band = _band(value, sentence["bands"]) if "bands" in sentence else ""
        sentences.append(sentence["text"].format(value=_shown(value, sentence.get("words")), band=band))
    later = template.get("leaked", "{name}: {value}.")
    for name, value in (leaked or {}).items():
        if str(value).strip():
            sentences.append(later.format(name=name.replace("_", " "), value=str(value).strip().rstrip(".")))
    return " ".join(sentences)


def check_template(template: Any, where: str = "The template") -> dict[str, Any]:
    """A template that can be used.

    Raises:
        InputError: a sentence is of another form, or of a field that there is not.
    """
    names = [field.name for field in FIELDS]
    sentences = template.get("sentences") if isinstance(template, Mapping) else None
    if not isinstance(sentences, list) or not sentences:
        raise InputError(f"{where} needs a list 'sentences' as in the default template.")
    for number, sentence in enumerate(sentences, start=1):
        spot = f"{where}, sentence {number}"
        if not isinstance(sentence, Mapping) or sentence.get("field") not in names:
            raise InputError(f"{spot}: its 'field' must be one of {', '.join(names)}.")
        if (
            sum(other.get("field") == sentence["field"] for other in sentences if isinstance(other, Mapping))
            > 1
        ):
            raise InputError(f"{spot}: the field {sentence['field']} has two sentences; keep one.")
        bands = sentence.get("bands")
        if bands is not None and not _are_bands(bands):
            raise InputError(f"{spot}: its 'bands' must be pairs [from, words], ascending.")
        try:
            sentence["text"].format(value="1", band="")
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            raise InputError(f"{spot}: its 'text' may hold {{value}} and {{band}} only.") from None
    return dict(template)


def _are_bands(bands: Any) -> bool:
    try:
        starts = [float(start) for start, words in bands if isinstance(words, str)]
    except (TypeError, ValueError):
        return False
    return len(starts) == len(bands) > 0 and starts == sorted(starts)


def _band(value: float, bands: list[list[Any]]) -> str:
    return next((words for start, words in reversed(bands) if value >= start), bands[0][1])


def _shown(value: Any, words: Mapping[str, str] | None) -> str:
    if words is not None:
        return words.get(value, str(value))
    if isinstance(value, (int, float)):
        return f"{value:.3g}"
    return value.rstrip(" .")
