"""Training the sequence model: three stages, stopped and taken up again, from files to pseudo-masks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cohorts import SMALL, cropped_cases, write_volumes

from ICHWeakSegLib import cli
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.localize.resnet_cam import resnet_grad_cam
from ICHWeakSegLib.models import load_model, save_model, verify_model
from ICHWeakSegLib.networks import SequenceClassifier
from ICHWeakSegLib.refine import KMeansOptions, refine_kmeans
from ICHWeakSegLib.training.dataset import Augmentation
from ICHWeakSegLib.training.package import slice_auc
from ICHWeakSegLib.training.pseudo_masks import PseudoMasks
from ICHWeakSegLib.training.segmenter_dataset import Mix
from ICHWeakSegLib.training.sequence_dataset import RunDataset, features_of_runs
from ICHWeakSegLib.training.sequence_module import SequenceModule
from ICHWeakSegLib.training.sequence_run import read_run, write_run
from ICHWeakSegLib.training.train_segmenter import SegmenterRecipe, cross_validate_segmenter
from ICHWeakSegLib.training.train_sequence import (
    SequenceRecipe,
    check_sequence,
    cross_validate_sequence,
    train_sequence,
)

REPOSITORY = Path(__file__).parents[2]
TINY = {"channels": (8, 8, 16, 16), "layers": (1, 1, 1, 1)}
RECIPE = SequenceRecipe(
    SMALL,
    overrides=TINY,
    layers=1,
    hidden=16,
    head=(8,),
    dropout=0.1,
    run=6,
    overlap=2,
    augmentation=Augmentation(rotation_deg=10),
    epochs=(2, 2, 2),
    reader_epochs=0,
    samples=32,
    runs=8,
    batch=8,
    rates=(3e-3, 3e-3, 1e-2),
    painted_share=0.0,
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(recipe: SequenceRecipe, folder: Path, patients: int = 8, **more):
    cases = cropped_cases(patients)
    half = patients // 2
    return train_sequence(recipe, cases[:half], cases[half:], folder, device="cpu", **{"quiet": True, **more})


def tiny() -> SequenceClassifier:
    torch.manual_seed(0)
    return SequenceClassifier(**RECIPE.network_arguments())


# Runs of slices


def test_runs_are_contiguous_padded_and_know_what_is_unknown():
    case = cropped_cases(2, slices=9)[1]
    case.brain[0] = case.brain[8] = False
    case.labels[3] = np.nan
    data = RunDataset([case], SMALL, None, length=10)
    images, labels, mask = data[0]
    assert images.shape == (10, 3, 32, 32)
    assert mask.tolist() == [True] * 7 + [False] * 3
    np.testing.assert_array_equal(labels.numpy()[:7], case.labels[1:8, 0])
    assert labels[7:].isnan().all()
    assert not images[7:].any()
    np.testing.assert_allclose(images[4], SMALL.images(case.hu[5].astype(np.float32), case.brain[5]))
    short = RunDataset([case], SMALL, None, length=4)
    assert [part.tolist() for _, part in short.runs] == [[1, 2, 3, 4], [3, 4, 5, 6], [4, 5, 6, 7]]
    assert short.positive.tolist() == [1, 0, 0]
    case.labels[4:] = np.nan
    assert len(RunDataset([case], SMALL, None, length=4)) == 1, "a run without a known label teaches nothing"


def test_slices_of_a_run_are_turned_alike():
    case = cropped_cases(1, slices=5)[0]
    case.hu[:] = case.hu[:1]
    how = Augmentation(rotation_deg=45, noise_hu=0)
    data = RunDataset([case], SMALL, how, length=5)
    torch.manual_seed(1)
    images, other = data[0][0], data[0][0]
    for step in range(1, 5):
        torch.testing.assert_close(images[step], images[0])
    assert (images - other).abs().max() > 0.1, "each draw is another"


# Stages


def moved(before: dict, after: dict) -> set[str]:
    """Parts of the network that a training changed."""
    return {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}


def test_every_stage_trains_its_own_parts(tmp_path):
    start = tiny().state_dict()
    start = {key: value.clone() for key, value in start.items()}
    trained = train(RECIPE, tmp_path, initial=start)
    states = [read_stage(tmp_path, number) for number in (1, 2, 3)]
    assert moved(start, states[0]) == {"resnet", "slice_head"}
    assert moved(states[0], states[1]) == {"resnet", "recurrent", "head"}
    assert moved(states[1], states[2]) == {"slice_head"}, "the sequence-trained ResNet is frozen"
    norms = [key for key in start if "running_" in key]
    assert not any(torch.equal(start[key], states[0][key]) for key in norms)
    assert all(torch.equal(states[0][key], states[1][key]) for key in norms)
    # A fresh head is no small step from the one before.
    change = (states[2]["slice_head.weight"] - states[0]["slice_head.weight"]).abs().max()
    assert change > 0.1
    final = trained.network.state_dict()
    assert all(torch.equal(final[key], states[2][key]) for key in final)
    assert not trained.network.training
    assert all(parameter.requires_grad for parameter in trained.network.parameters())


def read_stage(folder: Path, number: int) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / f"stage-{number}" / "network.safetensors")


def test_the_loss_counts_known_real_slices_only():
    module = SequenceModule(tiny().eval(), "sequence", 1e-3, 0.0, 10)
    images, mask = torch.rand(2, 4, 3, 32, 32), torch.tensor([[True, True, True, False], [True] * 4])
    labels = torch.tensor([[1.0, torch.nan, 0, 1], [0, 0, torch.nan, 1]])
    logits, known = module.scores((images, labels, mask))
    assert known.tolist() == [1, 0, 0, 0, 1]
    with torch.no_grad():
        all_of_them = module.network(images, mask)
    torch.testing.assert_close(logits, all_of_them[[0, 0, 1, 1, 1], [0, 2, 0, 1, 3]])
    with pytest.raises(ValueError, match="The stage is one of"):
        SequenceModule(tiny(), "dreams", 1e-3, 0.0, 10)


def test_the_reader_learns_from_features_that_are_made_once(tmp_path):
    recipe, told = replace(RECIPE, reader_epochs=6, epochs=(1, 1, 1), run=8), []
    train(recipe, tmp_path, on_epoch=lambda *n: told.append(n))
    from safetensors.torch import load_file

    before, after = read_stage(tmp_path, 1), load_file(tmp_path / "stage-2-reader" / "network.safetensors")
    assert moved(before, after) == {"recurrent", "head"}
    losses = [metrics["train_loss"] for stage, _, metrics in told if stage == "reader"]
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    runs = RunDataset(cropped_cases(2), SMALL, None, length=10)
    network = tiny().eval()
    kept = features_of_runs(network, runs, 2)
    assert len(kept) == 2 * len(runs)
    for item in range(len(kept)):
        features, labels, mask = kept[item]
        images, wanted, real = runs[item % len(runs)]
        with torch.no_grad():
            torch.testing.assert_close(features[mask], network.features(images[real]))
        assert torch.equal(mask, real)
        assert torch.equal(labels[mask], wanted[real])
        assert not features[~mask].any()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_it_learns_blobs(tmp_path, cell):
    """Slices with a bright blob are told from those without, in sequence and by the maps' head."""
    recipe = replace(RECIPE, cell=cell, dropout=0.0, epochs=(6, 6, 3), samples=96, runs=16, run=8)
    told = []
    trained = train(recipe, tmp_path, on_epoch=lambda *n: told.append(n))
    assert [name for name, *_ in told] == ["slices"] * 6 + ["sequence"] * 6 + ["maps"] * 3
    losses = [metrics["train_loss"] for _, _, metrics in told]
    assert losses[5] < 0.8 * losses[0]
    assert slice_auc(trained.scores) > 0.85
    assert slice_auc(trained.slice_scores) > 0.85
    assert len(trained.scores) == len(trained.slice_scores) == 4 * 8
    assert (tmp_path / "stage-2" / "curves.png").is_file()


