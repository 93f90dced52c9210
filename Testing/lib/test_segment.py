"""The pipeline from a CT to mask, map and slice scores, with a tiny random model: HU find the blood."""

import copy
import gc
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from heads import axial_affine, rotation
from phantom_heads import PIXEL_MM, HeadWithBleed, dice, head, on_grid
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT, InputError, load_model, localize, read_ct, segment
from ICHWeakSegLib.ct import AxialGrid, Head, write_volume
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.inference import swin_classifier
from ICHWeakSegLib.models import MapSettings, OperatingPoint
from ICHWeakSegLib.segment import Cancelled, Result

STEPS = (PIXEL_MM, PIXEL_MM, 5.0)
KEYS = {
    "model",
    "version",
    "sha256",
    "method",
    "refine",
    "map_threshold",
    "refine_smallest_ml",
    "slice_threshold",
    "brain_hu",
    "software",
    "device",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load_model(tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def case():
    return head()


@pytest.fixture(scope="module")
def result(case, tiny) -> Result:
    return segment(case.ct, tiny)


@pytest.fixture(scope="module")
def few(case):
    """The slices around the bleed: enough to see that an option arrives."""
    middle = int(case.blood.sum(axis=(1, 2)).argmax())
    part = slice(middle - 3, middle + 3)
    affine = case.ct.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, 2] * part.start
    return HeadWithBleed(CT(case.ct.hu[part], affine, source="phantom"), case.blood[part], case.brain[part])


@pytest.fixture(scope="module")
def few_result(few, tiny) -> Result:
    return segment(few.ct, tiny)


def with_card(model, **changes):
    return replace(model, card=replace(model.card, **changes))


def probabilities(result):
    return [row["probability"] for row in result.slice_scores]


class TestResult:
    def test_finds_the_bleed(self, case, result):
        assert result.mask.shape == case.ct.hu.shape
        assert result.mask.dtype == np.uint8
        assert set(np.unique(result.mask)) == {0, 1}
        assert dice(result.mask, case.blood) > 0.8

    def test_volume_is_that_of_the_mask(self, case, result):
        voxel_ml = abs(np.linalg.det(case.ct.ijk_to_ras[:3, :3])) / 1000
        assert result.volume_ml == pytest.approx(result.mask.sum() * voxel_ml)
        assert result.volume_ml == pytest.approx(case.blood_ml, rel=0.25)

    def test_map(self, case, result):
        found = result.map
        assert found.shape == case.ct.hu.shape
        assert found.dtype == np.float32
        assert found.min() == 0
        assert 0.9 < found.max() <= 1
        assert found[~result.positive].max(initial=0) == 0
        np.testing.assert_array_equal(result.map, found)

    def test_scores(self, case, result):
        assert [row["slice"] for row in result.slice_scores] == list(range(len(case.ct.hu)))
        assert set(result.slice_scores[0]) == {"slice", "probability", "any"}
        assert all(0 <= p <= 1 for p in probabilities(result))
        assert len(set(probabilities(result))) > 5

    def test_provenance(self, tiny, result):
        assert set(result.provenance) == KEYS
        assert result.provenance["model"] == "tiny"
        assert result.provenance["sha256"] == tiny.card.weights.sha256
        assert result.provenance["method"] == "hgi-sam"
        assert result.provenance["software"].startswith("ICHWeakSeg ")
        assert result.provenance["device"] == "cuda" if torch.cuda.is_available() else "cpu"

    def test_same_again(self, case, tiny, result):
        again = segment(case.ct, tiny)
        np.testing.assert_array_equal(again.mask, result.mask)
        np.testing.assert_array_equal(again.map, result.map)
        assert again.slice_scores == result.slice_scores

    def test_the_ct_and_the_network_are_left_alone(self, case, tiny):
        before, state = case.ct.hu.copy(), {k: v.clone() for k, v in tiny.network.state_dict().items()}
        segment(case.ct, tiny)
        np.testing.assert_array_equal(case.ct.hu, before)
        for key, value in tiny.network.state_dict().items():
            assert torch.equal(value, state[key])
        assert all(parameter.requires_grad for parameter in tiny.network.parameters())

    def test_the_result_does_not_hold_the_network(self, tmp_path, case):
        model = load_model(tiny_model(tmp_path / "tiny"))
        network = weakref.ref(model.network)
        kept = segment(case.ct, model)
        del model
        gc.collect()
        assert kept.map.any()
        assert network() is None


class TestGeometry:
    """The result lies on the input's own voxels, whatever their order and direction."""

    def check(self, case: HeadWithBleed, model, least=0.75) -> Result:
        result = segment(case.ct, model)
        assert result.mask.shape == case.ct.hu.shape == result.map.shape
        assert dice(result.mask, case.blood) > least
        assert result.volume_ml == pytest.approx(case.blood_ml, rel=0.3)
        # The map is where the brain is.
        assert case.brain[result.map > 0.02].mean() > 0.8
        return result

    @pytest.mark.parametrize("axes", ["RAS", "LAI", "ASR", "LSA"])
    def test_any_order_of_the_axes(self, axes, result, tiny, case):
        # Sagittal and coronal volumes are the same voxels in another order.
        order = {letter: axis for axis, pair in enumerate(("LR", "PA", "SI")) for letter in pair}
        along = [order[letter] for letter in axes]
        flips = [letter not in "LPS" for letter in axes]
        turned, other = [], np.eye(4)
        for array in (case.ct.hu, case.blood, case.brain):
            view = array.transpose([2 - axis for axis in along[::-1]])
            turned.append(
                np.ascontiguousarray(
                    view[tuple(slice(None, None, -1 if flip else 1) for flip in flips[::-1])]
                )
            )
        counts = case.ct.hu.shape[::-1]
        for column, (axis, flip) in enumerate(zip(along, flips, strict=True)):
            step = case.ct.ijk_to_ras[:3, axis]
            other[:3, column] = -step if flip else step
        other[:3, 3] = case.ct.ijk_to_ras[:3, 3] + sum(
            (counts[axis] - 1) * case.ct.ijk_to_ras[:3, axis]
            for axis, flip in zip(along, flips, strict=True)
            if flip
        )
        again = self.check(HeadWithBleed(CT(turned[0], other), *turned[1:]), tiny)
        # Slices run from inferior to superior whatever the storage order, and the voxels are the same.
        assert probabilities(again) == pytest.approx(probabilities(result), abs=1e-6)
        assert again.mask.sum() == result.mask.sum()
        assert again.volume_ml == pytest.approx(result.volume_ml)

    def test_oblique_by_30_degrees(self, tiny):
        shape = (30, 140, 130)
        affine = axial_affine(shape, STEPS, turn=rotation("R", 30.0))
        affine[2, 3] += 30
        result = self.check(on_grid(shape, affine), tiny, 0.7)
        assert any("30 degrees" in sentence for sentence in result.warnings)

    @pytest.mark.parametrize("tilt", [-20.0, 18.0])
    def test_sheared(self, tilt, tiny):
        shape = (32, 128, 128)
        affine = axial_affine(shape, STEPS, tilt_deg=tilt)
        affine[2, 3] += 30
        case = on_grid(shape, affine)
        result = self.check(case, tiny)
        # By the determinant: not the product of the spacings.
        assert result.volume_ml == pytest.approx(
            result.mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000
        )

    def test_uneven(self, tiny):
        positions = np.concatenate([np.arange(-40.0, 10, 2.5), np.arange(10.0, 85, 6.0)])
        shape = (len(positions), 128, 128)
        affine = axial_affine(shape, (PIXEL_MM, PIXEL_MM, 6.0))
        affine[2, 3] = positions[0]
        result = self.check(on_grid(shape, affine, positions), tiny)
        gaps = np.diff(positions)
        reach = np.concatenate([gaps[:1], (gaps[1:] + gaps[:-1]) / 2, gaps[-1:]])
        assert result.volume_ml == pytest.approx(result.mask.sum(axis=(1, 2)) @ reach * PIXEL_MM**2 / 1000)

    def test_thin(self, tiny):
        case = head(1)
        result = self.check(case, tiny)
        # Five slices of one millimetre make a slab, and share its probability and map.
        assert probabilities(result)[10:15] == [probabilities(result)[10]] * 5
        np.testing.assert_array_equal(result.map[50], result.map[54])
        assert result.mask[50:55].any()

    def test_fractions_of_a_hu(self, tiny, case, result):
        ct = replace(case.ct, hu=case.ct.hu.astype(np.float32) + 0.25)
        assert dice(segment(ct, tiny).mask, result.mask) > 0.98


class TestOperatingPoint:
    def test_negative_slices_have_no_blood(self, case, tiny, result):
        middle = float(np.median([p for p in probabilities(result) if p > 0]))
        half = segment(case.ct, with_card(tiny, operating=OperatingPoint(middle)))
        np.testing.assert_array_equal(half.positive, [p >= middle for p in probabilities(result)])
        assert 0 < half.positive.sum() < result.positive.sum()
        assert not half.mask[~half.positive].any()
        assert not half.map[~half.positive].any()

    def test_sensitivity_moves_it(self, case, tiny, result):
        seen = sorted(p for p in probabilities(result) if p > 0)
        table = tuple((s, float(np.quantile(seen, 1 - s))) for s in (0.1, 0.5, 0.9))
        model = with_card(tiny, operating=OperatingPoint(table[1][1], table))
        counts = [segment(case.ct, model, sensitivity=s).positive.sum() for s in (0.1, 0.5, 0.9)]
        assert counts == sorted(counts)
        assert counts[0] < counts[1] < counts[2]
        assert segment(case.ct, model, sensitivity=0.5).provenance["sensitivity"] == 0.5
        assert segment(case.ct, model).positive.sum() == counts[1]

    def test_no_positive_slice(self, case, tiny):
        result = segment(case.ct, with_card(tiny, operating=OperatingPoint(1.0)))
        assert not result.mask.any()
        assert not result.map.any()
        assert not result.positive.any()
        assert result.volume_ml == 0
        assert len(result.slice_scores) == len(case.ct.hu)

    def test_slices_without_brain_score_zero(self, case, tiny, result):
        none = ~case.brain.any(axis=(1, 2))
        assert none.any()
        assert [p for p, empty in zip(probabilities(result), none, strict=True) if empty] == [0] * none.sum()


class TestOptions:
    @pytest.mark.parametrize("method", ["hgi-sam", "swin-sam", "grad-cam", "layer-cam", "hires-cam"])
    def test_methods(self, method, few, tiny):
        result = segment(few.ct, tiny, method=method)
        assert result.provenance["method"] == method
        if method != "hgi-sam":
            # Another method does not inherit the card's threshold.
            assert result.provenance["map_threshold"] > 0

    @pytest.mark.parametrize("strategy", ["binary", "subtypes"])
    def test_strategies(self, tmp_path, strategy, few):
        card = tiny_card("other", strategy)
        result = segment(few.ct, tiny_model(tmp_path / "other", card))
        assert set(result.slice_scores[0]) == {"slice", "probability", *card.classes}
        assert all(row["probability"] == row["any"] for row in result.slice_scores)
        assert dice(result.mask, few.blood) > 0.8

    def test_refinements(self, few, tiny, few_result):
        by_threshold = segment(few.ct, tiny, refine="threshold", threshold=0.3)
        inside = by_threshold.map >= 0.3
        assert by_threshold.mask[~inside].sum() == 0
        assert by_threshold.mask[inside & few.brain].mean() > 0.9
        fewer = segment(few.ct, tiny, refine="threshold", threshold=0.7)
        assert 0 < fewer.mask.sum() < by_threshold.mask.sum()
        assert segment(few.ct, tiny, refine="otsu").provenance["refine"] == "otsu"

    def test_card_without_refinement(self, few, tiny):
        model = with_card(tiny, map=MapSettings("hgi-sam", 0.4, "none"))
        result = segment(few.ct, model)
        assert result.provenance["refine"] == "threshold"
        assert result.provenance["map_threshold"] == 0.4

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"method": "magic"}, "method is one of"),
            ({"refine": "magic"}, "refinement is one of"),
            ({"threshold": 1.5}, "between 0 and 1"),
            ({"threshold": -0.1}, "between 0 and 1"),
            ({"threshold": float("nan")}, "between 0 and 1"),
            ({"sensitivity": 1.2}, "between 0 and 1"),
            ({"sensitivity": 0.9}, "no table"),
            ({"device": "tpu"}, "auto, cpu, cuda or mps"),
            ({"device": "mps"}, "no mps device"),
            ({"threads": 0}, "at least 1"),
            ({"model": "no such model"}, "no model"),
        ],
    )
    def test_refused(self, options, words, few, tiny):
        if options.get("device") == "mps" and torch.backends.mps.is_available():
            pytest.skip("this machine has MPS")
        with pytest.raises(InputError, match=words) as caught:
            segment(few.ct, **{"model": tiny, **options})
        assert "\n" not in str(caught.value)

    def test_refine_options_of_another_version(self, few, tiny):
        model = with_card(tiny, map=MapSettings(refine_options={"wisdom": 3}))
        with pytest.raises(InputError, match="refine_options of model tiny"):
            segment(few.ct, model)

    def test_no_skull(self, few, tiny):
        soft = CT(np.where(few.ct.hu > -300, 35, -1000).astype(np.int16), few.ct.ijk_to_ras, source="phantom")
        with pytest.raises(InputError, match="phantom shows no skull"):
            segment(soft, tiny)

    def test_threads_are_put_back(self, few, tiny):
        before = torch.get_num_threads()
        seen = []
        segment(few.ct, tiny, threads=before + 1, progress=lambda *_: seen.append(torch.get_num_threads()))
        assert set(seen) == {before + 1}
        assert torch.get_num_threads() == before

    def test_model_as_object_name_or_folder(self, tmp_path, monkeypatch, few, tiny, few_result):
        folder = tmp_path / "Modèles 模型" / "own"
        tiny_model(folder, tiny_card("own"))
        monkeypatch.setenv("ICHWEAKSEG_MODELS", str(folder.parent))
        for model in ("own", str(folder), folder, load_model("own")):
            found = segment(few.ct, model)
            assert found.provenance["model"] == "own"
            np.testing.assert_array_equal(found.mask, few_result.mask)

    def test_ct_as_path(self, tmp_path, few, tiny, few_result):
        path = tmp_path / "Kopf 头.nii.gz"
        write_volume(path, few.ct.hu, few.ct)
        for source in (path, str(path), read_ct(path)):
            np.testing.assert_array_equal(segment(source, tiny).mask, few_result.mask)


