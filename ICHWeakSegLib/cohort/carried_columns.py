"""Which of a caller's columns come along to the results."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Columns of a caller's table whose name says that they identify somebody.
_IDENTIFYING = re.compile(
    r"name|birth|\bdob\b|^dob|accession|\bmrn\b|^mrn|medical.?record|patient|surname|address|phone|e?mail|"
    r"\bssn\b|social.?sec|insurance|^(path|file|folder|source|uid)$|filename|instance.?uid|identifier",
    re.I,
)


def carried_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """Those of a caller's columns whose names do not say that they identify somebody."""
    return {name: value for name, value in columns.items() if not _IDENTIFYING.search(name)}
