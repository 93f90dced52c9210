"""The slice-sequence classifier: order, direction, padding, long volumes, streaming."""

from __future__ import annotations

import json
import weakref

import numpy as np
import pytest
import torch
from phantom_heads import head

from ICHWeakSegLib.ct import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.network_input import NetworkInput, Preprocessing
from ICHWeakSegLib.inference.sequence_probabilities import sequence_probabilities
from ICHWeakSegLib.networks import SequenceClassifier
from ICHWeakSegLib.networks.sequence_classifier import run_starts

TINY = {"channels": (8, 8, 16, 16), "layers": (1, 1, 1, 1)}


def tiny(seed: int = 0, **options) -> SequenceClassifier:
    torch.manual_seed(seed)
    settings = {"hidden": 12, "layers": 2, "head": (32,), "overrides": TINY, **options}
    network = SequenceClassifier("resnet18", **settings).eval()
    # Far from the even output of fresh weights, so that every slice matters.
    with torch.no_grad():
        for parameter in (*network.recurrent.parameters(), *network.head.parameters()):
            parameter.mul_(3)
    return network


def slices(count: int, seed: int = 1, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


FORMS = [
    pytest.param({"cell": "gru"}, id="gru"),
    pytest.param({"cell": "lstm"}, id="lstm"),
    pytest.param({"cell": "gru", "bidirectional": True}, id="gru-both-ways"),
    pytest.param({"cell": "lstm", "bidirectional": True, "layers": 1}, id="lstm-both-ways"),
]


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_a_changed_slice_changes_what_follows_and_only_that(form):
    network, images = tiny(**form), slices(7)[None]
    before = network(images)
    images[0, 3] = 1 - images[0, 3]
    change = (network(images) - before)[0].abs()
    assert (change[3:5] > 1e-4).all()
    if form.get("bidirectional"):
        assert (change[2] > 1e-4).all()
    else:
        assert (change[:3] == 0).all()


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_padding_changes_no_real_output(form):
    network, images = tiny(**form), slices(5)
    alone = network(images[None])[0]
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[0, :5] = mask[1, 4:] = True
    mask[2, [0, 2, 3, 6, 8]] = True
    for fill in (0.0, 7.0, torch.nan):
        padded = torch.full((3, 9, 3, 32, 32), fill)
        for row in range(3):
            padded[row, mask[row]] = images
        found = network(padded, mask)
        for row in range(3):
            torch.testing.assert_close(found[row, mask[row]], alone, rtol=1e-5, atol=1e-5)
        assert (found[~mask] == 0).all()


def test_padding_takes_part_in_no_gradient_and_no_batch_statistic():
    network, images = tiny(), slices(4)
    mask = torch.tensor([[True] * 4 + [False] * 3, [False] * 7])
    padded = torch.full((2, 7, 3, 32, 32), 5.0)
    padded[0, :4] = images
    network.train()
    network(padded, mask).sum().backward()
    with_padding = [p.grad.clone() for p in network.resnet.parameters()]
    means = network.resnet.bn1.running_mean.clone()
    other = tiny().train()
    other(images[None]).sum().backward()
    for mine, theirs in zip(with_padding, other.resnet.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(means, other.resnet.bn1.running_mean)


@torch.inference_mode()
def test_nothing_but_padding():
    network = tiny()
    found = network(slices(4).reshape(2, 2, 3, 32, 32), torch.zeros(2, 2, dtype=torch.bool))
    assert torch.equal(found, torch.zeros(2, 2))
    assert network.classify_volume(iter(())).shape == (0,)


def test_published_forms():
    gru = SequenceClassifier("resnet18", cell="gru", overrides=TINY)
    widths = [part.out_features for part in gru.head if isinstance(part, torch.nn.Linear)]
    assert (gru.recurrent.num_layers, gru.recurrent.hidden_size, widths) == (3, 256, [128, 64, 1])
    lstm = SequenceClassifier("resnet18", cell="lstm", overrides=TINY)
    assert isinstance(lstm.recurrent, torch.nn.LSTM)
    assert [type(part) for part in lstm.head] == [torch.nn.Linear]
    both = SequenceClassifier("resnet18", cell="lstm", bidirectional=True, hidden=10, overrides=TINY)
    assert both.head[0].in_features == 20


@pytest.mark.parametrize("form", FORMS)
def test_plain_json_builds_the_same_network(form):
    network = tiny(**form, dropout=0.2)
    again = SequenceClassifier(**json.loads(json.dumps(network.config))).eval()
    again.load_state_dict(network.state_dict())
    images = slices(3)[None]
    with torch.inference_mode():
        assert torch.equal(again(images), network(images))
    assert again.config == network.config


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cell": "rnn"}, "The cell is one of gru, lstm"),
        ({"backbone": "resnet7"}, "no model named"),
        ({"backbone": "swin_tiny_patch4_window7_224", "overrides": {}}, "needs a ResNet"),
        ({"overrides": {"colour": "red"}}, "cannot build"),
        ({"layers": 0}, "at least 1"),
        ({"dropout": 1.0}, "dropout"),
        ({"run": 4, "overlap": 4}, "overlap"),
    ],
)
def test_wrong_options(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SequenceClassifier(**{"backbone": "resnet18", "overrides": TINY, **options})


def test_wrong_shapes():
    network = tiny()
    with pytest.raises(ValueError, match=r"Images must be \(B, T, 3, H, W\)"):
        network(slices(3))
    with pytest.raises(ValueError, match=r"The mask must be \(1, 3\) booleans"):
        network(slices(3)[None], torch.ones(1, 3))
    with pytest.raises(ValueError, match="batch"):
        network.classify_volume(iter(slices(3)), batch=0)


# Long volumes


@pytest.mark.parametrize(
    ("count", "starts"),
    [(0, []), (1, [0]), (32, [0]), (33, [0, 1]), (56, [0, 24]), (57, [0, 24, 25]), (80, [0, 24, 48])],
)
def test_runs_cover_the_volume(count, starts):
    assert run_starts(count, 32, 8) == starts
    covered = {s for start in starts for s in range(start, start + 32)}
    assert covered >= set(range(count))


@pytest.mark.parametrize("form", FORMS)
def test_a_volume_within_one_run_is_one_sequence(form):
    network, images = tiny(**form, run=9, overlap=2), slices(9)
    with torch.inference_mode():
        whole = network(images[None])[0]
    for batch in (1, 4, 9):
        found = network.classify_volume(iter(images), batch=batch)
        torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-5)