class TestHead:
    """A head made once serves every model and call, and none of them changes it."""

    def same(self, ct, model, calls) -> None:
        shared = Head.of(ct)
        for more in calls:
            alone, found = segment(ct, model, **more), segment(ct, model, head=shared, **more)
            np.testing.assert_array_equal(found.mask, alone.mask)
            np.testing.assert_array_equal(found.map, alone.map)
            assert found.map.any()
            assert (found.slice_scores, found.warnings) == (alone.slice_scores, alone.warnings)
            assert found.provenance == alone.provenance
            assert found.grid is shared.grid

    def test_one_call_after_the_other(self, few, tiny):
        gate = np.array([False, True, True, False, False, True])
        self.same(few.ct, tiny, [{}, {"method": "grad-cam"}, {"gate": gate}, {"refine": "otsu"}, {}])
        assert segment(few.ct, tiny, head=Head.of(few.ct)).mask.any()

    def test_sheared(self, tiny):
        # Around the middle of the bleed.
        affine = axial_affine((8, 128, 128), STEPS, tilt_deg=15.0)
        affine[2, 3] += 30
        self.same(on_grid((8, 128, 128), affine).ct, tiny, [{"refine": "otsu"}, {"refine": "otsu"}])

    def test_thin(self, tiny):
        case = head(2)
        middle = int(case.blood.sum(axis=(1, 2)).argmax())
        ct = CT(case.ct.hu[middle - 8 : middle + 8], case.ct.ijk_to_ras)
        self.same(ct, tiny, [{"refine": "otsu"}, {"refine": "otsu"}])

    def test_its_brain_is_the_brain_mask(self, few):
        shared = Head.of(few.ct)
        fresh = BrainMask(AxialGrid(few.ct))
        for _ in range(2):
            np.testing.assert_array_equal(shared.brain.to_array(), fresh.to_array())
            # Whoever writes into a slice writes into his own.
            shared.brain[len(shared.brain) // 2][:] = False

    def test_of_another_ct(self, case, few, tiny):
        with pytest.raises(InputError, match="another CT") as caught:
            segment(few.ct, tiny, head=Head.of(case.ct))
        assert "\n" not in str(caught.value)


class TestProgress:
    def test_stages_in_order(self, few, tiny):
        seen = []
        segment(few.ct, tiny, progress=lambda *step: seen.append(step))
        stages = list(dict.fromkeys(stage for stage, _, _ in seen))
        assert stages == ["brain mask", "classifying and localizing", "refining"]
        counted = [(done, total) for stage, done, total in seen if stage.startswith("classifying")]
        assert counted[0][0] == 0
        assert counted[-1][0] == counted[-1][1] == 6
        assert [done for done, _ in counted] == sorted(done for done, _ in counted)

    def test_brain_mask_slice_by_slice(self, few, tiny):
        seen = []
        segment(few.ct, tiny, progress=lambda *step: seen.append(step))
        counted = [(done, total) for stage, done, total in seen if stage == "brain mask"]
        assert counted == [(done, 6) for done in range(7)]
        # One that is there already takes no time.
        seen.clear()
        segment(few.ct, tiny, head=Head.of(few.ct), progress=lambda *step: seen.append(step))
        assert seen[0] == ("brain mask", 0, 1)
        assert seen[1][0] == "classifying and localizing"

    @pytest.mark.parametrize("asked", [1, 3, 10])
    def test_cancel(self, asked, few, tiny):
        count = 0

        def cancelled():
            nonlocal count
            count += 1
            return count >= asked

        with pytest.raises(Cancelled):
            segment(few.ct, tiny, cancelled=cancelled)
        assert count == asked
        # The network is as it was.
        assert all(parameter.requires_grad for parameter in tiny.network.parameters())

    def test_errors_of_the_listener_come_through(self, few, tiny):
        def progress(stage, done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            segment(few.ct, tiny, progress=progress)


class TestMemory:
    """The device runs out of memory once, or for good."""

    @staticmethod
    def fail(network, times):
        """Make the next forward passes fail as CUDA does."""
        left = [times]

        def hook(module, arguments):
            if left[0]:
                left[0] -= 1
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

        return network.swin.patch_embed.register_forward_pre_hook(hook)

    def test_goes_on_with_smaller_batches_and_says_so(self, monkeypatch, few, tiny, few_result):
        by_fours = partial(localize.classify_and_localize, batch_size=4)
        monkeypatch.setattr(swin_classifier, "classify_and_localize", by_fours)
        handle = self.fail(tiny.network, 1)
        try:
            found = segment(few.ct, tiny)
        finally:
            handle.remove()
        assert [w for w in found.warnings if "ran out of memory with 4 images; going on with 2" in w]
        assert probabilities(found) == pytest.approx(probabilities(few_result), abs=1e-5)

    def test_gives_up_when_one_image_does_not_fit(self, few, tiny):
        handle = self.fail(tiny.network, 1000)
        try:
            with pytest.raises(MemoryError, match="too small"):
                segment(few.ct, tiny, device="cpu")
        finally:
            handle.remove()


def test_public_names():
    import ICHWeakSegLib

    assert ICHWeakSegLib.segment is segment
    for name in ("CT", "InputError", "Result", "load_model", "read_ct", "segment"):
        assert name in ICHWeakSegLib.__all__


class TestSubtypes:
    """A model that learned subtypes gives one segment a subtype."""

    @pytest.fixture(scope="class")
    def model(self, tmp_path_factory):
        return load_model(
            tiny_model(tmp_path_factory.mktemp("models") / "many", tiny_card("many", "subtypes"), seed=1)
        )

    @pytest.fixture(scope="class")
    def parted(self, case, model) -> Result:
        return segment(case.ct, model)

    def test_one_segment_a_subtype(self, parted, case):
        assert list(parted.masks) == ["EDH", "IPH", "IVH", "SAH", "SDH"]
        assert parted.mask.any()
        np.testing.assert_array_equal(sum(parted.masks.values()), parted.mask)
        assert parted.subtypes.shape == case.ct.hu.shape

    def test_subtypes_are_known_on_positive_slices_only(self, parted):
        known = parted.grid.from_native(parted.subtypes).any(axis=(1, 2))
        np.testing.assert_array_equal(known, parted.positive)

    def test_the_likeliest_takes_a_slice_where_no_other_comes_near(self, case, model):
        # The head's last layer decides: make IPH certain, the others impossible.
        sure = replace(model, network=copy.deepcopy(model.network))
        with torch.no_grad():
            sure.network.head.weight.mul_(0.01)
            sure.network.head.bias.copy_(torch.tensor([9.0, -9.0, 9.0, -9.0, -9.0, -9.0]))
        names = {name for name, mask in segment(case.ct, sure).masks.items() if mask.any()}
        assert names == {"IPH"}

    def test_maps_decide_between_equals(self, few, model):
        equal = replace(model, network=copy.deepcopy(model.network))
        with torch.no_grad():
            equal.network.head.bias.copy_(torch.tensor([9.0, -9.0, 9.0, -9.0, -9.0, 9.0]))
            equal.network.head.weight.mul_(0.1)
        seen = []
        parted = segment(few.ct, equal, progress=lambda stage, *_: seen.append(stage))
        assert "telling subtypes apart" in seen
        found = {
            name for name in ("IPH", "SDH") if (parted.subtypes == parted.subtype_names.index(name) + 1).any()
        }
        assert found == {"IPH", "SDH"}

    def test_without_gradients_the_likeliest_takes_it_all(self, few, model):
        seen = []
        parted = segment(
            few.ct, model, method="swin-sam", threshold=0.0, progress=lambda stage, *_: seen.append(stage)
        )
        assert "telling subtypes apart" not in seen
        per_slice = [len(np.unique(plane)) for plane in parted.grid.from_native(parted.subtypes)]
        assert max(per_slice) == 1

    def test_a_binary_model_has_one_segment(self, result):
        assert list(result.masks) == ["hemorrhage"]
        assert result.subtypes is None
        assert result.subtype_names == ()
