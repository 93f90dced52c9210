"""The real worker process with tiny random models: success, cancel, crash, no memory, a dead caller."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from phantom_heads import head
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT
from ICHWeakSegLib.models import MapSettings
from ICHWeakSegLib.worker.client import Event, WorkerClient
from ICHWeakSegLib.worker.exchange import CaseResult, read_case, read_result, write_result
from ICHWeakSegLib.worker.process import SubprocessRunner

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "ICHWeakSegLib.worker"]
# A busy machine takes its time to import torch.
LONG = 120.0
LOAD = "loading the model"
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and process groups")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a limit of memory that is kept")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modèles 模型")
    low = MapSettings("hgi-sam", 0.1, "hu", {"smallest_ml": 1.0})
    tiny_model(folder / "tiny", tiny_card("tiny", map=low))
    return folder


def environment(**more: object) -> dict[str, str]:
    few = {"OMP_NUM_THREADS": "1"}
    return {**os.environ, **few, **{name: str(value) for name, value in more.items()}}


@pytest.fixture(scope="module")
def shared(models):
    """One worker for the tests that do not end it, or start it again."""
    client = WorkerClient(COMMAND, ROOT, environment(ICHWEAKSEG_MODELS=models))
    yield client
    client.close()


@pytest.fixture
def client(shared):
    """The shared one, at rest."""
    yield shared
    if shared.busy:
        shared.cancel()


@pytest.fixture
def start():
    """Makes clients of workers with more in their environment."""
    made = []

    def make(command=COMMAND, **more) -> WorkerClient:
        made.append(WorkerClient(command, ROOT, environment(**more)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(condition, seconds: float = LONG) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


def events_until(client: WorkerClient, wanted) -> list[Event]:
    """Events up to the first that is wanted."""
    events: list[Event] = []

    def come() -> bool:
        events.extend(client.poll())
        return any(wanted(event) for event in events)

    until(come)
    return events


def answer(client: WorkerClient) -> tuple[Event, list[Event]]:
    """What ended the request, and all events until then."""
    events = events_until(client, lambda event: event.kind in ("result", "error"))
    assert not client.busy
    return next(event for event in events if event.kind in ("result", "error")), events


def succeed(client: WorkerClient) -> tuple[CaseResult, list[str]]:
    """The result, and the stages on the way."""
    last, events = answer(client)
    assert last.kind == "result", last.sentence
    return read_result(last.case), [event.stage for event in events if event.kind == "progress"]


def sentence(client: WorkerClient) -> str:
    last, _ = answer(client)
    assert last.kind == "error"
    assert last.sentence.endswith(".")
    return last.sentence


def is_gone(pid: int) -> bool:
    """Not there, or dead and only not yet reaped by whoever inherited it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def mr_like() -> CT:
    ct = head().ct
    return CT((ct.hu.astype(int) + 1100).clip(0, 900), ct.ijk_to_ras, source="Kopf 頭")


def test_two_cases_with_one_load_of_the_model(client):
    cases = [client.new_case(head(thickness).ct) for thickness in (5, 8)]
    found = []
    for number, case in enumerate(cases):
        request = client.segment(case, model="tiny")
        last, events = answer(client)
        assert (last.kind, last.request, last.case) == ("result", request, case)
        told = [event for event in events if event.kind == "progress"]
        assert all(event.request == request and 0 <= event.done <= event.total for event in told)
        stages = [event.stage for event in told]
        assert stages[0] == "reading"
        assert "classifying and localizing" in stages
        assert (LOAD in stages) == (number == 0)
        found.append(read_result(case))
    assert [result.shape[0] for result in found] == [len(head(5).ct.hu), len(head(8).ct.hu)]
    for result, thickness in zip(found, (5, 8), strict=True):
        assert result.total.volume_ml == pytest.approx(head(thickness).blood_ml, rel=0.3)
    assert found[0].provenance["model"] == "tiny"
    assert client.running
    assert psutil.pid_exists(client.pid)


def test_recut_is_segment_at_that_threshold(client):
    one, other = (client.new_case(head().ct) for _ in range(2))
    client.segment(one, model="tiny")
    before, _ = succeed(client)
    client.segment(other, model="tiny", threshold=0.5)
    wanted, _ = succeed(client)
    client.rethreshold(one, 0.5)
    cut, _ = succeed(client)
    assert 0 < cut.total.volume_ml < before.total.volume_ml
    assert cut.total == wanted.total
    assert cut.provenance["map_threshold"] == 0.5
    np.testing.assert_array_equal(
        cut.segments[0].mask.within(cut.shape), wanted.segments[0].mask.within(cut.shape)
    )
    # From what a scene has kept: another folder, numbers as text.
    kept = client.new_case(read_case(one))
    text = {name: str(value) for name, value in cut.provenance.items()}
    write_result(kept, CaseResult(cut.shape, [], cut.total, cut.map, provenance=text))
    client.rethreshold(kept, 0.1)
    back, _ = succeed(client)
    assert back.total == before.total


