"""Overlap, lesions, boxes, detection, bootstrap and tests: against MONAI, scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, MeanIoU, ROCAUCMetric
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, recall_score

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.evaluation.bootstrap import Bootstrap
from ICHWeakSegLib.evaluation.boxes import energy, inside, pointing, read_boxes, rivals
from ICHWeakSegLib.evaluation.compare import compare, holm
from ICHWeakSegLib.evaluation.detection import detection
from ICHWeakSegLib.evaluation.lesions import lesion_rows
from ICHWeakSegLib.evaluation.overlap import overlap


def blob(seed, shape=(6, 20, 24)):
    rng = np.random.default_rng(seed)
    centre = [rng.uniform(0.3, 0.7) * size for size in shape]
    places = np.indices(shape)
    away = sum(((axis - c) / (0.25 * size)) ** 2 for axis, c, size in zip(places, centre, shape, strict=True))
    return away < 1


@pytest.mark.parametrize("shape", [(6, 20, 24), (20, 24)])
def test_overlap_equals_monai(shape):
    spacing = (5.0, 0.7, 0.9)[-len(shape) :]
    one, other = blob(1, shape), blob(2, shape)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (one, other)]
    values = overlap(one, other, spacing, 3.0, 2.0)
    assert 0 < values["dice"] < 1
    assert values["dice"] == pytest.approx(DiceMetric()(*tensors).item())
    assert values["iou"] == pytest.approx(MeanIoU()(*tensors).item())
    whole = HausdorffDistanceMetric(include_background=True, percentile=95)(*tensors, spacing=spacing).item()
    assert values["hd95_mm"] == pytest.approx(whole)


def test_overlap_by_hand():
    truth, found = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    truth[0, 0, :4] = True
    found[0, 0, 2:4] = found[1, 3, 0] = True
    values = overlap(found, truth, (5, 1, 1), 3.0, 4.0)
    assert values["dice"] == pytest.approx(2 * 2 / (3 + 4))
    assert values["iou"] == pytest.approx(2 / 5)
    assert values["sensitivity"] == pytest.approx(2 / 4)
    assert values["precision"] == pytest.approx(2 / 3)
    assert values["relative_volume"] == pytest.approx(-0.25)
    assert values["volume_error_ml"] == pytest.approx(1.0)


@pytest.mark.parametrize(("axis", "wanted"), [(0, 2 * 5.0), (1, 2 * 0.5), (2, 2 * 0.8)])
def test_distances_are_in_mm_of_their_own_axis(axis, wanted):
    truth = np.zeros((7, 9, 11), bool)
    truth[2:4, 3:5, 4:6] = True
    # Every surface voxel of the far side lies two steps away, and few are nearer than the 95th percentile.
    moved = np.roll(truth, 2, axis)
    assert overlap(moved, truth, (5.0, 0.5, 0.8), 1, 1)["hd95_mm"] == pytest.approx(wanted)


def test_empty_masks():
    none, some = np.zeros((2, 4, 4), bool), np.ones((2, 4, 4), bool)
    both = overlap(none, none, (1, 1, 1), 0.0, 0.0)
    assert (both["dice"], both["iou"], both["volume_error_ml"]) == (1, 1, 0)
    assert all(np.isnan(both[name]) for name in ("hd95_mm", "relative_volume", "sensitivity", "precision"))
    missed = overlap(none, some, (1, 1, 1), 0.0, 2.0)
    assert (missed["dice"], missed["iou"], missed["sensitivity"], missed["relative_volume"]) == (0, 0, 0, -1)
    assert np.isnan(missed["hd95_mm"])
    assert np.isnan(missed["precision"])
    false = overlap(some, none, (1, 1, 1), 2.0, 0.0)
    assert (false["dice"], false["iou"], false["precision"], false["volume_error_ml"]) == (0, 0, 0, 2)
    assert all(np.isnan(false[name]) for name in ("hd95_mm", "relative_volume", "sensitivity"))


def test_overlap_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="shape"):
        overlap(np.zeros((2, 2), bool), np.zeros((2, 3), bool), (1, 1), 0, 0)


def test_lesions():
    truth, found = np.zeros((3, 8, 8), bool), np.zeros((3, 8, 8), bool)
    # Corner to corner through slices: one lesion by 26 neighbours, two by 6 or 18.
    truth[0, 0, 0] = truth[1, 1, 1] = True
    truth[2, 6, 4:8] = True
    found[2, 6, 7] = found[2, 5, 7] = True
    found[0, 4, 4] = True
    rows = lesion_rows(found, truth, np.array([1.0, 2.0, 3.0]))
    true = [row for row in rows if row["kind"] == "true"]
    assert [(row["volume_ml"], row["hit"], row["covered"]) for row in true] == [
        (3.0, 0, 0.0),
        (12.0, 1, 0.25),
    ]
    got = [row for row in rows if row["kind"] == "found"]
    assert [(row["volume_ml"], row["hit"], row["covered"]) for row in got] == [(1.0, 0, 0.0), (6.0, 1, 0.5)]


def test_no_lesions():
    assert lesion_rows(np.zeros((2, 3, 3), bool), np.zeros((2, 3, 3), bool), np.ones(2)) == []


def test_energy_and_pointing_by_hand():
    plane = np.zeros((4, 5), np.float32)
    plane[1, 2], plane[3, 4], plane[0, 0] = 0.6, 0.3, 0.1
    # x is the column, y the row; both ends count; two boxes that overlap count once.
    target = inside([(2, 1, 2, 1), (2, 1, 4, 2)], plane.shape)
    assert target.sum() == 6
    assert energy(plane, target) == pytest.approx(0.6)
    assert pointing(plane, target) == 1
    other = inside([(4, 3, 9, 9)], plane.shape)
    assert (energy(plane, other), pointing(plane, other)) == (pytest.approx(0.3), 0)
    assert (energy(plane * 0, target), pointing(plane * 0, np.ones_like(target))) == (0, 0)


def test_rivals():
    hu, brain = np.full((40, 40), 30.0), np.zeros((40, 40), bool)
    brain[5:35, 5:35] = True
    hu[0, 0] = 1000
    hu[10:16, 20:26] = 70
    target = inside([(18, 8, 27, 17)], hu.shape)
    found = rivals(hu, brain, target, 1.0, 30.0)
    share = 100 / 900
    assert found["random point"] == (pytest.approx(share), pytest.approx(share))
    assert found["brightest spot"][0] == 1
    assert share < 0.5 < found["brightest spot"][1] < 1
    assert rivals(hu, brain * False, target, 1.0, 30.0)["random point"] == (0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slice,x0,y0,x1,y1\n1,2,3,four,5\n", "line 2"),
        ("slice,x0,y0,x1,y1\n1,2,3,1,5\n", "ends before"),
        ("slice,x0,y0,x1\n1,2,3,1\n", "y1"),
    ],
)
def test_boxes_that_are_none(tmp_path, text, words):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_boxes(path)


def rows(seed=0, patients=20, each=7):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{number}" for number in range(patients)], each)
    labels = rng.random(len(names)) < 0.4
    scores = np.round(np.clip(0.3 * labels + rng.random(len(names)), 0, 1.3), 1)
    return labels.astype(float), scores, scores > 0.6, names


def test_detection_equals_monai_and_scikit_learn():
    labels, scores, positive, names = rows()
    figures = detection(labels, scores, positive, names, draws=50)
    auc = ROCAUCMetric()
    auc(torch.tensor(scores), torch.tensor(labels))
    assert figures["AUC"].value == pytest.approx(auc.aggregate())
    assert figures["AUPRC"].value == pytest.approx(average_precision_score(labels, scores))
    assert figures["sensitivity"].value == pytest.approx(recall_score(labels, positive))
    assert figures["specificity"].value == pytest.approx(recall_score(1 - labels, ~positive))
    assert figures["accuracy"].value == pytest.approx(accuracy_score(labels, positive))
    assert figures["F1"].value == pytest.approx(f1_score(labels, positive))
    assert all(figure.low < figure.value < figure.high for figure in figures.values())


def test_unknown_labels_are_left_out():
    labels, scores, positive, names = rows()
    more = [np.concatenate([part, part[:9]]) for part in (labels, scores, positive, names)]
    more[0][-9:] = np.nan
    assert detection(*more, draws=20) == detection(labels, scores, positive, names, draws=20)


def test_one_class_alone_has_no_auc():
    figures = detection([1, 1, 1], [0.1, 0.2, 0.9], [False, True, True], ["a", "b", "c"], draws=20)
    assert np.isnan(figures["AUC"].value)
    assert np.isnan(figures["specificity"].value)
    assert figures["sensitivity"].value == pytest.approx(2 / 3)


def test_bootstrap_is_reproducible():
    labels, scores, positive, names = rows()
    one, same, other = (detection(labels, scores, positive, names, 100, seed) for seed in (3, 3, 4))
    assert one == same
    assert one["AUC"].value == other["AUC"].value
    assert one["AUC"].low != other["AUC"].low


def test_bootstrap_draws_patients_and_not_rows():
    names = ["a"] * 50 + ["b"] * 50
    values = [0.0] * 50 + [1.0] * 50
    resampled = Bootstrap(names, 200, 0)
    # All rows of a patient come together.
    assert all(len(set(part[:50])) == 1 and len(set(part[50:])) == 1 for part in resampled.weights())
    assert (resampled.mean(values).low, resampled.mean(values).high) == (0, 1)
    alone = Bootstrap([str(n) for n in range(100)], 200, 0).mean(values)
    assert 0.35 < alone.low < alone.high < 0.65


def test_bootstrap_weights_equal_repeated_rows():
    labels, scores, positive, names = rows(patients=6)
    resampled = Bootstrap(names, 1, 5)
    times = resampled.weights()[0].astype(int)
    again = [np.repeat(part, times) for part in (labels, scores, positive, names)]
    figures = detection(*again, draws=1)
    drawn = detection(labels, scores, positive, names, draws=1, seed=5)
    for name, figure in drawn.items():
        assert figure.low == pytest.approx(figures[name].value), name


def test_mean_leaves_undefined_values_out():
    figure = Bootstrap(["a", "b", "c"], 50, 0).mean([1.0, np.nan, 3.0])
    assert (figure.value, figure.n) == (2.0, 2)
    assert np.isnan(Bootstrap([], 10, 0).mean([]).value)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2, 0.001, 0.5, 0.03]) == pytest.approx([0.4, 0.004, 0.5, 0.09])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_comparisons_pair_patients():
    one = {f"p{n}": 0.5 + 0.01 * n for n in range(12)}
    better = {name: value + 0.1 + 0.001 * n for n, (name, value) in enumerate(one.items())}
    same = dict(one, elsewhere=0.0, p0=float("nan"))
    pairs = {(c.one, c.other): c for c in compare({"one": one, "better": better, "same": same})}
    # 12 differences of one sign: two-sided exact p is 2 / 2^12; it is the smallest of three.
    assert pairs["one", "better"].p == pytest.approx(2 / 2**12)
    assert pairs["one", "better"].holm == pytest.approx(3 * 2 / 2**12)
    assert pairs["one", "better"].difference < -0.1
    assert (pairs["one", "same"].p, pairs["one", "same"].patients) == (1, 11)
    assert compare({"one": one, "other": {"nobody": 1.0}}) == []
