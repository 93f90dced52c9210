"""One patient: the probability with its interval, the clinical scores beside it, and what to know about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.prognosis.baselines import baselines
from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.outcome import OutcomeRule
from ICHWeakSegLib.prognosis.score_facts import ScoreFacts
from ICHWeakSegLib.prognosis.venn_abers import LEAST, VennAbers, venn_abers
from ICHWeakSegLib.quantify.score import Score
from ICHWeakSegLib.version import __version__

if TYPE_CHECKING:
    from ICHWeakSegLib.models import Model
    from ICHWeakSegLib.prognosis.predict import Prognosis

RESEARCH = "For research use only; not for decisions about a patient."
NOTHING_GIVEN = "Nothing is known of the patient: give a CT, admission fields, or both."
# By what went in: the probabilities of the held-out cases that were made alike.
_HELD_OUT = {("ct", "text"): "probability", ("ct",): "image_only", ("text",): "text_only"}


@dataclass
class Assessment:
    """What is said about a patient.

    Attributes:
        prognosis: of the network.
        rule: which outcome is forecast.
        interval: from the held-out cases; None where there are too few.
        scores: ICH score and FUNC score, by name.
        volume_ml: of blood, for the scores; None unknown.
        volume_from: `given`, `model` (all blood that the network sees) or empty.
        notices: sentences for the user.
        provenance: model, version, sha256, software.
    """

    prognosis: Prognosis
    rule: OutcomeRule
    interval: VennAbers | None
    scores: dict[str, Score]
    volume_ml: float | None
    volume_from: str
    notices: list[str]
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the maps stay out."""
        found, interval = self.prognosis, self.interval
        return {
            "outcome": {**self.rule.to_dict(), "words": self.rule.words},
            "probability": round(float(found.probability), 4),
            "interval": None
            if interval is None
            else {
                "low": round(interval.low, 4),
                "high": round(interval.high, 4),
                "merged": round(interval.merged, 4),
                "held_out_cases": interval.cases,
                "method": "inductive Venn-Abers (Vovk & Petej 2014)",
            },
            "modalities": list(found.modalities),
            "text": found.text,
            "tokens": [
                {"token": token, "weight": round(float(weight), 5)}
                for token, weight in zip(found.tokens, found.token_weights, strict=True)
            ],
            "slice_weights": []
            if found.slice_weights is None
            else [round(float(weight), 5) for weight in found.slice_weights],
            "blood_ml": None if found.blood_ml is None else round(float(found.blood_ml), 3),
            "volume_ml": None if self.volume_ml is None else round(float(self.volume_ml), 3),
            "volume_from": self.volume_from,
            "ich_score": self.scores["ICH score"].to_dict(),
            "func_score": self.scores["FUNC score"].to_dict(),
            "notices": self.notices,
            "provenance": self.provenance,
            "notice": RESEARCH,
        }

    def sentences(self) -> str:
        """Several lines for people."""
        lines = [f"Probability of a poor outcome ({self.rule.words}): {self.prognosis.probability:.2f}"]
        if self.interval is not None:
            lines.append(
                f"  calibrated on {self.interval.cases} held-out cases: {self.interval.merged:.2f}, interval "
                f"{self.interval.low:.2f} to {self.interval.high:.2f}"
            )
        for score in self.scores.values():
            lines += score.text().splitlines()[:1]
        if self.volume_from == "model":
            lines.append(
                f"  Volume for the scores: {self.volume_ml:.1f} mL, all blood that the network sees."
            )
        return "\n".join([*lines, *self.notices, RESEARCH])


def assess(
    model: Model,
    ct: CT | str | Path | None,
    clinical: Clinical | None,
    facts: ScoreFacts | None = None,
    *,
    volume_ml: float | None = None,
    leaked: Mapping[str, str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Assessment:
    """Forecast for one patient.

    Args:
        model: a loaded package of prognosis.
        ct: the CT or its path; None for text only.
        clinical: admission fields; None or nothing known for CT only.
        facts: further inputs of the scores.
        volume_ml: of the intraparenchymal hematoma, for the scores; by default what the network sees.
        leaked: fields known only after admission that the model learned from.
        device, threads, progress: as `prognose`.

    Raises:
        InputError: the model is none of prognosis, or neither CT nor field is given.

    Example:
        >>> assess(load_model("my-model"), "ct.nii.gz", Clinical(gcs=6, age=84)).interval
    """
    from ICHWeakSegLib.prognosis.predict import prognose

    part = check_model(model)
    clinical = clinical if clinical is not None and clinical.known else None
    leaked = {name: text for name, text in (leaked or {}).items() if name in part.leaks}
    if ct is None and clinical is None and not leaked:
        raise InputError(NOTHING_GIVEN)
    found = prognose(
        model, ct, clinical, device=device, threads=threads, progress=progress, leaked=leaked or None
    )
    rule = OutcomeRule.from_dict(part.outcome)
    column = _HELD_OUT[tuple(found.modalities)]
    rows = [row for row in part.held_out if row.get(column) is not None]
    interval = venn_abers(found.probability, [row[column] for row in rows], [row["outcome"] for row in rows])
    origin = "given" if volume_ml is not None else "model" if found.blood_ml is not None else ""
    volume = volume_ml if volume_ml is not None else found.blood_ml
    scores = baselines(clinical or Clinical(), facts or ScoreFacts(), volume)
    notices = list(found.warnings)
    if interval is None:
        notices.append(
            f"No interval: the model has {len(rows)} held-out cases, and {LEAST} with both outcomes are needed "
            "(train with --folds)."
        )
    if tuple(found.modalities) == ("ct",):
        notices.append("CT only: no admission field was given.")
    if tuple(found.modalities) == ("text",):
        notices.append("Admission fields only: no CT was given.")
    notices += leakage_notices(part.leaks, leaked)
    return Assessment(
        found,
        rule,
        interval,
        {name: one.score for name, one in scores.items()},
        volume,
        origin,
        notices,
        {
            "model": model.card.name,
            "version": model.card.version,
            "sha256": model.card.weights.sha256 if model.card.weights else None,
            "software": f"ICHWeakSeg {__version__}",
        },
    )


def check_model(model: Model) -> Any:
    """The part of the card on prognosis.

    Raises:
        InputError: the model has none.
    """
    part = getattr(model.card, "prognosis", None)
    if part is None:
        raise InputError(
            f"Model {model.card.name} is not for prognosis: give one of 'ichweakseg train prognosis'."
        )
    return part


def leakage_notices(leaks: tuple[str, ...], given: Mapping[str, str]) -> list[str]:
    """What a user must know of a model that learned from later knowledge."""
    if not leaks:
        return []
    missing = [name for name in leaks if name not in given]
    end = f"; not given here: {', '.join(missing)}" if missing else ""
    return [
        f"This model learned from fields known only after admission ({', '.join(leaks)}): no forecast{end}."
    ]