def test_what_cannot_be_used_is_a_sentence_and_the_worker_goes_on(client, tmp_path):
    case = client.new_case(head().ct)
    client.segment(case, model="tiny")
    succeed(client)
    pid = client.pid

    spoilt = head().ct.hu.astype(np.float32)
    spoilt[3, 20, 20] = np.nan
    client.segment(client.new_case(CT(spoilt, head().ct.ijk_to_ras, source="Über")))
    assert sentence(client).startswith("Über holds voxels that are not a number")
    client.segment(client.new_case(mr_like()))
    assert sentence(client).startswith("Kopf 頭 has no value below zero")
    case = client.new_case(head().ct)
    client.segment(case, model="nothing")
    assert "There is no model 'nothing'" in sentence(client)
    client.segment(case, model="tiny", device="abacus")
    assert "abacus" in sentence(client)
    client.segment(tmp_path / "nowhere", model="tiny")
    assert "is gone: segment again" in sentence(client)
    client.rethreshold(case, 0.5)
    assert "is gone: segment again" in sentence(client)

    client.segment(case, model="tiny")
    _, stages = succeed(client)
    assert LOAD not in stages
    assert client.pid == pid


def test_another_folder_of_models_needs_no_other_worker(models, monkeypatch):
    monkeypatch.delenv("ICHWEAKSEG_MODELS", raising=False)
    client = WorkerClient(COMMAND, ROOT)
    said, pids = [], set()
    for folder in (None, models, None):
        if folder is None:
            monkeypatch.delenv("ICHWEAKSEG_MODELS", raising=False)
        else:
            monkeypatch.setenv("ICHWEAKSEG_MODELS", str(folder))
        client.segment(client.new_case(head().ct), model="nothing")
        said.append(sentence(client))
        pids.add(client.pid)
    client.close()
    assert ["tiny" in text for text in said] == [False, True, False]
    assert all("There is no model 'nothing'" in text for text in said)
    assert len(pids) == 1


def test_cancel_in_the_middle(client):
    case = client.new_case(head(1).ct)
    client.segment(case, model="tiny")
    events_until(client, lambda event: event.stage == "classifying and localizing")
    pid = client.pid
    assert not is_gone(pid)
    client.cancel()
    assert is_gone(pid)
    assert (client.busy, client.running, client.pid) == (False, False, None)
    assert client.poll() == []
    assert not (case / "result.json").exists()
    client.segment(case, model="tiny")
    assert succeed(client)[0].total.volume_ml > 0


@posix
def test_a_crash_is_a_sentence_and_the_next_request_works(client):
    case = client.new_case(head(1).ct)
    client.segment(case, model="tiny")
    events_until(client, lambda event: event.stage == "reading")
    os.kill(client.pid, signal.SIGKILL)
    assert "ended by the system, usually for lack of memory" in sentence(client)
    client.segment(case, model="tiny")
    events_until(client, lambda event: event.stage == "reading")
    os.kill(client.pid, signal.SIGSEGV)
    last, events = answer(client)
    assert "unexpectedly (exit status -11, SIGSEGV)" in last.sentence
    # Python's own words about it reach the log.
    assert any("Segmentation fault" in event.text for event in events if event.kind == "log")
    client.segment(client.new_case(mr_like()))
    assert "no value below zero" in sentence(client)


@linux
def test_out_of_memory_is_a_sentence_and_the_worker_goes_on(start, models):
    client = start(ICHWEAKSEG_WORKER_MEMORY_MB=20000, ICHWEAKSEG_MODELS=models)
    case = client.new_case(head().ct)
    client.segment(case, model="tiny")
    succeed(client)
    pid = client.pid
    large = client.new_case(CT(head().ct.hu, head().ct.ijk_to_ras, source="Thorax"))
    # Holes on the disk, but in memory each of its two copies takes 15 GB.
    np.lib.format.open_memmap(large / "hu.npy", "w+", np.int16, (30000, 512, 512)).flush()
    client.segment(large, model="tiny")
    last, events = answer(client)
    assert last.reason == "memory"
    assert last.sentence.startswith("There is not enough memory to segment Thorax (128 x 128 x 25 voxels): ")
    assert "fewer slices" in last.sentence
    log = [event.text for event in [*events, *client.poll()] if event.kind == "log"]
    assert any("MemoryError" in line or "Cannot allocate memory" in line for line in log), log
    # The model was let go of too.
    client.segment(case, model="tiny")
    result, stages = succeed(client)
    assert LOAD in stages
    assert result.total.volume_ml > 0
    assert client.pid == pid


