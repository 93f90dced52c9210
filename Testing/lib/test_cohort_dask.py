"""A batch on a real Dask cluster: a scheduler and two workers, each a process of its own, one of them killed."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cohort_faults import whole
from test_cohort_run import command, part_of_head
from tiny_models import tiny_model

from ICHWeakSegLib.cohort import run_batch
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.ct.errors import InputError

pytest.importorskip("distributed", reason="the package distributed is not installed")

ROOT = Path(__file__).parents[2]
CASES = 4
# Not one case's: times, and the identity of a run.
OWN = {"batch.log", ".lock"}


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler, and its two workers by name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    # One thread, so that sums are added in the same order as by the local worker.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    dask = [sys.executable, "-m", "dask"]
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            log = stack.enter_context(open(tmp_path / f"{arguments[-1]}.log", "w"))
            process = subprocess.Popen(
                [*dask, *map(str, arguments)], env=environment, stdout=log, stderr=log, cwd=tmp_path
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        start("scheduler", "--host", "127.0.0.1", "--no-dashboard", "--port", port)
        workers = {
            name: start(
                "worker",
                address,
                "--nthreads",
                1,
                "--no-nanny",
                "--no-dashboard",
                "--local-directory",
                tmp_path,
                "--name",
                name,
            )
            for name in ("first", "second")
        }
        yield address, workers


def contents(output):
    """The bytes of all files of an output folder; pynrrd writes the time into a comment."""
    return {
        str(path.relative_to(output)): re.sub(rb"# on [-0-9]+ [:0-9]+\(GMT\)", b"", path.read_bytes())
        for path in output.rglob("*")
        if path.is_file() and path.name not in OWN
    }


def test_same_as_local_with_a_worker_lost(cluster, tmp_path):
    address, workers = cluster
    for number in range(CASES):
        ct = part_of_head(-4 + number, 4)
        write_volume(tmp_path / "in" / f"{number}.nii.gz", ct.hu, ct)
    (tmp_path / "in" / "torn.nii.gz").write_bytes((tmp_path / "in" / "0.nii.gz").read_bytes()[:3000])
    options = {"model": tiny_model(tmp_path / "tiny"), "device": "cpu", "threads": 1}
    killed = []

    def progress(stage, done, total):
        if stage == "segmenting" and done == 1 and not killed:
            workers["first"].kill()
            killed.append(time.monotonic())

    there = run_batch(tmp_path / "in", tmp_path / "there", scheduler=address, progress=progress, **options)
    assert killed
    assert workers["first"].wait() != 0
    assert (there.done, there.new, len(there.failed)) == (CASES, CASES, 1)
    assert len(whole(tmp_path / "there")) == CASES
    # The same salt gives the same names.
    (tmp_path / "here").mkdir()
    shutil.copy(tmp_path / "there" / ".salt", tmp_path / "here")
    here = run_batch(tmp_path / "in", tmp_path / "here", workers=1, **options)
    assert here.failed == there.failed
    local, remote = contents(tmp_path / "here"), contents(tmp_path / "there")
    assert local.keys() == remote.keys()
    assert [name for name in local if local[name] != remote[name]] == []
    # Nothing is left to do: no worker is needed.
    assert run_batch(tmp_path / "in", tmp_path / "there", scheduler="tcp://nobody:1", **options).new == 0


def test_nobody_there(tmp_path, capsys):
    ct = part_of_head(-2, 4)
    write_volume(tmp_path / "in.nii.gz", ct.hu, ct)
    tiny_model(tmp_path / "tiny")
    arguments = ["batch", tmp_path / "in.nii.gz", "--output", tmp_path / "out", "--model", tmp_path / "tiny"]
    assert command(*arguments, "--scheduler", tmp_path / "gone.json") == 2
    assert "The scheduler file" in capsys.readouterr().err
    from ICHWeakSegLib.cohort import dask_cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_cluster, "_CONNECT_SECONDS", 1)
        with pytest.raises(InputError, match="No Dask scheduler answers"):
            run_batch(
                tmp_path / "in.nii.gz",
                tmp_path / "out",
                model=tmp_path / "tiny",
                scheduler="tcp://127.0.0.1:9",
            )
