"""Whether a package has the files that its card names. Reads none of them: a list of models asks often."""

from __future__ import annotations

from pathlib import Path

from ICHWeakSegLib.models.card import CARD_FILE, ModelCard, Weights

AGAIN = "get the model again"


def package_problem(folder: Path, card: ModelCard) -> str:
    """Why a package cannot be loaded, as far as names and sizes of its files tell; empty where they are right."""
    parts = [("weights", card.weights)]
    if card.segmenter is not None:
        parts.append(("segmenter.weights", card.segmenter.weights))
    for field, weights in parts:
        if weights is None:
            return f"{folder / CARD_FILE}: field '{field}' is missing."
        try:
            size = (folder / weights.file).stat().st_size
        except OSError as problem:
            return unreadable(folder / weights.file, problem)
        if size != weights.bytes:
            return wrong_size(folder / weights.file, size, weights)
    for name in card.prognosis.files if card.prognosis is not None else ():
        if not (folder / name).is_file():
            return f"{folder / name} is missing: {AGAIN}."
    return ""


def unreadable(file: Path, problem: OSError) -> str:
    """The sentence for a file that is not there or cannot be read."""
    if isinstance(problem, FileNotFoundError):
        return f"{file} is missing: {AGAIN}."
    return f"{file} cannot be read: {problem}."


def wrong_size(file: Path, size: int, weights: Weights) -> str:
    """The sentence for a weight file that is shorter or longer than its card says."""
    short = "truncated" if size < weights.bytes else "not the card's"
    return f"{file} is {short}: it has {size} bytes, the card says {weights.bytes}; {AGAIN}."
