"""The real worker where memory or disk run out, or somebody kills it: a sentence, and the next run works."""

import os
import signal
import sys
from contextlib import contextmanager

import pytest
from slicer.util import arrayFromVolume
from test_logic import begun, node_ids
from test_questions import result_on

from ICHWeakSegLib import InputError
from ICHWeakSegSlicer import maps

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits that the system keeps")
HIGH = 0.05


@linux
def test_no_memory_is_a_sentence_and_the_next_worker_works(make_logic, load_ct, scene, monkeypatch):
    loaded, logic = load_ct(name="Schädel 頭"), make_logic()
    before = node_ids(scene)
    with monkeypatch.context() as poor:
        poor.setenv("ICHWEAKSEG_WORKER_MEMORY_MB", "400")
        with pytest.raises(
            InputError, match=r"not enough memory to segment Schädel 頭 \(56 x 60 x 20 voxels"
        ):
            logic.segment(loaded.node, model="tiny")
        assert not logic.busy
        assert node_ids(scene) == before
        logic.close()
    assert logic.segment(loaded.node, model="tiny") is not None


@contextmanager
def full_disk(size):
    """No file of this process, and of those that it starts, grows beyond so many bytes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@linux
def test_a_disk_without_room_for_the_ct(make_logic, load_ct, scene):
    loaded, logic = load_ct(), make_logic()
    before = node_ids(scene)
    # The CT takes 134 kB.
    for size in (100_000, 0):
        with (
            full_disk(size),
            pytest.raises(InputError, match=r"CT cannot be written .*: free some space there"),
        ):
            logic.segment(loaded.node, model="tiny")
    assert not logic.busy
    assert node_ids(scene) == before
    assert logic.segment(loaded.node, model="tiny") is not None


@linux
def test_a_disk_with_room_for_the_ct_alone(logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded, refine="threshold")
    # Its box is the whole volume now: 268 kB.
    values = arrayFromVolume(maps.mapOf(segmentation))
    values[0, 0, 0] = values[-1, -1, -1] = 1e-6
    with full_disk(140_000):
        with pytest.raises(InputError, match=r"map cannot be written .*: free some space there"):
            logic.setThreshold(segmentation, 0.6)
        job = logic.startThreshold(segmentation, 0.6)
        for _ in range(3):
            logic.poll()
        assert job.state == "failed"
        assert not logic.busy
    logic.setThreshold(segmentation, 0.6)


@linux
# With room for the worker's words but not for its arrays; without room for either.
@pytest.mark.parametrize("size", [20_000, 0])
def test_a_disk_without_room_for_the_result(make_logic, load_ct, scene, size):
    import resource

    loaded, logic = load_ct(), make_logic()
    logic.segment(loaded.node, model="blind")
    before = node_ids(scene)
    job = logic.start(loaded.node, model="tiny")
    begun(logic, job)
    resource.prlimit(logic.client.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    assert job.wait().state == "failed"
    assert job.error == "The disk that holds temporary files is full: free some space and repeat."
    assert node_ids(scene) == before
    logic.close()
    assert logic.segment(loaded.node, model="tiny") is not None


def test_a_worker_killed_just_before_a_request_is_replaced(logic, load_ct):
    if not hasattr(signal, "SIGSTOP"):
        pytest.skip("POSIX signals")
    loaded = load_ct()
    logic.segment(loaded.node, model="tiny")
    pid = logic.client.pid
    # It stands still, so that it dies with the request unread.
    os.kill(pid, signal.SIGSTOP)
    job = logic.start(loaded.node, model="tiny")
    logic.poll()
    os.kill(pid, signal.SIGKILL)
    assert job.wait().state == "finished", job.error
    assert logic.client.pid != pid


def test_a_cut_that_was_cut_off_is_made_whole_by_the_next(logic, load_ct):
    loaded = load_ct()
    segmentation = logic.segment(loaded.node, model="tiny")
    folder = logic.cases.of(segmentation, loaded.node)
    job = logic.startThreshold(segmentation, HIGH)
    begun(logic, job)
    job.cancel()
    # As a worker leaves it that was killed while it wrote.
    (folder / "segment-0.npy").write_bytes(b"")
    logic.setThreshold(segmentation, HIGH)
    assert logic.thresholdOf(segmentation) == HIGH
