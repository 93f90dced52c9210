"""A method that the chosen model does not know, and the model that stands in for it."""

import json
import shutil

import pytest

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.models import bundled_folders, card_text, load_model, model_for, read_card
from ICHWeakSegLib.phantom import make_phantom
from ICHWeakSegLib.segment import segment

STARTER = next(folder / "starter" for folder in bundled_folders() if (folder / "starter").is_dir())


@pytest.mark.parametrize("method", ["hgi-sam", "swin-sam", "grad-cam", "layer-cam", "hires-cam"])
def test_the_bundled_classifier_stands_in_for_the_starter(method):
    found, instead_of = model_for("starter", method)
    assert (found.name, instead_of) == ("starter-hgi-sam", "starter")


@pytest.mark.parametrize("method", [None, "probability", "magic"])
def test_otherwise_it_is_the_starter_itself(method):
    found, instead_of = model_for("starter", method)
    assert (found.name, instead_of) == ("starter", "")


def test_a_model_without_one_stays_alone():
    assert model_for("starter-hgi-sam", "probability")[0].name == "starter-hgi-sam"


def test_one_that_is_not_installed_is_told(tmp_path):
    shutil.copytree(STARTER, tmp_path / "mine")
    card = json.loads((tmp_path / "mine" / "model.json").read_text())
    card["name"], card["map"]["further"] = "mine", "nowhere"
    (tmp_path / "mine" / "model.json").write_text(json.dumps(card))
    assert model_for(tmp_path / "mine")[0].name == "mine"
    with pytest.raises(InputError, match="nowhere"):
        load_model(tmp_path / "mine", method="hgi-sam")


def test_the_card_keeps_it():
    card = read_card(STARTER)
    assert card.map.further == "starter-hgi-sam"
    assert json.loads(card_text(card))["map"]["further"] == "starter-hgi-sam"
    # Cards without one stay as they were.
    assert '"further"' not in card_text(read_card(STARTER.parent / "starter-hgi-sam"))


def test_a_run_says_which_model_it_was():
    ct = make_phantom("intraparenchymal", 20.0, size=192, pixel_mm=1.2).ct
    result = segment(ct, "starter", method="hgi-sam")
    assert result.provenance["model"] == "starter-hgi-sam"
    assert result.provenance["method"] == "hgi-sam"
    assert "starter does not know the method hgi-sam: starter-hgi-sam was used instead." in result.warnings
    with pytest.raises(InputError, match="one of probability for model starter"):
        segment(ct, "starter", method="magic")
