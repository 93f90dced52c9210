"""The option `--sensitivity`: a name of the model card's, or a slice sensitivity."""

from __future__ import annotations

import argparse

from ICHWeakSegLib.models.card import POINTS

HELP = (
    f"{', '.join(POINTS)} (fewer false slices or fewer missed ones), or a slice sensitivity, 0-1, from the model "
    "card's table"
)


def sensitivity(text: str) -> float | str:
    """What the user asked for, as `segment` takes it.

    Raises:
        argparse.ArgumentTypeError: neither a name nor a number.
    """
    if text in POINTS:
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"give {', '.join(POINTS)}, or a number from 0 to 1, not {text!r}"
        ) from None
