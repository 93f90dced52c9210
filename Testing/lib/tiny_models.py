"""Tiny random models: they know nothing, but run as trained ones do."""

from __future__ import annotations

from pathlib import Path

import torch

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.models import Architecture, MapSettings, ModelCard, OperatingPoint, save_model
from ICHWeakSegLib.models.build import build_network

SPREAD = 4.0
OVERRIDES = {
    "img_size": 64,
    "patch_size": 4,
    "window_size": 4,
    "embed_dim": 8,
    "depths": [2, 2, 2, 2],
    "num_heads": [1, 2, 4, 8],
}
CLASSES = {
    "binary": ("none", "any"),
    "binary-sigmoid": ("any",),
    "subtypes": ("any", "EDH", "IPH", "IVH", "SAH", "SDH"),
}


def tiny_card(name: str = "tiny", strategy: str = "binary-sigmoid", **changes: object) -> ModelCard:
    """A card for 64 pixels of 3 mm whose every slice is positive and whose map rules nothing out."""
    classes = CLASSES[strategy]
    fields = {
        "name": name,
        "version": "0.1",
        "architecture": Architecture("swin_tiny_patch4_window7_224", len(classes), overrides=dict(OVERRIDES)),
        "strategy": strategy,
        "classes": classes,
        "target": classes.index("any"),
        "preprocessing": Preprocessing(
            64,
            ((40, 80), (80, 200), (55, 50)),
            pixel_mm=3.0,
            blank_outside_brain=True,
            slice_mm=5.0,
            brain_hu=33.0,
        ),
        "operating": OperatingPoint(1e-6),
        # A random network's map says nothing: let HU decide.
        "map": MapSettings("hgi-sam", 0.0, "hu", {"smallest_ml": 1.0}),
    }
    return ModelCard(**{**fields, **changes})


def tiny_model(folder: Path, card: ModelCard | None = None, seed: int = 0) -> Path:
    """A package of random weights; its folder."""
    card = card or tiny_card(folder.name)
    torch.manual_seed(seed)
    network = build_network(card.architecture)
    # Far from the even output of fresh weights, so that slices differ.
    with torch.no_grad():
        network.head.weight.mul_(SPREAD)
    save_model(folder, card, network)
    return folder
