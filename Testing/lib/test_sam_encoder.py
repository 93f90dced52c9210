"""SAM's image encoder: official files load strictly, and it computes what SAM computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.networks.sam_encoder import SIZES, SamEncoder

TINY = {
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "global_blocks": [1, 3],
    "window": 5,
    "patch": 8,
    "neck": 16,
}


def official_shapes(
    dim: int = 768,
    depth: int = 12,
    heads: int = 12,
    globals_: tuple[int, ...] = (2, 5, 8, 11),
    neck: int = 256,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of SAM's image encoder as segment_anything/modeling/image_encoder.py has them at 1024."""
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, 64, 64, dim),
        "patch_embed.proj.weight": (dim, 3, 16, 16),
        "patch_embed.proj.bias": (dim,),
    }
    for block in range(depth):
        reach = 2 * (64 if block in globals_ else 14) - 1
        shapes |= {
            f"blocks.{block}.{name}": shape
            for name, shape in {
                "norm1.weight": (dim,),
                "norm1.bias": (dim,),
                "attn.rel_pos_h": (reach, dim // heads),
                "attn.rel_pos_w": (reach, dim // heads),
                "attn.qkv.weight": (3 * dim, dim),
                "attn.qkv.bias": (3 * dim,),
                "attn.proj.weight": (dim, dim),
                "attn.proj.bias": (dim,),
                "norm2.weight": (dim,),
                "norm2.bias": (dim,),
                "mlp.lin1.weight": (4 * dim, dim),
                "mlp.lin1.bias": (4 * dim,),
                "mlp.lin2.weight": (dim, 4 * dim),
                "mlp.lin2.bias": (dim,),
            }.items()
        }
    shapes |= {"neck.0.weight": (neck, dim, 1, 1), "neck.1.weight": (neck,), "neck.1.bias": (neck,)}
    shapes |= {"neck.2.weight": (neck, neck, 3, 3), "neck.3.weight": (neck,), "neck.3.bias": (neck,)}
    return {f"image_encoder.{name}": shape for name, shape in shapes.items()}


def tiny_file(path: Path, size: int = 96, **changes: torch.Tensor) -> tuple[Path, dict[str, torch.Tensor]]:
    """A file of official names for the tiny encoder, random weights."""
    torch.manual_seed(0)
    tensors = {}
    for key, value in SamEncoder(size, **TINY).vit.state_dict().items():
        name = "image_encoder." + key.replace("mlp.fc", "mlp.lin")
        tensors[name] = changes.get(name, 0.2 * torch.randn_like(value))
    torch.save(tensors, path)
    return path, tensors


def test_official_vit_b_loads_strictly(tmp_path: Path) -> None:
    # The values matter only where they can be told from what was there before.
    tensors = {name: torch.full(shape, 0.01) for name, shape in official_shapes().items()}
    assert len(tensors) == 177
    whole = {
        **tensors,
        "prompt_encoder.no_mask_embed.weight": torch.ones(1, 256),
        "mask_decoder.x": torch.ones(1),
    }
    torch.save(whole, tmp_path / "sam_vit_b.pth")
    encoder = SamEncoder(256, **SIZES["vit_b"])
    encoder.load_official(tmp_path / "sam_vit_b.pth")
    for name, value in encoder.vit.state_dict().items():
        assert torch.allclose(value, torch.full_like(value, 0.01), atol=1e-6), name
    assert encoder.vit.pos_embed.shape == (1, 16, 16, 768)
    assert encoder.vit.blocks[2].attn.rel_pos_h.shape == (31, 64)
    assert encoder.vit.blocks[0].attn.rel_pos_h.shape == (27, 64)


def test_encoder_alone_and_medsam_training_file(tmp_path: Path) -> None:
    path, tensors = tiny_file(tmp_path / "whole.pth")
    encoders = []
    alone = {key.removeprefix("image_encoder."): value for key, value in tensors.items()}
    # Without their prefix the names are SAM's still: `mlp.lin1`.
    torch.save(alone, tmp_path / "alone.pth")
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "training.pth")
    for name in (path.name, "alone.pth", "training.pth"):
        encoder = SamEncoder(96, **TINY).eval()
        encoder.load_official(tmp_path / name)
        encoders.append(encoder)
    first = encoders[0].state_dict()
    for other in encoders[1:]:
        assert all(torch.equal(first[key], value) for key, value in other.state_dict().items())


def test_wrong_files_are_named(tmp_path: Path) -> None:
    _, tensors = tiny_file(tmp_path / "good.pth")
    encoder = SamEncoder(96, **TINY)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}

    def refused(changed: object, words: str) -> None:
        torch.save(changed, tmp_path / "bad.pth")
        with pytest.raises(InputError, match=words):
            encoder.load_official(tmp_path / "bad.pth")

    lacking = {key: value for key, value in tensors.items() if not key.endswith("blocks.2.mlp.lin1.bias")}
    refused(lacking, r"lacks tensor image_encoder\.blocks\.2\.mlp\.lin1\.bias \(1 such")
    refused({**tensors, "image_encoder.more": torch.ones(1)}, r"unknown tensor image_encoder\.more")
    misshaped = {**tensors, "image_encoder.neck.1.weight": torch.ones(17)}
    refused(misshaped, r"image_encoder\.neck\.1\.weight has the shape \(17,\) instead of \(16,\)")
    refused([1, 2], "no table of weights")
    (tmp_path / "text.pth").write_text("not a weight file")
    with pytest.raises(InputError, match="not a weight file"):
        encoder.load_official(tmp_path / "text.pth")
    with pytest.raises(InputError, match="no weight file"):
        encoder.load_official(tmp_path / "none.pth")
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_a_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self):
            return (Path(tmp_path / "made").touch, ())

    torch.save({"image_encoder.pos_embed": Bad()}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="read safely"):
        SamEncoder(96, **TINY).load_official(tmp_path / "bad.pth")
    assert not (tmp_path / "made").exists()


