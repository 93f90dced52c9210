"""Is this case one that a model was trained on? Told by hashes, so that no card names a patient."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ICHWeakSegLib.prognosis.cohort_table import PrognosisCase

_LENGTH = 16
_BLOCK = 1 << 20


def name_hash(name: str) -> str:
    """16 hex digits of a case's or patient's name; short numbers can be guessed back: use study names."""
    return hashlib.sha256(f"ICHWeakSeg prognosis {name}".encode()).hexdigest()[:_LENGTH]


def file_hash(path: Path) -> str:
    """16 hex digits of a CT's bytes, of all files of a folder."""
    found = hashlib.sha256()
    for file in sorted(part for part in path.rglob("*") if part.is_file()) if path.is_dir() else [path]:
        with open(file, "rb") as stream:
            while block := stream.read(_BLOCK):
                found.update(block)
    return found.hexdigest()[:_LENGTH]


def case_identity(case: PrognosisCase) -> dict[str, str]:
    """Hashes of a case as a card keeps them: `case`, `patient` (names) and `ct` (content of the file)."""
    return {"case": name_hash(case.name), "patient": name_hash(case.patient), "ct": file_hash(case.ct)}
