"""The section of clinical scores: entries, the result while they are typed, where they are kept."""

import numpy as np
import pytest
import slicer

# Half of the phantom's head: far above 60 mL.
HUGE = np.zeros((20, 60, 56), bool)
HUGE[8:14, 20:40, 15:40] = True


@pytest.fixture
def scores(panel, shown_on):
    """The panel with the section open on a result of this blood."""

    def open_on(masks=None, **more):
        loaded, segmentation = shown_on(panel, masks, **more)
        panel.ui.scoresSection.collapsed = False
        panel.settle()
        return loaded, segmentation

    return open_on


def enter(panel, gcs=9, age=71, location="deep", ivh="no", impaired="no"):
    panel.ui.scoreGcsSpin.value = gcs
    panel.ui.scoreAgeSpin.value = age
    panel.choose(panel.ui.scoreLocationSelector, location)
    panel.choose(panel.ui.scoreIvhSelector, ivh)
    panel.choose(panel.ui.scoreCognitionSelector, impaired)


def test_the_section_is_closed_at_first(panel):
    assert panel.ui.scoresSection.collapsed


def test_missing_inputs_are_named(panel, scores):
    loaded, _ = scores()
    text = panel.ui.scoresLabel.text
    assert "ICH score: no total" in text
    assert "Missing: Glasgow Coma Scale, intraventricular blood, infratentorial origin, age (years)." in text
    assert "spontaneous intraparenchymal hemorrhage" in text
    assert "research use only" in text.lower()
    assert "Hemphill" in text
    assert "Rost" in text
    volume = loaded.world.volume_ml(loaded.blood)
    assert panel.ui.scoreVolumeSpin.text == f"{volume:.1f} (segmentation)"
    assert not panel.ui.clearScoresButton.enabled


def test_the_result_follows_every_entry(panel, scores):
    loaded, _ = scores()
    assert 30 <= loaded.world.volume_ml(loaded.blood) <= 60
    enter(panel)
    text = panel.ui.scoresLabel.text
    # GCS 5-12: 1, 30 mL or more: 1, the others 0.
    assert "ICH score: 2 of 6" in text
    assert "26 % of the published cohort" in text
    # 30-60 mL: 2, 70-79 years: 1, deep: 1, GCS 9 or more: 2, not impaired: 1.
    assert "FUNC score: 7 of 11" in text
    panel.ui.scoreGcsSpin.value = 3
    assert "ICH score: 3 of 6" in panel.ui.scoresLabel.text
    panel.choose(panel.ui.scoreLocationSelector, "infratentorial")
    assert "ICH score: 4 of 6" in panel.ui.scoresLabel.text
    panel.ui.scoreVolumeSpin.value = 5.0
    assert "ICH score: 3 of 6" in panel.ui.scoresLabel.text
    assert "The volume was entered." in panel.ui.scoresLabel.text


def test_edits_of_the_segmentation_count(panel, scores):
    loaded, segmentation = scores(HUGE)
    before = panel.ui.scoreVolumeSpin.text
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros_like(HUGE, np.uint8), segmentation, "hemorrhage", loaded.node
    )
    panel.settle()
    assert panel.ui.scoreVolumeSpin.text == "0.0 (segmentation)" != before


def test_subtypes_give_the_volume_and_a_hint(panel, scores):
    low, high = HUGE.copy(), HUGE.copy()
    low[11:], high[:11] = False, False
    loaded, _ = scores({"IPH": low, "IVH": high})
    ml = loaded.world.volume_ml(low)
    assert panel.ui.scoreVolumeSpin.text == f"{ml:.1f} (segmentation)"
    assert f"The model marked {loaded.world.volume_ml(high):.1f} mL as intraventricular." in (
        panel.ui.scoresLabel.text
    )
    # A hint is no entry.
    assert "intraventricular blood" in panel.ui.scoresLabel.text.split("FUNC")[0]


def test_entries_are_kept_in_the_parameter_node(panel, scores):
    loaded, _ = scores()
    enter(panel)
    node = panel.parameters.parameterNode
    assert node.GetParameter("scoreGcs") == "9"
    assert node.GetParameter("scoreLocation") == "deep"
    assert panel.parameters.scoredVolume is loaded.node
    panel.ui.scoresSection.collapsed = True
    panel.widget.scores.forget()
    panel.widget.refresh()
    panel.ui.scoresSection.collapsed = False
    assert panel.ui.scoreGcsSpin.value == 9
    assert "ICH score: 2 of 6" in panel.ui.scoresLabel.text


def test_another_ct_begins_anew(panel, scores):
    _, first = scores()
    enter(panel)
    scores(name="Another patient")
    assert panel.ui.scoreGcsSpin.text == "not known"
    assert "no total" in panel.ui.scoresLabel.text
    # As long as nothing is entered for the other, the first one's are still there.
    panel.parameters.outputSegmentation = first
    panel.settle()
    assert panel.ui.scoreGcsSpin.value == 9


def test_clear_forgets(panel, scores):
    scores()
    enter(panel)
    assert panel.ui.clearScoresButton.enabled
    panel.ui.clearScoresButton.click()
    assert panel.ui.scoreAgeSpin.text == "not known"
    assert "no total" in panel.ui.scoresLabel.text
    assert not panel.ui.clearScoresButton.enabled


def test_without_a_result_the_volume_is_entered(panel):
    panel.ui.scoresSection.collapsed = False
    panel.settle()
    assert "segment a CT, or enter it" in panel.ui.scoresLabel.text
    enter(panel, gcs=15, age=50, location="lobar")
    panel.ui.scoreVolumeSpin.value = 12
    assert "ICH score: 0 of 6" in panel.ui.scoresLabel.text
    assert "FUNC score: 11 of 11" in panel.ui.scoresLabel.text


def test_the_ct_gone_is_said(panel, scores):
    loaded, _ = scores()
    slicer.mrmlScene.RemoveNode(loaded.node)
    panel.settle()
    assert "does not say which CT" in panel.ui.scoresLabel.text


def test_the_console_says_the_same(panel, scores):
    _, segmentation = scores()
    enter(panel)
    found = panel.logic.clinicalScores(
        segmentation, gcs=9, age=71, location="deep", ivh=False, cognitiveImpairment=False
    )
    for score in found.scores:
        assert f"{score.name}: {score.total} of" in panel.ui.scoresLabel.text
