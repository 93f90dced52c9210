"""What a run is asked for, with the model card's defaults filled in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.ct.errors import InputError

if TYPE_CHECKING:
    from ICHWeakSegLib.models import ModelCard
    from ICHWeakSegLib.refine.refine_maps import Refinement


@dataclass(frozen=True)
class Settings:
    """How a CT is segmented.

    Attributes:
        method: localization, a name in `localize.METHODS`.
        refinement: how maps become a mask.
        probability: from which on a slice is positive.
        sensitivity: slice sensitivity, or its name, that `probability` was chosen for; None for the card's own.
        method_options: further arguments of the localization.
    """

    method: str
    refinement: Refinement
    probability: float
    sensitivity: float | str | None
    method_options: dict[str, Any] = field(repr=False, default_factory=dict)

    @classmethod
    def of(
        cls,
        card: ModelCard,
        method: str | None = None,
        refine: str | None = None,
        threshold: float | None = None,
        sensitivity: float | str | None = None,
    ) -> Settings:
        """The card's settings, with what is not None here in their place.

        Raises:
            InputError: a name is unknown, a number is out of range, or the card does not fit this version.
        """
        from ICHWeakSegLib.localize.methods import default_thresholds
        from ICHWeakSegLib.refine.refine_maps import OPTIONS_OF, Refinement

        # An imported model's card may say that its paper refines nothing beyond the threshold.
        own_refine = "threshold" if card.map.refine == "none" else card.map.refine
        method, refine = method or card.map.method, refine or own_refine
        known = default_thresholds(card.architecture.kind, card.strategy)
        if method not in known:
            raise InputError(
                f"The method is one of {', '.join(known)} for model {card.name}, not {method!r}."
            )
        # Threshold and options belong to their method: another method brings its own.
        own = method == card.map.method
        if threshold is None:
            threshold = card.map.threshold if own else known[method]
        if not (sensitivity is None or isinstance(sensitivity, str) or 0 <= sensitivity <= 1):
            raise InputError(f"The sensitivity lies between 0 and 1; {sensitivity:g} does not.")
        kind = OPTIONS_OF.get(refine)
        wishes = card.map.refine_options if refine == own_refine else {}
        try:
            options = kind(**wishes) if kind is not None else None
        except (TypeError, ValueError) as problem:
            raise InputError(
                f"The refine_options of model {card.name} do not fit this version ({problem})."
            ) from problem
        probability = card.operating_point(sensitivity)
        more = card.map.method_options if own else {}
        return cls(method, Refinement(refine, threshold, options), probability, sensitivity, more)

    def provenance(self) -> dict[str, Any]:
        """What decided about the result."""
        facts = {
            "method": self.method,
            **self.refinement.facts(),
            "slice_threshold": self.probability,
        }
        facts |= {f"method_{key}": value for key, value in self.method_options.items()}
        return facts if self.sensitivity is None else {**facts, "sensitivity": self.sensitivity}


def choose_device(device: str) -> str:
    """Torch's name for a device that is there; `auto` takes the fastest kind.

    Raises:
        InputError: it is not there, or the name is unknown.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if device not in there:
        raise InputError(f"The device is auto, cpu, cuda or mps, not {device!r}.")
    if not there[device]:
        raise InputError(f"This machine or its torch has no {device} device: choose cpu or auto.")
    return device


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """This many CPU threads of torch meanwhile; None leaves them.

    Raises:
        InputError: fewer than one.
    """
    import torch

    if count is None:
        yield
        return
    if count < 1:
        raise InputError(f"The number of threads is at least 1, not {count}.")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
