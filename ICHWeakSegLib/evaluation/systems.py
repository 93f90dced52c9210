"""What is compared: a model package with a method, or the networks of a cross-validated training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.inference.settings import Settings
from ICHWeakSegLib.localize.methods import METHODS, PROBABILITY, RESNET_METHODS
from ICHWeakSegLib.models import FoundModel, Model, ModelCard, find_model, load_model
from ICHWeakSegLib.models.card import MODES
from ICHWeakSegLib.refine.refine_maps import REFINEMENTS

# A word behind the colon of a spec, by what it chooses.
WORDS = {
    "method": tuple(dict.fromkeys((*METHODS, *RESNET_METHODS, PROBABILITY))),
    "refine": REFINEMENTS,
    "mode": MODES,
}


@dataclass(frozen=True)
class Spec:
    """What the command line asks for: a model with a way of using it; None for the card's own.

    Attributes:
        model: name or folder; of a cross-validated training the run's folder.
        method, refine: see `segment`.
        mode: whose mask counts in a package of two networks, see `models.card.SegmenterPart`; of a run, whose
            mask counts in the pairs that its folds make with those of another, see `fold_system`.
    """

    model: str
    method: str | None = None
    refine: str | None = None
    mode: str | None = None

    @property
    def how(self) -> str:
        """The part behind the colon, with its colon; empty where all is the card's."""
        parts = [part for part in (self.method, self.refine, self.mode) if part]
        return ":" + "/".join(parts) if parts else ""


@dataclass
class System:
    """A model with a method, or one model a patient where it is cross-validated.

    Attributes:
        name: as in the tables.
        package: gives the package that measures a patient.
        spec: how the models are used.
        sensitivity: moves the operating point by the card's table; None for the card's default.
        folds: whether each patient has the network that was not trained on him.
        operating_origin: where the operating point comes from, for the provenance.
        caution: what a reader of its figures must know; empty where nothing.
    """

    name: str
    package: Callable[[str], FoundModel] = field(repr=False)
    spec: Spec
    sensitivity: float | str | None = None
    folds: bool = False
    operating_origin: str = "operating point of the model card"
    caution: str = ""

    def settings(self, patient: str) -> Settings:
        """What decides about a patient's result.

        Raises:
            InputError: the card does not allow it.
        """
        return Settings.of(self.card(patient), self.spec.method, self.spec.refine, None, self.sensitivity)

    def card(self, patient: str) -> ModelCard:
        """The card of a patient's model, with the mode that was asked for.

        Raises:
            InputError: a mode was asked for, and the package has one network only.
        """
        card = self.package(patient).card
        if self.spec.mode is None:
            return card
        if card.segmenter is None:
            raise InputError(
                f"Model {card.name} has no second network, so that {self.name} cannot be chosen."
            )
        return replace(card, segmenter=replace(card.segmenter, mode=self.spec.mode))

    def facts(self, patient: str) -> dict[str, Any]:
        """Model and thresholds, and where these come from, as JSON."""
        card, how = self.card(patient), self.settings(patient)
        second = {}
        if card.segmenter is not None:
            second = {
                "segmenter_sha256": card.segmenter.weights.sha256 if card.segmenter.weights else None,
                "segmenter_threshold": card.segmenter.threshold,
                "mode": card.segmenter.mode,
            }
        return {
            "model": card.name,
            "version": card.version,
            "sha256": card.weights.sha256 if card.weights else None,
            **second,
            **how.provenance(),
            "slice_threshold_from": self.operating_origin
            if self.sensitivity is None
            else f"table of the model card at sensitivity {self.sensitivity}",
            "map_threshold_from": "model card"
            if how.method == card.map.method
            else f"default of {how.method}, as published",
            "trained_on": card.training.data,
        }


class Loaded:
    """Models in memory: the last few, since a system a fold would fill it.

    Args:
        most: how many.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._models: dict[Path, Model] = {}

    def model(self, folder: Path) -> Model:
        """The model of a package."""
        if folder not in self._models:
            while len(self._models) >= self._most:
                del self._models[next(iter(self._models))]
            self._models[folder] = load_model(folder)
        # The one used last goes last.
        self._models[folder] = self._models.pop(folder)
        return self._models[folder]


def parse(text: str) -> Spec:
    """A spec of `NAME|DIR[:WORD[/WORD ...]]`, where a word is a method, a refinement or a mode.

    A colon within a path stays with the path.

    Raises:
        InputError: a word behind the colon is none of them, or two are of one kind.
    """
    model, colon, tail = text.rpartition(":")
    drive = len(model) == 1 and model.isalpha() and tail[:1] in ("/", "\\")
    if not colon or drive or "\\" in tail or Path(text).expanduser().is_dir():
        return Spec(text)
    chosen: dict[str, str] = {}
    for word in tail.split("/"):
        kind = next((kind for kind, known in WORDS.items() if word in known), None)
        if kind is None or kind in chosen:
            raise InputError(
                f"{text!r}: behind the colon stand, parted by /, a method ({', '.join(WORDS['method'])}), a "
                f"refinement ({', '.join(REFINEMENTS)}) or a mode ({', '.join(MODES)}), each at most once."
            )
        chosen[kind] = word
    return Spec(model, **chosen)


def package_systems(specs: Sequence[str], sensitivity: float | str | None = None) -> list[System]:
    """Systems of installed packages.

    Raises:
        InputError: no such model or method, or a sensitivity that a card does not know.
    """
    systems = []
    for text in specs:
        spec = parse(text)
        found = find_model(spec.model)
        systems.append(System(found.name + spec.how, lambda patient, found=found: found, spec, sensitivity))
        systems[-1].settings("")
    return systems


def name_apart(systems: Sequence[System]) -> None:
    """Refuse two systems of one name.

    Raises:
        InputError: names it.
    """
    names = [system.name for system in systems]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"The system {twice} is named twice: give each model, run and method once.")
    if not names:
        raise InputError("There is nothing to measure: give --models or --folds-run.")
