"""Training a prognosis network: it learns from both modalities, goes on after a kill, and is packed whole."""

from __future__ import annotations

import csv
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
from phantom_heads import head
from prognosis_cases import INPUT, NETWORK, SAM, SIZE, clip_folder, crops, recipe

from ICHWeakSegLib.cli import main
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.read import read_ct
from ICHWeakSegLib.ct.write import write_volume
from ICHWeakSegLib.models import ModelError, describe, load_model, verify_model
from ICHWeakSegLib.prognosis.clinical import Clinical
from ICHWeakSegLib.prognosis.dataset import (
    Collate,
    ModalityDropout,
    PrognosisDataset,
    cached_crops,
    drop,
    vary,
)
from ICHWeakSegLib.prognosis.module import PrognosisModule
from ICHWeakSegLib.prognosis.package import held_out_results, package_prognosis
from ICHWeakSegLib.prognosis.predict import prognose
from ICHWeakSegLib.prognosis.scan import read_scan
from ICHWeakSegLib.prognosis.train import (
    build_sc_network,
    fit_prognosis,
    probabilities,
    read_network,
    train_prognosis,
)

QUIET = {"device": "cpu", "quiet": True}


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two networks have the very same weights."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_it_learns_from_image_and_text(tmp_path: Path) -> None:
    how = recipe(
        network={**NETWORK, "slices_at_once": 64},
        epochs=14,
        rate=6e-3,
        dropout=ModalityDropout(0.15, 0.15, 0.0),
    )
    trained = fit_prognosis(how, crops(40), [], tmp_path, **QUIET)
    rows = [
        {"outcome": int(case.outcome), **probabilities(trained.network, how, case)}
        for case in crops(40, seed=1)
    ]
    found = held_out_results(rows)
    assert found["auc_held_out"] > 0.85
    # The blood is learned as well: most of it is found in heads that it has not seen.
    case = crops(1, seed=2)[0]
    batch = Collate(INPUT)([PrognosisDataset([case], how.template)[0]])
    with torch.inference_mode():
        out = trained.network(batch.images, batch.texts, batch.valid, batch.brain, batch.pixel_ml)
    mask = (out.blood[0] > 0).numpy() & case.brain
    overlap = 2 * (mask & case.blood).sum() / (mask.sum() + case.blood.sum())
    assert overlap > 0.7
    assert float(out.volume_ml) == pytest.approx(case.blood.sum() * 0.18, rel=0.4)


def test_a_killed_run_gives_the_same_result(tmp_path: Path) -> None:
    how = recipe(epochs=3)
    whole = fit_prognosis(how, crops(8), crops(4, seed=1), tmp_path / "whole", **QUIET)
    # A process of its own, killed without a word after its first epoch.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from prognosis_cases import crops, recipe\n"
        "from ICHWeakSegLib.prognosis.train import fit_prognosis\n"
        "import time\n"
        "def told(epoch, metrics):\n"
        "    print('epoch', epoch, flush=True)\n"
        "    time.sleep(60 if epoch == 2 else 0)\n"
        "fit_prognosis(recipe(epochs=3), crops(8), crops(4, seed=1), Path(sys.argv[2]), device='cpu', quiet=True,"
        " on_epoch=told)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    while "epoch 2" not in (line := process.stdout.readline()):
        assert line, "the training ended before it could be killed"
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert not (tmp_path / "killed" / "held_out.json").exists()
    epochs: list[int] = []
    again = fit_prognosis(
        how,
        crops(8),
        crops(4, seed=1),
        tmp_path / "killed",
        on_epoch=lambda epoch, _: epochs.append(epoch),
        **QUIET,
    )
    assert epochs[-1] == 3
    assert 1 not in epochs
    assert same(whole.network, again.network)
    assert whole.held_out == again.held_out


