"""What a callback may do while the worker is heard: wait for another job, end everything, fail."""

import os
import signal

import pytest
from test_logic import begun, edit, node_ids
from test_questions import result_on

from ICHWeakSegLib import InputError
from ICHWeakSegSlicer import lesiontables, segmentations
from ICHWeakSegSlicer.segmentjobs import ThresholdJob

HIGH = 0.05
# A busy machine takes its time; what hangs, hangs for ever.
LONG = 240


@pytest.fixture(autouse=True)
def no_hanging():
    """A test that hangs fails."""
    if not hasattr(signal, "alarm"):
        pytest.skip("POSIX signals")

    def hung(*_):
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(LONG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def cut(logic, job):
    logic.setThreshold(job.segmentationNode, HIGH)
    assert logic.thresholdOf(job.segmentationNode) == HIGH


def segment(logic, job):
    assert logic.segment(job.volumeNode, model="tiny") is not job.segmentationNode


def measure(logic, job):
    table = logic.measure(job.segmentationNode)
    assert lesiontables.isUpToDate(table, job.segmentationNode)


def everything(logic, job):
    for act in (cut, measure, segment):
        act(logic, job)


@pytest.mark.parametrize("act", [cut, segment, measure, everything])
def test_a_blocking_call_when_a_run_has_finished(logic, load_ct, act):
    done = []

    def finished(job):
        act(logic, job)
        done.append(job.state)

    job = logic.start(load_ct().node, model="tiny", onFinished=finished)
    assert job.wait().state == "finished"
    assert done == ["finished"]
    assert not logic.busy


def test_a_blocking_call_when_a_run_has_failed(logic, load_ct):
    loaded, found = load_ct(), []

    def failed(job, sentence):
        found.append(logic.segment(loaded.node, model="tiny"))

    job = logic.start(loaded.node, model="nothing", onError=failed)
    assert job.wait().state == "failed"
    assert segmentations.ourSegmentIds(found[0]) == ["hemorrhage"]


def test_a_blocking_call_while_a_run_goes_on(logic, load_ct):
    loaded, tables = load_ct(), []
    other = result_on(loaded)

    def progressed(*step):
        if not tables:
            tables.append(None)
            tables.append(logic.measure(other))

    job = logic.start(loaded.node, model="tiny", onProgress=progressed).wait()
    assert job.state == "finished"
    assert lesiontables.isUpToDate(tables[1], other)


def test_a_timer_that_polls_in_between_disturbs_nobody(logic, load_ct, monkeypatch):
    keepAlive, stages = logic.keepAlive, []

    def processEvents():
        # As Qt's timer does while the application handles its events.
        logic.poll()
        keepAlive()
        logic.poll()

    def progressed(stage, done, total):
        stages.append((stage, done))
        processEvents()

    monkeypatch.setattr(logic, "keepAlive", processEvents)
    job = logic.start(
        load_ct().node, model="tiny", onProgress=progressed, onFinished=lambda job: everything(logic, job)
    )
    assert job.wait().state == "finished"
    assert len(stages) == len(set(stages))
    assert stages[-1][0] == "writing"
    assert not logic.busy


def test_a_run_that_begins_where_another_ended(logic, load_ct):
    loaded, jobs = load_ct(), []

    def again(job):
        if len(jobs) < 2:
            jobs.append(logic.start(loaded.node, model="tiny", onFinished=again))

    again(None)
    while logic.busy:
        logic.poll()
    assert [job.state for job in jobs] == ["finished", "finished"]


def test_events_of_a_worker_that_was_ended_are_told_to_nobody(logic, load_ct):
    loaded, told = load_ct(), []
    first = logic.start(loaded.node, model="tiny")
    begun(logic, first)
    first._onProgress = lambda *step: (told.append(step), first.cancel())
    second = None
    while second is None:
        logic.poll()
        if told:
            second = logic.start(loaded.node, model="tiny")
    count = len(told)
    assert second.wait().state == "finished"
    assert len(told) == count == 1
    assert first.state == "cancelled"


def test_closing_tells_the_reason_to_running_and_waiting_jobs(make_logic, load_ct, scene):
    loaded, logic, told = load_ct(), make_logic(), []
    segmentation = result_on(loaded)
    before = node_ids(scene)
    running = logic.start(loaded.node, model="tiny", onError=lambda job, text: told.append((job, text)))
    begun(logic, running)
    waiting = logic.startThreshold(segmentation, 0.6, onError=lambda job, text: told.append((job, text)))
    pid = logic.client.pid
    logic.close("The models folder was changed.")
    assert set(told) == {
        (running, "The models folder was changed."),
        (waiting, "The models folder was changed."),
    }
    assert (running.state, waiting.state) == ("cancelled", "cancelled")
    assert not logic.busy
    assert node_ids(scene) == before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_closing_without_a_reason_tells_nothing_and_a_blocking_run_ends(make_logic, load_ct):
    loaded, logic, told = load_ct(), make_logic(), []
    logic.start(loaded.node, model="tiny", onError=lambda *all_: told.append(all_))
    logic.close()
    assert told == []
    with pytest.raises(InputError, match="Files were removed"):
        logic.segment(loaded.node, model="tiny", onProgress=lambda *step: logic.close("Files were removed."))


def test_a_run_that_begins_when_the_logic_was_closed_gets_a_worker_of_its_own(make_logic, load_ct):
    loaded, logic, jobs = load_ct(), make_logic(), []
    logic.start(
        loaded.node,
        model="tiny",
        onError=lambda *_: jobs.append(logic.start(loaded.node, model="tiny")),
    )
    logic.close("Once more.")
    assert jobs[0].wait().state == "finished"


@pytest.mark.parametrize("part", ["submit", "missingNode"])
def test_whatever_goes_wrong_with_one_job_does_not_block_the_others(
    logic, load_ct, monkeypatch, part, caplog
):
    loaded, told = load_ct(), []
    segmentation = result_on(loaded, refine="threshold")

    def fail(self):
        raise RuntimeError("not my day")

    with monkeypatch.context() as broken:
        broken.setattr(ThresholdJob, part, fail)
        job = logic.startThreshold(segmentation, 0.6, onError=lambda _, text: told.append(text))
        logic.poll()
    assert job.state == {"submit": "failed", "missingNode": "cancelled"}[part]
    assert "not my day" in told[0]
    assert "not my day" in caplog.text
    assert not logic.busy
    logic.setThreshold(segmentation, 0.6)


def test_a_map_that_goes_while_a_cut_waits(logic, load_ct, scene):
    loaded = load_ct()
    segmentation = result_on(loaded)
    edit(segmentation, loaded)
    job = logic.startThreshold(segmentation, 0.6, overwriteEdits=True)
    scene.RemoveNode(job.mapNode)
    for _ in range(3):
        logic.poll()
    assert job.state == "cancelled"
    assert "localization map was removed" in job.error
    assert not logic.busy
