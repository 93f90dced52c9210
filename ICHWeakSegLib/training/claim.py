"""A run's folder belongs to one recipe and its patients."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.training.cache import Cropped
from ICHWeakSegLib.training.resumable import write_whole


def claim(folder: Path, recipe: Any, train: Iterable[Cropped], valid: Iterable[Cropped]) -> None:
    """Make the run's folder and leave `run.json` in it.

    Args:
        folder: of the run.
        recipe: dataclass that decides what the training gives.
        train, valid: the cases.

    Raises:
        InputError: a patient is in both parts, or the folder belongs to another recipe or other patients.
    """
    parts = {
        name: sorted({case.patient for case in cases}) for name, cases in (("train", train), ("valid", valid))
    }
    shared = sorted(set(parts["train"]) & set(parts["valid"]))
    if shared:
        raise InputError(f"Patients in training and validation: {', '.join(shared)}.")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"recipe": asdict(recipe), **parts}, indent=1, sort_keys=True)
    path = folder / "run.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{folder} holds a training with other settings: choose another folder or remove it."
        )
    write_whole(path, text)
