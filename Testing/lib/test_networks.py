"""The Swin classifier and published weights."""

import pytest
import torch

from ICHWeakSegLib.networks import PAPER_BACKBONE, SwinClassifier, convert_published_state_dict

SMALL = {"img_size": 64, "window_size": 4, "embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (2, 4, 4, 8)}


def small(num_classes: int = 2, **options) -> SwinClassifier:
    torch.manual_seed(0)
    options = {**SMALL, **options}
    return SwinClassifier("swin_tiny_patch4_window7_224", num_classes, **options).eval()


def old_timm(state: dict[str, torch.Tensor], model: SwinClassifier) -> dict[str, torch.Tensor]:
    """The state dict as timm before 0.9 wrote it: merging at the end of a stage, computed buffers kept."""
    old = {}
    for key, value in state.items():
        parts = key.split(".")
        if "downsample" in parts:
            parts[2] = str(int(parts[2]) - 1)
        old[".".join(parts)] = value
    for name, module in model.named_modules():
        if name.endswith(".attn"):
            old[f"{name}.relative_position_index"] = module.relative_position_index
        if getattr(module, "attn_mask", None) is not None:
            old[f"{name}.attn_mask"] = module.attn_mask
    return old


@pytest.mark.parametrize("num_classes", [1, 2, 6])
def test_logits_have_one_column_a_class(num_classes):
    assert small(num_classes)(torch.rand(3, 3, 64, 64)).shape == (3, num_classes)


def test_config_builds_the_same_network():
    model = small(6, in_chans=2)
    copy = SwinClassifier(**model.config)
    copy.load_state_dict(model.state_dict())
    images = torch.rand(1, 2, 64, 64)
    torch.testing.assert_close(copy.eval()(images), model(images))


def test_image_size_may_be_any_rectangle():
    model = small(img_size=(96, 64))
    assert model.image_size == (96, 64)
    assert model(torch.rand(1, 3, 96, 64)).shape == (1, 2)


def test_fused_attention_changes_rounding_only():
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(small()(images), small(fused_attention=False)(images), rtol=1e-5, atol=1e-5)


def test_positive_logit_picks_the_target_class():
    logits = torch.arange(12.0).reshape(2, 6)
    assert small(6).positive_logit(logits, 3).tolist() == [3, 9]
    assert small(2).positive_logit(logits[:, :2]).tolist() == [1, 7]
    assert small(1).positive_logit(logits[:, :1], target=1).tolist() == [0, 6]


def test_probabilities_follow_the_strategy():
    logits = torch.randn(4, 6)
    assert small(2).probabilities(logits[:, :2], "binary").sum(dim=1).tolist() == pytest.approx([1] * 4)
    torch.testing.assert_close(
        small(1).probabilities(logits[:, :1], "binary-sigmoid"), logits[:, :1].sigmoid()
    )
    torch.testing.assert_close(small(6).probabilities(logits, "subtypes"), logits.sigmoid())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SwinClassifier("swin_of_nowhere"), "no model named 'swin_of_nowhere'"),
        (lambda: SwinClassifier("resnet18"), "needs a Swin Transformer v1"),
        (lambda: small(window_sice=4), "window_sice"),
        (lambda: small(0), "num_classes must be at least 1"),
        (lambda: small(in_chans=0), "in_chans must be at least 1"),
        (lambda: small()(torch.rand(1, 1, 64, 64)), r"Images must be \(B, 3, H, W\)"),
        (lambda: small()(torch.rand(3, 64, 64)), r"Images must be \(B, 3, H, W\)"),
        (lambda: small()(torch.rand(1, 3, 32, 64)), r"takes images of \(64, 64\) pixels"),
        (lambda: small().positive_logit(torch.rand(1, 2), 2), "target 2 is not one of the 2 classes"),
        (lambda: small().positive_logit(torch.rand(1, 6)), r"Logits must be \(B, 2\)"),
        (lambda: small().probabilities(torch.rand(1, 2), "ternary"), "Unknown strategy 'ternary'"),
        (lambda: small().probabilities(torch.rand(1, 2), "binary-sigmoid"), "takes 1 logit"),
        (lambda: small(6).probabilities(torch.rand(1, 6), "binary"), "takes 2 logit"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("num_classes", [2, 1, 6], ids=["binary", "binary-sigmoid", "subtypes"])
@pytest.mark.parametrize(
    "wrap", [dict, lambda state: {"state_dict": state, "epoch": 3}], ids=["bare", "wrapped"]
)
def test_published_format_loads_strictly(num_classes, wrap):
    author, ours = small(num_classes), small(num_classes)
    with torch.no_grad():
        for parameter in author.parameters():
            parameter.normal_(std=0.1)
    old = old_timm(author.state_dict(), author)
    assert "swin.layers.0.downsample.reduction.weight" in old
    assert "swin.layers.3.downsample.reduction.weight" not in old
    ours.load_state_dict(convert_published_state_dict(wrap(old), ours), strict=True)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), author(images))


def test_published_format_of_the_papers_own_size():
    """Shapes of swin_base_patch4_window12_384 as timm 0.6 names them."""
    with torch.device("meta"):
        model = SwinClassifier(PAPER_BACKBONE, 2)
    old = old_timm(model.state_dict(), model)
    assert old["swin.layers.0.downsample.reduction.weight"].shape == (256, 512)
    assert old["swin.layers.2.downsample.norm.weight"].shape == (2048,)
    assert old["head.weight"].shape == (2, 1024)
    assert set(convert_published_state_dict(old, model)) == set(model.state_dict())


def test_todays_format_passes_through_uncopied():
    model = small()
    state = model.state_dict()
    converted = convert_published_state_dict(state, model)
    assert converted.keys() == state.keys()
    assert all(converted[key].data_ptr() == state[key].data_ptr() for key in state)


def test_data_parallel_prefix_and_head_in_the_backbone():
    model = small()
    state = old_timm(model.state_dict(), model)
    state = {
        key.replace("head.", "swin.head.") if key.startswith("head.") else key: state[key] for key in state
    }
    state = {f"module.{key}": value for key, value in state.items()}
    model.load_state_dict(convert_published_state_dict(state, model), strict=True)


def test_weights_that_do_not_fit_are_listed():
    model = small()
    state = dict(model.state_dict())
    del state["swin.norm.weight"]
    state["unet.weight"] = torch.zeros(1)
    state["head.weight"] = torch.zeros(6, 128)
    with pytest.raises(ValueError, match="do not fit") as error:
        convert_published_state_dict(state, model)
    message = str(error.value)
    assert "1 missing: swin.norm.weight" in message
    assert "1 unexpected: unet.weight" in message
    assert "head.weight (6, 128) instead of (2, 128)" in message


@pytest.mark.parametrize("state", [{}, {"epoch": 3}, {"optimizer": {"lr": 0.1}}])
def test_what_is_no_state_dict_is_refused(state):
    with pytest.raises(ValueError, match="no state dict of a SwinClassifier"):
        convert_published_state_dict(state, small())