def test_the_network_is_read_again_from_its_run(tmp_path):
    trained = train(RECIPE, tmp_path)
    again = read_run(tmp_path)
    assert (again.preprocessing, again.network.run, again.network.overlap) == (SMALL, 6, 2)
    assert again.probability != 0.5
    images = torch.rand(9, 3, 32, 32)
    assert torch.equal(again.network.classify_volume(images), trained.network.classify_volume(images))
    settings = tmp_path / "network.json"
    settings.write_text(settings.read_text().replace('"hidden": 16', '"hidden": 8'))
    with pytest.raises(InputError, match="cannot be read"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="holds no trained sequence network"):
        read_run(tmp_path / "elsewhere")


# Going on after a kill


class Killed(Exception):
    pass


def killed_at(stage: str, epoch: int):
    def listener(now: str, done: int, _: dict) -> None:
        if (now, done) == (stage, epoch):
            raise Killed

    return listener


@pytest.mark.parametrize(
    ("recipe", "stops"),
    [
        (RECIPE, [("slices", 2), ("sequence", 1), ("maps", 2)]),
        (replace(RECIPE, patience=2, bidirectional=True), [("sequence", 2)]),
        (replace(RECIPE, reader_epochs=3, epochs=(1, 1, 2)), [("reader", 2), ("maps", 2)]),
    ],
    ids=["last", "best", "reader"],
)
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, recipe, stops):
    whole = train(recipe, tmp_path / "whole")
    for stage, epoch in stops:
        with pytest.raises(Killed):
            train(recipe, tmp_path / "parts", on_epoch=killed_at(stage, epoch))
    seen = []
    resumed = train(recipe, tmp_path / "parts", on_epoch=lambda *n: seen.append(n[:2]))
    assert seen[0] == {"maps": ("maps", 2), "sequence": ("sequence", 2)}[stops[-1][0]]
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[key], value, rtol=0, atol=0)
    assert resumed.scores == whole.scores
    assert not list(tmp_path.rglob("*.part"))
    # Finished: nothing is repeated.
    again = train(recipe, tmp_path / "parts", on_epoch=lambda *_: pytest.fail("trained again"))
    assert again.scores == whole.scores


