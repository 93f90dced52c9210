"""A network's predictions on a CT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.inference.neighbours import smooth_over_slices

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.network_input import NetworkInput
    from ICHWeakSegLib.inference.settings import Settings
    from ICHWeakSegLib.inference.subtype_maps import SubtypeMaps
    from ICHWeakSegLib.models import ModelCard

# Called as (stage, done, total); may raise to stop.
Step = Callable[[str, int, int], None]
# Slabs that are prepared at a time: enough to keep the network busy, few enough to cost no memory.
CHUNK = 16
LOCALIZING = "classifying and localizing"


@dataclass
class SlicePredictions:
    """What a network predicts, slab by slab.

    Attributes:
        card: the model's.
        settings: of the run.
        source: what the network is shown.
        gate: which slabs are positive, whatever the classifier says, bool, shape (slabs,); None: its decision.
        probabilities: of the classes, shape (slabs, classes); zeros for slabs without brain.
        positive: bool, shape (slabs,).
        squares: maps of the positive slabs, 0-1, shape (size, size).
        subtypes: of the positive slabs; None for a model that did not learn subtypes.
        warnings: sentences about what had to be done differently.
    """

    card: ModelCard
    settings: Settings
    source: NetworkInput
    gate: np.ndarray | None = None
    probabilities: np.ndarray = field(init=False)
    positive: np.ndarray = field(init=False)
    squares: dict[int, np.ndarray] = field(default_factory=dict)
    subtypes: SubtypeMaps | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.probabilities = np.zeros((len(self.source), len(self.card.classes)), np.float32)
        self.positive = np.zeros(len(self.source), bool)

    def slabs(self) -> list[int]:
        """Slabs with brain: one without holds no blood, and no network sees it."""
        return [slab for slab in range(len(self.source)) if self.source.slab_has_brain(slab)]

    def decide(self) -> list[int]:
        """Fill `positive` from the probabilities or the gate, and return the positive slabs.

        Where the card says so, the probabilities of blood become means with the neighbouring slabs' before.
        """
        here = np.zeros(len(self.source), bool)
        here[self.slabs()] = True
        column = self.probabilities[:, self.card.target]
        column[:] = smooth_over_slices(column, self.card.operating.smoothing, here)
        if self.gate is None:
            self.positive[:] = self.probabilities[:, self.card.target] >= self.settings.probability
        else:
            self.positive[:] = self.gate
        self.positive &= here
        return np.flatnonzero(self.positive).tolist()

    def notice(self, sentence: str) -> None:
        """Keep a warning, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def slice_scores(self) -> list[dict[str, float]]:
        """A row for each axial slice: `slice`, `probability` of blood, and one entry a class."""
        rows = []
        for slab, group in enumerate(self.source.groups):
            classes = dict(zip(self.card.classes, map(float, self.probabilities[slab]), strict=True))
            probability = float(self.probabilities[slab, self.card.target])
            rows += [{"slice": s, "probability": probability, **classes} for s in group]
        return rows

    def positive_slices(self) -> np.ndarray:
        """Which axial slices are positive, bool, shape (S,)."""
        return np.repeat(self.positive, [len(group) for group in self.source.groups])
