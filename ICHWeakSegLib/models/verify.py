"""Checking that an installed model is whole and runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.card import ModelCard
from ICHWeakSegLib.models.find import find_model
from ICHWeakSegLib.models.load import load_networks, read_weights


@dataclass
class VerifyReport:
    """What was checked.

    Attributes:
        name: as asked for.
        folder: the package; None where it was not found.
        passed: sentences on what is right, in the order of checking.
        problem: the first thing that is wrong; empty where nothing is.
    """

    name: str
    folder: Path | None = None
    passed: list[str] = field(default_factory=list)
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the model can be used."""
        return not self.problem

    def __str__(self) -> str:
        lines = [f"Model {self.name}" + (f" in {self.folder}" if self.folder else "")]
        lines += [f"  ok      {sentence}" for sentence in self.passed]
        lines.append(f"  FAILED  {self.problem}" if self.problem else "  The model is whole and runs.")
        return "\n".join(lines)


def verify_model(name_or_dir: str | Path) -> VerifyReport:
    """Check card, weight file, architecture and one run on an empty slice. Raises nothing for a bad model."""
    report = VerifyReport(str(name_or_dir))
    try:
        found = find_model(name_or_dir, usable=False)
        report.folder = found.folder
        if found.card is None:
            raise ModelError(found.problem)
        report.passed.append("the card is valid")
        read_weights(found.folder, found.card)
        report.passed.append(f"the weights have the card's size and SHA-256 ({found.card.weights.sha256})")
        network, segmenter = load_networks(found.folder, found.card)
        report.passed.append("the weights fit the architecture")
        _run(network.eval(), found.card)
        if segmenter is not None:
            _run_segmenter(segmenter.eval(), found.card)
        report.passed.append("the network runs")
    except ModelError as problem:
        report.problem = str(problem)
    return report


def _run(network, card: ModelCard) -> None:
    if card.prognosis is not None:
        _run_prognosis(network, card)
        return
    size, channels = card.preprocessing.size, getattr(network, "in_chans", card.architecture.in_chans)
    shapes = {
        # One slice as a sequence of its own; a map with a logit a pixel.
        "sequence-classifier": ((1, 1, channels, size, size), (1, 1)),
        "segmenter": ((1, channels, size, size), (1, 1, size, size)),
    }
    given, wanted = shapes.get(card.architecture.kind, ((1, channels, size, size), (1, len(card.classes))))
    _check_run(network, card, given, wanted)


def _run_prognosis(network, card: ModelCard) -> None:
    """One slice with a text: an outcome and a map."""
    import torch

    size, channels = card.preprocessing.size, network.in_chans
    try:
        with torch.inference_mode():
            out = network(torch.zeros(1, 1, channels, size, size), ["Glasgow Coma Scale 15."])
    except Exception as problem:
        raise ModelError(
            f"Model {card.name} does not run on slices of {size} pixels with text: {problem}."
        ) from problem
    if out.blood.shape != (1, 1, size, size) or not (
        torch.isfinite(out.blood).all() and torch.isfinite(out.outcome).all()
    ):
        raise ModelError(f"Model {card.name} gives an output that is no outcome with a mask.")


def _run_segmenter(segmenter, card: ModelCard) -> None:
    size = (card.segmenter.preprocessing or card.preprocessing).size
    _check_run(segmenter, card, (1, segmenter.in_chans, size, size), (1, 1, size, size))


def _check_run(network, card: ModelCard, given: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    import torch

    try:
        with torch.inference_mode():
            out = network(torch.zeros(given))
    except Exception as problem:
        raise ModelError(
            f"Model {card.name} does not run on slices of {given[-1]} pixels: {problem}."
        ) from problem
    if tuple(out.shape) != wanted or not torch.isfinite(out).all():
        raise ModelError(f"Model {card.name} gives an output that is not one number a class.")