def test_frozen_weights_stay_out_of_checkpoints_and_as_they_were(tmp_path: Path) -> None:
    how = recipe(network={**NETWORK, "image": SAM}, tune_image="frozen", epochs=2)
    torch.manual_seed(how.seed)
    first = fit_prognosis(how, crops(8), [], tmp_path / "run", **QUIET)
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any(key.startswith("network.image.vit.blocks") for key in kept)
    assert any(key.startswith("network.decoder") for key in kept)
    import lightning

    lightning.seed_everything(how.seed, verbose=False)
    fresh = build_sc_network(how)
    assert same(fresh.image, first.network.image)
    assert not same(fresh.decoder, first.network.decoder)
    # A finished run that is asked for again is taken as it is.
    assert same(fit_prognosis(how, crops(8), [], tmp_path / "run", **QUIET).network, first.network)
    assert same(read_network(tmp_path / "run"), first.network)


def test_lora_is_merged_and_official_weights_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    folder = clip_folder(tmp_path / "clip")
    how = recipe(text_folder=str(folder), tune_text="lora", lora_rank=2, epochs=1)
    trained = fit_prognosis(how, crops(8), [], tmp_path / "run", **QUIET)
    before = build_sc_network(recipe(text_folder=str(folder), tune_text="frozen")).text.state_dict()
    after = trained.network.text.state_dict()
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed
    assert all("_proj.weight" in key for key in changed)
    card = package_prognosis(tmp_path / "pack", "pack", how, trained.network, crops(8), [], 0)
    assert set(card.prognosis.files) == {"tokenizer.json"}
    # Neither the folder nor peft is needed any more.
    for file in folder.iterdir():
        file.unlink()
    model = load_model(tmp_path / "pack")
    found = prognose(model, None, Clinical(gcs=6), device="cpu")
    own = trained.network(None, [found.text]).outcome.sigmoid()
    assert found.probability == pytest.approx(float(own), abs=2e-3)
    assert found.tokens[:3] == ["<s>", "glasgow", "coma"]
    (tmp_path / "pack" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        load_model(tmp_path / "pack")


def test_learned_task_weights_move(tmp_path: Path) -> None:
    trained = fit_prognosis(recipe(weights=None, epochs=2), crops(8), [], tmp_path, **QUIET)
    weights = [trained.metrics[f"{task}_weight"] for task in ("segmentation", "outcome")]
    assert all(weight > 0 and abs(weight - 1) > 1e-4 for weight in weights)
    # No auxiliary head was asked for: nothing to weigh.
    assert trained.metrics["auxiliary_weight"] == pytest.approx(1.0, abs=0.01)


def test_losses_count_only_what_is_known() -> None:
    cases = crops(4)
    cases[0].outcome, cases[1].blood = None, None
    cases[2].clinical = Clinical(age=50)
    network = build_sc_network(recipe(network={**NETWORK, "auxiliary": ["gcs"]})).eval()
    module = PrognosisModule(network, {"segmentation": 1.0, "outcome": 2.0, "auxiliary": 0.5})
    batch = Collate(INPUT)([PrognosisDataset(cases, recipe().template)[n] for n in range(4)])
    out, losses = module._run(batch)
    known = torch.tensor([False, True, True, True])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(out.outcome[known], batch.outcome[known])
    torch.testing.assert_close(losses["outcome"], expected)
    # The mask that nobody drew plays no part in its loss, whatever the batch holds in its place.
    other = module.losses(out, batch._replace(blood=batch.blood.index_fill(0, torch.tensor([1]), 1.0)))
    torch.testing.assert_close(other["segmentation"], losses["segmentation"])
    drawn = module.losses(out, batch._replace(blood=batch.blood.index_fill(0, torch.tensor([0]), 1.0)))
    assert abs(float(drawn["segmentation"] - losses["segmentation"])) > 1e-4
    total = losses["segmentation"] + 2 * losses["outcome"] + 0.5 * losses["auxiliary"]
    torch.testing.assert_close(module.total(losses), total)
    alone = Collate(INPUT)([PrognosisDataset(cases[:1], recipe().template)[0]])
    assert "outcome" not in module._run(alone)[1]


def test_modality_dropout() -> None:
    torch.manual_seed(0)
    full = Clinical(age=70, sex="female", gcs=8, onset_hours=2, history="smoker")
    rows = [drop(full, {"surgery": "yes"}, ModalityDropout(0.25, 0.25, 0.2)) for _ in range(400)]
    without_text = [not clinical.known for clinical, _, _ in rows]
    assert np.mean(without_text) == pytest.approx(0.25, abs=0.07)
    assert np.mean([not image for *_, image in rows]) == pytest.approx(0.25, abs=0.07)
    assert not any(lost and not image for lost, (*_, image) in zip(without_text, rows, strict=True))
    assert all(not leaked for clinical, leaked, _ in rows if not clinical.known)
    told = [clinical for clinical, *_ in rows if clinical.known]
    assert np.mean([clinical.gcs is None for clinical in told]) == pytest.approx(0.2, abs=0.08)
    assert drop(full, {}, ModalityDropout(0, 0, 0)) == (full, {}, True)


def test_variation_keeps_the_volume() -> None:
    case = crops(1, seed=3)[0]
    how = replace(recipe().augmentation, shift=0.0, scale=0.3)
    torch.manual_seed(4)
    volumes, zooms = [], []
    for _ in range(6):
        parts = (torch.from_numpy(np.asarray(a)) for a in (case.hu, case.brain, case.blood))
        *_, blood, zoom = vary(*parts, how, 33.0)
        volumes.append(float(blood.sum()) / zoom**2)
        zooms.append(zoom)
    assert max(zooms) - min(zooms) > 0.1
    np.testing.assert_allclose(volumes, case.blood.sum(), rtol=0.06)


def test_runs_that_cannot_be(tmp_path: Path) -> None:
    good = [replace(case, outcome=0.0) for case in crops(6)]
    with pytest.raises(InputError, match="a good and cases with a poor outcome"):
        train_prognosis(recipe(), good, tmp_path, **QUIET)
    with pytest.raises(InputError, match="cannot be split into 50 parts"):
        train_prognosis(recipe(), crops(8), tmp_path, folds=50, **QUIET)
    with pytest.raises(InputError, match="Patients in training and validation"):
        fit_prognosis(recipe(), crops(8), crops(8), tmp_path / "a", **QUIET)
    with pytest.raises(InputError, match="cannot be built: The width"):
        build_sc_network(recipe(network={"width": 15}))
    with pytest.raises(InputError, match="Only SAM's encoders"):
        build_sc_network(recipe(image_weights="sam.pth"))
    fit_prognosis(recipe(epochs=1), crops(8), [], tmp_path / "b", **QUIET)
    with pytest.raises(InputError, match="other settings"):
        fit_prognosis(recipe(epochs=2), crops(8), [], tmp_path / "b", **QUIET)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of six CTs with a bleed that is moved in strength, half of them with a mask."""
    place = tmp_path_factory.mktemp("cohort")
    whole = head()
    for number in range(6):
        hu = whole.ct.hu.copy()
        if number % 2:
            hu[whole.blood] = 35
        write_volume(place / f"ct{number}.nii.gz", hu, whole.ct, dtype=np.int16)
    write_volume(place / "mask.nii.gz", whole.blood.astype(np.uint8), whole.ct, dtype=np.uint8)
    with open(place / "cohort.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["case", "ct", "mask", "age", "gcs", "mrs"])
        for number in range(6):
            mask = "mask.nii.gz" if number % 2 == 0 else ""
            table.writerow(
                [f"p{number}", f"ct{number}.nii.gz", mask, 50 + number, 3 + 2 * number, 6 - number]
            )
    return place


SMALL = ["--size", "32", "--width", "16", "--epochs", "1", "--threads", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that the command line made."""
    out = tmp_path_factory.mktemp("run")
    with pytest.raises(SystemExit) as ended:
        _main("train", "prognosis", str(cohort / "cohort.csv"), "--output", str(out), "--folds", "2", *SMALL)
    assert ended.value.code == 0
    return out / "prognosis"


def _main(*arguments: str) -> None:
    main(arguments)
    raise SystemExit(0)


def test_the_command_makes_a_package(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = load_model(model).card
    part = card.prognosis
    assert part.outcome == {"scale": "mrs", "cut": 4}
    assert part.leaks == ()
    assert part.folds == 2
    assert len(part.trained_on) == len(part.held_out) == 6
    assert {row["case"] for row in part.held_out} == {row["case"] for row in part.trained_on}
    assert sum(row["outcome"] for row in part.held_out) == 3
    assert {row["fold"] for row in part.held_out} == {0, 1}
    assert "p0" not in json.dumps([part.held_out, part.trained_on])
    assert "masks of blood of 3 of 6" in card.training.recipe
    assert verify_model(model).ok, verify_model(model).problem
    text = describe(card)
    assert "scale mrs, cut 4" in text
    assert "Glasgow Coma Scale" in text
    assert "LEAKAGE" not in text


def test_image_only_text_only_and_both(model: Path, cohort: Path) -> None:
    known = load_model(model)
    ct, fields = cohort / "ct0.nii.gz", Clinical(age=84, gcs=4)
    both, image, text = (
        prognose(known, *what, device="cpu") for what in ((ct, fields), (ct, None), (None, fields))
    )
    assert len({both.probability, image.probability, text.probability}) == 3
    assert (both.modalities, image.modalities, text.modalities) == (("ct", "text"), ("ct",), ("text",))
    count = len(both.slice_weights)
    assert both.image_maps.shape == both.blood.shape == both.hu.shape == (count, 32, 32)
    assert both.slice_weights.sum() == pytest.approx(1, abs=1e-4)
    assert both.token_weights.sum() == pytest.approx(1, abs=1e-4)
    assert both.image_maps.max() == pytest.approx(1)
    assert both.image_maps.min() >= 0
    assert len(both.tokens) == len(both.token_weights) > 5
    assert both.text.startswith("Glasgow Coma Scale 4")
    assert both.spacing_mm == pytest.approx((5.0, 5.7, 5.7), abs=0.01)
    assert image.tokens == []
    assert text.blood is None
    # A scan may serve several calls, but only of the input that it was made for.
    scan = read_scan(read_ct(ct), known.card.preprocessing)
    again = prognose(known, scan, fields, device="cpu")
    assert again.probability == both.probability
    assert np.array_equal(again.image_maps, both.image_maps)
    with pytest.raises(InputError, match="made for another model's input"):
        prognose(known, read_scan(read_ct(ct), replace(known.card.preprocessing, size=48)), fields)
    with pytest.raises(InputError, match="neither a CT nor an admission field"):
        prognose(known, None, Clinical())


def test_pixel_volumes_add_up(cohort: Path) -> None:
    from ICHWeakSegLib.prognosis.cohort_table import PrognosisCase

    whole = head()
    case = PrognosisCase("p0", "p0", cohort / "ct0.nii.gz", cohort / "mask.nii.gz")
    wishes = replace(INPUT, size=96, pixel_mm=2.0)
    crop = cached_crops([case], wishes, cohort / "cache")[0]
    volume = (crop.blood.sum((1, 2)) * crop.pixel_ml).sum()
    assert volume == pytest.approx(whole.blood_ml, rel=0.05)
    assert crop.brain.any((1, 2)).all()
    # From the cache, and without the mask.
    kept = cached_crops([case], wishes, cohort / "cache")[0]
    assert np.array_equal(kept.hu, crop.hu)
    assert np.array_equal(kept.blood, crop.blood)
    assert cached_crops([case], wishes, cohort / "cache", masks=False)[0].blood is None


def test_segment_uses_the_mask_decoder(model: Path, cohort: Path, tmp_path: Path) -> None:
    from ICHWeakSegLib.segment import segment

    result = segment(cohort / "ct0.nii.gz", model, device="cpu")
    assert result.mask.shape == head().ct.hu.shape
    assert all(0 <= row["probability"] <= 1 for row in result.slice_scores)
    assert result.provenance["method"] == "probability"


def test_leakage_is_refused_or_marks_the_model(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(cohort / "cohort.csv", newline="") as file:
        rows = list(csv.reader(file))
    with open(cohort / "leaky.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [[*row, "surgery" if n == 0 else "yes" if n % 2 else "no"] for n, row in enumerate(rows)]
        )
    command = [
        "train",
        "prognosis",
        str(cohort / "leaky.csv"),
        "--output",
        str(tmp_path),
        "--folds",
        "0",
        *SMALL,
    ]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert "surgery" in capsys.readouterr().err
    assert not (tmp_path / "prognosis").exists()
    main([*command, "--allow-leakage"])
    out = capsys.readouterr().out
    assert "It is marked: it learned from surgery" in out
    card = load_model(tmp_path / "prognosis").card
    assert card.prognosis.leaks == ("surgery",)
    assert card.prognosis.held_out == ()
    assert "known only after admission: surgery" in card.limits[0]
    assert "LEAKAGE" in describe(card)
    known = load_model(tmp_path / "prognosis")
    told = prognose(known, None, Clinical(gcs=5), leaked={"surgery": "yes", "other": "x"}, device="cpu")
    assert "surgery: yes" in told.text
    assert "other" not in told.text


def test_pseudo_masks_by_a_model(cohort: Path, tmp_path: Path) -> None:
    from tiny_models import tiny_model

    from ICHWeakSegLib.prognosis.cohort_table import read_prognosis_cohort

    maker = load_model(tiny_model(tmp_path / "maker"))
    cases = read_prognosis_cohort(cohort / "cohort.csv", scale="mrs").cases[:2]
    made = cached_crops(cases, INPUT, tmp_path / "cache", pseudo=maker)
    assert all(crop.blood is not None for crop in made)
    plain = cached_crops(cases, INPUT, tmp_path / "cache")
    assert np.array_equal(made[0].blood, plain[0].blood)
    assert plain[1].blood is None


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--image-encoder", "vit_b"], "needs the path of one SAM or MedSAM weight file"),
        (["--image-encoder", "vit_b", "none.pth"], "There is no weight file none.pth"),
        (["--image-encoder", "resnet"], "--image-encoder is small, or vit_b"),
        (["--text-encoder", "nowhere"], "nowhere is no text encoder"),
        (["--tune-text", "lora"], "LoRA finds no attention"),
        (["--task-weights", "1", "2"], "--task-weights takes three numbers"),
        (["--dropout", "0.6", "0.6", "0"], "--dropout takes three shares"),
        (["--outcome", "gos"], "no column gos"),
        (["--cut", "9"], "cut"),
        (["--size", "50"], "multiple of 16"),
    ],
)
def test_options_that_make_no_sense(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "train",
                "prognosis",
                str(cohort / "cohort.csv"),
                "--output",
                str(tmp_path / "o"),
                *SMALL,
                *extra,
            ]
        )
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "o" / "prognosis").exists()


def test_a_card_must_fit_its_kind(model: Path) -> None:
    from ICHWeakSegLib.models import card_from_dict, card_to_dict

    data = card_to_dict(load_model(model).card)
    assert card_from_dict(data) == load_model(model).card
    with pytest.raises(ModelError, match="'prognosis' belongs to an sc-network"):
        card_from_dict({key: value for key, value in data.items() if key != "prognosis"})
    wrong = {**data, "prognosis": {**data["prognosis"], "held_out": [{"outcome": 2, "probability": 0.5}]}}
    with pytest.raises(ModelError, match=r"held_out\[0\]"):
        card_from_dict(wrong)
    assert load_model(model).card.architecture.arguments["size"] == 32
    assert SIZE == 32
