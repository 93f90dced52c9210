"""What a model says of the cases of a cohort, never by a network that learned from the same patient."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.cohort_table import PrognosisCase
from ICHWeakSegLib.prognosis.identity import file_hash, name_hash
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    from ICHWeakSegLib.models import FoundModel, Model, ModelCard

WAYS = ("CT and text", "CT only", "text only")


@dataclass(frozen=True)
class Forecast:
    """A model's probabilities of a poor outcome for one case.

    Attributes:
        fused, image_only, text_only: with CT and text, and with one of them.
        blood_ml: volume of blood that the model sees, in mL; None where it was not run here.
        held_out: whether it is of the cross-validation, by a network that did not learn from the patient.
    """

    fused: float
    image_only: float
    text_only: float
    blood_ml: float | None = None
    held_out: bool = False

    def by_way(self) -> dict[str, float]:
        """Probability by `WAYS`."""
        return dict(zip(WAYS, (self.fused, self.image_only, self.text_only), strict=True))


def forecasts(
    cases: Sequence[PrognosisCase],
    found: FoundModel,
    store: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Forecast]:
    """Forecasts by case name.

    A case whose patient or CT the model learned from has its held-out probabilities from the card, found by the
    name of the case and the CT's content; it is left out where the card has none.

    Args:
        cases: with CT and fields.
        found: a prognosis package.
        store: folder that keeps what is finished for a later run.
        device, threads: as `prognose`.
        progress: called with the number of cases done.

    Raises:
        InputError: a CT that cannot be used; names the case.
    """
    card, model, made = found.card, None, {}
    held = {row["case"]: row for row in card.prognosis.held_out}
    learned = {row[key] for row in card.prognosis.trained_on for key in ("patient", "ct")}
    for number, case in enumerate(cases):
        if progress:
            progress(number)
        ct = file_hash(case.ct)
        if learned & {name_hash(case.patient), ct}:
            row = held.get(name_hash(case.name))
            if row is not None and row["ct"] == ct:
                made[case.name] = Forecast(
                    row["probability"], row["image_only"], row["text_only"], held_out=True
                )
            continue
        path = store / f"{_key(case, ct, card)}.json"
        forecast = _stored(path)
        if forecast is None:
            model = model or _load(found)
            try:
                forecast = _forecast(case, model, device, threads)
            except InputError as problem:
                raise InputError(f"Case {case.name}: {problem}") from problem
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(asdict(forecast), allow_nan=False), encoding="utf-8")
        made[case.name] = forecast
    return made


def base_rate(card: ModelCard) -> float:
    """Share of poor outcomes among the held-out cases: the forecast without input; 0.5 where there are none."""
    outcomes = [row["outcome"] for row in card.prognosis.held_out]
    return sum(outcomes) / len(outcomes) if outcomes else 0.5


def _load(found: FoundModel) -> Model:
    from ICHWeakSegLib.models import load_model

    return load_model(found.folder)


def _forecast(case: PrognosisCase, model: Model, device: str, threads: int | None) -> Forecast:
    from ICHWeakSegLib.ct.read import read_ct
    from ICHWeakSegLib.prognosis.predict import prognose
    from ICHWeakSegLib.prognosis.scan import read_scan

    # Once: finding the brain takes most of the time.
    scan = read_scan(read_ct(case.ct), model.card.preprocessing)
    how: dict[str, Any] = {"device": device, "threads": threads}
    image = prognose(model, scan, None, **how)
    leaked = {name: text for name, text in case.leaked.items() if name in model.card.prognosis.leaks}
    if not case.clinical.known and not leaked:
        # Without a text the network sees the CT alone, and of the text alone it knows nothing.
        return Forecast(image.probability, image.probability, base_rate(model.card), image.blood_ml)
    both = prognose(model, scan, case.clinical, leaked=leaked, **how)
    text = prognose(model, None, case.clinical, leaked=leaked, **how)
    return Forecast(both.probability, image.probability, text.probability, both.blood_ml)


def _key(case: PrognosisCase, ct: str, card: ModelCard) -> str:
    facts = {
        "ct": ct,
        "clinical": case.clinical.to_dict(),
        "leaked": dict(case.leaked),
        "model": card.weights.sha256 if card.weights else card.name,
        "template": dict(card.prognosis.template),
        "software": __version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]


def _stored(path: Path) -> Forecast | None:
    try:
        return Forecast(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
