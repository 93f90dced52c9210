"""Workers of this machine: who dies, who is done again, who fails. No network: what is tested is who does what."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from ICHWeakSegLib.cohort.folders import case_folder
from ICHWeakSegLib.cohort.local import LocalWorkers
from ICHWeakSegLib.cohort.work import DONE, FAILED, MEMORY, STOP, Outcome, Setup, why
from ICHWeakSegLib.ct.errors import InputError

ROOT = Path(__file__).parents[2]


class Fates:
    """Work whose tasks say how it ends."""

    def prepare(self, task):
        if task["fate"] == "unreadable":
            raise InputError("It cannot be read.")
        return os.getpid()

    def finish(self, task, prepared):
        fate = task["fate"]
        try:
            worker = prepared()
        except InputError as problem:
            return why(problem, task["id"], 0.0, str)
        if fate == "killed":
            os.kill(worker, signal.SIGKILL)
        if fate == "sleep":
            time.sleep(600)
        if fate == "killed once" and not Path(task["mark"]).exists():
            Path(task["mark"]).touch()
            os.kill(worker, signal.SIGKILL)
        if fate == "memory once" and not Path(task["mark"]).exists():
            Path(task["mark"]).touch()
            return Outcome(task["id"], MEMORY, "too little")
        return Outcome(task["id"], DONE)


def test_the_case_that_kills_its_worker_fails_alone(tmp_path):
    fates = ["fine", "killed once", "fine", "memory once", "unreadable", "killed", "fine"]
    tasks = [
        {"id": str(number), "fate": fate, "mark": str(tmp_path / str(number))}
        for number, fate in enumerate(fates)
    ]
    outcomes = LocalWorkers(Setup("test_cohort_workers:Fates"), 1).run(tasks, lambda: None)
    ended = {outcome.id: outcome for outcome in with_path(outcomes)}
    assert len(ended) == len(fates)
    wrong = {name: outcome.sentence for name, outcome in ended.items() if outcome.status != DONE}
    assert wrong.keys() == {"4", "5"}
    assert wrong["4"] == "It cannot be read."
    assert "ended twice" in wrong["5"]


def test_all_tasks_come_back_once_from_several_workers():
    tasks = [{"id": str(number), "fate": "fine"} for number in range(200)]
    outcomes = with_path(LocalWorkers(Setup("test_cohort_workers:Fates"), 2).run(tasks, lambda: None))
    assert sorted(int(outcome.id) for outcome in outcomes) == list(range(200))
    assert {outcome.status for outcome in outcomes} == {DONE}


def with_path(outcomes):
    """The outcomes of workers that find this module."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    try:
        return list(outcomes)
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def test_workers_that_cannot_begin_end_the_run():
    tasks = [{"id": "1", "fate": "fine"}]
    with pytest.raises(InputError, match="A worker could not start"):
        list(LocalWorkers(Setup("no_such_module_here:Work"), 1, python="/bin/false").run(tasks, lambda: None))
    with pytest.raises(InputError, match="lacks the Python package no_such_module_here"):
        list(LocalWorkers(Setup("no_such_module_here:Work"), 1).run(tasks, lambda: None))


def test_without_its_batch_a_worker_ends():
    """The batch alone is killed: nobody is left at work."""
    code = "from test_cohort_workers import hold; hold()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )
    worker = psutil.Process(int(process.stdout.readline()))
    process.kill()
    process.wait()
    worker.wait(30)


def hold():
    """Says its worker's process id and never ends."""

    def tick():
        children = psutil.Process().children()
        if children:
            print(children[0].pid, flush=True)
            time.sleep(600)

    list(LocalWorkers(Setup("test_cohort_workers:Fates"), 1).run([{"id": "x", "fate": "sleep"}], tick))


def test_a_folder_that_was_there_first_stays(tmp_path):
    with case_folder(tmp_path, "K1") as folder:
        (folder / "result.json").write_text("1")
    with case_folder(tmp_path, "K1") as folder:
        (folder / "result.json").write_text("2")
    assert (tmp_path / "K1" / "result.json").read_text() == "1"
    with case_folder(tmp_path, "K1", replace=True) as folder:
        (folder / "result.json").write_text("3")
    assert (tmp_path / "K1" / "result.json").read_text() == "3"
    with pytest.raises(FileNotFoundError), case_folder(tmp_path, "K2") as folder:
        (folder / "nowhere" / "result.json").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["K1"]


def test_reasons():
    full = InputError("x")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert why(full, "K", 1.0, str).status == STOP
    assert why(MemoryError(), "K", 1.0, str).status == MEMORY
    assert why(RuntimeError("CUDA out of memory. Tried"), "K", 1.0, str).status == MEMORY
    odd = why(ValueError("no /data/x"), "K", 1.0, lambda text: text.replace("/data/x", "K"))
    assert (odd.status, odd.sentence) == (FAILED, "An unexpected error ended this case (ValueError: no K).")
    assert Outcome(**json.loads(json.dumps(asdict(odd)))) == odd
