"""Provenance as header fields: which model and method made a file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

PREFIX = "ICHWeakSeg_"


def provenance_fields(provenance: Mapping[str, object]) -> dict[str, str]:
    """Field names with values that an image header can hold.

    Args:
        provenance: such as model, version, sha256, method, threshold, software, device.

    Returns:
        `ICHWeakSeg_<key>` to one line of ASCII; entries that are None are left out.
    """
    return {
        PREFIX + re.sub(r"[^A-Za-z0-9]+", "_", key).strip("_"): header_text(value)
        for key, value in provenance.items()
        if value is not None
    }


def header_text(value: object) -> str:
    """One line of ASCII: headers take nothing else, and `|` parts tags in Slicer."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = unicodedata.normalize("NFKD", text)
    # A combining mark goes, its letter stays; what has no ASCII letter becomes "?".
    text = "".join(sign for sign in text if not unicodedata.combining(sign))
    text = text.encode("ascii", "replace").decode("ascii").replace("|", "/").replace("\\", "/")
    return " ".join(text.split())
