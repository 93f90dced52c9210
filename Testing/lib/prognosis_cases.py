"""Small prognosis networks and cropped cases: quick to train, with a signal in image and text that is planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.ct.network_input import Preprocessing
from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.dataset import PrognosisCrop
from ICHWeakSegLib.prognosis.identity import name_hash
from ICHWeakSegLib.prognosis.train import PrognosisRecipe

SIZE = 32
INPUT = Preprocessing(
    SIZE,
    ((40, 80), (80, 200), (55, 50)),
    pixel_mm=6.0,
    blank_outside_brain=True,
    slice_mm=5.0,
    brain_hu=33.0,
)
# SAM's parts, as few and small as they can be.
SAM = {
    "kind": "sam",
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "global_blocks": [0, 1],
    "window": 2,
    "patch": 8,
    "neck": 16,
}
NETWORK: dict[str, Any] = {
    "image": {"kind": "conv", "widths": [8, 16]},
    "text": {"kind": "small", "width": 16, "heads": 2, "buckets": 512},
    "width": 16,
    "heads": 2,
    "slices_at_once": 4,
}


def recipe(**changes: object) -> PrognosisRecipe:
    """A recipe for `crops`; `changes` replace its fields."""
    own = {
        "preprocessing": INPUT,
        "network": dict(NETWORK),
        "outcome": {"scale": "label", "cut": 1},
        "epochs": 2,
        "batch": 4,
        "check_every": 1,
        "rate": 3e-3,
    }
    return PrognosisRecipe(**{**own, **changes})


def crops(count: int, seed: int = 0, slices: int = 5) -> list[PrognosisCrop]:
    """Heads with a square bleed each; the outcome is poor where bleed and coma together are bad enough."""
    rng = np.random.default_rng(seed)
    brain = np.zeros((slices, SIZE, SIZE), bool)
    brain[:, 3:-3, 3:-3] = True
    found = []
    for number in range(count):
        side, gcs = int(rng.integers(2, 13)), int(rng.integers(3, 16))
        blood = np.zeros(brain.shape, bool)
        corner = rng.integers(5, SIZE - 5 - side, 2)
        blood[1:-1, corner[0] : corner[0] + side, corner[1] : corner[1] + side] = True
        hu = np.where(brain, 33, -100) + np.where(blood, 35, 0) + rng.normal(0, 3, brain.shape)
        outcome = float(side / 12 + (15 - gcs) / 12 > 1)
        name = f"case-{seed}-{number:03d}"
        hashes = {part: name_hash(f"{part} {name}") for part in ("case", "patient", "ct")}
        found.append(
            PrognosisCrop(
                name,
                name,
                np.rint(hu).astype(np.int16),
                brain,
                np.full(slices, 0.18, np.float32),
                Clinical(age=float(rng.integers(40, 90)), gcs=gcs),
                blood,
                outcome=outcome,
                identity=hashes,
            )
        )
    return found


def clip_folder(folder: Path, whole: bool = False, bert: bool = False) -> Path:
    """A tiny CLIP (its text encoder alone, or the whole) or BERT of random weights with a word tokenizer."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertModel,
        CLIPConfig,
        CLIPModel,
        CLIPTextConfig,
        CLIPTextModel,
        PreTrainedTokenizerFast,
    )

    words = [
        "<s>",
        "</s>",
        "<unk>",
        *("glasgow", "coma", "scale", "severe", "mild", "aged", "years", ".", ","),
        *map(str, range(20)),
    ]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        model_max_length=24,
    )
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
    }
    if bert:
        model = BertModel(BertConfig(**sizes, pad_token_id=1))
    else:
        text = CLIPTextConfig(**sizes, bos_token_id=0, eos_token_id=1, pad_token_id=1)
        vision = {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
        }
        model = (
            CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision, projection_dim=8))
            if whole
            else CLIPTextModel(text)
        )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
