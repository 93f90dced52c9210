"""The one pipeline with every kind of network, and with a gate in place of the classifier's decision."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phantom_heads import head
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT, InputError, load_model, segment
from ICHWeakSegLib.inference.neighbours import smooth_over_slices
from ICHWeakSegLib.models import (
    Architecture,
    MapSettings,
    ModelError,
    OperatingPoint,
    SegmenterPart,
    card_from_dict,
    card_to_dict,
    save_model,
    verify_model,
)
from ICHWeakSegLib.networks.segmenter import Segmenter
from ICHWeakSegLib.networks.sequence_classifier import SequenceClassifier
from ICHWeakSegLib.refine.stored_map import StoredCase
from ICHWeakSegLib.segment import Cancelled

NARROW = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}
UNET = {"kind": "basic-unet", "features": [8, 8, 8, 8, 8, 8], "context": 1, "mirror": True}


@pytest.fixture(scope="module")
def case():
    return head()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def sequence(models):
    torch.manual_seed(0)
    network = SequenceClassifier("resnet18", hidden=8, overrides=NARROW)
    # So that a random map says something at all.
    with torch.no_grad():
        network.slice_head.weight.abs_()
    card = tiny_card(
        "sequence",
        architecture=Architecture("resnet18", 1, "sequence-classifier", 3, arguments=network.config),
        map=MapSettings("cam", 0.0, "hu", {"smallest_ml": 1.0}),
    )
    save_model(models / "sequence", card, network)
    return load_model(models / "sequence")


@pytest.fixture(scope="module")
def segmenter(models):
    torch.manual_seed(0)
    network = Segmenter(**UNET)
    card = tiny_card(
        "segmenter",
        architecture=Architecture("basic_unet", 1, "segmenter", 3, arguments=network.config),
        map=MapSettings("probability", 0.5, "threshold"),
    )
    save_model(models / "segmenter", card, network)
    return load_model(models / "segmenter")


class TestProgress:
    """A segmenter tells how far it is while it works, not when all is done."""

    @pytest.fixture(scope="class")
    def sixteen(self, case):
        """16 slices, all with brain."""
        first = int(np.flatnonzero(case.brain.any(axis=(1, 2)))[2])
        return CT(case.ct.hu[first : first + 16], case.ct.ijk_to_ras)

    @pytest.fixture
    def passed(self, segmenter):
        """Slabs of each pass of the network so far."""
        passed = []
        handle = segmenter.network.register_forward_hook(lambda module, given, out: passed.append(len(out)))
        yield passed
        handle.remove()

    def test_counts_grow_as_the_network_works(self, sixteen, segmenter, passed):
        told = []

        def progress(stage, done, total):
            if stage == "classifying and localizing":
                told.append((done, total, sum(passed)))

        segment(sixteen, segmenter, device="cpu", progress=progress)
        done = [count for count, _, _ in told]
        assert told[0] == (0, 16, 0)
        assert told[-1] == (16, 16, 16)
        assert {total for _, total, _ in told} == {16}
        assert all(count == so_far for count, _, so_far in told)
        assert len(set(done)) >= 4
        assert max(np.diff(done)) <= 4

    def test_cancelled_between_two_batches(self, sixteen, segmenter, passed):
        with pytest.raises(Cancelled):
            segment(sixteen, segmenter, device="cpu", cancelled=lambda: len(passed) >= 2)
        assert len(passed) == 2


class TestNeighbours:
    def test_the_pipeline_joins_neighbouring_probabilities(self, case, segmenter):
        plain = segment(case.ct, segmenter)
        operating = replace(segmenter.card.operating, smoothing=(0.5,))
        model = replace(segmenter, card=replace(segmenter.card, operating=operating))
        found = segment(case.ct, model)
        before, after = (
            np.array([row["probability"] for row in result.slice_scores]) for result in (plain, found)
        )
        slabs = [group[0] for group in plain.square_maps.source.groups]
        here = np.array([plain.square_maps.source.slab_has_brain(slab) for slab in range(len(slabs))])
        np.testing.assert_allclose(
            after[slabs], smooth_over_slices(before[slabs], (0.5,), here), rtol=1e-5, atol=1e-7
        )
        assert not np.allclose(before, after)
        # A threshold between the two changes which slices are positive, not their maps.
        cut = float(np.median(after[after > 0]))
        some = segment(
            case.ct, replace(model, card=replace(model.card, operating=replace(operating, probability=cut)))
        )
        np.testing.assert_array_equal(some.positive, after >= np.float32(cut))
        slice_ = int(np.flatnonzero(some.positive)[0])
        np.testing.assert_array_equal(
            some.square_maps.planes([slice_])[0], plain.square_maps.planes([slice_])[0]
        )

    def test_names_of_operating_points(self, case, segmenter):
        operating = OperatingPoint(0.4, points={"low": 1.0, "normal": 0.4, "high": 1e-9})
        model = replace(segmenter, card=replace(segmenter.card, operating=operating))
        assert segment(case.ct, model, sensitivity="high").positive.any()
        low = segment(case.ct, model, sensitivity="low")
        assert not low.positive.any()
        assert low.provenance["sensitivity"] == "low"
        with pytest.raises(ModelError, match="knows the sensitivities low, normal, high, not 'best'"):
            segment(case.ct, model, sensitivity="best")
        with pytest.raises(ModelError, match="knows the sensitivities normal, not 'low'"):
            segment(case.ct, segmenter, sensitivity="low")

    def test_the_card_keeps_them(self, segmenter):
        operating = OperatingPoint(0.4, points={"high": 0.2}, smoothing=(0.5, 0.25))
        card = replace(segmenter.card, operating=operating)
        assert card_from_dict(card_to_dict(card)) == card
        plain = card_to_dict(segmenter.card)["operating_point"]
        assert not {"points", "smoothing"} & plain.keys()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"smoothing": [2]}, "weights of 0-1"),
            ({"points": {"best": 0.5}}, "low, normal, high"),
            ({"points": {"low": 2}}, "probabilities of 0-1"),
        ],
    )
    def test_wrong_ones_are_refused(self, segmenter, change, words):
        data = card_to_dict(segmenter.card)
        data["operating_point"] |= change
        with pytest.raises(ModelError, match=words):
            card_from_dict(data)

    def test_a_swin_decides_slab_by_slab(self):
        data = card_to_dict(tiny_card(operating=OperatingPoint(0.5, smoothing=(0.5,))))
        with pytest.raises(ModelError, match="smoothing"):
            card_from_dict(data)


@pytest.fixture(scope="module")
def pair(models):
    """A classifier with a segmentation network beside it."""
    torch.manual_seed(0)
    network = Segmenter(**UNET)
    plain = load_model(tiny_model(models / "plain"))
    card = replace(plain.card, name="pair", weights=None, segmenter=SegmenterPart(network.config))
    save_model(models / "pair", card, plain.network, segmenter=network)
    return load_model(models / "pair")


def with_mode(model, mode):
    return replace(model, card=replace(model.card, segmenter=replace(model.card.segmenter, mode=mode)))


class TestSequence:
    def test_runs_like_any_other(self, case, sequence):
        result = segment(case.ct, sequence)
        assert result.mask.any()
        assert result.positive.any()
        assert result.provenance["method"] == "cam"
        assert len({row["probability"] for row in result.slice_scores}) > 3

    def test_grad_cam_is_proportional(self, case, sequence):
        one, other = (segment(case.ct, sequence, method=name, threshold=0.3) for name in ("cam", "grad-cam"))
        np.testing.assert_allclose(one.map, other.map, atol=1e-4)

    def test_pseudo_masks_of_the_paper(self, case, sequence):
        result = segment(case.ct, sequence, refine="kmeans", threshold=0.2)
        assert result.provenance["refine"] == "kmeans"
        assert result.mask.any()
        again, _ = StoredCase(case.ct, result.map, result.provenance).rethreshold(0.2)
        np.testing.assert_array_equal(again, result.mask)

    def test_its_methods_are_its_own(self, case, sequence):
        with pytest.raises(InputError, match="grad-cam, cam"):
            segment(case.ct, sequence, method="hgi-sam")

    def test_no_slice_positive(self, case, sequence):
        blind = replace(sequence, card=replace(sequence.card, operating=OperatingPoint(1.0)))
        assert not segment(case.ct, blind).mask.any()


class TestSegmenter:
    def test_its_probability_is_the_map(self, case, segmenter):
        result = segment(case.ct, segmenter)
        assert result.map.max() <= 1
        assert result.positive.any()
        inside = result.map >= 0.5
        assert not (result.mask.astype(bool) & ~inside).any()

    def test_context_matters(self, case, segmenter):
        result = segment(case.ct, segmenter)
        changed = replace(case.ct, hu=case.ct.hu.copy())
        middle = len(changed.hu) // 2
        changed.hu[middle] = np.where(case.brain[middle], 75, changed.hu[middle])
        other = segment(changed, segmenter)
        before, after = ([row["probability"] for row in one.slice_scores] for one in (result, other))
        assert before[middle + 1] != after[middle + 1]
        assert before[middle + 3] == pytest.approx(after[middle + 3], abs=1e-6)

    def test_only_probability(self, case, segmenter):
        with pytest.raises(InputError, match="probability"):
            segment(case.ct, segmenter, method="cam")

    def test_verifies(self, models, segmenter, sequence, pair):
        for name in ("segmenter", "sequence", "pair"):
            report = verify_model(models / name)
            assert report.ok, str(report)


class TestPair:
    def test_either_loses_nothing_and_both_keeps_what_both_have(self, case, pair):
        masks = {
            mode: segment(case.ct, with_mode(pair, mode)).mask.astype(bool)
            for mode in ("map", "network", "either", "both")
        }
        np.testing.assert_array_equal(masks["either"], masks["map"] | masks["network"])
        np.testing.assert_array_equal(masks["both"], masks["map"] & masks["network"])
        assert masks["map"].any()
        assert masks["network"].any()
        assert (masks["network"] & ~masks["map"]).any()

    def test_provenance_names_both(self, case, pair):
        result = segment(case.ct, pair)
        assert result.provenance["mode"] == "either"
        assert len(result.provenance["segmenter_sha256"]) == 64

    def test_damaged_second_weights(self, models, pair, tmp_path):
        network = Segmenter(**UNET)
        save_model(tmp_path / "hurt", replace(pair.card, name="hurt"), pair.network, segmenter=network)
        file = tmp_path / "hurt" / "segmenter.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        with pytest.raises(ModelError, match=r"segmenter\.safetensors is damaged"):
            load_model(tmp_path / "hurt")

    def test_card_and_networks_agree(self, pair, tmp_path):
        with pytest.raises(ModelError, match="do not agree"):
            save_model(tmp_path / "half", replace(pair.card, name="half"), pair.network)

    def test_a_mixed_mask_is_not_cut_again(self, case, pair):
        result = segment(case.ct, pair)
        with pytest.raises(InputError, match="two networks"):
            StoredCase(case.ct, result.map, result.provenance)


class TestGate:
    @pytest.mark.parametrize("kind", ["plain", "sequence", "segmenter"])
    def test_decides_instead_of_the_classifier(self, case, models, request, kind, pair, sequence, segmenter):
        model = load_model(models / kind)
        blind = replace(model, card=replace(model.card, operating=OperatingPoint(1.0)))
        gate = case.blood.any(axis=(1, 2))
        result = segment(case.ct, blind, gate=gate, threshold=0.0 if kind != "segmenter" else None)
        np.testing.assert_array_equal(result.positive, gate)
        assert not result.map[~gate].any()
        assert result.map[gate].any()

    def test_same_as_without_where_it_says_the_same(self, case, models, pair):
        model = load_model(models / "plain")
        free = segment(case.ct, model)
        gated = segment(case.ct, model, gate=free.positive)
        np.testing.assert_array_equal(free.mask, gated.mask)
        free_scores, gated_scores = (
            [row["probability"] for row in one.slice_scores] for one in (free, gated)
        )
        assert free_scores == pytest.approx(gated_scores, abs=1e-6)

    def test_wrong_shape(self, case, models, pair):
        with pytest.raises(InputError, match="axial slices"):
            segment(case.ct, load_model(models / "plain"), gate=np.ones(3, bool))


class TestCard:
    def test_round_trip(self, sequence, segmenter, pair):
        for model in (sequence, segmenter, pair):
            data = card_to_dict(model.card)
            assert card_to_dict(card_from_dict(data)) == data

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            (lambda d: d["architecture"].update(kind="magic"), "architecture.kind"),
            (lambda d: d["architecture"]["arguments"].update(pretrained=True), "arguments.pretrained"),
            (
                lambda d: d["architecture"]["arguments"]["overrides"].update(checkpoint_path="x"),
                "overrides.checkpoint_path",
            ),
            (lambda d: d.update(strategy="subtypes"), "num_classes"),
        ],
    )
    def test_wrong_fields_are_named(self, sequence, change, part):
        data = card_to_dict(sequence.card)
        change(data)
        with pytest.raises(ModelError, match=part):
            card_from_dict(data)

    def test_wrong_mode(self, pair):
        data = card_to_dict(pair.card)
        data["segmenter"]["mode"] = "sometimes"
        with pytest.raises(ModelError, match=r"segmenter\.mode"):
            card_from_dict(data)


def test_a_classifier_does_not_import_monai(models, pair, tmp_path):
    """It takes seconds, at every start of the command line and of the worker."""
    code = (
        "import sys; sys.path.insert(0, 'Testing/lib'); from phantom_heads import head\n"
        f"from ICHWeakSegLib import segment; segment(head().ct, {str(models / 'plain')!r})\n"
        "sys.exit('monai' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
