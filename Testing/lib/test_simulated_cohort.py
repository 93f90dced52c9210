"""The simulated cohort follows its stated model, exactly and anew from the same seed."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from ICHWeakSegLib import cli
from ICHWeakSegLib.ct import read_ct
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.cohort_table import read_prognosis_cohort
from ICHWeakSegLib.prognosis.simulated_cohort import Simulation, read_truth_probabilities, simulate_cohort
from ICHWeakSegLib.prognosis.simulated_outcome import (
    OutcomeModel,
    draw_clinical,
    draw_mrs,
    draw_volume_ml,
    lose_fields,
)
from ICHWeakSegLib.quantify.masks import read_masks

PATIENTS = 4


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "cohort"
    cli.main(["simulate-cohort", str(folder), "--patients", str(PATIENTS), "--seed", "5", "--missing", "0.3"])
    return folder


def test_the_files_agree_with_the_table_and_the_stated_model(simulated):
    cohort = read_prognosis_cohort(simulated / "cohort.csv")
    truth = json.loads((simulated / "truth.json").read_text())["cases"]
    facts = json.loads((simulated / "simulation.json").read_text())
    model = OutcomeModel(**facts["outcome_model"]["coefficients"])
    assert (cohort.scale, cohort.warnings, len(cohort.cases)) == ("mrs", (), PATIENTS)
    for case in cohort.cases:
        ct, known = read_ct(case.ct), truth[case.name]
        masks = read_masks(case.mask, ct)
        assert "IPH" in masks
        assert ct.volume_ml(masks["IPH"]) == pytest.approx(known["iph_ml"])
        assert (ct.volume_ml(masks["IVH"]) if "IVH" in masks else 0) == pytest.approx(known["ivh_ml"])
        # Blood is denser than brain, air is air.
        blood = ct.hu[masks["IPH"] != 0].mean()
        assert 40 < blood < 90
        assert np.median(ct.hu[:, :3, :3]) < -900
        wanted = model.probability(known["iph_ml"], known["true_gcs"], known["true_age"], known["ivh_ml"] > 0)
        assert known["true_probability"] == pytest.approx(wanted)
        assert case.facts.ivh == (known["ivh_ml"] > 0)
        for field in ("age", "sex", "gcs", "onset_hours"):
            shown = getattr(case.clinical, field)
            assert shown is None or shown == known[f"true_{field}"]


def test_the_truth_stays_out_of_the_table(simulated):
    with open(simulated / "cohort.csv", newline="") as file:
        columns = next(csv.reader(file))
    assert not any("prob" in column or "true" in column for column in columns)
    found = read_truth_probabilities(simulated / "cohort.csv")
    assert len(found) == PATIENTS
    assert all(0 < value < 1 for value in found.values())


def test_a_cohort_that_is_not_simulated_has_no_truth(tmp_path, simulated):
    (tmp_path / "truth.json").write_text((simulated / "truth.json").read_text())
    assert read_truth_probabilities(tmp_path / "cohort.csv") is None


def test_a_run_that_was_stopped_goes_on_and_gives_the_same(tmp_path, simulated):
    folder = tmp_path / "again"
    simulation = Simulation(PATIENTS, 5, 0.3)

    def stop(stage, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_cohort(folder, simulation, stop)
    assert not (folder / "cohort.csv").exists()
    made = sorted((folder / "ct").iterdir())
    stamps = [path.stat().st_mtime_ns for path in made]
    table = simulate_cohort(folder, simulation)
    assert [path.stat().st_mtime_ns for path in made] == stamps
    assert table.read_text() == (simulated / "cohort.csv").read_text()
    assert (folder / "truth.json").read_text() == (simulated / "truth.json").read_text()
    for path in sorted((folder / "ct").iterdir()):
        assert np.array_equal(read_ct(path).hu, read_ct(simulated / "ct" / path.name).hu)
    with pytest.raises(InputError, match="another simulated cohort"):
        simulate_cohort(folder, Simulation(PATIENTS, 6, 0.3))


def test_foreign_folders_and_values_are_refused(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    for wrong in ([str(tmp_path)], [str(tmp_path / "mine.txt")]):
        with pytest.raises(SystemExit) as found:
            cli.main(["simulate-cohort", *wrong, "--patients", "1"])
        assert found.value.code == 2
        assert "choose a new folder" in capsys.readouterr().err
    for wrong in ({"patients": 0}, {"seed": -1}, {"missing": 1.0}, {"missing": float("nan")}):
        with pytest.raises(InputError):
            Simulation(**wrong)


def test_outcomes_and_missing_fields_come_at_the_stated_rates():
    rng = np.random.default_rng(0)
    assert np.mean([draw_mrs(rng, 0.3) >= 4 for _ in range(4000)]) == pytest.approx(0.3, abs=0.03)
    assert {draw_mrs(rng, 0.5) for _ in range(500)} == set(range(7))
    volumes = [draw_volume_ml(rng) for _ in range(2000)]
    assert 2 <= min(volumes) < 5
    assert 80 < max(volumes) <= 90
    clinical = [draw_clinical(rng, volume) for volume in volumes]
    assert -0.6 < np.corrcoef(volumes, [one.gcs for one in clinical])[0, 1] < -0.05
    lost = [lose_fields(rng, one, 0.2) for one in clinical]
    assert np.mean([one.gcs is None for one in lost]) == pytest.approx(0.2, abs=0.03)
    assert np.mean([one.history == "" for one in lost]) == pytest.approx(0.2, abs=0.03)
    assert all(
        one == whole for one, whole in zip((lose_fields(rng, c, 0) for c in clinical), clinical, strict=True)
    )


def test_every_term_of_the_model_raises_the_risk():
    model = OutcomeModel()
    base = model.probability(30, 10, 68, False)
    assert base == pytest.approx(1 / (1 + np.exp(0.7)))
    assert model.probability(60, 10, 68, False) > base
    assert model.probability(30, 6, 68, False) > base
    assert model.probability(30, 10, 85, False) > base
    assert model.probability(30, 10, 68, True) > base
