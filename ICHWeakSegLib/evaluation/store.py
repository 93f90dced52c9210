"""Finished measurements on disk, so that a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.evaluation.cases import EvalCase
from ICHWeakSegLib.evaluation.measure import VERSION, Record
from ICHWeakSegLib.evaluation.systems import System
from ICHWeakSegLib.version import __version__


class Store:
    """Measurements by case and system; one is found again only while model, settings, CT and truth are the same.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, case: EvalCase, system: System) -> Path:
        facts = {
            "case": case.fingerprint(),
            "system": system.facts(case.patient),
            "software": __version__,
            "measures": VERSION,
        }
        text = json.dumps(facts, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"

    def get(self, case: EvalCase, system: System) -> Record | None:
        """The measurement; None where it was not made yet."""
        path = self._path(case, system)
        try:
            return _numbers(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return None

    def put(self, case: EvalCase, system: System, record: Record) -> None:
        """Keep a measurement."""
        with atomic_path(self._path(case, system)) as temporary:
            temporary.write_text(json.dumps(_plain(record), allow_nan=False), encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON has no NaN: it becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float("nan") if value is None else value
