"""A case of a cohort: one head CT, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One head CT to segment.

    Attributes:
        key: tells it from all others; its id is made from this. Never written out as it is.
        source: file, archive or folder.
        files: names of its slices below `source`, where that is a folder of single DICOM slices.
        series: DICOM series to read where `source` holds several.
        id: the caller's own; empty: a salted hash of `key`.
        patient: as the header or the caller has it; empty where unknown. Written out as a salted hash only.
        study: likewise.
        columns: further columns of the caller's table.
        fingerprint: changes when the CT's files do; empty where that is not known without reading them.
        notes: sentences for the result's warnings.
    """

    key: str
    source: Path
    files: tuple[str, ...] = ()
    series: str | None = None
    id: str = ""
    patient: str = ""
    study: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    notes: tuple[str, ...] = ()

    def task(self, case_id: str, **more: Any) -> dict[str, Any]:
        """What a worker needs, in plain JSON values."""
        return {
            "id": case_id,
            "source": str(self.source),
            "files": list(self.files),
            "series": self.series,
            "columns": self.columns,
            "notes": list(self.notes),
            **more,
        }


@dataclass(frozen=True)
class Skipped:
    """Files that were found and are no case.

    Attributes:
        source: file or folder.
        reason: why, in a few words.
        files: how many.
        copy_of: the case that they repeat.
    """

    source: Path
    reason: str
    files: int = 1
    copy_of: Case | None = None


@dataclass
class Found:
    """What an input holds."""

    cases: list[Case] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Take over the cases of another."""
        self.cases += other.cases
        self.skipped += other.skipped
