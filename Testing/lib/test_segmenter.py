"""The segmentation network: its input, its pooling, its losses and its maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from cohorts import SMALL, cropped_cases
from phantom_heads import head
from torch.nn import functional

from ICHWeakSegLib.ct import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.network_input import NetworkInput, Preprocessing
from ICHWeakSegLib.inference import segmenter_maps
from ICHWeakSegLib.inference.segmenter_maps import segmenter_passes, segmenter_probabilities, slice_scores
from ICHWeakSegLib.networks.segmenter import (
    NEVER,
    PRESETS,
    Segmenter,
    committee,
    mirrored_difference,
    neighbours,
    segmenter_channels,
    segmenter_input,
    slice_logits,
)
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.segmenter_dataset import (
    Batch,
    CroppedPlanes,
    Mix,
    MixSampler,
    SegmenterDataset,
    augment,
)
from ICHWeakSegLib.training.segmenter_module import SegmenterModule

TINY = {"kind": "unet", "channels": [4, 8], "strides": [2]}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(seed: int = 0, **more) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(**{**TINY, **more}).eval()


# Networks


def test_a_committee_gives_the_mean_logit():
    parts = [tiny(seed, mirror=True) for seed in range(3)]
    joined = committee(parts)
    images = torch.rand(2, joined.in_chans, 32, 32)
    with torch.inference_mode():
        alone = torch.stack([part(images) for part in parts])
        assert not torch.allclose(alone[0], alone[1], atol=1e-3)
        torch.testing.assert_close(joined(images), alone.mean(0))
    again = Segmenter(**json.loads(json.dumps(joined.config)))
    again.load_state_dict(joined.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(images), joined(images))
    assert committee(parts[:1]) is parts[0]
    assert "members" not in parts[0].config
    four = [*parts, tiny(3, mirror=True)]
    twice = committee([committee(four[:2]), committee(four[2:])])
    assert twice.members == 4
    with torch.inference_mode():
        torch.testing.assert_close(twice(images), committee(four)(images))


def test_a_committee_of_different_networks_is_refused():
    with pytest.raises(ValueError, match="one configuration"):
        committee([tiny(), tiny(mirror=True)])
    with pytest.raises(ValueError, match="one or more"):
        committee([])
    with pytest.raises(ValueError, match="one configuration"):
        committee([committee([tiny(0), tiny(1)]), tiny(2)])
    with pytest.raises(ValueError, match="members is a whole number"):
        Segmenter(**TINY, members=0)


@pytest.mark.parametrize(
    "arguments",
    [
        PRESETS["weak"],
        PRESETS["weak-fast"],
        PRESETS["unet"],
        PRESETS["swin-unetr"],
        {**TINY, "context": 2, "mirror": True, "fold": 2},
    ],
)
def test_networks_give_a_logit_a_pixel_and_are_built_again_from_json(arguments):
    torch.manual_seed(0)
    network = Segmenter(windows=2, **arguments).eval()
    images = torch.rand(2, network.in_chans, 48, 36)
    with torch.inference_mode():
        logits = network(images)
    assert logits.shape == (2, 1, 48, 36)
    assert logits.std() > 0
    again = Segmenter(**json.loads(json.dumps(network.config))).eval()
    again.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(images), logits)


def test_the_cards_sizes():
    supervised = Segmenter(**PRESETS["unet"]).network
    widths = {m.out_channels for m in supervised.modules() if isinstance(m, torch.nn.Conv2d)}
    assert {24, 48, 96, 192} <= widths
    sixteen = Segmenter(**PRESETS["unet-16"]).network
    assert next(m for m in sixteen.modules() if isinstance(m, torch.nn.Conv2d)).out_channels == 16
    swin = Segmenter(**PRESETS["swin-unetr"]).network
    assert swin.swinViT.embed_dim == 12
    assert swin.swinViT.patch_embed.proj.kernel_size == (2, 2), "two dimensions"


def test_padding_to_the_networks_step_does_not_move_the_map():
    network = tiny(fold=2)
    images = torch.zeros(1, 3, 40, 40)
    images[..., 10:20, 12:24] = 0.7
    with torch.inference_mode():
        whole, cut = network(images), network(images[..., :38, :37])
    torch.testing.assert_close(cut[..., :30, :30], whole[..., :30, :30])


def test_folding_keeps_pixels_in_place():
    network = tiny(fold=2)
    network.network, network.windows = torch.nn.Identity(), 1
    image = torch.rand(1, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(network(image), image)


def test_the_mirrored_channel_is_antisymmetric_and_reaches_the_network():
    images = torch.rand(2, 3, 16, 20)
    difference = mirrored_difference(images)
    torch.testing.assert_close(difference.flip(-1), -difference)
    symmetric = images + images.flip(-1)
    assert mirrored_difference(symmetric).abs().max() < 1e-6

    seen = []
    network = tiny(mirror=True)
    network.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(images)
    assert torch.equal(seen[0], torch.cat([images, images - images.flip(-1)], 1))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"kind": "resnet"}, "kind is one of basic-unet, unet, swin-unetr"),
        ({"context": -1}, "context is a whole number of at least 0"),
        ({"fold": 1.5}, "fold is a whole number"),
        ({"top_k": 0}, "top_k is a whole number of at least 1"),
        ({"windows": True}, "windows is a whole number"),
        ({**TINY, "strides": [2, 2]}, "'strides' needs one entry less"),
        ({"kind": "basic-unet", "features": [4, 4]}, "MONAI cannot build 'basic-unet'"),
        ({"kind": "swin-unetr", "feature_size": 13}, "MONAI cannot build 'swin-unetr'"),
        ({**TINY, "colour": "red"}, "MONAI cannot build 'unet'"),
    ],
)
def test_networks_that_cannot_be_built_say_why(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        Segmenter(**arguments)
    assert "\n" not in str(error.value)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"Images must be \(B, 5, H, W\)"):
        tiny(context=1)(torch.zeros(1, 3, 16, 16))


# Pooling


def test_a_slices_logit_is_the_mean_of_its_highest_in_the_brain():
    logits = torch.tensor([[5.0, 1.0], [3.0, 9.0]])[None, None]
    brain = torch.tensor([[True, True], [True, False]])[None]
    assert slice_logits(logits, brain, 2).item() == pytest.approx(4.0)
    assert slice_logits(logits, brain, 3).item() == pytest.approx(3.0)
    assert slice_logits(logits, brain, 99).item() == pytest.approx((5 + 3 + 1 + NEVER) / 4)
    assert slice_logits(logits, ~brain & False, 2).item() == NEVER


# Input


def test_edge_slices_repeat():
    assert neighbours(5, 2, 1) == [1, 2, 3]
    assert neighbours(5, 0, 2) == [0, 0, 0, 1, 2]
    assert neighbours(5, 4, 1) == [3, 4, 4]
    assert neighbours(1, 0, 1) == [0, 0, 0]


def test_channels_are_windows_of_the_slice_then_its_neighbours():
    hu = torch.full((1, 3, 4, 4), 40.0)
    hu[:, 0], hu[:, 2] = 60.0, 20.0
    brain = torch.ones(1, 4, 4, dtype=torch.bool)
    brain[0, 0] = False
    channels = segmenter_channels(hu, brain, SMALL)
    assert channels.shape == (1, 5, 4, 4)
    # (40, 80), (80, 200), (55, 50) of 40 HU, then 60 and 20 HU in the first.
    wanted = [0.5, 0.3, 0.2, 0.75, 0.25]
    np.testing.assert_allclose(channels[0, :, 2, 2], wanted, atol=1e-6)
    assert channels[0, :, 0].abs().max() == 0, "blank outside the brain"


def test_a_slab_without_brain_gives_zeros_whatever_is_around_it():
    for blank in (True, False):
        wishes = Preprocessing(8, ((40, 80),), pixel_mm=1.0, blank_outside_brain=blank)
        brain = torch.zeros(2, 8, 8, dtype=torch.bool)
        brain[1, 3, 3] = True
        channels = segmenter_channels(torch.full((2, 3, 8, 8), 50.0), brain, wishes)
        assert channels[0].abs().max() == 0
        assert channels[1, :, 3, 3].min() > 0


def test_a_ct_and_its_training_crop_give_the_same_channels():
    ct = head().ct
    wishes = Preprocessing(
        64, SMALL.windows, pixel_mm=3.0, blank_outside_brain=True, slice_mm=5.0, brain_hu=33.0
    )
    grid = AxialGrid(ct)
    source = NetworkInput(grid, BrainMask(grid), wishes)
    planes = [source.crop(index) for index in range(len(source))]
    case = cropped_cases(1)[0]
    case.hu = np.stack([np.rint(hu) for hu, _ in planes]).astype(np.int16)
    case.brain = np.stack([brain for _, brain in planes])
    slabs = [0, len(source) // 2, len(source) - 1]
    live, brain = segmenter_input(source, slabs, wishes, 1)
    kept, kept_brain = segmenter_input(CroppedPlanes(case), slabs, wishes, 1)
    assert torch.equal(brain, kept_brain)
    # Half a HU of rounding in the narrowest window, 50 HU.
    assert (live - kept).abs().max() <= 0.5 / 50 + 1e-6
    case.labels = np.zeros((len(source), 6), np.float32)
    data = SegmenterDataset([case], 1)
    item = data[data.index.index((0, slabs[1]))]
    trained = segmenter_channels(item.hu[None], item.brain[None], wishes)
    assert torch.equal(trained[0], kept[1])
    with pytest.raises(ValueError, match="fixed scaling"):
        segmenter_input(source, slabs, Preprocessing(64, ((40, 80),), pixel_mm=3.0, scaling="observed"), 1)


# Maps


def test_maps_and_scores_of_a_ct():
    ct = head().ct
    wishes = Preprocessing(
        64, SMALL.windows, pixel_mm=3.0, blank_outside_brain=True, slice_mm=5.0, brain_hu=33.0
    )
    grid = AxialGrid(ct)
    source = NetworkInput(grid, BrainMask(grid), wishes)
    network = tiny(context=1, mirror=True, top_k=5)
    slabs = list(range(len(source)))
    squares = dict(segmenter_probabilities(network, source, slabs))
    scores = slice_scores(network, source, slabs)
    assert list(squares) == slabs
    assert scores.dtype == np.float32
    for slab in slabs:
        _, brain = source.crop(slab)
        square = squares[slab]
        assert square.shape == (64, 64)
        assert square.dtype == np.float32
        assert not square[~brain].any()
        if not brain.any():
            assert scores[slab] == 0
            continue
        assert 0 < square[brain].min() <= square[brain].max() < 1
        logits = np.sort(np.log(square[brain] / (1 - square[brain])))[::-1]
        top = np.append(logits, np.full(5, NEVER))[:5].mean()
        assert scores[slab] == pytest.approx(1 / (1 + np.exp(-top)), abs=1e-4)
    assert sum(bool(score) for score in scores) > 10

    alone = next(segmenter_passes(network, source, [slabs[14]]))
    np.testing.assert_allclose(alone[1], squares[slabs[14]], atol=1e-5)


def test_batches_are_small_on_a_cpu_and_counted(monkeypatch):
    monkeypatch.setattr(segmenter_maps, "BATCH", 4)
    case = cropped_cases(1)[0]
    case.brain[[1, 3, 7]] = False
    network, told, passed = tiny(context=1, mirror=True, top_k=5), [], []
    network.register_forward_hook(lambda module, given, logits: passed.append(len(logits)))

    def progress(done, total):
        told.append((done, total, sum(passed)))

    slabs = [7, 6, 5, 4, 0, 1, 2, 3]
    found = list(segmenter_passes(network, CroppedPlanes(case), slabs, SMALL, progress=progress))
    assert [slab for slab, _, _ in found] == slabs
    assert passed == [2, 1, 2]
    # Those without brain count with the ones before them.
    assert told == [(0, 8, 0), (3, 8, 2), (4, 8, 3), (4, 8, 3), (8, 8, 5)]

    monkeypatch.setattr(segmenter_maps, "BATCH", 16)
    monkeypatch.setattr(segmenter_maps, "CPU_BATCH", 16)
    for one, other in zip(found, segmenter_passes(network, CroppedPlanes(case), slabs, SMALL), strict=True):
        np.testing.assert_allclose(one[1], other[1], atol=1e-6)
        assert one[2] == pytest.approx(other[2], abs=1e-6)
    assert passed == [2, 1, 2, 5]


def test_maps_retreat_when_memory_runs_out(monkeypatch):
    monkeypatch.setattr(segmenter_maps, "CPU_BATCH", 8)
    network = tiny()
    case = cropped_cases(1)[0]
    wanted = slice_scores(network, CroppedPlanes(case), range(8), SMALL)
    forward, said = network.forward, []

    def scarce(images):
        if len(images) > 2:
            raise MemoryError
        return forward(images)

    network.forward = scarce
    found = slice_scores(network, CroppedPlanes(case), range(8), SMALL, said.append)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert len(said) == 2
    told = []
    passes = segmenter_passes(
        network,
        CroppedPlanes(case),
        range(8),
        SMALL,
        lambda sentence: None,
        lambda done, total: told.append(done),
    )
    assert [slab for slab, _, _ in passes] == list(range(8))
    assert told == [0, 2, 4, 6, 8]


# Slices and losses


def drawn_case(patients: int = 2):
    """The odd cases of `cropped_cases`, with the blobs as drawn blood."""
    cases = [case for case in cropped_cases(patients) if case.labels[:, 0].any()]
    for case in cases:
        case.blood = (case.hu > 52) & case.brain & (case.labels[:, 0] == 1)[:, None, None]
    return cases


def test_slices_fall_into_the_pools_of_what_is_known_of_them():
    negative, positive = cropped_cases(2)
    drawn = drawn_case()[0]
    positive.labels[5, 0] = np.nan
    positive.brain[6] = False
    drawn.blood[0] = False  # positive by label, nothing drawn
    drawn.blood[7, 10, 10] = True  # negative by label, something drawn
    data = SegmenterDataset([negative, positive, drawn], 1)
    places = {name: [data.index[item] for item in pool] for name, pool in data.pools.items()}
    assert places == {
        "drawn_positive": [(2, 1), (2, 2), (2, 3)],
        "drawn_negative": [(2, 4), (2, 5), (2, 6)],
        "labelled_positive": [(1, p) for p in range(4)],
        "labelled_negative": [(0, p) for p in range(8)] + [(1, 4), (1, 7)],
    }
    known = [bool(data[item].drawn) for item in range(len(data))]
    assert known == [True] * 8 + [False] * 4 + [True] * 2 + [True] * 6
    first = data[data.pools["drawn_positive"][0]]
    assert first.hu.shape == (3, 32, 32)
    np.testing.assert_array_equal(first.hu, drawn.hu[0:3])
    np.testing.assert_array_equal(first.blood, drawn.blood[1])


def test_each_batch_holds_the_mix():
    data = SegmenterDataset([*cropped_cases(4), *drawn_case()], 0)
    mix = Mix(3, 1, 2, 4)
    sampler = MixSampler(data.pools, mix, steps=5, seed=3)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 5
    for batch in batches:
        assert [sum(item in pool for item in batch) for pool in data.pools.values()] == [3, 1, 2, 4]
    assert batches != list(sampler), "another epoch, another order"
    assert batches == list(MixSampler(data.pools, mix, steps=5, seed=3))
    pools = SegmenterDataset(cropped_cases(4), 0).pools
    with pytest.raises(InputError, match=r"no positive slice with drawn blood .* drawn_positive to 0"):
        MixSampler(pools, Mix(), 1)
    with pytest.raises(InputError, match="no slice at all"):
        MixSampler(pools, Mix(0, 0, 0, 0), 1)
    with pytest.raises(InputError, match="cannot hold -1"):
        MixSampler(pools, Mix(-1, 0, 1, 1), 1)


def batch_of_four() -> Batch:
    """Drawn positive, drawn negative, labelled positive (blood unknown), labelled negative."""
    blood = torch.zeros(4, 16, 16)
    blood[0, 4:8, 4:8] = 1
    brain = torch.ones(4, 16, 16)
    brain[:, :2] = 0
    return Batch(
        torch.zeros(4, 1, 16, 16),
        brain,
        blood,
        torch.tensor([1.0, 0, 1, 0]),
        torch.tensor([True, True, False, True]),
    )


@pytest.mark.parametrize("loss", ["mixed", "dice-ce", "batch-dice"])
def test_only_drawn_slices_take_part_in_the_dense_loss(loss):
    module = SegmenterModule(tiny(top_k=4), SMALL, loss)
    torch.manual_seed(1)
    logits = torch.randn(4, 1, 16, 16, requires_grad=True)
    dense, image = module.losses(logits, batch_of_four())
    (by_dense,) = torch.autograd.grad(dense, logits, retain_graph=True)
    (by_image,) = torch.autograd.grad(image, logits)
    touched = by_dense.abs().sum((1, 2, 3)) > 0
    assert touched.tolist() == [True, True, False, True]
    assert by_dense[:, :, :2].abs().max() == 0, "outside the brain nothing is learned"
    # The image-level loss reaches the four highest pixels of every slice.
    assert (by_image != 0).sum((1, 2, 3)).tolist() == [4, 4, 4, 4]
    assert (by_image.sum((1, 2, 3)) < 0).tolist() == [True, False, True, False]


def test_losses_by_hand():
    batch, logits = batch_of_four(), torch.zeros(4, 1, 16, 16)
    pixels, inside, blood = 256, 14 * 16, 16
    log2 = np.log(2)
    dense, image = SegmenterModule(tiny(), SMALL, "mixed").losses(logits, batch)
    # Blood weighs three times; half of every brain pixel is found.
    cross = [(inside - blood + 3 * blood) * log2 / inside, log2, log2]
    dice = [1 - (blood + 20) / (inside / 2 + blood + 20)] + 2 * [1 - 20 / (inside / 2 + 20)]
    assert dense.item() == pytest.approx(2 * np.mean(cross) + np.mean(dice), abs=1e-5)
    assert image.item() == pytest.approx(log2, abs=1e-5), "as many pixels of 0 as it pools"
    dense, _ = SegmenterModule(tiny(), SMALL, "dice-ce").losses(logits, batch)
    dice = [1 - blood / (inside / 2 + blood), 1, 1]
    assert dense.item() == pytest.approx(0.5 * inside / pixels * log2 + 0.5 * np.mean(dice), abs=1e-4)
    dense, _ = SegmenterModule(tiny(), SMALL, "batch-dice").losses(logits, batch)
    assert dense.item() == pytest.approx(1 - blood / (3 * inside / 2 + blood), abs=1e-4)
    none = batch._replace(drawn=torch.zeros(4, dtype=torch.bool))
    assert SegmenterModule(tiny(), SMALL).losses(logits, none)[0] == 0
    wanted = functional.binary_cross_entropy_with_logits(torch.zeros(4), batch.label)
    assert SegmenterModule(tiny(), SMALL).losses(logits, none)[1].item() == pytest.approx(wanted.item())


# Augmentation


def test_augmentation_moves_ct_brain_and_blood_alike():
    hu = torch.full((6, 3, 32, 32), 30.0)
    hu[:, :, 8:16, 6:14] = 70.0
    blood = torch.zeros(6, 32, 32)
    blood[:, 8:16, 6:14] = 1
    brain = torch.zeros(6, 32, 32)
    brain[:, 4:28, 4:28] = 1
    batch = Batch(hu, brain, blood, torch.ones(6), torch.ones(6, dtype=torch.bool))
    still = augment(batch, Augmentation(0, 0, 0, 0, 0, 0), 33.0)
    flipped = torch.tensor(
        [not torch.allclose(b, c, atol=1e-4) for b, c in zip(still.blood, blood, strict=True)]
    )
    for item in range(6):
        wanted = blood[item].flip(-1) if flipped[item] else blood[item]
        torch.testing.assert_close(still.blood[item], wanted, atol=1e-4, rtol=0)
        torch.testing.assert_close(still.hu[item], 30 + 40 * wanted.expand(3, -1, -1), atol=5e-3, rtol=0)

    torch.manual_seed(0)
    moved = augment(batch, Augmentation(30, 0.1, 0.1, 0, 0, 0), 33.0)
    assert not torch.equal(moved.blood[0], moved.blood[1])
    # Within the brain, HU and blood are the same mixture of what lay there.
    error = (moved.hu[:, 1] - (30 + 40 * moved.blood))[moved.brain.bool()]
    assert error.abs().max() < 5e-3
    area = moved.blood.sum((1, 2)) / 64
    assert area.min() > 0.75
    assert area.max() < 1.3
    assert moved.hu.min() >= -1000.01, "what comes in is air"

    torch.manual_seed(5)
    first = augment(batch, Augmentation(10, 0.1, 0.05, 3, 3, 0.1), 33.0)
    torch.manual_seed(5)
    again = augment(batch, Augmentation(10, 0.1, 0.05, 3, 3, 0.1), 33.0)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_gain_leaves_the_brains_hu_and_offset_moves_all():
    batch = Batch(
        torch.tensor([33.0, 73.0])[None, None, :, None].expand(64, 1, 2, 2).repeat(1, 1, 4, 4),
        torch.ones(64, 8, 8),
        torch.zeros(64, 8, 8),
        torch.zeros(64),
        torch.ones(64, dtype=torch.bool),
    )
    torch.manual_seed(0)
    gained = augment(batch, Augmentation(0, 0, 0, 0, 0, 0.1), 33.0).hu
    torch.testing.assert_close(gained[:, :, ::2], batch.hu[:, :, ::2], atol=1e-3, rtol=0)
    spread = gained[:, 0, 1, 0] - 73
    assert 3 < spread.abs().max() <= 4.001
    moved = augment(batch, Augmentation(0, 0, 0, 0, 3, 0), 33.0).hu - batch.hu
    assert 2 < moved.abs().max() <= 3.001
    torch.testing.assert_close(moved, moved[:, :, :1, :1].expand_as(moved), atol=1e-3, rtol=0)
    noisy = augment(batch, Augmentation(0, 0, 0, 3, 0, 0), 33.0).hu - batch.hu
    quiet = (noisy.flatten(1).abs().max(1).values < 1e-3).float().mean()
    assert 0.25 < quiet < 0.75