def test_cross_validation_scores_every_slice_once_and_goes_on(tmp_path):
    cases, folds = cropped_cases(6), []
    cases[0].brain[0] = False
    recipe = replace(RECIPE, epochs=(1, 1, 1), samples=16, runs=4)

    def killed(number, _):
        folds.append(number)
        if number == 1:
            raise Killed

    options = {"device": "cpu", "quiet": True}
    with pytest.raises(Killed):
        cross_validate_sequence(recipe, cases, tmp_path, 3, on_fold=killed, **options)
    rows = cross_validate_sequence(
        recipe, cases, tmp_path, 3, on_fold=lambda n, _: folds.append(n), **options
    )
    assert folds == [0, 1, 1, 2], "the finished fold is not repeated"
    assert sorted(row[:2] for row in rows) == sorted(
        (case.name, plane) for case in cases for plane in range(8)
    )
    assert [row[3] for row in rows if row[:2] == ("case-0", 0)] == [0.0], "no brain, no blood"
    for number in range(3):
        facts = json.loads((tmp_path / f"fold-{number}" / "run.json").read_text())
        assert not set(facts["train"]) & set(facts["valid"])


def test_painted_volumes_of_held_patients_are_held_too(tmp_path, monkeypatch):
    cases, used = cropped_cases(4), []

    def spy(recipe, train, valid, folder, painted, **_):
        used.append(({case.patient for case in valid}, {case.patient for case in painted}))
        raise Killed

    monkeypatch.setattr("ICHWeakSegLib.training.train_sequence.train_sequence", spy)
    with pytest.raises(Killed):
        cross_validate_sequence(RECIPE, cases, tmp_path, 2, painted=[cases[0], cases[2]])
    held, painted = used[0]
    assert painted == {"p0", "p2"} - held


