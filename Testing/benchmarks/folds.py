"""A fold of `ichweakseg train classifier --folds`: its recipe, its network, and who was held out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.networks import SwinClassifier
from ICHWeakSegLib.training.train_classifier import NUM_CLASSES, Recipe


@dataclass
class Fold:
    recipe: Recipe
    network: SwinClassifier
    held: set[str]


def read_fold(folder: Path) -> Fold:
    """Read a fold's `run.json` and `network.safetensors`; the network is in eval mode."""
    run = json.loads((folder / "run.json").read_text())
    facts = run["recipe"]
    wishes = dict(facts["preprocessing"], windows=tuple(map(tuple, facts["preprocessing"]["windows"])))
    overrides = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["overrides"].items()}
    network = SwinClassifier(facts["backbone"], NUM_CLASSES[facts["strategy"]], **overrides)
    network.load_state_dict(load_file(folder / "network.safetensors"))
    recipe = Recipe(facts["backbone"], Preprocessing(**wishes), overrides, facts["strategy"])
    return Fold(recipe, network.eval(), set(run["valid"]))
