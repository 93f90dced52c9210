"""Localization maps against independent oracles, and what must not happen to the classifier."""

import threading
import warnings

import hgi_sam_numpy as oracle
import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch.overrides import _get_current_function_mode_stack

from ICHWeakSegLib.localize import (
    METHODS,
    classify_and_localize,
    find_method,
    grad_cam,
    hgi_sam,
    hires_cam,
    in_batches,
    layer_cam,
    localize_positive,
    swin_sam,
)
from ICHWeakSegLib.localize.attention_capture import AttentionCapture
from ICHWeakSegLib.localize.watched_attention import BlockAttention
from ICHWeakSegLib.localize.window_maps import enlarge, min_max, windows_to_grid
from ICHWeakSegLib.networks import SwinClassifier

# Usual; not square, windows as large as a grid; grids that no window divides; stages of odd depth.
SIZES = {
    "usual": {"img_size": 64, "window_size": 4, "depths": (2, 2, 4, 2), "num_heads": (2, 2, 4, 4)},
    "oblong": {"img_size": (72, 48), "window_size": 4, "depths": (2, 4, 2), "num_heads": (1, 2, 4)},
    "padded": {"img_size": 60, "window_size": 3, "depths": (2, 2, 2, 2), "num_heads": (2, 2, 2, 2)},
    "odd": {"img_size": 56, "window_size": 7, "depths": (3, 1, 2), "num_heads": (2, 4, 4)},
}


def network(size: str = "usual", num_classes: int = 2, **options) -> SwinClassifier:
    """A small classifier whose random attention is far from even."""
    torch.manual_seed(1)
    options = {"embed_dim": 16, **SIZES[size], **options}
    classifier = SwinClassifier("swin_tiny_patch4_window7_224", num_classes, **options)
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            if "relative_position_bias" in name or "qkv" in name:
                parameter.normal_(std=0.5)
        classifier.head.weight.mul_(20)
    return classifier.eval().double()