# What one training takes from another


def test_the_first_stage_of_another_training(tmp_path):
    first = train(RECIPE, tmp_path / "lstm" / "fold-0")
    other = replace(RECIPE, cell="gru" if RECIPE.cell == "lstm" else "lstm")
    stages = []
    found = train(
        other,
        tmp_path / "gru" / "fold-0",
        slices_from=tmp_path / "lstm",
        on_epoch=lambda stage, *_: stages.append(stage),
    )
    assert "slices" not in stages
    one, two = (read_stage(tmp_path / name / "fold-0", 1) for name in ("lstm", "gru"))
    taken = [key for key in one if key.startswith(("resnet.", "slice_head."))]
    assert taken
    assert all(torch.equal(one[key], two[key]) for key in taken)
    assert found.network.config["cell"] != first.network.config["cell"]
    with pytest.raises(InputError, match="has no finished first stage"):
        train(other, tmp_path / "gru" / "fold-1", slices_from=tmp_path / "lstm")
    with pytest.raises(InputError, match="had other patients or settings"):
        train(replace(other, seed=1), tmp_path / "b" / "fold-0", slices_from=tmp_path / "lstm")


def test_each_fold_draws_with_its_own_network(tmp_path):
    # Large enough for a map of more than one cell.
    cases, wishes = cropped_cases(6, size=64), replace(SMALL, size=64, pixel_mm=3.0)
    recipe = replace(RECIPE, preprocessing=wishes, epochs=(3, 0, 1), reader_epochs=1, samples=64, runs=4)
    options = {"device": "cpu", "quiet": True}
    cross_validate_sequence(recipe, cases, tmp_path / "sequence", 2, **options)
    for number in range(2):
        # A head that likes something: what hardly learned would draw nothing.
        place = tmp_path / "sequence" / f"fold-{number}"
        run = read_run(place)
        with torch.no_grad():
            run.network.slice_head.weight.abs_()
        write_run(place, run)
    masks = PseudoMasks(tmp_path / "sequence")
    held = set(json.loads((tmp_path / "sequence" / "fold-0" / "run.json").read_text())["valid"])
    mine = [case for case in cases if case.patient not in held]
    drawn = masks("fold-0", mine)
    network = read_run(tmp_path / "sequence" / "fold-0").network
    for case, before in zip(drawn, mine, strict=True):
        assert not case.blood[case.labels[:, 0] == 0].any()
        assert not case.blood[~case.brain].any()
        assert before.blood is None
        for plane in np.flatnonzero(case.labels[:, 0] == 1):
            hu, brain = case.hu[plane].astype(np.float32), case.brain[plane]
            image = torch.from_numpy(recipe.preprocessing.images(hu, brain))[None]
            map_ = resnet_grad_cam(network, image, torch.from_numpy(brain)).numpy()
            # 4 pixels of 0.45 mm are less than one of 6 mm.
            how = KMeansOptions(dilation=1)
            np.testing.assert_array_equal(case.blood[plane], refine_kmeans([hu], map_, [brain], 0.7, how)[0])
    assert any(case.blood.any() for case in drawn)
    with pytest.raises(InputError, match="who is held out here"):
        masks("fold-1", mine)
    recipe = SegmenterRecipe(
        recipe.preprocessing,
        {"kind": "unet", "channels": [4, 8], "strides": [2]},
        mix=Mix(4, 4, 0, 0),
        loss="batch-dice",
        image_weight=0.0,
        epochs=1,
        steps=2,
    )
    rows = cross_validate_segmenter(recipe, cases, tmp_path / "unet", 2, draw=masks, **options)
    assert len(rows) == 48


# What is refused


