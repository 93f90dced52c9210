"""What the worker answers about masks that are there already, in this process; and how its client asks."""

import numpy as np
import pytest
from phantom_heads import head
from test_worker import FakeRunner, client, the_runner  # noqa: F401

from ICHWeakSegLib import CT, InputError
from ICHWeakSegLib.quantify import measure
from ICHWeakSegLib.worker.cases import Workbench
from ICHWeakSegLib.worker.exchange import Asked, Box, read_answer, read_asked, write_asked, write_case


def silent(*_):
    """Nobody wants to know."""


def case_of(folder, ct, mask, **more):
    """A case folder with a mask to ask about."""
    folder.mkdir()
    write_case(folder, ct)
    write_asked(folder, Asked({"hemorrhage": Box.of(mask.astype(np.uint8))}, **more))
    return folder


def test_what_is_asked_comes_over_whole(tmp_path):
    found = head()
    folder = case_of(
        tmp_path / "case",
        found.ct,
        found.blood,
        ventricles=Box.of(found.brain),
        map=Box.of(found.blood * np.float32(0.5)),
    )
    asked = read_asked(folder)
    np.testing.assert_array_equal(asked.masks["hemorrhage"].within(found.ct.hu.shape), found.blood)
    np.testing.assert_array_equal(asked.ventricles.within(found.ct.hu.shape), found.brain)
    assert asked.map.values.max() == 0.5


def test_measures_what_the_library_measures(tmp_path):
    found = head()
    bench, folder, stages = Workbench(), case_of(tmp_path / "case", found.ct, found.blood), []
    bench.measure(folder, lambda stage, *_: stages.append(stage))
    answer, overlay = read_answer(folder)
    assert answer == measure(found.ct, {"hemorrhage": found.blood}).to_dict()
    assert overlay is None
    assert stages == ["reading", "measuring"]
    # Other masks on the same CT: it is not read again.
    stages.clear()
    write_asked(folder, Asked({"hemorrhage": Box.of(np.zeros(found.ct.hu.shape, np.uint8))}))
    bench.measure(folder, lambda stage, *_: stages.append(stage))
    assert read_answer(folder)[0]["total"]["volume_ml"] == 0
    assert stages == ["measuring"]


def test_a_ct_without_a_head_is_refused(tmp_path):
    found = head()
    grey = CT(np.full_like(found.ct.hu, 40), found.ct.ijk_to_ras, source="Grey")
    with pytest.raises(InputError, match="Grey"):
        Workbench().measure(case_of(tmp_path / "case", grey, found.blood), silent)


def test_compares_two_cases(tmp_path):
    found = head()
    shift = np.eye(4)
    shift[:3, 3] = 12, -7, 9
    later = CT(found.ct.hu, shift @ found.ct.ijk_to_ras)
    before = case_of(tmp_path / "before", found.ct, found.blood)
    after = case_of(tmp_path / "after", later, found.brain & found.blood)
    Workbench().follow_up(before, after, silent)
    answer, overlay = read_answer(after)
    assert answer["change_ml"] == pytest.approx(0, abs=0.2)
    np.testing.assert_allclose(np.array(answer["registration"]["before_to_after"]), shift, atol=0.8)
    assert "no expansion" in answer["sentence"]
    assert set(np.unique(overlay.values)) <= {0, 1, 2, 3}


def test_writes_a_report_that_names_nobody(tmp_path):
    found = head()
    ct = CT(found.ct.hu, found.ct.ijk_to_ras, warnings=["Jane Doe has a tilt."], source="Jane Doe")
    folder = case_of(tmp_path / "case", ct, found.blood)
    path = tmp_path / "report.html"
    facts = {"provenance": {"model": "tiny"}, "entered": {"gcs": 9}, "warnings": ["Edited."]}
    Workbench().report(folder, path, facts, silent)
    text = path.read_text("utf-8")
    assert "the CT has a tilt." in text
    assert "Jane" not in text
    assert "Edited." in text
    with pytest.raises(InputError, match=r"ends in \.html"):
        Workbench().report(folder, tmp_path / "report.txt", {}, silent)


def test_the_client_hands_masks_over(client, tmp_path):  # noqa: F811
    found = head()
    case, other = client.new_case(found.ct), client.new_case(found.ct)
    asked = Asked({"hemorrhage": Box.of(found.blood.astype(np.uint8))})
    client.measure(case, asked)
    client.follow_up(case, asked, other, asked)
    client.report(case, asked, "report.html", {"entered": {"gcs": 9}})
    client.prognosis(case, "mine", clinical={"age": 71.0})
    sent = the_runner().sent
    assert [one["do"] for one in sent] == ["measure", "follow-up", "report", "prognosis"]
    assert sent[1]["before"] == str(case)
    assert sent[2]["path"].startswith("/") or ":" in sent[2]["path"]
    assert sent[3]["clinical"] == {"age": 71.0}
    assert read_asked(case).masks.keys() == {"hemorrhage"}
    # The folder of the earlier CT is at work, too.
    for _ in range(3):
        client.new_case(found.ct)
    assert case.is_dir()
    assert other.is_dir()
    assert FakeRunner.made
