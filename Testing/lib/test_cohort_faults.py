"""What ends a batch in the middle: kill -9, a worker's death, a full disk. For real, each of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_cohort_run import FILES, command, part_of_head, table
from tiny_models import tiny_model

from ICHWeakSegLib.cohort import run_batch
from ICHWeakSegLib.ct import write_volume

ROOT = Path(__file__).parents[2]
CASES = 3
WORKER = "ICHWeakSegLib.cohort.worker_process"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Different parts of a head, and a model."""
    root = tmp_path_factory.mktemp("faults")
    for number in range(CASES):
        ct = part_of_head(-4 + number, 4)
        write_volume(root / "in" / f"{number}.nii.gz", ct.hu, ct)
    tiny_model(root / "tiny")
    return root


def whole(output):
    """Names of the finished cases, each looked at whether all of it is there."""
    names = [path.name for path in (output / "cases").iterdir() if not path.name.startswith(".")]
    for name in names:
        assert {path.name for path in (output / "cases" / name).iterdir()} == FILES
        json.loads((output / "cases" / name / "result.json").read_text())
    return set(names)


def hidden(output):
    return [path.name for path in (output / "cases").iterdir() if path.name.startswith(".")]


def wait_for(what, seconds=400):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_kill_9_of_everything_and_again(cohort, tmp_path):
    output = tmp_path / "out"
    arguments = ["batch", cohort / "in", "--output", output, "--model", cohort / "tiny", "--workers", 1]
    arguments = [str(part) for part in (*arguments, "--threads", 1)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ICHWeakSegLib", *arguments], cwd=ROOT, start_new_session=True
    )
    try:
        # A case is there, and the next one is being written.
        wait_for(lambda: process.poll() or ((output / "cases").is_dir() and whole(output) and hidden(output)))
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = whole(output)
    assert 0 < len(done) < CASES
    before = {name: (output / "cases" / name).stat().st_ino for name in done}
    assert command(*arguments, "--quiet") == 0
    assert len(whole(output)) == CASES
    assert not hidden(output)
    assert {name: (output / "cases" / name).stat().st_ino for name in done} == before
    assert len(table(output / "results.csv")) == CASES


def test_a_killed_worker_costs_no_case(cohort, tmp_path):
    killed = []

    def progress(stage, done, total):
        if stage == "segmenting" and done == 1 and not killed:
            (worker,) = [one for one in psutil.Process().children() if WORKER in " ".join(one.cmdline())]
            killed.append(worker.pid)
            worker.kill()

    batch = run_batch(
        cohort / "in", tmp_path / "out", model=cohort / "tiny", workers=1, threads=1, progress=progress
    )
    assert killed
    assert (batch.done, batch.failed) == (CASES, {})
    assert len(whole(tmp_path / "out")) == CASES


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that can be made larger."""
    place = tmp_path / "disk"
    place.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small file system")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_ends_the_run_and_loses_nothing(cohort, small_disk, capsys):
    output = small_disk / "out"
    arguments = ["batch", cohort / "in", "--output", output, "--model", cohort / "tiny", "--workers", 1]
    arguments += ["--threads", 1, "--quiet"]
    # Room for one case or two, of 0.3 to 0.5 MB each.
    with open(small_disk / "ballast", "wb") as file:
        file.write(b"x" * (shutil.disk_usage(small_disk).free - 800_000))
    assert command(*arguments) == 2
    assert "The disk of the output folder is full" in capsys.readouterr().err
    done = whole(output)
    assert 0 < len(done) < CASES
    assert not hidden(output)
    assert not list((output / "failed").iterdir())
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert command(*arguments) == 0
    assert len(whole(output)) == CASES
