"""From a trained prognosis network to a finished model package with its card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.metrics import brier_score_loss, roc_auc_score

from ICHWeakSegLib.localize.methods import PROBABILITY
from ICHWeakSegLib.models import (
    Architecture,
    MapSettings,
    ModelCard,
    OperatingPoint,
    PrognosisPart,
    Training,
    save_model,
)
from ICHWeakSegLib.models.card import TOKENIZER_FILE
from ICHWeakSegLib.networks.sc_network import ScNetwork
from ICHWeakSegLib.prognosis.dataset import PrognosisCrop
from ICHWeakSegLib.prognosis.train import PrognosisRecipe, recipe_text

CITATION = "After ICH-SCNet: Yu et al., BIBM 2024, arXiv 2411.04656 (no code or weights of theirs)"
LIMITS = (
    "For research use only: it must not guide the care of a patient.",
    "Measured only on the cohort named above; outcomes depend on the care that was given there.",
    "An outcome that followed a limitation of care teaches the model to expect it (self-fulfilling prophecy).",
)


def package_prognosis(
    folder: Path,
    name: str,
    recipe: PrognosisRecipe,
    network: ScNetwork,
    cases: Sequence[PrognosisCrop],
    held_out: Sequence[dict[str, Any]],
    folds: int,
    data: str = "",
    attribution: str = "",
    licence: str = "",
    version: str = "1.0.0",
    overwrite: bool = False,
    dtype: str = "float16",
) -> ModelCard:
    """Write the package: all weights, frozen encoders too, so that it runs where their files are not.

    Args:
        folder: the package's folder.
        network: finished, see `train.finished`.
        cases: what it learned from.
        held_out: rows of the folds, see `train.held_out_rows`; empty without folds.
        folds: their number.
        dtype: of the stored weights.

    Raises:
        ModelError: the folder exists, or a weight does not fit the dtype.
    """
    # Tuples become lists, as they will be read again.
    config = json.loads(json.dumps(network.config))
    rows = [{key: value for key, value in row.items() if key != "name"} for row in held_out]
    leakage = (
        [f"It has seen what is known only after admission: {', '.join(recipe.leaks)}."]
        if recipe.leaks
        else []
    )
    card = ModelCard(
        name=name,
        version=version,
        architecture=Architecture(
            "sc_network", 1, "sc-network", len(recipe.preprocessing.windows), arguments=config
        ),
        strategy="binary-sigmoid",
        classes=("any",),
        target=0,
        preprocessing=recipe.preprocessing,
        operating=OperatingPoint(),
        map=MapSettings(PROBABILITY, 0.5, "threshold"),
        method=PROBABILITY,
        description="Outcome and segmentation from CT and admission text, after ICH-SCNet"
        + (f", trained on {data}" if data else ""),
        training=Training(
            data=data,
            attribution=attribution,
            licence=licence,
            patients=len({case.patient for case in cases}),
            slices=sum(len(case.hu) for case in cases),
            recipe=f"{supervision(cases)}; {recipe_text(recipe)}",
        ),
        results=held_out_results(rows),
        limits=(*leakage, *LIMITS),
        licence=licence,
        citation=CITATION,
        prognosis=PrognosisPart(
            outcome=dict(recipe.outcome),
            template=dict(recipe.template),
            leaks=tuple(recipe.leaks),
            folds=folds,
            trained_on=tuple(dict(case.identity) for case in cases),
            held_out=tuple(rows),
        ),
    )
    tokenizer = getattr(network.text, "tokenizer_text", "")
    more = {TOKENIZER_FILE: tokenizer.encode("utf-8")} if tokenizer else None
    return save_model(folder, card, network, dtype=dtype, overwrite=overwrite, more_files=more)


def supervision(cases: Sequence[PrognosisCrop]) -> str:
    """How many outcomes and masks there were to learn from, in words."""
    known = [case.outcome for case in cases if case.outcome is not None]
    drawn = sum(case.blood is not None for case in cases)
    return f"{len(known)} outcomes ({int(sum(known))} poor), masks of blood of {drawn} of {len(cases)} CTs"


def held_out_results(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """AUC and Brier score of the held-out probabilities; empty without both outcomes."""
    truth = [row["outcome"] for row in rows]
    if len(set(truth)) < 2:
        return {}
    found: dict[str, Any] = {"held_out_cases": len(rows)}
    for name, key in (("", "probability"), ("image_only_", "image_only"), ("text_only_", "text_only")):
        scores = [row[key] for row in rows]
        found[f"{name}auc_held_out"] = round(float(roc_auc_score(truth, scores)), 4)
        found[f"{name}brier_held_out"] = round(float(brier_score_loss(truth, scores)), 4)
    return found
