"""Text encoders: the small one without files, and transformers' own from a local folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from prognosis_cases import clip_folder

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.networks.text_encoder import SmallTextEncoder

TEXTS = ["Glasgow Coma Scale 6, severe.", "Aged 17 years."]


def test_pieces_know_the_place_of_digits() -> None:
    shown = SmallTextEncoder.pieces("Aged 84.25 y, GCS 6. 12 h.")
    keys = [key for _, key in shown]
    assert [token for token, _ in shown][:6] == ["aged", "8", "4", ".", "2", "5"]
    assert keys[1:6] == ["8@1", "4@0", ".", "2@-1", "5@-2"]
    # After a full stop a number begins anew.
    assert keys[-6:] == ["6@0", ".", "1@1", "2@0", "h", "."]
    assert SmallTextEncoder.pieces("  ") == []


def test_small_encoder_ignores_padding_and_cuts_long_texts() -> None:
    torch.manual_seed(0)
    encoder = SmallTextEncoder(16, heads=2, length=8).eval()
    alone = encoder(TEXTS[1:])
    both = encoder(TEXTS)
    assert both.tokens[0] == ["glasgow", "coma", "scale", "6", ",", "severe", "."]
    assert both.padding.tolist()[1] == [False] * 5 + [True] * 2
    torch.testing.assert_close(both.features[1, :5], alone.features[0], atol=1e-6, rtol=1e-5)
    assert encoder(["one two three four five six seven eight nine ten"]).features.shape == (1, 8, 16)
    empty = encoder(["", TEXTS[0]])
    assert empty.padding[0].all()
    assert torch.isfinite(empty.features).all()


def test_small_encoder_tells_texts_apart() -> None:
    torch.manual_seed(0)
    encoder = SmallTextEncoder(16, heads=2).eval()
    three, fifteen = (encoder([f"Glasgow Coma Scale {n}."]).features for n in ("3", "9"))
    assert (three - fifteen).abs().max() > 0.05


@pytest.mark.parametrize("sort", ["text", "whole", "bert"])
def test_folders_of_transformers(tmp_path: Path, sort: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from ICHWeakSegLib.networks.transformers_text import TransformersTextEncoder

    torch.manual_seed(1)
    folder = clip_folder(tmp_path / "encoder", whole=sort == "whole", bert=sort == "bert")
    encoder = TransformersTextEncoder.from_folder(folder)
    found = encoder(TEXTS)
    assert found.tokens[0] == ["<s>", "glasgow", "coma", "scale", "6", ",", "severe", ".", "</s>"]
    assert found.padding.sum(1).tolist() == [0, 3]
    # The library by itself, one text at a time.
    kind = transformers.AutoModel if sort == "bert" else transformers.CLIPTextModel
    oracle = kind.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for row, text in enumerate(TEXTS):
        ids = tokenizer([text], return_tensors="pt")
        with torch.inference_mode():
            expected = oracle(input_ids=ids["input_ids"]).last_hidden_state[0]
        own = found.features[row, : len(expected)].detach()
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-4)
    # Built again from plain JSON, its tokenizer's text and its weights.
    again = TransformersTextEncoder(
        **json.loads(json.dumps(encoder.arguments)), tokenizer=encoder.tokenizer_text
    )
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again.eval()(TEXTS).features, found.features)
    assert encoder(["severe " * 60]).features.shape[1] == 24


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    import safetensors.torch

    from ICHWeakSegLib.networks.transformers_text import TransformersTextEncoder

    with pytest.raises(InputError, match="is no text encoder: give a folder"):
        TransformersTextEncoder.from_folder(tmp_path)
    folder = clip_folder(tmp_path / "clip")
    file = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    lost = next(key for key in tensors if key.endswith("layers.1.mlp.fc1.weight"))
    safetensors.torch.save_file(
        {key: value for key, value in tensors.items() if key != lost}, file, metadata={"format": "pt"}
    )
    with pytest.raises(InputError, match=r"lack .*layers\.1\.mlp\.fc1\.weight"):
        TransformersTextEncoder.from_folder(folder)
    file.write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be loaded"):
        TransformersTextEncoder.from_folder(folder)
