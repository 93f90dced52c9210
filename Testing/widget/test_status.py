"""Progress in words, and the time that is left."""

import pytest

from ICHWeakSegSlicer.panelresult import headline, volumeText
from ICHWeakSegSlicer.panelstatus import TimeLeft, durationText, progressText


def test_time_left_goes_by_the_pace_of_the_stage():
    now = [100.0]
    left = TimeLeft(lambda: now[0])
    assert left.seconds("a", 0, 10) is None
    now[0] += 0.5
    # Too early to tell.
    assert left.seconds("a", 1, 10) is None
    now[0] += 1.5
    assert left.seconds("a", 4, 10) == pytest.approx(3.0)
    # Another stage has a pace of its own.
    now[0] += 10
    assert left.seconds("b", 0, 4) is None
    now[0] += 2
    assert left.seconds("b", 1, 4) == pytest.approx(6.0)
    # The same stage from the start again: another run.
    assert left.seconds("b", 0, 4) is None
    now[0] += 3
    assert left.seconds("c", 0, 1) is None


@pytest.mark.parametrize(
    ("stage", "done", "total", "left", "text"),
    [
        ("brain mask", 0, 1, None, "Brain mask ..."),
        ("refining", 3, 8, None, "Refining: 3 of 8 slices"),
        ("refining", 3, 8, 4.2, "Refining: 3 of 8 slices, about 5 s left"),
        ("refining", 3, 800, 200.0, "Refining: 3 of 800 slices, about 3 min left"),
    ],
)
def test_progress_in_words(stage, done, total, left, text):
    assert progressText(stage, done, total, left) == text


def test_durations_and_volumes():
    assert [durationText(value) for value in (0.2, 89.5, 90, 150)] == ["1 s", "90 s", "2 min", "2 min"]
    assert [volumeText(value) for value in (0.0, 0.05, 0.994, 12.34)] == [
        "0.0 mL",
        "0.05 mL",
        "0.99 mL",
        "12.3 mL",
    ]
    assert "? mL" in headline(None)
