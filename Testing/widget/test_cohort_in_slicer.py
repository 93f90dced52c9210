"""A cohort from Slicer's console as docs/cohorts.md has it: real workers of PythonSlicer, slicer.app stands in."""

import sys

import pytest
from phantom_heads import head
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib.cohort import Stopped, run_batch
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.ct.volume import CT


@pytest.fixture
def cohort(tmp_path):
    """Two scans of a few slices, and a tiny model."""
    whole = head()
    middle = int(whole.blood.sum(axis=(1, 2)).argmax())
    ct = CT(whole.ct.hu[middle - 3 : middle + 3], whole.ct.ijk_to_ras)
    for name in ("one", "two"):
        # No two files alike: a copy would be left out.
        ct.hu = ct.hu + (name == "two")
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", ct.hu, ct)
    tiny_model(tmp_path / "tiny", tiny_card("tiny"))
    return tmp_path


@pytest.fixture
def no_python_of_slicers_own(monkeypatch):
    """In the application `sys.executable` is Slicer itself: started as Python it would open a second window."""
    monkeypatch.setattr(sys, "executable", "/not/a/python/SlicerApp-real")


def test_a_cohort_runs_and_the_window_stays_alive(application, cohort, no_python_of_slicers_own):
    from ICHWeakSegSlicer.workers import pythonExecutable

    python = pythonExecutable()
    assert python.endswith("PythonSlicer")
    alive, steps = [], []

    def cancelled():
        application.processEvents()
        alive.append(True)
        return False

    batch = run_batch(
        cohort / "scans",
        cohort / "results",
        model=str(cohort / "tiny"),
        workers=1,
        device="cpu",
        python=python,
        progress=lambda *step: steps.append(step),
        cancelled=cancelled,
    )
    assert (batch.done, batch.failed) == (2, {})
    assert len(alive) > 3
    assert steps[-1][1:] == (2, 2)
    found = sorted(batch.output.glob("cases/*/segmentation.seg.nrrd"))
    assert len(found) == 2


def test_it_can_be_stopped(application, cohort, no_python_of_slicers_own):
    from ICHWeakSegSlicer.workers import pythonExecutable

    with pytest.raises(Stopped):
        run_batch(
            cohort / "scans",
            cohort / "results",
            model=str(cohort / "tiny"),
            workers=1,
            python=pythonExecutable(),
            cancelled=lambda: True,
        )