def test_what_does_not_fit_is_refused(tmp_path):
    cases = cropped_cases(4)
    with pytest.raises(InputError, match="Patients in training and validation: p1"):
        train_sequence(RECIPE, cases, [cases[1]], tmp_path / "a")
    with pytest.raises(InputError, match="no positive slice"):
        train_sequence(RECIPE, [cases[0]], [cases[1]], tmp_path / "b")
    with pytest.raises(InputError, match="no negative run of slices"):
        train_sequence(replace(RECIPE, run=8, epochs=(1, 1, 1)), [cases[1]], [cases[0]], tmp_path / "c")
    with pytest.raises(InputError, match="of another architecture"):
        train(RECIPE, tmp_path / "d", initial=SequenceClassifier(overrides=TINY).state_dict())
    with pytest.raises(InputError, match="diverged"):
        train(replace(RECIPE, rates=(1e30, 1.0, 1.0), epochs=(1, 1, 1)), tmp_path / "e")
    with pytest.raises(InputError, match="holds a training with other settings"):
        train(replace(RECIPE, seed=1), tmp_path / "e")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"backbone": "resnet7"}, "no model named"),
        ({"backbone": "swin_tiny_patch4_window7_224", "overrides": {}}, "cannot be built"),
        ({"overrides": {"colour": "red"}}, "cannot be built"),
        ({"cell": "rnn"}, "The cell is one of"),
        ({"overlap": 6}, "The overlap lies between"),
        ({"epochs": (1, 0, 1), "reader_epochs": 0}, "A stage needs an epoch"),
        ({"epochs": (0, 1, 1)}, "A stage needs an epoch"),
        ({"rates": (1e-3,)}, "three numbers each"),
    ],
)
def test_networks_that_do_not_work_are_refused_before_anything_is_read(change, sentence):
    with pytest.raises(InputError, match=sentence) as error:
        check_sequence(replace(RECIPE, **change))
    assert "\n" not in str(error.value)


# From files to pseudo-masks


def command(*words: object) -> None:
    options = cli.parser().parse_args(list(map(str, words)))
    options.run(options)


def run_words(data: Path, output: Path) -> list[str]:
    return [
        *("train", "sequence", str(data), "--output", str(output), "--name", "mine", "--device", "cpu"),
        *("--override", "channels=[8,8,16,16]", "--override", "layers=[1,1,1,1]", "--hidden", "16"),
        *("--layers", "1", "--size", "32", "--pixel-mm", "6", "--epochs", "2", "2", "1", "--patience", "0"),
        *("--reader-epochs", "2"),
        *("--samples", "48", "--runs", "8", "--batch", "8", "--run", "8", "--overlap", "2", "--threads", "1"),
        *("--rates", "0.003", "0.003", "0.01", "--rotation", "10", "--valid", "0.34"),
    ]


def test_from_files_to_a_model_to_pseudo_masks(tmp_path, capsys):
    data = write_volumes(tmp_path / "data", patients=6)
    words = run_words(data, tmp_path / "run")
    command(*words, "--folds", "2", "--painted", "1")
    said = capsys.readouterr().out
    assert "Slice AUC, 2-fold by patient" in said
    assert "Stage maps, epoch 1" in said
    model = tmp_path / "run" / "mine"
    assert verify_model(model).ok
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["folds"] == 2
    assert 0 <= results["slice_auc_cross_validated"] <= 1
    with pytest.raises(InputError, match="exists already"):
        command(*words)
    measured = ("--folds-run", tmp_path / "run", "--output", tmp_path / "measured", "--draws", "10")
    command("evaluate", data, *measured, "--device", "cpu", "--quiet")
    assert "run (2-fold)" in (tmp_path / "measured" / "summary.md").read_text()
    capsys.readouterr()

    # A head that likes everything: its map rules out nothing, so brightness decides.
    trained = load_model(model)
    assert trained.card.operating.table
    assert trained.card.training.slices == 60
    with torch.no_grad():
        trained.network.slice_head.weight.abs_()
    save_model(model, replace(trained.card, weights=None), trained.network, overwrite=True)
    ct = data / "head 1.nii.gz"
    table = tmp_path / "labels.csv"
    truth = [
        line.split(",")[2] for line in (data / "labels.csv").read_text().splitlines() if "head 1." in line
    ]
    table.write_text("slice,any\n" + "".join(f"{number},{value}\n" for number, value in enumerate(truth)))
    target = tmp_path / "pseudo.nii.gz"
    common = ("pseudo-masks", ct, "--model", model, "--output", target, "--device", "cpu")
    command(*common, "--labels", table, "--threshold", "0", "--dilations", "0", "--json")
    summary = json.loads(capsys.readouterr().out)
    assert summary["positive_slices"] == [n for n, value in enumerate(truth) if value == "1"]
    assert summary["provenance"]["refine"] == "kmeans"
    assert len(summary["provenance"]["sha256"]) == 64
    import nibabel

    found = np.asarray(nibabel.load(target).dataobj)
    hu = np.asarray(nibabel.load(ct).dataobj)
    # The painted ball of 75 HU.
    assert ((hu == 75) & (found == 1)).sum() > 0.5 * (hu == 75).sum()
    assert (hu[found == 1] > 50).mean() > 0.9

    command(*common, "--probability", "1")
    assert "0.0 mL" in capsys.readouterr().out
    assert not np.asarray(nibabel.load(target).dataobj).any()