@linux
def test_torch_that_does_not_fit_is_a_sentence(start, models):
    client = start(ICHWEAKSEG_WORKER_MEMORY_MB=700, ICHWEAKSEG_MODELS=models)
    client.segment(client.new_case(head().ct), model="tiny")
    last, _ = answer(client)
    assert last.reason == "memory", last.sentence


def test_a_missing_package_is_a_sentence(start, models, tmp_path):
    # As if torch were not installed.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    client = start(PYTHONPATH=tmp_path, ICHWEAKSEG_MODELS=models)
    client.segment(client.new_case(head().ct), model="tiny")
    last, _ = answer(client)
    assert last.reason == "missing"
    assert last.sentence.startswith("The Python package torch is missing: install the dependencies")
    # Once it is installed the next request finds it: with a fresh process.
    until(lambda: not client.running)
    (tmp_path / "sitecustomize.py").write_text("")
    client.segment(client.new_case(mr_like()))
    assert "no value below zero" in sentence(client)


def test_prints_of_others_on_stdout_are_harmless(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, threading, time\n"
        "def chat():\n"
        "    while os.fstat(1).st_ino != os.fstat(2).st_ino:\n"
        "        time.sleep(0.001)\n"
        "    while True:\n"
        "        print('stray ü')\n"
        "        os.write(1, b'{\"event\": raw\\n')\n"
        "        time.sleep(0.0005)\n"
        "print('early', flush=True)\n"
        "threading.Thread(target=chat, daemon=True).start()\n"
    )
    client = start(PYTHONPATH=tmp_path, PYTHONIOENCODING="ascii")
    client.segment(client.new_case(mr_like()))
    last, events = answer(client)
    assert last.sentence.startswith("Kopf 頭 has no value below zero")
    assert client.pid
    log = {event.text for event in events if event.kind == "log"}
    assert {"early", "stray ü", '{"event": raw'} <= log


def test_wrong_lines_are_answered_and_quit_quits():
    runner = SubprocessRunner()
    runner.start([*COMMAND, "--idle", "60"], ROOT, environment())
    for line in ("no json", "[1]", '{"id": 5, "do": "dance"}', '{"id": 6, "do": "segment"}', "7", "{}"):
        runner.send(line)
    runner.send('{"id": 7, "do": "quit"}')
    said: list[str] = []

    def ended() -> bool:
        status = runner.status()
        said.extend(runner.lines())
        return status is not None

    until(ended)
    assert runner.status() == 0
    ids = [part.partition(",")[0] for line in said for part in line.split('"id": ')[1:]]
    assert '"event": "ready"' in said[0]
    assert f'"pid": {runner.pid}' in said[0]
    assert ids == ["null", "null", "5", "6", "null", "null"]
    assert all('"event": "error"' in line for line in said[1:])
    assert "There is no request 'dance'" in said[3]
    assert "Traceback" in runner.log()
    runner.kill()


def test_an_idle_worker_ends_itself_and_is_started_again(start):
    client = start([*COMMAND, "--idle", "0.2"])
    for _ in range(2):
        client.segment(client.new_case(mr_like()))
        assert "no value below zero" in sentence(client)
        pid = client.pid
        until(lambda: not client.running)
        assert is_gone(pid)
    assert Event("ended", status=0) in client.poll()


def test_no_such_program_is_a_sentence(start):
    client = start(["no-such-program-anywhere"])
    client.segment(client.new_case(mr_like()))
    last, _ = answer(client)
    assert last.reason == "start"
    assert "no-such-program-anywhere" in last.sentence