def test_embeddings_equal_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle, transformers, is not installed")
    settings = transformers.SamVisionConfig(
        hidden_size=32,
        output_channels=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=96,
        patch_size=8,
        window_size=5,
        global_attn_indexes=[1, 3],
    )
    oracle = transformers.SamVisionModel(settings).eval()
    path, tensors = tiny_file(tmp_path / "sam.pth")
    places = (("blocks.", "layers."), ("norm1", "layer_norm1"), ("norm2", "layer_norm2"))
    necks = (("neck.0", "neck.conv1"), ("neck.1", "neck.layer_norm1"))
    necks += (("neck.2", "neck.conv2"), ("neck.3", "neck.layer_norm2"))
    renamed = {}
    for key, value in tensors.items():
        name = key.removeprefix("image_encoder.").replace("patch_embed.proj", "patch_embed.projection")
        for ours, theirs in necks if name.startswith("neck") else places:
            name = name.replace(ours, theirs)
        renamed[f"vision_encoder.{name}"] = value
    oracle.load_state_dict(renamed)
    encoder = SamEncoder(96, **TINY, normalize=False).eval()
    encoder.load_official(path)
    images = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        features = encoder(images)
        expected = oracle(images, output_hidden_states=True)
    torch.testing.assert_close(features[-1], expected.last_hidden_state, rtol=1e-4, atol=1e-5)
    # Hidden state 0 is before the first block.
    for found, block in zip(features, (1, 3), strict=False):
        hidden = expected.hidden_states[block + 1].permute(0, 3, 1, 2)
        torch.testing.assert_close(found, hidden, rtol=1e-4, atol=1e-5)
    assert [f.shape[1:] for f in features] == [(32, 12, 12), (32, 12, 12), (16, 12, 12)]


def test_another_size_resamples_the_positions(tmp_path: Path) -> None:
    # A table that rises evenly still does after resampling, over the same range.
    ramp = torch.linspace(-1, 1, 23)[:, None].expand(23, 16).contiguous()
    path, _ = tiny_file(tmp_path / "sam.pth", **{"image_encoder.blocks.1.attn.rel_pos_h": ramp})
    encoder = SamEncoder(64, **TINY).eval()
    encoder.load_official(path)
    table = encoder.vit.blocks[1].attn.rel_pos_h.detach()
    assert table.shape == (15, 16)
    assert torch.all(table.diff(dim=0) > 0)
    assert abs(float(table[7, 0])) < 1e-6
    same = SamEncoder(96, **TINY)
    same.load_official(path)
    assert torch.equal(same.vit.blocks[1].attn.rel_pos_h, ramp)
    # The centre of the positions stays the centre.
    wide, small = same.vit.pos_embed.mean((1, 2)), encoder.vit.pos_embed.mean((1, 2))
    torch.testing.assert_close(wide, small, atol=0.05, rtol=0)
    assert encoder(torch.rand(1, 3, 64, 64))[-1].shape == (1, 16, 8, 8)


def test_arguments_and_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="multiple of the patch"):
        SamEncoder(100, **TINY)
    with pytest.raises(ValueError, match="Global blocks"):
        SamEncoder(96, **{**TINY, "global_blocks": [4]})
    with pytest.raises(ValueError, match=r"Images must be \(B, 3, 96, 96\)"):
        SamEncoder(96, **TINY)(torch.zeros(1, 3, 64, 64))


def test_images_are_scaled_as_sam_learned_them() -> None:
    torch.manual_seed(0)
    encoder = SamEncoder(96, **TINY).eval()
    plain = SamEncoder(96, **TINY, normalize=False).eval()
    plain.load_state_dict(encoder.state_dict())
    images = torch.rand(1, 3, 96, 96)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        torch.testing.assert_close(encoder(images)[-1], plain((images - mean) / deviation)[-1])
        assert not torch.allclose(encoder(images)[-1], plain(images)[-1])