def test_pseudo_masks_refuse_other_models_and_labels(tmp_path):
    words = ("pseudo-masks", tmp_path / "ct.nii.gz", "--output", tmp_path / "a.seg.nrrd", "--model")
    (tmp_path / "ct.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="no sequence model"):
        command(*words, "starter")
    assert not (tmp_path / "a.seg.nrrd").exists()
    table = tmp_path / "labels.csv"
    for text, sentence in (
        ("slice,bleed\n0,1\n", "needs the columns"),
        ("slice,any\n0,1\n0,1\n", "named before"),
        ("slice,any\n0,1\n2,1\n", "numbered 0 to 1"),
        ("slice,any\n0,maybe\n", "a label is 0 or 1"),
        ("", "needs the columns"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=sentence):
            command(*words, "starter", "--labels", table)
    with pytest.raises(InputError, match="cannot be read"):
        command(*words, "starter", "--labels", tmp_path / "none.csv")
    with pytest.raises(InputError, match="--threshold lies between"):
        command(*words, "starter", "--threshold", "2")
    with pytest.raises(InputError, match="clusters at least 2"):
        command(*words, "starter", "--clusters", "1")
    assert not (tmp_path / "a.seg.nrrd").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--name", "final"), "is a folder of the run itself"),
        (("--name", "a/b"), "cannot be the name"),
        (("--batch", "0"), "--batch needs at least 1"),
        (("--run", "1"), "--run needs at least 2"),
        (("--folds", "1"), "--folds needs at least 2"),
        (("--dropout", "1"), "--dropout lies between"),
        (("--rates", "1", "0", "1"), "--rates takes numbers above 0"),
        (("--override", "channels"), "KEY=VALUE"),
        (("--overlap", "40"), "The overlap lies between"),
    ],
)
def test_options_that_make_no_sense(tmp_path, words, sentence):
    data = write_volumes(tmp_path / "data", patients=4)
    with pytest.raises(InputError, match=sentence):
        command(*run_words(data, tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_process_goes_on(tmp_path):
    """Killed without warning in its second stage, the same command ends as if nothing had been."""
    data = write_volumes(tmp_path / "data", patients=6)

    def words(output: Path) -> list[str]:
        return [*run_words(data, output), "--epochs", "1", "8", "1"]

    process = subprocess.Popen(
        [sys.executable, "-m", "ICHWeakSegLib", *words(tmp_path / "run")],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "run" / "final" / "stage-2" / "last.ckpt"
    limit = time.monotonic() + 180
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert checkpoint.exists()
    assert not (tmp_path / "run" / "final" / "stage-3").exists(), "it was killed in its second stage"
    command(*words(tmp_path / "run"))
    command(*words(tmp_path / "whole"))
    for name in ("weights.safetensors", "model.json"):
        mine, theirs = (tmp_path / place / "mine" / name for place in ("run", "whole"))
        assert mine.read_bytes() == theirs.read_bytes()
