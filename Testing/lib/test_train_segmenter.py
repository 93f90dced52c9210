"""Training a segmenter: it learns from drawn blood and from labels, goes on after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cohorts import SMALL, cropped_cases, write_volumes
from phantom_heads import head, on_grid
from tiny_models import tiny_model

from ICHWeakSegLib import cli, load_model, segment
from ICHWeakSegLib.commands import train_segmenter as command
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.inference.segmenter_maps import segmenter_probabilities
from ICHWeakSegLib.models import verify_model
from ICHWeakSegLib.networks.segmenter import PRESETS, Segmenter
from ICHWeakSegLib.output import write_label_map, write_seg_nrrd
from ICHWeakSegLib.training.cache import Cropped, cached_cases, crop_case
from ICHWeakSegLib.training.cases import Case, read_cohort
from ICHWeakSegLib.training.curves import read_curves
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.package import slice_auc
from ICHWeakSegLib.training.segmenter_dataset import CroppedPlanes, Mix, SegmenterDataset
from ICHWeakSegLib.training.segmenter_module import LOSSES
from ICHWeakSegLib.training.teacher import CORE, Teacher
from ICHWeakSegLib.training.train_segmenter import (
    SegmenterRecipe,
    check_segmenter,
    cross_validate_segmenter,
    read_segmenter,
    score_cases,
    train_segmenter,
)
from ICHWeakSegLib.training.voxel_masks import crop_mask, find_mask, masked_cases

REPOSITORY = Path(__file__).parents[2]
TINY = {"kind": "basic-unet", "context": 1, "mirror": True, "features": [8, 8, 8, 8, 16, 8], "top_k": 5}
RECIPE = SegmenterRecipe(
    SMALL,
    TINY,
    Augmentation(10, 0.05, 0.02, 2, 2, 0.05),
    Mix(3, 1, 2, 2),
    epochs=3,
    steps=4,
    check_every=1,
    rate=5e-3,
)


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def painted(patients: int = 2, seed: int = 0, **more) -> list[Cropped]:
    """Whole volumes with bright blobs whose masks are known; odd patients bleed."""
    cases = cropped_cases(patients, seed=seed, **more)
    for case in cases:
        bleeds = (case.labels[:, 0] == 1)[:, None, None]
        # A blob lies 35 HU above brain of 33 HU with a noise of 4.
        case.blood = (case.hu > 50) & case.brain & bleeds
    return cases


def train(recipe: SegmenterRecipe, folder: Path, **more):
    cases = cropped_cases(8)
    drawn = more.pop("drawn", [case for case in painted(4, seed=5) if case.blood.any()])
    return train_segmenter(
        recipe, cases[:4], cases[4:], folder, drawn, device="cpu", **{"quiet": True, **more}
    )


def dice(network: Segmenter, case: Cropped) -> float:
    found = dict(segmenter_probabilities(network, CroppedPlanes(case), range(len(case.hu)), SMALL))
    mask = np.stack([found[slab] > 0.5 for slab in range(len(case.hu))])
    return 2 * np.count_nonzero(mask & case.blood) / (mask.sum() + case.blood.sum())


# Learning


def test_it_learns_a_painted_case_by_heart(tmp_path):
    case = painted(2)[1]
    recipe = replace(RECIPE, mix=Mix(4, 2, 0, 0), epochs=1, steps=60, image_weight=0.0)
    before = train_segmenter(replace(recipe, steps=1), [case], [], tmp_path / "a", device="cpu", quiet=True)
    after = train_segmenter(recipe, [case], [], tmp_path / "b", device="cpu", quiet=True)
    assert dice(before.network, case) < 0.5
    assert dice(after.network, case) > 0.7
    assert after.scores == []


@pytest.mark.parametrize("loss", ["dice-ce", "batch-dice"])
def test_the_published_losses_learn_it_too(tmp_path, loss):
    case = painted(2)[1]
    recipe = replace(RECIPE, loss=loss, mix=Mix(4, 2, 0, 0), epochs=1, steps=80, image_weight=0.0)
    after = train_segmenter(recipe, [case], [], tmp_path, device="cpu", quiet=True)
    assert dice(after.network, case) > 0.7


def test_a_second_round_learns_outlines_from_the_first_ones_guesses(tmp_path):
    real, drawn = cropped_cases(4), [case for case in painted(4, seed=5) if case.blood.any()]
    recipe = replace(RECIPE, epochs=1, steps=150)
    first = train_segmenter(recipe, real, [], tmp_path / "run" / "final", drawn, device="cpu", quiet=True)
    teacher = Teacher(tmp_path / "run")
    assert torch.equal(
        teacher.weights("final")["network.final_conv.weight"], first.network.network.final_conv.weight
    )
    guessed = teacher("final", real)
    assert all(case.blood is None for case in guessed)
    for case, before in zip(guessed, real, strict=True):
        with_guess = case.guess.any(axis=(1, 2))
        assert not with_guess[case.labels[:, 0] != 1].any()
        assert (case.guess[with_guess].max(axis=(1, 2)) >= CORE - 1e-3).all()
        assert before.guess is None
    data = SegmenterDataset(guessed, 1)
    pools = {name: len(pool) for name, pool in data.pools.items()}
    assert pools["labelled_positive"]
    assert not pools["drawn_positive"]
    some = [data[item] for item in data.pools["labelled_positive"]]
    assert any(one.drawn and one.blood.max() > 0.5 for one in some)
    assert all(bool(one.drawn) == bool(one.blood.any()) for one in some)
    # Without painted bleeds the guesses are all that tells an outline.
    again = replace(recipe, mix=Mix(0, 0, 4, 4), image_weight=0.0, teacher=teacher.digest)
    second = train_segmenter(
        again, real, [], tmp_path / "next" / "final", [], device="cpu", quiet=True, draw=teacher
    )
    blind = train_segmenter(again, real, [], tmp_path / "blind" / "final", [], device="cpu", quiet=True)
    truth = next(case for case in painted(4) if case.blood.any())
    assert dice(first.network, truth) > 0.5
    assert dice(second.network, truth) > 0.5
    assert dice(blind.network, truth) < 0.3
    kept = train_segmenter(
        replace(again, keep_teacher=True), real, [], tmp_path / "kept" / "final", [], device="cpu", quiet=True,
        draw=teacher, start=teacher.weights,
    )  # fmt: skip
    assert kept.network.members == 2
    assert read_segmenter(tmp_path / "kept" / "final")[0].members == 2
    old, new = kept.network.network.parts
    assert torch.equal(old.final_conv.weight, first.network.network.final_conv.weight)
    assert not torch.equal(new.final_conv.weight, first.network.network.final_conv.weight)
    with pytest.raises(InputError, match="with other settings"):
        train_segmenter(
            replace(again, teacher="other"), real, [], tmp_path / "next" / "final", device="cpu", quiet=True
        )


def test_a_teacher_who_saw_a_held_out_patient_is_refused(tmp_path):
    cases = cropped_cases(4)
    drawn = [case for case in painted(4, seed=5) if case.blood.any()]
    train_segmenter(
        replace(RECIPE, epochs=1), cases, [], tmp_path / "run" / "fold-0", drawn, device="cpu", quiet=True
    )
    with pytest.raises(InputError, match="is held out here"):
        Teacher(tmp_path / "run")("fold-0", cases[:2])
    with pytest.raises(InputError, match="holds no fold-1"):
        Teacher(tmp_path / "run")("fold-1", cases)
    with pytest.raises(InputError, match="no trained network"):
        Teacher(tmp_path / "nothing")


def test_image_level_labels_alone_move_the_pooled_score(tmp_path):
    cases = cropped_cases(6)
    recipe = replace(RECIPE, mix=Mix(0, 0, 4, 4), epochs=1, steps=60, dense_weight=0.0)
    trained = train_segmenter(recipe, cases[:4], cases[4:], tmp_path, device="cpu", quiet=True)
    assert slice_auc(trained.scores) > 0.9
    untrained = score_cases(Segmenter(windows=3, **TINY), SMALL, cases[4:])
    assert {row[:3] for row in untrained} == {row[:3] for row in trained.scores}
    positive = [row[3] for row in trained.scores if row[2]]
    assert np.mean(positive) > 0.7 > 0.5 > np.mean([row[3] for row in trained.scores if not row[2]])


def test_mixed_supervision_measures_slices_and_drawn_blood(tmp_path):
    valid = painted(4, seed=9)[2:]
    cases = cropped_cases(2)
    drawn = [replace(case, patient="p0") for case in painted(4, seed=5)]
    seen = []
    trained = train_segmenter(
        replace(RECIPE, steps=25),
        cases,
        valid,
        tmp_path,
        drawn,
        device="cpu",
        quiet=True,
        on_epoch=lambda epoch, metrics: seen.append((epoch, metrics)),
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert {"train_loss", "dense_loss", "image_loss", "val_auc", "val_dice"} <= set(seen[-1][1])
    assert trained.metrics["val_auc"] == pytest.approx(slice_auc(trained.scores), abs=1e-6)
    assert trained.metrics["val_dice"] > 0.5
    assert seen[-1][1]["train_loss"] < seen[0][1]["train_loss"]
    curves = read_curves(tmp_path)
    assert sorted(curves["train_loss"]) == [1, 2, 3]
    assert (tmp_path / "curves.png").stat().st_size > 5000
    network, run = read_segmenter(tmp_path)
    assert run["recipe"]["network"] == TINY
    again = score_cases(network, SMALL, valid)
    assert again == trained.scores


# Resuming


def test_a_killed_run_ends_as_the_uninterrupted_one(tmp_path):
    whole = train(RECIPE, tmp_path / "whole")

    def kill(epoch, _):
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        train(RECIPE, tmp_path / "killed", on_epoch=kill)
    epochs = []
    resumed = train(RECIPE, tmp_path / "killed", on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs[-1] == 3
    assert 1 not in epochs
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[key]), key
    assert resumed.scores == whole.scores
    other = train(replace(RECIPE, seed=1), tmp_path / "other")
    assert other.scores != whole.scores
    finished = train(RECIPE, tmp_path / "killed", on_epoch=lambda epoch, _: epochs.append(-1))
    assert finished.scores == whole.scores
    assert -1 not in epochs, "a finished run is not run again"


def test_cross_validation_scores_every_slice_once_and_goes_on(tmp_path):
    cases, folds, seen = cropped_cases(6), [], []
    drawn = painted(6, seed=4)
    recipe = replace(RECIPE, epochs=1, steps=2)

    def killed(number, _):
        folds.append(number)
        if number == 1:
            raise Killed

    options = {"drawn": drawn, "device": "cpu", "quiet": True}
    with pytest.raises(Killed):
        cross_validate_segmenter(recipe, cases, tmp_path, 3, on_fold=killed, **options)
    rows = cross_validate_segmenter(
        recipe, cases, tmp_path, 3, on_fold=lambda n, _: folds.append(n), **options
    )
    assert folds == [0, 1, 1, 2], "the finished fold is not repeated"
    assert sorted(row[:2] for row in rows) == sorted((c.name, p) for c in cases for p in range(8))
    for number in range(3):
        run = json.loads((tmp_path / f"fold-{number}" / "run.json").read_text())
        assert not set(run["train"]) & set(run["valid"]), "painted volumes of held patients are held, too"
        seen += run["valid"]
    assert sorted(seen) == [f"p{n}" for n in range(6)]
    with pytest.raises(InputError, match="other settings"):
        cross_validate_segmenter(replace(recipe, rate=1e-4), cases, tmp_path, 3, **options)


# What is refused


def test_a_patient_in_both_parts_is_refused(tmp_path):
    cases = cropped_cases(4)
    with pytest.raises(InputError, match="training and validation: p1"):
        train_segmenter(replace(RECIPE, mix=Mix(0, 0, 2, 2)), cases[:2], cases[1:], tmp_path / "a")
    with pytest.raises(InputError, match="training and validation: p3"):
        train_segmenter(RECIPE, cases[:2], cases[2:], tmp_path / "b", painted(4)[3:])
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_wrong_cases_folders_and_weights_say_so(tmp_path):
    cases = cropped_cases(4)
    with pytest.raises(InputError, match="no positive slice with drawn blood"):
        train_segmenter(RECIPE, cases[:2], cases[2:], tmp_path / "a")
    with pytest.raises(InputError, match="no positive slice with an image-level label alone"):
        train_segmenter(RECIPE, painted(2), [], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    one = replace(RECIPE, epochs=1, steps=1)
    first = train(one, tmp_path / "b")
    with pytest.raises(InputError, match="other settings"):
        train(replace(one, steps=2), tmp_path / "b")
    # Going on from weights of the same network, and of another one.
    still = replace(one, rate=1e-12)
    again = train(still, tmp_path / "c", initial=first.network.state_dict())
    weights = dict(first.network.named_parameters())
    for key, value in again.network.named_parameters():
        torch.testing.assert_close(value, weights[key], atol=1e-6, rtol=0)
    with pytest.raises(InputError, match=r"of another network: .* tensors differ"):
        train(still, tmp_path / "d", initial=Segmenter(**PRESETS["unet"]).state_dict())
    with pytest.raises(InputError, match="diverged"):
        train(replace(one, rate=1e30, steps=3), tmp_path / "e")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network": {"kind": "transformer"}}, "cannot be built: The network's kind is one of"),
        ({"network": {"windows": 2}}, "cannot be built: .*windows"),
        ({"network": {**TINY, "features": [8]}}, "cannot be built: MONAI cannot build 'basic-unet'"),
        ({"loss": "guess"}, "The loss is one of mixed, dice-ce, batch-dice"),
        ({"preprocessing": replace(SMALL, scaling="observed")}, "fixed scaling"),
    ],
)
def test_networks_that_do_not_work_are_refused_before_anything_is_read(change, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        check_segmenter(replace(RECIPE, **change))
    assert "\n" not in str(error.value)


def test_a_recipe_that_works_passes_the_check():
    check_segmenter(RECIPE)


# Masks of a cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> tuple[Path, Path]:
    """Volumes with labels, and a mask of each bleeding one."""
    data = write_volumes(tmp_path_factory.mktemp("data") / "our cohort ö")
    masks = tmp_path_factory.mktemp("masks")
    for number in (1, 3, 5):
        image = nibabel.load(data / f"head {number}.nii.gz")
        mask = (np.asarray(image.dataobj) == 75).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), masks / f"head {number}.nii.gz")
    return data, masks


def test_masks_are_cropped_with_their_cts(tmp_path, cohort):
    data, masks = cohort
    cases = read_cohort(data)
    crops = cached_cases(cases, SMALL, tmp_path)
    done = []
    found = masked_cases(cases, crops, masks, SMALL, tmp_path, lambda *n: done.append(n))
    assert done[-1] == (6, 6)
    assert [bool(case.blood.any()) for case in found] == [False, True] * 3
    for case in found[1::2]:
        assert case.blood.shape == case.hu.shape
        assert case.hu[case.blood].mean() > 60
        # A sphere of 15 mm radius in slabs of 8 mm and pixels of 6 mm: 14.1 mL, coarse.
        assert case.blood.sum() * 6 * 6 * 8 / 1000 == pytest.approx(14.1, rel=0.35)
        assert set(np.flatnonzero(case.blood.any(axis=(1, 2)))) <= set(np.flatnonzero(case.labels[:, 0]))
    kept = sorted((tmp_path / "masks").iterdir())
    assert len(kept) == 3
    before = [path.stat().st_mtime_ns for path in kept]
    again = masked_cases(cases, crops, masks, SMALL, tmp_path)
    assert [path.stat().st_mtime_ns for path in kept] == before
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.blood, other.blood)
    crops[0].labels[3, 0] = 1
    assert masked_cases(cases, crops, masks, SMALL, tmp_path)[0].blood is None, "it bleeds; nobody drew where"
    crops[1].labels[:] = 0
    assert not masked_cases(cases, crops, masks, SMALL, tmp_path)[1].blood.any(), "labelled negative: empty"


def test_masks_may_be_segmentations_or_parts_of_the_grid(tmp_path, cohort):
    data, masks = cohort
    case = next(case for case in read_cohort(data) if case.name == "head 1.nii.gz")
    whole = crop_mask(case, masks / "head 1.nii.gz", SMALL)
    assert whole.any()
    # What `ichweakseg segment` and `pseudo-masks` write.
    ct = case.read()
    write_seg_nrrd(tmp_path / "head 1.seg.nrrd", ct.hu == 75, ct)
    np.testing.assert_array_equal(crop_mask(case, tmp_path / "head 1.seg.nrrd", SMALL), whole)
    image = nibabel.load(masks / "head 1.nii.gz")
    array = np.asarray(image.dataobj)
    part, affine = array[10:58, 6:54, 1:9], image.affine.copy()
    assert part.sum() == array.sum()
    affine[:3, 3] = (image.affine @ [10, 6, 1, 1])[:3]
    nibabel.save(nibabel.Nifti1Image(part, affine), tmp_path / "part.nii.gz")
    np.testing.assert_array_equal(crop_mask(case, tmp_path / "part.nii.gz", SMALL), whole)
    affine[:3, :3] *= 1.05
    nibabel.save(nibabel.Nifti1Image(part, affine), tmp_path / "wider.nii.gz")
    with pytest.raises(InputError, match="lies on another grid than its CT"):
        crop_mask(case, tmp_path / "wider.nii.gz", SMALL)


def test_masks_of_a_tilted_scan_lie_where_they_were_drawn(tmp_path):
    thick = head(5)
    sheared = thick.ct.ijk_to_ras.copy()
    sheared[1, 2] = 1.5
    moved = on_grid(thick.ct.hu.shape, sheared)
    write_label_map(tmp_path / "tilted.nii.gz", moved.blood, moved.ct)
    labels = np.zeros((len(moved.ct.hu), 6), np.float32)
    labels[moved.blood.any(axis=(1, 2)), 0] = 1
    case = Case("tilted", "p", labels, lambda: moved.ct)
    wishes = replace(SMALL, size=64, pixel_mm=3.0)
    blood = crop_mask(case, tmp_path / "tilted.nii.gz", wishes)
    crop = crop_case(case, wishes)
    assert blood.shape == crop.hu.shape
    assert crop.hu[blood].mean() > 55
    assert blood.sum() * 3 * 3 * 5 / 1000 == pytest.approx(moved.blood_ml, rel=0.15)


def test_masks_are_found_by_the_ct_names(tmp_path):
    for name in ("049.seg.nrrd", "head 1.nii.gz", "deep/ct.nrrd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_mask(tmp_path, "049") == tmp_path / "049.seg.nrrd"
    assert find_mask(tmp_path, "head 1.nii.gz") == tmp_path / "head 1.nii.gz"
    assert find_mask(tmp_path, "deep/ct.mha") == tmp_path / "deep/ct.nrrd"
    assert find_mask(tmp_path, "050") is None
    case = cropped_cases(1)[0]
    with pytest.raises(InputError, match="There is no folder of masks"):
        masked_cases([case], [case], tmp_path / "nowhere", SMALL, tmp_path)
    with pytest.raises(InputError, match=r"holds no mask of any case: .* case-0\.seg\.nrrd"):
        masked_cases([case], [case], tmp_path, SMALL, tmp_path)


# The command


SMALL_OPTIONS = [
    *("--override", "features=[8,8,8,8,16,8]", "--override", "fold=1", "--size", "32", "--pixel-mm", "6"),
    *("--steps", "3", "--device", "cpu", "--threads", "1", "--valid", "0.34"),
]


def arguments(data: Path, output: Path, *more: str) -> list[str]:
    place = ["train", "segmenter", str(data), "--output", str(output), "--name", "net"]
    return [*place, *SMALL_OPTIONS, *more]


def call(given: list[str]) -> None:
    options = cli.parser().parse_args(given)
    options.run(options)


def test_the_command_trains_on_painted_bleeds_and_labels(tmp_path, cohort, capsys):
    call(arguments(cohort[0], tmp_path, "--painted", "2", "--epochs", "1", "--folds", "2"))
    said = capsys.readouterr().out
    assert "Slice AUC, 2-fold by patient: 0." in said
    assert "Epoch 1 of 1: loss" in said
    results = json.loads((tmp_path / "results.json").read_text())
    assert results.keys() == {
        *("slice_auc_cross_validated", "folds", "slice_auc_validation", "slice_auc_with_neighbours")
    }
    network, run = read_segmenter(tmp_path / "final")
    assert (network.kind, network.context, network.mirror) == ("basic-unet", 1, True)
    assert run["recipe"]["loss"] == "mixed"
    assert run["recipe"]["image_weight"] == 1.0
    card = load_model(tmp_path / "net").card
    assert (card.architecture.kind, card.map.method) == ("segmenter", "probability")
    assert card.operating.table
    assert card.results == results
    assert verify_model(tmp_path / "net").ok


def test_a_cross_validated_run_is_evaluated(tmp_path, cohort):
    call(arguments(cohort[0], tmp_path / "run", "--painted", "2", "--epochs", "1", "--folds", "2", "--quiet"))
    options = ("--folds-run", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--draws", "10")
    call(["evaluate", str(cohort[0]), *options, "--device", "cpu", "--quiet"])
    assert "run (2-fold)" in (tmp_path / "out" / "summary.md").read_text()


def test_the_mean_of_the_folds_is_a_model(tmp_path, cohort, capsys):
    more = ("--painted", "2", "--epochs", "1", "--folds", "2", "--cache", str(tmp_path / "shared"))
    run = tmp_path / "run"
    call(arguments(cohort[0], run, *more, "--valid", "0", "--folds-only"))
    assert "Folds:" in capsys.readouterr().out
    assert not (run / "final").exists()
    assert not (run / "net").exists()
    assert not (run / "cache").exists()
    assert (tmp_path / "shared").is_dir()
    call(arguments(cohort[0], run, *more, "--valid", "0", "--ensemble"))
    assert not (run / "final").exists()
    model = load_model(run / "net")
    assert model.network.members == 2
    assert model.card.operating.smoothing == (0.5,)
    assert model.card.map.refine == "hysteresis"
    parts = [read_segmenter(run / f"fold-{number}")[0] for number in range(2)]
    images = torch.rand(1, parts[0].in_chans, 32, 32)
    with torch.inference_mode():
        mean = (parts[0](images) + parts[1](images)) / 2
        torch.testing.assert_close(model.network(images), mean, rtol=1e-2, atol=1e-2)
    assert segment(head().ct, model).provenance["refine"] == "hysteresis"


def test_the_network_beside_a_classifier(tmp_path, cohort):
    classifier = tiny_model(tmp_path / "tiny")
    more = ("--painted", "2", "--epochs", "1", "--beside", str(classifier), "--mode", "both", "--quiet")
    call(arguments(cohort[0], tmp_path / "run", *more))
    pair = load_model(tmp_path / "run" / "net")
    assert pair.card.segmenter.mode == "both"
    assert pair.card.segmenter.preprocessing.size == 32
    assert pair.card.preprocessing.size == 64
    assert segment(head().ct, pair).provenance["mode"] == "both"
    with pytest.raises(InputError, match="exists already"):
        call(arguments(cohort[0], tmp_path / "run", *more))


def test_beside_needs_a_classifier(tmp_path, cohort):
    call(arguments(cohort[0], tmp_path / "run", "--painted", "2", "--epochs", "1", "--quiet"))
    with pytest.raises(InputError, match="is a segmentation network itself"):
        call(arguments(cohort[0], tmp_path / "two", "--beside", str(tmp_path / "run" / "net")))


@pytest.mark.parametrize(("on", "loss"), [("masks", "dice-ce"), ("pseudo-masks", "batch-dice")])
def test_the_command_trains_on_masks(tmp_path, cohort, on, loss):
    data, masks = cohort
    # A size that the coarsest level of the U-Nets takes.
    call(
        [
            *("train", "segmenter", str(data), "--output", str(tmp_path), "--name", "net"),
            *("--on", on, "--masks", str(masks)),
            *("--size", "32", "--pixel-mm", "6", "--epochs", "1", "--steps", "2", "--valid", "0"),
            *("--network", "unet", "--override", "channels=[4,8]", "--override", "strides=[2]", "--quiet"),
        ]
    )
    _, run = read_segmenter(tmp_path / "final")
    assert (run["recipe"]["loss"], run["recipe"]["image_weight"]) == (loss, 0.0)
    assert run["recipe"]["mix"]["labelled_positive"] == 0


def test_a_killed_command_goes_on(tmp_path, cohort, capsys):
    given = arguments(cohort[0], tmp_path, "--painted", "2", "--epochs", "6")
    process = subprocess.Popen(
        [sys.executable, "-m", "ICHWeakSegLib", *given],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    saved = tmp_path / "final" / "last.ckpt"
    until = time.monotonic() + 120
    while not saved.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    _, errors = process.communicate()
    assert saved.exists(), errors.decode()
    done = torch.load(saved, weights_only=True)["epoch"] + 1
    assert done < 6
    call(given)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    assert [line.split(":")[0] for line in lines] == [f"Epoch {n} of 6" for n in range(done + 1, 7)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--epochs", "0"], "--epochs needs at least 1"),
        (["--steps", "0"], "--steps needs at least 1"),
        (["--painted", "0"], "--painted needs at least 1"),
        (["--folds", "1"], "--folds needs at least 2"),
        (["--folds", "40"], "6 patients cannot be split into 40 parts: give fewer --folds"),
        (["--valid", "0.7"], "--valid is a share"),
        (["--rate", "nan"], "--rate is a number above 0"),
        (["--pixel-mm", "-1"], "--pixel-mm is a number above 0"),
        (["--image-weight", "-1"], "--image-weight is 0 or a number above it"),
        (["--rotation", "200"], "--rotation lies between"),
        (["--on", "masks"], "--on masks needs a folder of masks with --masks.$"),
        (["--on", "pseudo-masks"], "with --masks, or the sequence training with --by"),
        (["--masks", "somewhere"], "painted bleeds bring their own"),
        (["--by", "somewhere"], "--by is for --on pseudo-masks"),
        (["--on", "pseudo-masks", "--by", "somewhere"], "somewhere holds no final"),
        (["--mix", "0", "0", "0", "0"], "The mix holds no slice"),
        (["--mix", "1", "1", "-1", "1"], "A batch cannot hold -1"),
        (["--ensemble"], "--ensemble needs --folds"),
        (["--keep-teacher"], "--keep-teacher needs --teacher"),
        (["--teacher", "nowhere"], "nowhere holds no trained network"),
        (["--on", "masks", "--masks", ".", "--teacher", "x"], "--teacher is for --on painted"),
        (["--folds-only"], "--folds-only needs --folds"),
        (["--on", "pseudo-masks", "--masks", "nowhere"], "There is no folder of masks nowhere"),
        (["--override", "fold"], "--override takes KEY=VALUE"),
        (["--override", "kind=unet"], "--override takes KEY=VALUE with a JSON value"),
        (["--override", "colour=1"], "cannot be built"),
        (["--labels", "nowhere.csv"], "There is no label file nowhere.csv"),
    ],
)
def test_wrong_options_end_with_one_sentence(tmp_path, cohort, options, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        call(arguments(cohort[0], tmp_path / "run", *options))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "final").exists()


def test_the_command_names_presets_losses_and_mix():
    assert set(command.NETWORKS) == set(PRESETS)
    assert command.LOSSES == LOSSES
    assert Mix(*command.MIX) == Mix()


def test_a_supervised_network_on_painted_masks_alone(tmp_path, cohort):
    more = ("--painted", "2", "--epochs", "1", "--loss", "dice-ce", "--mix", "4", "2", "0", "2")
    call(arguments(cohort[0], tmp_path, *more, "--image-weight", "0", "--quiet"))
    recipe = read_segmenter(tmp_path / "final")[1]["recipe"]
    assert recipe["loss"] == "dice-ce"
    assert (recipe["mix"]["labelled_positive"], recipe["mix"]["labelled_negative"]) == (0, 2)


def test_the_recipe_of_the_bundled_model_is_a_file(capsys, tmp_path):
    recipe = REPOSITORY / "docs" / "recipes" / "starter.args"
    given = [
        "train",
        "segmenter",
        "DATA",
        "--output",
        "RUN",
        "--teacher",
        "FIRST",
        f"@{recipe}",
        "--seed",
        "3",
    ]
    options = cli.parser().parse_args(given)
    assert (options.name, options.folds, options.ensemble, options.network) == ("starter", 5, True, "weak")
    assert options.seed == 3, "what follows the file counts"
    assert options.keep_teacher
    command.check_options(options)
    first = cli.parser().parse_args(
        ["train", "segmenter", "DATA", "--output", "FIRST", f"@{recipe.with_stem('starter-first')}"]
    )
    command.check_options(first)
    assert first.folds_only
    # A teacher's network is where the student starts.
    assert all(
        getattr(first, name) == getattr(options, name) for name in ("folds", "network", "size", "override")
    )
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args(["train", "segmenter", "DATA", f"@{tmp_path / 'none.args'}"])
    assert ended.value.code == 2
    assert "none.args" in capsys.readouterr().err
