"""What made the results of an output folder; nothing else may add to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ICHWeakSegLib.cohort.folders import write_json
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.version import __version__

RUN_FILE = "run.json"


def model_facts(folder: Path) -> dict[str, str]:
    """Name, version and checksums of a model package: weights, and the card that decides how they are used.

    Raises:
        InputError: its card is wrong.
    """
    from ICHWeakSegLib.models.card import CARD_FILE, read_card

    card = read_card(folder)
    facts = {"name": card.name, "version": card.version}
    if card.weights is not None:
        facts["sha256"] = card.weights.sha256
    if card.segmenter is not None and card.segmenter.weights is not None:
        facts["segmenter_sha256"] = card.segmenter.weights.sha256
    return {**facts, "card_sha256": hashlib.sha256((folder / CARD_FILE).read_bytes()).hexdigest()}


def claim(output: Path, model: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Leave `run.json` in a new output folder, or check that an older one is of the same run.

    Raises:
        InputError: the folder belongs to another model, other options or another version; says what differs.
    """
    wanted = {"software": f"ICHWeakSeg {__version__}", "model": dict(model), "options": dict(options)}
    path = output / RUN_FILE
    if not path.exists():
        write_json(path, {**wanted, "notice": "For research use only."})
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        changed = _differences(found, wanted)
    except (ValueError, AttributeError, TypeError, OSError) as problem:
        raise InputError(f"{path} is damaged: give --output another folder.") from problem
    if changed:
        raise InputError(
            f"{output} holds results of another run ({'; '.join(changed)}): give --output another folder, or the "
            "same model and options."
        )


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    words = []
    if found.get("software") != wanted["software"]:
        words.append(f"software {found.get('software')}, now {wanted['software']}")
    old, new = dict(found["model"]), wanted["model"]
    if old != new:
        titles = [f"{one.get('name')} {one.get('version')}" for one in (old, new)]
        if titles[0] == titles[1]:
            keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
            what = ", ".join(key.replace("_", " ") for key in keys)
            words.append(f"model {titles[0]} has changed: {what}")
        else:
            words.append(f"model {titles[0]}, now {titles[1]}")
    old, new = dict(found["options"]), wanted["options"]
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            words.append(f"{key} {_word(old.get(key))}, now {_word(new.get(key))}")
    return words


def _word(value: Any) -> str:
    return "the model's own" if value is None else str(value)
