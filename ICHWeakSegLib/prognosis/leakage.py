"""Columns that are known only after admission: a forecast on admission must not see them."""

from __future__ import annotations

import re

# What is known only later, by parts of a column's plain name; see `plain`.
_LATER = {
    "length of stay": (
        r"(length|duration)_?of_?(stay|hospital|icu)|(^|_)h?los(_|$)|(^|_)stay(_|$)|lengthofstay",
        r"(icu|hospital|ward|nicu)_?(los|stay|days)|days_?(in|of)_?(the_)?(hospital|icu|nicu|stay)",
    ),
    "treatment after the CT": (
        r"surg|operat|craniotom|craniectom|hemicrani|evacuat|(^|_)evd(_|$)|ventriculostom|external_?ventric",
        r"drain(age|ed)?(_|$)|shunt|(^|_)mistie?(_|$)|endoscop|burr_?hole|treatment|treated|therapy|intervention",
        r"reversal|transfus|(^|_)dnr(_|$)|do_?not_?resus|withdraw|palliat|comfort_?care",
    ),
    "course in intensive care": (
        r"(^|_)vent(_|$)|ventilat|intubat|tracheo|(^|_)n?icu(_|$)|(^|_)icp(_|$)|pneumonia|infection|sepsis",
        r"complicat|seizures?_?(during|in|after)|rebleed",
    ),
    "discharge": (r"discharg|dispos|(^|_)dc(_|$)|rehab|transferred_?to|nursing_?home_?after|readmi",),
    "death": (r"mortal|death|died|(^|_)dead(_|$)|deceas|surviv|alive|(^|_)fatal|expired|(^|_)dod(_|$)",),
    "later imaging": (
        r"expan[sd]|growth|enlarg|follow_?up|(^|_)fu(_|$)|repeat|second_?ct|(^|_)ct_?2(_|$)|control_?ct",
        r"(24|48|72)_?(h|hr|hrs|hour|hours)(_|$)|final_?volume",
    ),
    "later status": (
        r"(^|_)(mrs|gose?|nihss|gcs|rankin)_?(at|after|on|d|day|month|m|\d)|(^|_)gose(_|$)|barthel|rankin",
        r"(best|worst|last|final|lowest)_?(gcs|nihss)|(gcs|nihss)_?(best|worst|last|final|lowest)",
        r"day_?\d+|\d+_?(d|days?|m|mo|months?|y|years?)(_|$)|(^|_)d(1|2|3|7|14|30|90|180|365)(_|$)",
        r"outcome_.+|.+_outcome",
    ),
}
_PATTERNS = {kind: re.compile("|".join(parts)) for kind, parts in _LATER.items()}
_ON_ADMISSION = re.compile(r"admission|admitted|arrival|presentation|baseline|premorbid|pre_?stroke|pre_?ich")
# The truth of a simulation is no measurement at all: it is never allowed.
_TRUTH = re.compile(
    r"true_?(prob|p(_|$)|risk)|prob(ability)?_?true|(^|_)p_?true|oracle|linear_?predictor|logit"
)
_LATER_WORDS = re.compile(
    r"\b(craniotom\w*|craniectom\w*|evacuat\w*|intubated|ventilated|external ventricular drain\w*|EVD|discharged|"
    r"died|deceased|expired|length of stay|palliative|withdrawal of care|follow-up CT|hematoma expansion)\b",
    re.IGNORECASE,
)


def plain(column: str) -> str:
    """A column's name with small letters and one underscore for whatever parts its words."""
    # LengthOfStay is three words, mRS one.
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", column.strip())
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def known_later(column: str) -> str | None:
    """What kind of later knowledge a column's name tells of; None where it tells of none.

    Example:
        >>> known_later("Length of Stay (days)")
        'length of stay'
    """
    name = plain(column)
    kind = next((kind for kind, pattern in _PATTERNS.items() if pattern.search(name)), None)
    return None if kind == "later status" and _ON_ADMISSION.search(name) else kind


def is_simulated_truth(column: str) -> bool:
    """Whether a column's name says that it holds the true probability of a simulation."""
    return bool(_TRUTH.search(plain(column)))


def later_words(history: str) -> tuple[str, ...]:
    """Words of a history that sound like something that came after admission; they may also be a past event."""
    return tuple(dict.fromkeys(found.group(0).lower() for found in _LATER_WORDS.finditer(history)))
