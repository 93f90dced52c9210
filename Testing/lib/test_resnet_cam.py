"""Class activation maps at layer4: by hand, by pytorch-grad-cam, and each by the other."""

from __future__ import annotations

import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional

from ICHWeakSegLib.localize import (
    CAM_THRESHOLD,
    cam,
    cam_pass,
    resnet_grad_cam,
    resnet_grad_cam_pass,
)
from ICHWeakSegLib.networks import SequenceClassifier

METHODS = pytest.mark.parametrize("method", [cam, resnet_grad_cam])
PASSES = pytest.mark.parametrize("one_pass", [cam_pass, resnet_grad_cam_pass])


@pytest.fixture
def network() -> SequenceClassifier:
    torch.manual_seed(0)
    network = SequenceClassifier(
        "resnet18", hidden=8, layers=1, overrides={"channels": (8, 8, 16, 16)}
    ).eval()
    # Signs in turn, so that every image has cells above and below 0.
    signs = torch.tensor([1.0, -1.0]).repeat(8)
    with torch.no_grad():
        network.slice_head.weight.copy_(signs * (1 + torch.rand(1, 16)))
    return network


@pytest.fixture
def images() -> torch.Tensor:
    coarse = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    return functional.interpolate(coarse, size=(96, 96), mode="bilinear")


def scaled(maps: torch.Tensor) -> torch.Tensor:
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def test_cam_is_the_heads_weights_on_layer4(network, images):
    with torch.no_grad():
        layer4 = network.resnet.forward_features(images)
        assert layer4.shape == (3, 16, 3, 3)
        cells = torch.einsum("f,bfhw->bhw", network.slice_head.weight[0], layer4).relu()
        large = functional.interpolate(cells[:, None], size=(96, 96), mode="bilinear")[:, 0]
    assert (cells.amax((1, 2)) > 0).all()
    assert (cells.amin((1, 2)) == 0).all()
    torch.testing.assert_close(cam(network, images), scaled(large), rtol=1e-4, atol=1e-5)


def test_cam_and_grad_cam_are_proportional(network, images):
    """Before any scaling: the gradient is the head's weight over the number of cells."""
    activations = network.resnet.forward_features(images).detach().requires_grad_(True)
    logits = network.slice_head(network.resnet.forward_head(activations))
    (gradients,) = torch.autograd.grad(logits.sum(), activations)
    by_gradient = (gradients.mean((2, 3), keepdim=True) * activations).sum(1)
    by_weight = torch.einsum("f,bfhw->bhw", network.slice_head.weight[0], activations)
    torch.testing.assert_close(9 * by_gradient, by_weight, rtol=1e-4, atol=1e-6)
    found = resnet_grad_cam(network, images)
    assert found.max() == 1
    torch.testing.assert_close(found, cam(network, images), rtol=1e-4, atol=1e-5)


def test_where_features_are_not_pooled_evenly_they_differ(network, images):
    """So the two are two methods, not one under two names."""

    class MeanOfSquares(nn.Module):
        def forward(self, activations):
            return activations.square().mean((2, 3))

    network.resnet.global_pool = MeanOfSquares()
    assert (cam(network, images) - resnet_grad_cam(network, images)).abs().max() > 0.02


def test_grad_cam_equals_pytorch_grad_cam(network, images):
    class Slices(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            return self.network.slice_logits(images)

    with GradCAM(Slices(network), [network.resnet.layer4[-1]]) as oracle:
        # It enlarges as we do, but scales before: compare what lies above 0 in both, up to scale.
        wanted = torch.from_numpy(oracle(images, [ClassifierOutputTarget(0)] * 3))
    found = resnet_grad_cam(network, images)
    for mine, theirs in zip(found, wanted, strict=True):
        assert torch.corrcoef(torch.stack([mine.flatten(), theirs.flatten()]))[0, 1] > 0.995


@METHODS
def test_brain_mask_and_scale(network, images, method):
    brain = torch.zeros(96, 96, dtype=torch.bool)
    brain[20:70, 10:60] = True
    maps = method(network, images, brain)
    assert maps.dtype == torch.float32
    assert (maps[:, ~brain] == 0).all()
    assert (maps.amax((1, 2)) == 1).all()
    torch.testing.assert_close(method(network, images[1:2], brain.numpy()), maps[1:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method(network, images, brain.expand(3, -1, -1)), maps)
    with pytest.raises(ValueError, match="brain mask"):
        method(network, images, brain[:5])
    with pytest.raises(ValueError, match="Images must be"):
        method(network, images[:, :2])


@METHODS
def test_a_head_that_sees_nothing_gives_zeros(network, images, method):
    with torch.no_grad():
        network.slice_head.weight.fill_(-1)
    assert torch.equal(method(network, images), torch.zeros(3, 96, 96))


@PASSES
def test_one_pass_maps_only_what_is_selected(network, images, one_pass):
    logits, maps = one_pass(network, images, None, lambda logits: torch.tensor([True, False, True]))
    with torch.inference_mode():
        torch.testing.assert_close(logits, network.slice_logits(images))
    assert maps[1].max() == 0
    whole = one_pass(network, images)[1]
    torch.testing.assert_close(maps[[0, 2]], whole[[0, 2]])
    _, none = one_pass(network, images, None, lambda logits: logits[:, 0] > 1e9)
    assert torch.equal(none, torch.zeros(3, 96, 96))
    with pytest.raises(ValueError, match="one boolean"):
        one_pass(network, images, None, lambda logits: torch.tensor([True]))


@METHODS
def test_the_network_comes_back_as_it_was_and_inference_mode_is_no_obstacle(network, images, method):
    network.train()
    network.resnet.conv1.weight.requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.inference_mode():
        maps = method(network, images)
    assert torch.equal(maps, method(network, images))
    assert network.training
    assert not network.resnet.conv1.weight.requires_grad
    assert network.slice_head.weight.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_published_threshold():
    assert CAM_THRESHOLD == 0.7
