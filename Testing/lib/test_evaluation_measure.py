"""One case with one system: gating, labels from masks, systems by name."""

import numpy as np
import pytest
from phantom_heads import dice, head
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT, segment
from ICHWeakSegLib.ct import Head
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.evaluation.cases import EvalCase
from ICHWeakSegLib.evaluation.gating import oracle
from ICHWeakSegLib.evaluation.measure import measure_case
from ICHWeakSegLib.evaluation.run import measure_all
from ICHWeakSegLib.evaluation.store import Store
from ICHWeakSegLib.evaluation.systems import Spec, name_apart, package_systems, parse
from ICHWeakSegLib.models import OperatingPoint, load_model
from ICHWeakSegLib.output import write_result_mask


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Six slices, blood erased from the lowest two; a model that is always positive and one that never is."""
    folder = tmp_path_factory.mktemp("measure")
    case = head()
    middle = int(case.blood.sum(axis=(1, 2)).argmax())
    part = slice(middle - 3, middle + 3)
    hu, blood = case.ct.hu[part].copy(), case.blood[part].copy()
    hu[:2][blood[:2]] = 33
    blood[:2] = False
    ct = CT(hu, case.ct.ijk_to_ras)
    write_result_mask(folder / "mask.nii.gz", blood.astype(np.uint8), ct)
    tiny_model(folder / "willing")
    tiny_model(folder / "blind", tiny_card("blind", operating=OperatingPoint(1.0)))
    return folder, ct, blood


def measured(place, model, **more):
    folder, ct, _ = place
    (system,) = package_systems([str(folder / model)])
    case = EvalCase("a", "p", lambda: ct, **{"mask": folder / "mask.nii.gz", **more})
    return measure_case(case, ct, system, load_model(folder / model), "cpu")


def test_one_head_serves_all_systems(place, tmp_path, monkeypatch):
    folder, ct, _ = place
    read, made = [], []
    case = EvalCase("a", "p", lambda: read.append(1) or ct, mask=folder / "mask.nii.gz")
    systems = package_systems(
        [str(folder / "willing"), f"{folder / 'willing'}:grad-cam", str(folder / "blind")]
    )
    models = [load_model(system.package("p").folder) for system in systems]
    apart = [measure_case(case, ct, *pair, "cpu") for pair in zip(systems, models, strict=True)]
    whole = Head.of.__func__
    monkeypatch.setattr(Head, "of", classmethod(lambda cls, ct: made.append(1) or whole(cls, ct)))
    together = measure_all([case], systems, Store(tmp_path), "cpu")
    assert (len(read), len(made)) == (1, 1)
    for one, shared in zip(apart, together, strict=True):
        np.testing.assert_equal(shared.records[0], one)
    # Finished measurements need no CT.
    measure_all([case], systems, Store(tmp_path), "cpu")
    assert (len(read), len(made)) == (1, 1)


def test_oracle_and_predicted_gating(place):
    _, ct, blood = place
    record = measured(place, "blind")
    # The classifier says no to every slice; the true labels open those with blood.
    assert [row["positive"] for row in record["slices"]] == [0] * 6
    assert [row["any"] for row in record["slices"]] == [0, 0, 1, 1, 1, 1]
    whole = record["case"]
    assert (whole["predicted_dice"], whole["predicted_ml"], whole["positive"]) == (0, 0, 0)
    assert whole["oracle_dice"] > 0.8
    assert whole["truth_ml"] == pytest.approx(ct.volume_ml(blood))
    assert {row["gating"] for row in record["lesions"] if row["kind"] == "found"} == {"oracle"}
    # Without blood there is nothing to compare slice by slice.
    assert ["oracle_dice" in row for row in record["slices"]] == [False, False, True, True, True, True]


def test_gating_lets_nothing_through_elsewhere(place):
    folder, ct, blood = place
    gate = np.array([False, False, False, True, True, False])
    model = load_model(folder / "blind")
    found = oracle(ct, model, gate, segment(ct, model, device="cpu"), device="cpu")
    assert not found.mask[~gate].any()
    assert dice(found.mask[gate], blood[gate]) > 0.8
    assert set(found.maps.slices()) == {3, 4}


def test_gating_by_all_slices_is_the_pipeline_itself(place):
    folder, ct, _ = place
    model = load_model(folder / "willing")
    result = segment(ct, model, device="cpu")
    # By another model's result the same slices have to be run anew.
    closed = segment(ct, load_model(folder / "blind"), device="cpu")
    assert not closed.mask.any()
    assert np.array_equal(oracle(ct, model, np.ones(6, bool), closed, device="cpu").mask, result.mask)


def test_thin_slices_of_an_open_slab_are_gated_one_by_one(place):
    case = head(2)
    middle = int(case.blood.sum(axis=(1, 2)).argmax())
    ct = CT(case.ct.hu[middle - 8 : middle + 8], case.ct.ijk_to_ras)
    model = load_model(place[0] / "blind")
    gate = np.zeros(16, bool)
    gate[[5, 8]] = True
    found = oracle(ct, model, gate, segment(ct, model, device="cpu"), device="cpu")
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == [5, 8]


def test_boxes_judge_slices_that_the_classifier_missed(place):
    everywhere = [(0.0, 0.0, 200.0, 200.0)]
    record = measured(
        place,
        "blind",
        mask=None,
        labels=np.array([[0], [0], [1], [1], [1], [0]]) * np.ones(6),
        boxes={3: everywhere, 4: [(0.0, 0.0, 0.0, 0.0)], 5: everywhere},
    )
    rows = record["slices"]
    assert (rows[3]["pointing"], rows[3]["energy"]) == (1, pytest.approx(1))
    assert (rows[4]["pointing"], rows[4]["energy"]) == (0, pytest.approx(0))
    assert rows[3]["pointing_random_point"] == 1
    # A box on a slice that is labelled as without blood does not count, nor does a slice without a box.
    assert "pointing" not in rows[5]
    assert "pointing" not in rows[2]


def test_labels_that_do_not_fit(place):
    with pytest.raises(InputError, match="6 axial slices and 5 labels"):
        measured(place, "blind", labels=np.zeros((5, 6)))
    with pytest.raises(InputError, match="slice 9"):
        measured(place, "blind", boxes={9: [(0, 0, 1, 1)]})


def test_disagreement_of_label_and_mask_is_told(place):
    labels = np.zeros((6, 6))
    labels[2:5, 0] = 1
    record = measured(place, "blind", labels=labels)
    assert any("disagree on 1 slice" in sentence for sentence in record["warnings"])
    assert record["slices"][5]["oracle_dice"] == 0


def test_one_subtype_of_a_case_is_that_of_its_slices(place):
    record = measured(place, "blind", subtypes=("IPH",))
    assert [row["IPH"] for row in record["slices"][1:3]] != [1, 1]
    assert record["slices"][2]["IPH"] == 1
    assert record["slices"][2]["SDH"] == 0
    assert record["case"]["subtypes"] == "IPH"
    assert np.isnan(measured(place, "blind", subtypes=("IPH", "IVH"))["slices"][2]["IPH"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("starter", Spec("starter")),
        ("starter:grad-cam", Spec("starter", "grad-cam")),
        ("starter:hgi-sam/threshold", Spec("starter", "hgi-sam", "threshold")),
        ("starter:otsu", Spec("starter", None, "otsu")),
        ("mine:either", Spec("mine", None, None, "either")),
        ("mine:cam/kmeans/both", Spec("mine", "cam", "kmeans", "both")),
        ("a:b/c:swin-sam", Spec("a:b/c", "swin-sam")),
        ("C:\\models\\mine", Spec("C:\\models\\mine")),
        ("C:/models/mine", Spec("C:/models/mine")),
    ],
)
def test_names_of_systems(text, wanted):
    assert parse(text) == wanted


def test_unknown_methods_and_twins_are_refused(place):
    folder = place[0]
    for text in ("starter:magic", "starter:cam/cam", "starter:grad-cam/hgi-sam", "starter:"):
        with pytest.raises(InputError, match="behind the colon"):
            parse(text)
    with pytest.raises(InputError, match="no second network"):
        package_systems([f"{folder / 'blind'}:either"])
    with pytest.raises(InputError, match="probability"):
        package_systems([f"{folder / 'blind'}:probability"])
    with pytest.raises(InputError, match="named twice"):
        name_apart(package_systems([str(folder / "blind"), str(folder / "blind")]))
    with pytest.raises(InputError, match="nothing to measure"):
        name_apart([])
    with pytest.raises(InputError, match="table of sensitivities"):
        package_systems([str(folder / "blind")], sensitivity=0.9)


def test_origin_of_thresholds(place):
    own, other = package_systems([str(place[0] / "blind"), f"{place[0] / 'blind'}:grad-cam"])
    assert own.facts("")["map_threshold_from"] == "model card"
    assert other.facts("")["map_threshold"] == 0.8
    assert "as published" in other.facts("")["map_threshold_from"]
    assert own.facts("")["slice_threshold"] == 1.0