@posix
@pytest.mark.parametrize("launched", [False, True])
def test_the_worker_ends_with_its_caller_also_in_the_middle_of_its_work(models, tmp_path, launched):
    # `launched`: as PythonSlicer does, which starts Python as its child.
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))\n"
    )
    before = [sys.executable, str(launcher)] if launched else [sys.executable]
    caller = tmp_path / "caller.py"
    caller.write_text(
        "import sys, time\n"
        "from phantom_heads import head\n"
        "from ICHWeakSegLib.worker.client import WorkerClient\n"
        f"client = WorkerClient({[*before, *COMMAND[1:]]!r}, {str(ROOT)!r})\n"
        "case = client.new_case(head().ct)\n"
        "client.segment(case, model='tiny')\n"
        f"while not any(event.stage == {LOAD!r} for event in client.poll()):\n"
        "    time.sleep(0.005)\n"
        "print(client.pid, case, sep='\\t', flush=True)\n"
        "time.sleep(600)\n"
    )
    search = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    env = environment(PYTHONPATH=search, ICHWEAKSEG_MODELS=models, TMPDIR=tmp_path)
    with subprocess.Popen(
        [sys.executable, str(caller)], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        pid, _, case = process.stdout.readline().strip().partition("\t")
        assert not is_gone(int(pid))
        process.kill()
    until(lambda: is_gone(int(pid)), 10)
    # It did not get as far as an answer.
    assert (Path(case) / "case.json").exists()
    assert not (Path(case) / "result.json").exists()


# Runners of other programs


@pytest.fixture
def runner():
    one = SubprocessRunner()
    yield one
    one.kill()


def python(runner: SubprocessRunner, code: str, env: dict[str, str] | None = None) -> None:
    runner.start([sys.executable, "-c", code], ROOT, env)


def test_a_runner_talks_with_its_program(runner):
    python(
        runner,
        "import os, sys\n"
        "sys.stdin.reconfigure(encoding='utf-8')\n"
        "line = input()\n"
        "os.write(2, b'log \\xc3'); sys.stdout.flush()\n"
        "sys.stdout.reconfigure(encoding='utf-8'); print(line * 2 + '\\r', flush=True)\n"
        "input(); os.write(2, b'\\xbc!'); print('no end', end='', flush=True); sys.exit(3)\n",
    )
    assert runner.lines() == []
    assert runner.status() is None
    runner.send("größe 頭")
    said: list[str] = []
    until(lambda: said.extend(runner.lines()) or said)
    assert said == ["größe 頭größe 頭"]
    # Half a letter is no letter yet.
    assert runner.log() == "log "
    runner.send("")
    until(lambda: runner.status() is not None)
    assert runner.status() == 3
    assert runner.lines() == []
    assert runner.log() == "ü!"
    runner.send("into nothing")


def test_much_output_does_not_hold_a_program_up(runner):
    python(runner, "import sys\nfor n in range(60000): print(n); print('x' * 40, file=sys.stderr)")
    until(lambda: runner.status() is not None)
    assert runner.lines() == [str(n) for n in range(60000)]
    assert len(runner.log().split()) == 60000


@posix
@pytest.mark.parametrize("how", ["kill", "crash", "forgotten"])
def test_descendants_end_too(how):
    runner = SubprocessRunner()
    grandchild = "import time; time.sleep(600)"
    python(
        runner,
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {grandchild!r}])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n",
    )
    said: list[str] = []
    until(lambda: said.extend(runner.lines()) or said)
    pids = [runner.pid, int(said[0])]
    assert not any(is_gone(pid) for pid in pids)
    if how == "kill":
        runner.kill()
        assert is_gone(pids[0])
        # Twice is as good as once.
        runner.kill()
    elif how == "crash":
        os.kill(runner.pid, signal.SIGKILL)
        # Taken notice of, so that the others are ended: no kill needed.
        until(lambda: runner.status() == -9)
    else:
        del runner
        gc.collect()
    until(lambda: all(is_gone(pid) for pid in pids), 10)


def test_a_runner_leaves_nothing_behind(runner, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    python(runner, "print(1)")
    assert len(list(tmp_path.iterdir())) == 1
    until(lambda: runner.status() is not None)
    # What it said can be read until it is let go.
    assert runner.lines() == ["1"]
    runner.kill()
    assert list(tmp_path.iterdir()) == []
    assert (runner.lines(), runner.log(), runner.status()) == ([], "", 0)
    with pytest.raises(RuntimeError, match="once"):
        python(runner, "print(2)")
    failing = SubprocessRunner()
    with pytest.raises(OSError, match="no-such-program"):
        failing.start(["no-such-program"], ROOT, None)
    failing.kill()
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_python_ends_its_programs(tmp_path):
    code = (
        "import sys\n"
        "from ICHWeakSegLib.worker.process import SubprocessRunner\n"
        "runner = SubprocessRunner()\n"
        "runner.start([sys.executable, '-c', 'import time; time.sleep(600)'], '.', None)\n"
        "print(runner.pid)\n"
    )
    env = environment(TMPDIR=tmp_path, TEMP=tmp_path, TMP=tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    until(lambda: is_gone(int(done.stdout)), 10)
    assert list(tmp_path.iterdir()) == []