def test_a_long_volume_equals_a_short_one_where_runs_do_not_matter():
    """One direction: the slices that only the first run holds know nothing of what comes later."""
    network, images = tiny(run=8, overlap=3), slices(20)
    long = network.classify_volume(iter(images))
    short = network.classify_volume(iter(images[:8]))
    torch.testing.assert_close(long[:5], short[:5], rtol=1e-5, atol=1e-5)
    assert (long[5:8] - short[5:8]).abs().max() > 1e-4, "where the second run has a say"
    # A network whose recurrent layer forgets everything sees no runs at all.
    with torch.no_grad():
        for name, parameter in network.recurrent.named_parameters():
            if "_hh_" in name:
                parameter.zero_()
    # The update gate still carries the state before: close it by a large negative bias.
    with torch.no_grad():
        for layer in range(2):
            getattr(network.recurrent, f"bias_ih_l{layer}")[12:24] = -50
    found = network.classify_volume(iter(images))
    each = torch.cat([network.classify_volume(iter(images[s : s + 1])) for s in range(20)])
    torch.testing.assert_close(found, each, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("both_ways", "third", "fourth"),
    [
        # The first run is whole at its start: it trusts all its slices alike, the second its own from 1 up.
        (False, (4 * 10 + 1 * 20) / 5, (4 * 10 + 2 * 20) / 6),
        # Slice 2 lies two from the first run's cut end and one from the second's cut start.
        (True, (2 * 10 + 1 * 20) / 3, (1 * 10 + 2 * 20) / 3),
    ],
)
def test_overlapping_runs_are_averaged_by_their_context(both_ways, third, fourth):
    network = tiny(bidirectional=both_ways, run=4, overlap=2)
    answers = iter((torch.full((1, 4), 10.0), torch.full((1, 4), 20.0)))
    network.sequence_logits = lambda *_: next(answers)
    found = network.volume_logits(torch.zeros(6, 16))
    np.testing.assert_allclose(found.numpy(), [10, 10, third, fourth, 20, 20], rtol=1e-6)


def test_four_hundred_slices_are_streamed():
    """At no time are there more images than one batch, and the answer is that of the whole at once."""
    network, alive, most = tiny(hidden=8), [], 0

    def volume():
        nonlocal most
        for number in range(400):
            image = slices(1, seed=number, size=16)[0]
            alive.append(weakref.ref(image))
            most = max(most, sum(reference() is not None for reference in alive))
            yield image
            del image

    found = network.classify_volume(volume(), batch=8)
    assert found.shape == (400,)
    assert most <= 2 * 8
    images = torch.stack([slices(1, seed=number, size=16)[0] for number in range(400)])
    with torch.inference_mode():
        whole = network.volume_logits(network.features(images))
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


# A CT


def test_probabilities_of_a_ct_leave_out_slabs_without_brain():
    ct = head().ct
    grid = AxialGrid(ct)
    wishes = Preprocessing(
        32, ((40, 80), (80, 200), (55, 50)), pixel_mm=6.0, blank_outside_brain=True, slice_mm=5.0
    )
    source = NetworkInput(grid, BrainMask(grid), wishes)
    network, told = tiny(bidirectional=True), []
    found = sequence_probabilities(network, source, batch_size=4, progress=lambda *n: told.append(n))
    with_brain = [slab for slab in range(len(source)) if source.slab_has_brain(slab)]
    assert 0 < len(with_brain) < len(source)
    assert found.dtype == np.float32
    assert found.shape == (len(source),)
    assert (found[[s for s in range(len(source)) if s not in with_brain]] == 0).all()
    images = torch.from_numpy(source.batch(with_brain)[0])
    with torch.inference_mode():
        expected = network(images[None])[0].sigmoid().numpy()
    np.testing.assert_allclose(found[with_brain], expected, rtol=1e-4)
    assert told[-1] == (len(with_brain), len(with_brain))
