"""The prognosis network: both modalities count, either may be missing, padding counts for nothing."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from prognosis_cases import NETWORK, SAM, SIZE, clip_folder

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.networks.attention_pool import AttentionPool
from ICHWeakSegLib.networks.outcome_head import band
from ICHWeakSegLib.networks.sc_network import NEVER, ScNetwork
from ICHWeakSegLib.networks.text_encoder import SmallTextEncoder
from ICHWeakSegLib.networks.tuning import is_frozen, merge_lora, tune

SEVERE, MILD = "Glasgow Coma Scale 3, coma, severe.", "Glasgow Coma Scale 15, awake, mild."


def network(seed: int = 0, **changes: object) -> ScNetwork:
    torch.manual_seed(seed)
    return ScNetwork(SIZE, **{**NETWORK, **changes}).eval()


def images(count: int = 2, slices: int = 5) -> torch.Tensor:
    return torch.rand(count, slices, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("image", [NETWORK["image"], SAM], ids=["conv", "sam"])
def test_shapes_and_weights(image: dict) -> None:
    out = network(image=image, auxiliary=["gcs", "age"])(images(), [SEVERE, MILD])
    cells = SIZE // (4 if image["kind"] == "conv" else 8)
    assert out.outcome.shape == (2,)
    assert out.blood.shape == (2, 5, SIZE, SIZE)
    assert out.image_weights.shape == (2, 5, cells, cells)
    ones = torch.ones(2)
    torch.testing.assert_close(out.slice_weights.sum(1), ones)
    torch.testing.assert_close(out.token_weights.sum(1), ones)
    torch.testing.assert_close(out.image_weights.sum((2, 3)), torch.ones(2, 5))
    assert len(out.tokens[0]) == 9
    assert out.auxiliary["gcs"].shape == (2, 3)
    assert out.auxiliary["age"].shape == (2, 4)


@pytest.mark.parametrize("image", [NETWORK["image"], SAM], ids=["conv", "sam"])
def test_text_and_image_change_the_outcome(image: dict) -> None:
    one, same = network(image=image), images(1)
    with torch.inference_mode():
        severe, mild = (one(same, [text]).outcome for text in (SEVERE, MILD))
        other = one(images(1).flip(1, 3) * 0.5, [SEVERE]).outcome
        none = one(same, [""]).outcome
        blind = one(None, [SEVERE]).outcome
    assert len({round(float(value), 5) for value in (severe, mild, other, none, blind)}) == 5


@pytest.mark.parametrize("image", [NETWORK["image"], SAM], ids=["conv", "sam"])
def test_text_changes_the_map_of_blood(image: dict) -> None:
    one = network(image=image)
    with torch.inference_mode():
        severe, mild = (one(images(1), [text]).blood for text in (SEVERE, MILD))
    assert (severe - mild).abs().max() > 1e-4


@pytest.mark.parametrize("image", [NETWORK["image"], SAM], ids=["conv", "sam"])
def test_padding_changes_nothing(image: dict) -> None:
    one, real = network(image=image), images(1, 5)
    junk = 9 * torch.ones(1, 6, 3, SIZE, SIZE)
    padded = torch.cat([real, junk], 1)
    valid = torch.tensor([[True] * 5 + [False] * 6])
    with torch.inference_mode():
        alone = one(real, [SEVERE])
        # In a batch with a longer volume and a longer text.
        other = one(
            torch.cat([padded, images(1, 11)]),
            [SEVERE, MILD * 3],
            torch.cat([valid, torch.ones(1, 11, dtype=torch.bool)]),
        )
    torch.testing.assert_close(other.outcome[:1], alone.outcome, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other.blood[:1, :5], alone.blood, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other.slice_weights[:1, :5], alone.slice_weights, atol=1e-5, rtol=1e-5)
    assert (other.slice_weights[0, 5:] == 0).all()
    assert (other.token_weights[0, 9:] == 0).all()
    assert (other.blood[0, 5:] == NEVER).all()
    torch.testing.assert_close(other.volume_ml[:1], alone.volume_ml)


def test_slices_at_once_change_nothing_nor_do_checkpoints() -> None:
    few, many = network(slices_at_once=2), network(slices_at_once=50)
    few.load_state_dict(many.state_dict())
    gradients = []
    for one in (few, many):
        # In evaluation mode, so that dropout does not come between.
        out = one(images(), [SEVERE, ""])
        (out.outcome.sum() + out.blood.mean()).backward()
        gradients.append({name: p.grad for name, p in one.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][name], atol=1e-4, rtol=1e-3, msg=name)


def test_every_part_learns() -> None:
    one = network(auxiliary=["gcs"]).train()
    out = one(images(3), [SEVERE, "", MILD], valid=torch.tensor([[True] * 5, [True] * 5, [False] * 5]))
    (out.outcome.sum() + out.blood.mean() + out.auxiliary["gcs"].sum()).backward()
    assert [name for name, p in one.named_parameters() if p.grad is None] == []


def test_a_missing_modality_is_no_zero() -> None:
    one = network()
    with torch.no_grad():
        one.head.no_image.fill_(0.3)
        one.head.no_text.fill_(-0.3)
    valid = torch.tensor([[True] * 5, [False] * 5])
    with torch.inference_mode():
        mixed = one(images(), [SEVERE, SEVERE], valid)
        text_only = one(None, [SEVERE])
        image_only = one(images(1), [""])
    torch.testing.assert_close(mixed.outcome[1:], text_only.outcome, atol=1e-6, rtol=1e-5)
    assert text_only.blood is None
    assert text_only.image_weights is None
    assert float(text_only.slice_weights.abs().sum()) == 0
    assert image_only.tokens == [[]]
    assert float(image_only.token_weights.abs().sum()) == 0
    assert torch.isfinite(image_only.outcome).all()


def test_volume_counts_pixels_by_their_millilitres() -> None:
    one = network()
    with torch.no_grad():
        one.decoder.last.weight.zero_()
        one.decoder.last.bias.fill_(20.0)
    brain = torch.zeros(1, 5, SIZE, SIZE, dtype=torch.bool)
    brain[:, :, 4:14, 4:14] = True
    pixel_ml = torch.tensor([[0.1, 0.1, 0.1, 0.2, 0.0]])
    with torch.inference_mode():
        out = one(images(1), [""], brain=brain, pixel_ml=pixel_ml)
    assert float(out.volume_ml) == pytest.approx(50.0, rel=1e-4)


def test_where_the_network_may_look() -> None:
    brain = torch.zeros(1, 5, SIZE, SIZE, dtype=torch.bool)
    brain[:, :, :16, :16] = True
    with torch.inference_mode():
        weights = network()(images(1), [SEVERE], brain=brain).image_weights
    assert float(weights[:, :, 4:].abs().sum() + weights[:, :, :, 4:].abs().sum()) == 0


def test_the_outcome_bends_the_mask_only_where_asked() -> None:
    for bends in (False, True):
        one = network(mask_gradient=bends)
        with torch.no_grad():
            one.decoder.last.bias.fill_(1.0)
        one(images(1), [SEVERE]).outcome.sum().backward()
        grad = one.decoder.last.weight.grad
        assert (grad is not None and float(grad.abs().sum()) > 0) is bends


def test_frozen_lora_and_full(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    one = network(image=SAM)
    tune(one.image, "frozen")
    tune(one.text, "full")
    one.train()
    assert not one.image.training
    assert one.text.training
    out = one(images(), [SEVERE, MILD])
    (out.outcome.sum() + out.blood.mean()).backward()
    assert all(p.grad is None for p in one.image.parameters())
    assert all(p.grad is not None for p in one.text.parameters())

    other = network(image=SAM)
    total = sum(p.numel() for p in other.image.parameters())
    with torch.inference_mode():
        before = other(images(), [SEVERE, MILD]).outcome
    tune(other.image, "lora", rank=2)
    learns = [name for name, p in other.image.named_parameters() if p.requires_grad]
    assert learns
    assert all("lora_" in name for name in learns)
    assert sum(p.numel() for p in other.image.parameters() if p.requires_grad) < 0.1 * total
    assert not is_frozen(other.image)
    optimizer = torch.optim.SGD([p for p in other.image.parameters() if p.requires_grad], 0.5)
    for _ in range(2):
        optimizer.zero_grad()
        other(images(), [SEVERE, MILD]).outcome.sum().backward()
        optimizer.step()
    with torch.inference_mode():
        learned = other(images(), [SEVERE, MILD]).outcome
        merge_lora(other.image)
        merged = other(images(), [SEVERE, MILD]).outcome
    assert (learned - before).abs().max() > 1e-4
    torch.testing.assert_close(merged, learned, atol=1e-5, rtol=1e-4)
    assert other.image.state_dict().keys() == network(image=SAM).image.state_dict().keys()
    with pytest.raises(InputError, match="LoRA finds no attention"):
        tune(network().image, "lora")
    with pytest.raises(InputError, match="one of frozen, lora, full"):
        tune(network().image, "half")


def test_configuration_builds_the_network_again(tmp_path: Path) -> None:
    one = network(image=SAM, auxiliary=["age"])
    again = ScNetwork(**json.loads(json.dumps(one.config)))
    again.load_state_dict(one.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(
            again.eval()(images(), [SEVERE, ""]).outcome, one(images(), [SEVERE, ""]).outcome
        )


def test_the_configuration_holds_what_was_left_to_defaults() -> None:
    config = ScNetwork(size=32).config
    assert config["text"] == {
        "kind": "small",
        **{name: value.default for name, value in inspect.signature(SmallTextEncoder).parameters.items()},
    }
    assert config["image"] == {"kind": "conv", "widths": [16, 32, 64, 96]}
    sam = ScNetwork(size=32, image={"kind": "sam", "depth": 1, "global_blocks": [0], "embed_dim": 24}).config
    assert {"num_heads", "window", "patch", "neck", "normalize"} <= sam["image"].keys()
    assert "size" not in sam["image"]


def test_with_a_clip_folder(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from ICHWeakSegLib.networks.transformers_text import TransformersTextEncoder

    text = TransformersTextEncoder.from_folder(clip_folder(tmp_path / "clip"))
    one = network(text={"kind": "transformers", **text.arguments})
    with pytest.raises(ValueError, match="no tokenizer yet"):
        one(None, [SEVERE])
    one.text.set_tokenizer(text.tokenizer_text)
    one.text.load_state_dict(text.state_dict())
    with torch.inference_mode():
        severe, mild = (one(None, [t]).outcome for t in (SEVERE, MILD))
    assert severe != mild
    assert ScNetwork(**json.loads(json.dumps(one.config))).state_dict().keys() == one.state_dict().keys()


def test_arguments_are_checked() -> None:
    for words, changes in (
        ("multiple of 16", {"size": 40}),
        ("image encoder is one of", {"image": {"kind": "vit"}}),
        ("text encoder is one of", {"text": {"kind": "gpt"}}),
        ("Auxiliary heads are", {"auxiliary": ["sex"]}),
        ("slices_at_once is a whole number", {"slices_at_once": 0}),
        ("multiple of 8", {"width": 15}),
    ):
        with pytest.raises(ValueError, match=words):
            ScNetwork(**{"size": SIZE, **NETWORK, **changes})
    with pytest.raises(ValueError, match="Images must be"):
        network()(torch.zeros(1, 5, 3, 16, 16), [""])


def test_attention_pool_of_nothing() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(8, 8)
    there = torch.tensor([[True, True, False], [False, False, False]])
    with torch.inference_mode():
        pooled, weights = pool(torch.rand(2, 3, 8), torch.rand(2, 8), there)
    assert weights[0, 2] == 0
    assert float(weights[0].sum()) == pytest.approx(1)
    assert float(weights[1].abs().sum() + pooled[1].abs().sum()) == 0


def test_bands() -> None:
    values = torch.tensor([3.0, 4.0, 5.0, 12.0, 13.0, float("nan")])
    assert band("gcs", values).tolist() == [0, 0, 1, 1, 2, -1]
    assert band("age", torch.tensor([59.9, 60.0, 79.0, 80.0])).tolist() == [0, 1, 2, 3]
