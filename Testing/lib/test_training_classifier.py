"""Training a classifier: it learns, stops, goes on after a kill, and ends in a model package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import SMALL, TINY, TINY_OPTIONS, cropped_cases, write_volumes
from torch.nn import functional

from ICHWeakSegLib.cli import main
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.networks import SwinClassifier
from ICHWeakSegLib.training.cases import split_patients
from ICHWeakSegLib.training.classifier_module import ClassifierModule
from ICHWeakSegLib.training.curves import read_curves
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.package import operating_point, package, slice_auc
from ICHWeakSegLib.training.train_classifier import (
    Recipe,
    check_network,
    cross_validate,
    score_slices,
    train_classifier,
)

REPOSITORY = Path(__file__).parents[2]
RECIPE = Recipe(
    "swin_tiny_patch4_window7_224",
    SMALL,
    TINY,
    strategy="binary-sigmoid",
    augmentation=Augmentation(rotation_deg=10),
    epochs=3,
    samples=48,
    batch=8,
    rate=3e-3,
    patience=0,
    painted_share=0.0,
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(recipe: Recipe, folder: Path, patients: int = 8, **more):
    cases = cropped_cases(patients)
    half = patients // 2
    return train_classifier(
        recipe, cases[:half], cases[half:], folder, device="cpu", **{"quiet": True, **more}
    )


def tiny(classes: int = 1) -> SwinClassifier:
    torch.manual_seed(0)
    return SwinClassifier(RECIPE.backbone, classes, **TINY)


# Losses and schedules


def test_losses_take_logits_once():
    logits, labels = torch.randn(5, 2), torch.tensor([1.0, 0, 1, 1, 0])[:, None].repeat(1, 6)
    two = ClassifierModule(tiny(2), "binary")
    assert torch.equal(two.loss(logits, labels), functional.cross_entropy(logits, labels[:, 0].long()))
    torch.testing.assert_close(two.score(logits), logits.softmax(1)[:, 1])
    one = ClassifierModule(tiny(1), "binary-sigmoid")
    wanted = functional.binary_cross_entropy_with_logits(logits[:, 0], labels[:, 0])
    assert torch.equal(one.loss(logits[:, :1], labels), wanted)
    torch.testing.assert_close(one.score(logits[:, :1]), logits[:, 0].sigmoid())


def test_unknown_subtypes_are_left_out_of_the_loss():
    logits, labels = torch.randn(4, 6), torch.randint(0, 2, (4, 6)).float()
    module = ClassifierModule(tiny(6), "subtypes")
    labels[1, 2] = labels[3, 5] = torch.nan
    known = [(row, column) for row in range(4) for column in range(6) if not labels[row, column].isnan()]
    each = [functional.binary_cross_entropy_with_logits(logits[place], labels[place]) for place in known]
    torch.testing.assert_close(module.loss(logits, labels), torch.stack(each).mean())
    torch.testing.assert_close(module.score(logits), logits[:, 0].sigmoid())


def test_scratch_warms_up_and_falls_to_a_hundredth():
    module = ClassifierModule(tiny(), "binary-sigmoid", rate=1e-3, steps=150)
    made = module.configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(150):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[10] == pytest.approx(1e-3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5, rel=0.02)
    assert made["lr_scheduler"]["interval"] == "step"
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    assert count == len(list(module.parameters()))


def test_fine_tuning_trains_the_head_alone_then_everything_slowly(tmp_path):
    recipe = replace(RECIPE, schedule="fine-tune", rate=1e-5, head_epochs=1, epochs=2, weight_decay=1e-6)
    start, seen = tiny().state_dict(), []

    class Watch(ClassifierModule):
        def on_train_epoch_end(self):
            state = {key: value.clone() for key, value in self.network.state_dict().items()}
            rates = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
            seen.append((state, rates))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ICHWeakSegLib.training.train_classifier.ClassifierModule", Watch)
        train(recipe, tmp_path, initial=start)
    (first, _), (second, _) = seen

    def moved(a, b, part):
        return max(float((a[key] - b[key]).abs().max()) for key in a if key.startswith(part))

    assert moved(start, first, "swin.") == 0
    assert moved(start, first, "head.") > 1e-3
    assert 0 < moved(first, second, "swin.") < 1e-3
    assert 0 < moved(first, second, "head.") < 1e-3


def test_rates_of_fine_tuning():
    module = ClassifierModule(tiny(), "binary-sigmoid", "fine-tune", rate=1e-5, head_epochs=2)
    made = module.configure_optimizers()
    rates = []
    for _ in range(4):
        rates.append([group["lr"] for group in made["optimizer"].param_groups])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    np.testing.assert_allclose(rates, [[1e-5, 1e-3], [1e-5, 1e-3], [1e-5, 1e-5], [1e-5, 1e-5]])
    assert made["lr_scheduler"]["interval"] == "epoch"


def test_painted_blood_is_shown_to_the_stages_and_leaves_no_trace_in_the_network():
    network = tiny()
    module = ClassifierModule(network, "binary-sigmoid", painted_weight=1.0)
    images, blood = torch.rand(3, 3, 32, 32), torch.zeros(3, 32, 32)
    blood[0, 8:16, 8:16] = 1
    blood[1] = -1
    network(images)
    loss = module.painted_loss(blood)
    loss.backward()
    assert loss > 0
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.swin.layers[1].parameters())
    module.cells.clear()
    network(images)
    assert module.painted_loss(torch.full_like(blood, -1)) == 0, "nobody knows"
    assert set(network.state_dict()) == set(tiny().state_dict())
    module.release()
    network(images)
    assert module.cells == []


# Learning


@pytest.mark.parametrize("strategy", ["binary", "binary-sigmoid", "subtypes"])
def test_every_strategy_learns(tmp_path, strategy):
    told = []
    # Two stages are too few for HGI-SAM and enough for blobs.
    overrides = {**TINY, "depths": (1, 1), "num_heads": (2, 2)}
    recipe = replace(RECIPE, overrides=overrides, strategy=strategy, epochs=6, samples=96)
    trained = train(recipe, tmp_path, on_epoch=lambda *n: told.append(n))
    losses = [metrics["train_loss"] for _, metrics in told]
    assert [epoch for epoch, _ in told] == list(range(1, 7))
    assert losses[-1] < 0.95 * losses[0]
    assert slice_auc(trained.scores) > 0.8
    assert len(trained.scores) == 4 * 8
    assert {name for name, *_ in trained.scores} == {f"case-{n}" for n in range(4, 8)}
    assert all(0 <= row[3] <= 1 for row in trained.scores)
    assert not trained.network.training
    assert (tmp_path / "network.safetensors").is_file()


def test_painted_slices_train_too(tmp_path):
    painted = cropped_cases(2, seed=5)[1:]
    painted[0].blood = painted[0].hu > 55
    recipe = replace(RECIPE, painted_share=0.5, painted_weight=1.0, epochs=1)
    trained = train(recipe, tmp_path, painted=painted)
    assert not trained.network.swin.layers[1]._forward_hooks
    assert "painted_loss" in (tmp_path / "log" / "metrics.csv").read_text()


def test_curves_are_a_picture(tmp_path):
    from PIL import Image

    train(replace(RECIPE, epochs=2, patience=2), tmp_path)
    curves = read_curves(tmp_path)
    assert {name: list(values) for name, values in curves.items()} == {
        "train_loss": [1, 2],
        "val_loss": [1, 2],
        "val_auc": [1, 2],
    }
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] > 600
        assert np.asarray(image.convert("L")).std() > 10


def test_early_stopping_keeps_the_best_epoch(tmp_path, monkeypatch):
    """Validation AUC rises, then falls: the weights are those of the best epoch, also in a second call."""
    values, kept = iter([0.6, 0.9, 0.7, 0.5, 0.99]), []

    class Scripted(ClassifierModule):
        def on_validation_epoch_end(self):
            kept.append(self.network.head.weight.detach().clone())
            self.log("val_auc", next(values))
            self.auc.reset()

    monkeypatch.setattr("ICHWeakSegLib.training.train_classifier.ClassifierModule", Scripted)
    recipe = replace(RECIPE, epochs=9, patience=2, samples=16)
    trained = train(recipe, tmp_path)
    assert len(kept) == 4, "two epochs without a better one end it"
    assert torch.equal(trained.network.head.weight, kept[1])
    again = train(recipe, tmp_path)
    assert len(kept) == 4, "what had stopped early is not taken up again"
    assert torch.equal(again.network.head.weight, kept[1])
    assert again.scores == trained.scores


# Going on after a kill


class Killed(Exception):
    pass


def killed_after(epochs: int):
    def listener(epoch: int, _: dict) -> None:
        if epoch > epochs:
            raise Killed

    return listener


@pytest.mark.parametrize(
    "recipe",
    [replace(RECIPE, overrides={**TINY, "drop_path_rate": 0.2}), replace(RECIPE, patience=3, epochs=4)],
    ids=["last", "best"],
)
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, recipe):
    whole = train(recipe, tmp_path / "whole")
    epochs = []
    with pytest.raises(Killed):
        train(recipe, tmp_path / "parts", on_epoch=killed_after(1))
    resumed = train(recipe, tmp_path / "parts", on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs[0] == 2, "the first epoch is not repeated"
    assert epochs[-1] == recipe.epochs
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[key], value, rtol=0, atol=0)
    assert resumed.scores == whole.scores
    states = [torch.load(tmp_path / place / "last.ckpt", weights_only=True) for place in ("whole", "parts")]
    assert states[0]["global_step"] == states[1]["global_step"] == recipe.epochs * 6
    assert states[0]["lr_schedulers"] == states[1]["lr_schedulers"]
    assert read_curves(tmp_path / "parts") == read_curves(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.part"))


def test_without_validation_every_epoch_is_kept_too(tmp_path):
    cases = cropped_cases(4)
    with pytest.raises(Killed):
        train_classifier(RECIPE, cases, [], tmp_path, device="cpu", quiet=True, on_epoch=killed_after(1))
    epochs = []
    trained = train_classifier(
        RECIPE, cases, [], tmp_path, device="cpu", quiet=True, on_epoch=lambda epoch, _: epochs.append(epoch)
    )
    assert epochs == [2, 3]
    assert trained.scores == []


def test_a_finished_training_is_not_repeated(tmp_path):
    first, epochs = train(RECIPE, tmp_path), []
    again = train(RECIPE, tmp_path, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == []
    assert again.scores == first.scores


# What is refused


def test_another_recipe_or_other_patients_in_the_same_folder(tmp_path):
    train(replace(RECIPE, epochs=1), tmp_path)
    for changed, patients in ((replace(RECIPE, epochs=2), 8), (replace(RECIPE, epochs=1), 10)):
        with pytest.raises(InputError, match="holds a training with other settings"):
            train(changed, tmp_path, patients)


def test_patients_in_both_parts_and_missing_kinds_are_refused(tmp_path):
    cases = cropped_cases(4)
    with pytest.raises(InputError, match="Patients in training and validation: p1"):
        train_classifier(RECIPE, cases, [cases[1]], tmp_path / "a")
    with pytest.raises(InputError, match="no positive slice"):
        train_classifier(RECIPE, [cases[0]], [cases[1]], tmp_path / "b")
    with pytest.raises(InputError, match="no negative slice"):
        train_classifier(RECIPE, [], cases, tmp_path / "c")
    cases[1].labels[:] = 1
    with pytest.raises(InputError, match="no negative slice"):
        train_classifier(RECIPE, [cases[1]], [cases[0]], tmp_path / "d")


def test_validation_with_one_kind_of_slice_does_not_stop_the_training(tmp_path):
    cases = cropped_cases(4)
    recipe, epochs = replace(RECIPE, patience=1), []
    trained = train_classifier(
        recipe,
        cases[1:],
        cases[:1],
        tmp_path,
        device="cpu",
        quiet=True,
        on_epoch=lambda epoch, _: epochs.append(epoch),
    )
    assert epochs == [1, 2, 3]
    assert len(trained.scores) == 8
    assert np.isnan(slice_auc(trained.scores))


def test_initial_weights_start_it_with_another_head(tmp_path):
    source = tiny(2)
    recipe = replace(RECIPE, schedule="fine-tune", head_epochs=9, epochs=1)
    trained = train(recipe, tmp_path / "a", initial=source.state_dict())
    for key, value in source.swin.state_dict().items():
        assert torch.equal(trained.network.swin.state_dict()[key], value)
    other = SwinClassifier(RECIPE.backbone, 1, **{**TINY, "embed_dim": 8})
    with pytest.raises(InputError, match="of another architecture"):
        train(recipe, tmp_path / "b", initial=other.state_dict())


def test_a_diverged_training_says_so(tmp_path):
    with pytest.raises(InputError, match="diverged"):
        train(replace(RECIPE, rate=1e30, epochs=1), tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"backbone": "swin_huge"}, "no model named"),
        ({"backbone": "resnet18", "overrides": {}}, "cannot be built"),
        ({"overrides": {**TINY, "depths": 2}}, "cannot be built"),
        ({"overrides": {**TINY, "num_heads": (0, 0, 0)}}, "cannot be built"),
        ({"overrides": {**TINY, "num_classes": 3}}, "cannot be built"),
        ({"overrides": {**TINY, "colour": "red"}}, "cannot be built"),
        ({"overrides": {**TINY, "img_size": 64}}, "does not take images of 32 pixels"),
        ({"overrides": {**TINY, "depths": (1, 1), "num_heads": (2, 2)}}, "at least 3 stages"),
        ({"strategy": "guess"}, "The strategy is one of"),
    ],
)
def test_networks_that_do_not_work_are_refused_before_anything_is_read(change, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        check_network(replace(RECIPE, **change))
    assert "\n" not in str(error.value)


# Cross-validation and package


def test_cross_validation_scores_every_slice_once_and_goes_on(tmp_path):
    cases = cropped_cases(6)
    cases[0].brain[0] = False
    recipe, folds = replace(RECIPE, epochs=1, samples=16), []

    def killed(number, _):
        folds.append(number)
        if number == 1:
            raise Killed

    options = {"device": "cpu", "quiet": True}
    with pytest.raises(Killed):
        cross_validate(recipe, cases, tmp_path, 3, on_fold=killed, **options)
    rows = cross_validate(recipe, cases, tmp_path, 3, on_fold=lambda n, _: folds.append(n), **options)
    assert folds == [0, 1, 1, 2], "the finished fold is not repeated"
    assert sorted(row[:2] for row in rows) == sorted(
        (case.name, plane) for case in cases for plane in range(8)
    )
    assert [row[3] for row in rows if row[:2] == ("case-0", 0)] == [0.0], "no brain, no blood"
    labels = {(case.name, plane): case.labels[plane, 0] for case in cases for plane in range(8)}
    assert all(labels[row[:2]] == row[2] for row in rows)
    for number, held in enumerate(split_patients(cases, 3, recipe.seed)):
        scored = json.loads((tmp_path / f"fold-{number}" / "scores.json").read_text())
        assert {f"p{row[0].split('-')[1]}" for row in scored} == held
    again = cross_validate(recipe, cases, tmp_path, 3, **options)
    assert again == rows
    with pytest.raises(InputError, match="other settings"):
        cross_validate(replace(recipe, rate=1e-4), cases, tmp_path, 3, **options)


def test_painted_slices_of_held_patients_are_held_too(tmp_path, monkeypatch):
    cases = cropped_cases(4)
    used = []

    def spy(recipe, train, valid, folder, painted, **_):
        used.append(({case.patient for case in valid}, {case.patient for case in painted}))
        raise Killed

    monkeypatch.setattr("ICHWeakSegLib.training.train_classifier.train_classifier", spy)
    with pytest.raises(Killed):
        cross_validate(RECIPE, cases, tmp_path, 2, painted=[cases[0], cases[2]])
    held, painted = used[0]
    assert painted == {"p0", "p2"} - held


def test_operating_points_fall_as_sensitivity_rises():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    values = np.clip(0.3 * labels + rng.uniform(0, 0.7, 400), 0, 1)
    scores = [("c", n, int(a), float(b)) for n, (a, b) in enumerate(zip(labels, values, strict=True))]
    point = operating_point(scores)
    assert 0.89 < (values[labels == 0] < point.probability).mean() < 0.92, "the default is specific"
    cuts = [cut for _, cut in point.table]
    assert cuts == sorted(cuts, reverse=True)
    for wanted, cut in point.table:
        assert (values[labels == 1] >= cut - 1e-5).mean() >= wanted - 1e-9
    assert operating_point([("c", 0, 0, 0.1)]).table == ()


@pytest.mark.parametrize(("strategy", "classes"), [("binary", 2), ("subtypes", 6)])
def test_packages_of_the_other_strategies_load(tmp_path, strategy, classes):
    from ICHWeakSegLib import load_model

    recipe, cases = replace(RECIPE, strategy=strategy), cropped_cases(2)
    network = tiny(classes).eval()
    scores = score_slices(network, recipe, cases)
    package(tmp_path / "m", "m", recipe, network, scores, cases, {"slice_auc": 0.5})
    model = load_model(tmp_path / "m")
    assert (model.card.strategy, len(model.card.classes)) == (strategy, classes)
    assert model.card.preprocessing == SMALL
    again = score_slices(model.network, recipe, cases)
    np.testing.assert_allclose([row[3] for row in again], [row[3] for row in scores], atol=5e-3)


# The command


def command(data: Path, output: Path, *more: str) -> list[str]:
    return [
        *("train", "classifier", str(data), "--output", str(output), "--name", "site"),
        *("--rate", "2e-3", "--batch", "8", "--samples", "24", "--valid", "0.34", *TINY_OPTIONS, *more),
    ]


def start(arguments: list[str], **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "ICHWeakSegLib", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("data") / "our cohort ö")


def test_a_killed_command_goes_on_to_a_package_that_segments(tmp_path, volumes, capsys):
    from ICHWeakSegLib import load_model, read_ct, segment

    arguments = command(volumes, tmp_path, "--epochs", "5", "--patience", "0", "--attribution", "us")
    process = start(arguments)
    saved = tmp_path / "final" / "last.ckpt"
    until = time.monotonic() + 120
    while not saved.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    _, errors = process.communicate()
    assert saved.exists(), errors
    assert not (tmp_path / "site").exists()
    done = torch.load(saved, weights_only=True)["epoch"] + 1
    assert done < 5

    main(arguments)
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert [line.split(":")[0] for line in lines[: 5 - done]] == [
        f"Epoch {epoch} of at most 5" for epoch in range(done + 1, 6)
    ]
    assert lines[5 - done :][0].startswith("Model site is ready in")
    assert len(lines) == 5 - done + 3
    assert (tmp_path / "final" / "curves.png").stat().st_size > 5000
    assert json.loads((tmp_path / "results.json").read_text()).keys() == {"slice_auc_validation"}

    model = load_model(tmp_path / "site")
    assert model.card.training.patients == 6
    assert model.card.training.attribution == "us"
    assert model.card.training.slices == 60
    result = segment(read_ct(volumes / "head 1.nii.gz"), model)
    assert result.mask.shape == (10, 56, 60)
    assert result.provenance["model"] == "site"

    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "exists already" in capsys.readouterr().err
    main([*arguments, "--overwrite"])
    assert "Epoch" not in capsys.readouterr().out


def test_the_command_cross_validates(tmp_path, volumes, capsys):
    main(command(volumes, tmp_path, "--epochs", "1", "--folds", "2", "--valid", "0", "--strategy", "binary"))
    said = capsys.readouterr()
    assert said.err == ""
    assert "Slice AUC, 2-fold by patient: 0." in said.out
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"slice_auc_cross_validated", "folds"}
    card = json.loads((tmp_path / "site" / "model.json").read_text())
    assert card["results"] == results


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to a child")
def test_ctrl_c_ends_with_130_and_one_sentence(tmp_path, volumes):
    process = start(command(volumes, tmp_path, "--epochs", "500", "--patience", "0"))
    saved = tmp_path / "final" / "last.ckpt"
    until = time.monotonic() + 120
    while not saved.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(2)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.count("\n") == 1
    assert errors.startswith("ichweakseg: stopped")
    assert "Epoch 1 of at most 500" in out
    assert not (tmp_path / "site").exists()


def test_a_missing_package_says_what_to_install(tmp_path, volumes, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ICHWeakSegLib.training.train_classifier")
    monkeypatch.delitem(sys.modules, "ICHWeakSegLib.training.package")
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(SystemExit) as left:
        main(command(volumes, tmp_path))
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "package lightning, which is missing" in said
    assert 'pip install "ichweakseg[training]"' in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--valid", "1.5"], "--valid is a share from 0 to 0.5, not 1.5"),
        (["--valid", "nan"], "--valid is a share"),
        (["--valid", "0.01"], "cannot be split into 100 parts: give a larger --valid"),
        (["--folds", "1"], "--folds needs at least 2"),
        (["--folds", "40"], "6 patients cannot be split into 40 parts: give fewer --folds"),
        (["--override", "img_size"], "--override takes KEY=VALUE"),
        (["--override", "img_size=big"], "--override takes KEY=VALUE with a JSON value"),
        (["--override", "img_size=[32,32]"], "--override img_size is one whole number"),
        (["--override", "depths=3"], "cannot be built"),
        (["--override", "colour=3"], "cannot be built"),
        (["--backbone", "swin_gigantic"], "has no model named 'swin_gigantic'"),
        (["--backbone", "resnet18"], "cannot be built"),
        (["--preprocessing", "hgi-sam"], "does not take images of 384 pixels"),
        (["--preprocessing", "hgi-sam", "--painted", "2"], "--painted needs --preprocessing brain-crop"),
        (["--painted", "-1"], "--painted needs at least 0"),
        (["--painted-share", "1"], "--painted-share lies between"),
        (["--epochs", "0"], "--epochs needs at least 1"),
        (["--batch", "0"], "--batch needs at least 1"),
        (["--samples", "0"], "--samples needs at least 1"),
        (["--threads", "0"], "--threads needs at least 1"),
        (["--patience", "-1"], "--patience needs at least 0"),
        (["--rate", "-1"], "--rate is a number above 0"),
        (["--rate", "inf"], "--rate is a number above 0"),
        (["--pixel-mm", "0"], "--pixel-mm is a number above 0"),
        (["--rotation", "-5"], "--rotation lies between"),
        (["--name", "a/b"], "--name 'a/b' cannot be the name of a folder"),
        (["--name", "final"], "--name final is a folder of the run itself"),
        (["--initial", "nothing-like-it"], "leave out --backbone, --override"),
        (["--initial", "x", "--pretrained"], "exclude each other"),
        (["--precision", "8"], "invalid choice"),
        (["--labels", "nowhere.csv"], "There is no label file nowhere.csv"),
    ],
)
def test_wrong_options_end_with_one_sentence(tmp_path, volumes, capsys, options, sentence):
    with pytest.raises(SystemExit) as left:
        main(command(volumes, tmp_path / "run", *options))
    said = capsys.readouterr()
    assert left.value.code == 2
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    if "invalid choice" not in sentence:
        assert said.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_wrong_data_ends_with_one_sentence(tmp_path, volumes, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "labels.csv").touch()
    taken = tmp_path / "taken"
    taken.touch()
    for data, output, sentence in (
        (tmp_path / "nowhere", tmp_path / "run", "There is no data folder"),
        (empty, tmp_path / "run", "has no rows"),
        (volumes, taken, "cannot be made"),
    ):
        with pytest.raises(SystemExit) as left:
            main(command(data, output))
        said = capsys.readouterr().err
        assert left.value.code == 2
        assert sentence in said
        assert said.count("\n") == 1


def test_a_model_is_fine_tuned_with_its_own_network_and_input(tmp_path, capsys):
    from ICHWeakSegLib import load_model

    data = write_volumes(tmp_path / "data", patients=4)
    first = replace(RECIPE, preprocessing=replace(SMALL, pixel_mm=5.5))
    package(tmp_path / "old", "old", first, tiny(), [], cropped_cases(2), {})
    main(
        [
            *("train", "classifier", str(data), "--output", str(tmp_path / "run"), "--name", "new"),
            *("--initial", str(tmp_path / "old"), "--epochs", "1", "--samples", "8", "--valid", "0"),
            *("--strategy", "binary", "--device", "cpu", "--quiet"),
        ]
    )
    assert "Epoch" not in capsys.readouterr().out
    old, new = load_model(tmp_path / "old"), load_model(tmp_path / "run" / "new")
    assert new.card.architecture.overrides == old.card.architecture.overrides
    assert new.card.preprocessing.pixel_mm == 5.5
    assert new.network.head.out_features == 2
    for key, value in old.network.swin.state_dict().items():
        assert torch.equal(new.network.swin.state_dict()[key], value), "one epoch trains the head alone"