def pictures(classifier: SwinClassifier, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(count, 3, *classifier.image_size, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def usual() -> SwinClassifier:
    return network()


# --- The arithmetic ---


@pytest.mark.parametrize("size", SIZES)
def test_attention_maps_are_those_of_the_method_card(size):
    classifier = network(size)
    images = pictures(classifier, 1)
    brain = (np.random.default_rng(0).random(classifier.image_size) > 0.2).astype(float)
    logits, blocks = oracle.run(classifier, images[0], SIZES[size]["window_size"])
    np.testing.assert_allclose(logits, classifier(images)[0].detach().numpy(), rtol=1e-9)
    for gradient_at in ("logits", "attention"):
        expected = oracle.hgi_sam(blocks, classifier.image_size, brain, gradient_at)
        found = hgi_sam(classifier, images, brain, gradient_at=gradient_at)[0]
        np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=gradient_at)
    for roll in (False, True):
        expected = oracle.swin_sam(blocks, classifier.image_size, brain, roll)
        found = swin_sam(classifier, images, brain, reference_roll=roll)[0]
        np.testing.assert_allclose(found, expected, atol=1e-8, err_msg=f"roll {roll}")


@pytest.mark.parametrize(("num_classes", "target"), [(1, 1), (6, 4)])
def test_target_class(num_classes, target):
    classifier = network(num_classes=num_classes)
    images = pictures(classifier, 1)
    _, blocks = oracle.run(classifier, images[0], 4, target)
    found = hgi_sam(classifier, images, target=target)[0]
    np.testing.assert_allclose(found, oracle.hgi_sam(blocks, classifier.image_size), atol=1e-8)


@pytest.mark.parametrize("stages", [(0,), (1, 2), (2, 0), (0, 1, 2, 3)])
def test_any_stages(usual, stages):
    images = pictures(usual, 1)
    _, blocks = oracle.run(usual, images[0], 4)
    expected = oracle.hgi_sam(blocks, usual.image_size, stages=stages)
    np.testing.assert_allclose(hgi_sam(usual, images, stages=stages)[0], expected, atol=1e-8)


def test_gradient_at_the_softmax_input_follows_from_that_at_its_output():
    """The identity that lets both choices of `gradient_at` share one backward pass."""
    classifier = network()
    _, blocks = oracle.run(classifier, pictures(classifier, 1)[0], 4)
    for block in blocks:
        attention, gradient = block.attention, block.gradient_at_attention
        derived = attention * (gradient - (gradient * attention).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(derived, block.gradient_at_logits, atol=1e-12)


def test_single_precision_is_close(usual):
    images = pictures(usual)
    single = network().float()
    for name, method in METHODS.items():
        difference = (method(single, images.float()) - method(usual, images)).abs().max()
        assert difference < 2e-4, name


@pytest.mark.parametrize("name", METHODS)
def test_batch_equals_one_by_one(usual, name):
    images = pictures(usual, 3)
    brain = torch.rand(3, *usual.image_size) > 0.2
    together = METHODS[name](usual, images, brain)
    alone = [METHODS[name](usual, images[i : i + 1], brain[i])[0] for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-9)
    assert together.shape == (3, *usual.image_size)
    assert (together.min() >= 0) & (together.max() <= 1)


@pytest.mark.parametrize("name", METHODS)
def test_map_does_not_depend_on_the_scale_of_the_logit(name):
    classifier = network()
    images = pictures(classifier)
    before = METHODS[name](classifier, images)
    with torch.no_grad():
        classifier.head.weight.mul_(7.5)
    torch.testing.assert_close(METHODS[name](classifier, images), before, rtol=0, atol=1e-9)


def test_reference_roll_moves_the_unshifted_last_stage_only(usual):
    images = pictures(usual)
    assert usual.swin.layers[3].blocks[1].shift_size == (0, 0)
    assert (swin_sam(usual, images, reference_roll=True) - swin_sam(usual, images)).abs().max() > 1e-3


# --- Pieces ---


@pytest.mark.parametrize("grid", [(8, 8), (12, 4), (7, 10)])
@pytest.mark.parametrize("shift", [(0, 0), (2, 2), (0, 2)])
def test_windows_go_back_to_their_places(grid, shift):
    from timm.models.swin_transformer import window_partition

    tokens = torch.arange(2.0 * grid[0] * grid[1]).reshape(2, *grid)
    rolled = torch.roll(tokens, (-shift[0], -shift[1]), (1, 2))
    padded = torch.nn.functional.pad(rolled, (0, -grid[1] % 4, 0, -grid[0] % 4))
    windows = window_partition(padded[..., None], (4, 4)).reshape(-1, 16)
    block = BlockAttention(0, 0, grid, (4, 4), shift)
    assert torch.equal(windows_to_grid(windows, block), tokens)


def test_enlarging_is_bilinear():
    image = np.random.default_rng(0).random((5, 3))
    enlarged = enlarge(torch.from_numpy(image)[None], (20, 14))[0]
    np.testing.assert_allclose(enlarged, oracle.bilinear(image, (20, 14)), atol=1e-12)


def test_min_max_scales_each_map_by_itself_and_blanks_constants():
    maps = torch.stack([torch.linspace(-2, 6, 12).reshape(3, 4), torch.full((3, 4), 0.3), torch.zeros(3, 4)])
    maps[1, 0, 0] += 1e-8
    scaled = min_max(maps)
    torch.testing.assert_close(scaled[0], torch.linspace(0, 1, 12).reshape(3, 4))
    assert not scaled[1:].any()


def test_even_attention_gives_zeros():
    classifier = network(window_size=64)
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            if "relative_position_bias" in name or "qkv" in name:
                parameter.zero_()
    assert not hgi_sam(classifier, pictures(classifier)).any()
    assert not swin_sam(classifier, pictures(classifier)).any()


@pytest.mark.parametrize("name", METHODS)
def test_brain_mask(usual, name):
    images = pictures(usual)
    brain = torch.zeros(usual.image_size, dtype=torch.bool)
    assert not METHODS[name](usual, images, brain).any()
    brain[10:50, 5:40] = True
    shared = METHODS[name](usual, images, brain)
    torch.testing.assert_close(shared, min_max(METHODS[name](usual, images) * brain))
    assert not shared[:, ~brain].any()
    each = METHODS[name](usual, images, brain.expand(2, -1, -1).numpy())
    assert torch.equal(shared, each)


# --- Class activation maps ---


@pytest.mark.parametrize(
    ("method", "package"), [(grad_cam, GradCAM), (layer_cam, LayerCAM), (hires_cam, HiResCAM)]
)
@pytest.mark.parametrize("layer", [None, "swin.layers.1.blocks.0.norm1"])
@pytest.mark.parametrize("target", [0, 1])
def test_cams_are_those_of_pytorch_grad_cam(method, package, layer, target):
    classifier = network("oblong")
    images = pictures(classifier)
    module = classifier.get_submodule(layer) if layer else classifier.swin.layers[-1].blocks[-1].norm1
    cam = package(classifier, [module], reshape_transform=lambda output: output.permute(0, 3, 1, 2))
    expected = cam(images, [ClassifierOutputTarget(target)] * 2)
    cam.activations_and_grads.release()
    assert expected.max() > 0.99
    np.testing.assert_allclose(method(classifier, images, target=target, layer=layer), expected, atol=1e-5)


def test_cam_at_a_convolution(usual):
    maps = grad_cam(usual, pictures(usual), layer=usual.swin.patch_embed.proj)
    assert maps.shape == (2, 64, 64)


# --- The classifier stays as it was ---


def fingerprint(classifier: SwinClassifier) -> list:
    modules = list(classifier.modules())
    return [
        [parameter.requires_grad for parameter in classifier.parameters()],
        [parameter.grad is None for parameter in classifier.parameters()],
        [parameter.detach().clone().sum().item() for parameter in classifier.parameters()],
        [module.training for module in modules],
        [getattr(module, "fused_attn", None) for module in modules],
        [getattr(module, "grad_checkpointing", None) for module in modules],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules],
        [len(module._backward_hooks) for module in modules],
        [sorted(vars(module)) for module in modules],
        len(_get_current_function_mode_stack()),
        torch.is_grad_enabled(),
    ]


def marked() -> SwinClassifier:
    """A network with every flag that could get lost: partly frozen, training, unfused, checkpointed."""
    classifier = network(fused_attention=False, drop_path_rate=0.5).train()
    classifier.swin.patch_embed.requires_grad_(False)
    classifier.swin.layers[1].eval()
    classifier.swin.layers[2].blocks[0].attn.fused_attn = True
    classifier.swin.set_grad_checkpointing(True)
    classifier.swin.layers[0].grad_checkpointing = False
    return classifier


@pytest.mark.parametrize("name", METHODS)
def test_classifier_is_left_as_it_was(name):
    classifier = marked()
    before = fingerprint(classifier)
    first = METHODS[name](classifier, pictures(classifier))
    assert fingerprint(classifier) == before
    # Training mode and checkpointing do not reach the map.
    assert torch.equal(first, METHODS[name](classifier, pictures(classifier)))
    assert not first.requires_grad


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("where", ["forward", "select", "stage 2"])
def test_classifier_is_left_as_it_was_after_an_error(name, where):
    classifier = marked()
    images = pictures(classifier)

    def fail(*_):
        raise KeyboardInterrupt(where)

    hook = classifier.swin.layers[2].register_forward_hook(fail) if where == "stage 2" else None
    before = fingerprint(classifier)
    if where == "forward":
        with pytest.raises(ValueError, match="Images must be"):
            METHODS[name](classifier, images[:, :2])
    else:
        with pytest.raises(KeyboardInterrupt, match=where):
            METHODS[name].one_pass(classifier, images, None, fail)
    assert fingerprint(classifier) == before
    if hook:
        hook.remove()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", METHODS)
def test_callers_may_have_turned_gradients_off(usual, name, mode):
    expected = METHODS[name](usual, pictures(usual))
    with mode():
        found = METHODS[name](usual, pictures(usual))
    torch.testing.assert_close(found, expected)


def test_threads_share_a_classifier(usual):
    images = pictures(usual)
    expected_map, expected_logits = hgi_sam(usual, images), usual(images).detach()
    problems = []

    def check(function, expected):
        for _ in range(3):
            try:
                torch.testing.assert_close(function(), expected)
            except BaseException as error:
                problems.append(error)

    jobs = [(lambda: hgi_sam(usual, images), expected_map)] * 2 + [
        (lambda: usual(images).detach(), expected_logits)
    ]
    threads = [threading.Thread(target=check, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_a_plain_forward_pass_in_another_thread_is_not_watched(usual):
    images = pictures(usual)
    expected = hgi_sam(usual, images)
    main = threading.get_ident()

    def run_beside(*_):
        if threading.get_ident() == main:
            other = threading.Thread(target=lambda: usual(images))
            other.start()
            other.join()

    # Before the first stage that is not watched.
    hook = usual.swin.layers[2].register_forward_hook(run_beside)
    try:
        assert torch.equal(hgi_sam(usual, images), expected)
    finally:
        hook.remove()


# --- Stacks of slices ---


@pytest.mark.parametrize("name", METHODS)
def test_only_positive_slices_get_a_map(usual, name):
    images = pictures(usual, 5)
    brain = torch.ones(5, *usual.image_size)
    positive = [False, True, True, False, True]
    maps = localize_positive(usual, images, positive, name, brain, batch_size=2)
    assert maps.shape == (5, 64, 64)
    assert maps.dtype == torch.float32
    assert not maps[[0, 3]].any()
    expected = METHODS[name](usual, images[[1, 2, 4]]).float()
    torch.testing.assert_close(maps[[1, 2, 4]], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_size", [None, 2, 5])
@pytest.mark.parametrize("name", METHODS)
def test_one_pass_equals_two(usual, name, batch_size):
    images = pictures(usual, 5)
    logits = usual(images).detach()
    middle = logits[:, 1].sort().values[2:4].mean()
    found = classify_and_localize(
        usual, images, lambda logits: logits[:, 1] > middle, name, batch_size=batch_size
    )
    torch.testing.assert_close(found.logits, logits.float())
    assert found.positive.tolist() == (logits[:, 1] > middle).tolist()
    expected = localize_positive(usual, images, found.positive, name)
    torch.testing.assert_close(found.maps, expected, rtol=0, atol=1e-6)


def test_negative_slices_cost_no_backward_pass(usual, monkeypatch):
    monkeypatch.setattr(AttentionCapture, "backward", lambda *_: pytest.fail("backward pass"))
    images = pictures(usual)
    assert not localize_positive(usual, images, [False, False]).any()
    found = classify_and_localize(usual, images, lambda logits: torch.zeros(len(logits), dtype=torch.bool))
    assert not found.maps.any()


def test_options_reach_the_method(usual):
    images = pictures(usual, 1)
    found = localize_positive(usual, images, [True], "hgi-sam", gradient_at="attention", stages=(1,))
    expected = hgi_sam(usual, images, gradient_at="attention", stages=(1,))
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-6)


def test_progress_is_told_and_may_stop_the_work(usual):
    told = []
    localize_positive(usual, pictures(usual, 3), [True, False, True], progress=lambda *s: told.append(s))
    assert told == [(1, 2), (2, 2)]

    def stop(done, total):
        raise InterruptedError(f"{done} of {total}")

    with pytest.raises(InterruptedError, match="1 of 3"):
        classify_and_localize(usual, pictures(usual, 3), lambda x: x[:, 0] > 0, progress=stop)


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")]
)
def test_batches_shrink_when_memory_runs_out(error):
    done, told = [], []

    def work(batch):
        if len(batch) > 2:
            raise error
        done.extend(batch)

    in_batches(torch.nn.Linear(1, 1), range(7), 7, work, told.append)
    assert done == list(range(7))
    assert len(told) == 2
    assert "7 images; going on with 3" in told[0]
    assert "3 images; going on with 1" in told[1]


class Movable(torch.nn.Module):
    """A network that pretends to lie on a GPU."""

    place = "cuda:0"

    def parameters(self, recurse=True):
        yield type("Parameter", (), {"device": torch.device(self.place)})

    def to(self, place):
        self.place = str(place)
        return self


def test_the_cpu_is_the_last_resort_and_the_network_comes_home():
    seen = []
    network = Movable()

    def work(batch):
        seen.append((network.place, list(batch)))
        if network.place != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        in_batches(network, [4, 6], 2, work)
    assert seen == [("cuda:0", [4, 6]), ("cuda:0", [4]), ("cpu", [4]), ("cpu", [6])]
    assert network.place == "cuda:0"
    assert "going on, slower, on the CPU" in str(caught[-1].message)


def test_too_little_memory_for_one_image_is_said():
    def work(batch):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")

    with pytest.raises(MemoryError, match="too small for one image"):
        in_batches(torch.nn.Linear(1, 1), range(3), 2, work, lambda _: None)


def test_other_errors_are_not_swallowed():
    def work(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        in_batches(torch.nn.Linear(1, 1), range(3), 2, work)


# --- Registry and mistakes ---


def test_thresholds_are_the_published_ones():
    assert list(METHODS) == ["hgi-sam", "swin-sam", "grad-cam", "layer-cam", "hires-cam"]
    assert METHODS["hgi-sam"].threshold() == METHODS["hgi-sam"].threshold("subtypes") == 0.05
    assert METHODS["swin-sam"].threshold("binary-sigmoid") == 0.07
    assert METHODS["swin-sam"].threshold("subtypes") == 0.11
    assert {METHODS[name].threshold() for name in METHODS if name.endswith("cam")} == {0.8}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, x: hgi_sam(c, x, np.ones((3, 3))), r"brain mask must be \(64, 64\) or \(2, 64, 64\)"),
        (lambda c, x: hgi_sam(c, x, target=2), "target 2"),
        (lambda c, x: hgi_sam(c, x, gradient_at="head"), "gradient_at must be one of logits, attention"),
        (lambda c, x: hgi_sam(c, x, stages=(4,)), "Stages must be among 0 to 3"),
        (lambda c, x: hgi_sam(c, x, stages=()), "Stages must be among 0 to 3"),
        (lambda c, x: grad_cam(c, x, layer="swin.nowhere"), "no layer 'swin.nowhere'"),
        (lambda c, x: grad_cam(c, x, layer=torch.nn.Identity()), "not a layer of the classifier"),
        (lambda c, x: grad_cam(c, x, layer="head"), "no single image-like output"),
        (lambda c, x: find_method("cam"), "Unknown localization method 'cam'"),
        (lambda c, x: localize_positive(c, x, [True]), "must hold 2 booleans"),
        (
            lambda c, x: localize_positive(c, x, [True, True], brain=np.ones((1, 64, 64))),
            "brain mask must be",
        ),
        (lambda c, x: localize_positive(c, x[0], [True] * 3), r"Images must be \(S, C, H, W\)"),
        (lambda c, x: localize_positive(c, x, [True, True], batch_size=0), "batch_size must be at least 1"),
        (lambda c, x: classify_and_localize(c, x, lambda logits: logits), "one boolean for each"),
    ],
)
def test_mistakes_are_named(usual, call, message):
    with pytest.raises(ValueError, match=message):
        call(usual, pictures(usual))
