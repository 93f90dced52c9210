"""What a run is asked for, checked as far as that is possible without the model and without torch."""

from __future__ import annotations

import numbers
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.vocabulary import DEVICES


def runOptions(
    model: str | Path | None,
    method: str | None,
    refine: str | None,
    threshold: float | None,
    sensitivity: float | str | None,
    device: str | None,
) -> dict[str, Any]:
    """The options that were given, as plain values; what is None or an empty text is left to the model's card.

    Raises:
        InputError: one is of the wrong type or out of its range.
    """
    if not isinstance(model, str | Path | None):
        raise InputError(f"The model is a name or a folder, not {model!r}.")
    for what, text in (("method", method), ("refine", refine), ("device", device)):
        if not isinstance(text, str | None):
            raise InputError(f"The option {what} is a name, not {text!r}.")
    if device and device not in DEVICES:
        raise InputError(f"The device is auto, cpu, cuda or mps, not {device!r}.")
    if threshold is not None:
        threshold = fraction(threshold, "threshold of the map")
    # A text is one of the names that the model's card knows.
    if sensitivity is not None and not isinstance(sensitivity, str):
        sensitivity = fraction(sensitivity, "sensitivity")
    given = {
        "model": model,
        "method": method,
        "refine": refine,
        "threshold": threshold,
        "sensitivity": sensitivity,
        "device": device,
    }
    return {name: value for name, value in given.items() if value not in (None, "")}


def fraction(value: Any, what: str) -> float:
    """A number of 0-1, also one of numpy, as float.

    Raises:
        InputError: it is none; `what` says what it should be.
    """
    # True is a number to Python.
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise InputError(f"The {what} is a number between 0 and 1, not {value!r}.")
    if not 0 <= value <= 1:
        raise InputError(f"The {what} lies between 0 and 1; {float(value):g} does not.")
    return float(value)
