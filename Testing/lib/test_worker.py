"""The worker's client with a fake process in every state, and the worker's work and sentences without one."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom_heads import head, on_grid
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT, InputError, load_model, segment
from ICHWeakSegLib.models import MapSettings, OperatingPoint
from ICHWeakSegLib.refine import count_lesions
from ICHWeakSegLib.worker import process
from ICHWeakSegLib.worker.cases import Workbench, read_checked
from ICHWeakSegLib.worker.client import Event, WorkerClient
from ICHWeakSegLib.worker.exchange import read_case, read_result, write_case
from ICHWeakSegLib.worker.server import explain

CPU = {"device": "cpu"}


class FakeRunner:
    """A process that does what the test tells it."""

    made: list["FakeRunner"]

    def __init__(self) -> None:
        self.sent: list[dict] = []
        self.said: list[str] = []
        self.text = ""
        self.exit: int | None = None
        self.killed = 0
        FakeRunner.made.append(self)

    def start(self, command, cwd, env):
        self.started = (command, cwd, env)

    def send(self, line):
        self.sent.append(json.loads(line))

    def lines(self):
        said, self.said = self.said, []
        return said

    def log(self):
        text, self.text = self.text, ""
        return text

    def status(self):
        return self.exit

    def kill(self):
        self.killed += 1
        self.exit = -9

    def says(self, **event):
        self.said.append(json.dumps(event))


@pytest.fixture
def client(tmp_path, monkeypatch):
    FakeRunner.made = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = WorkerClient(["python", "-m", "worker"], tmp_path, {"A": "1"}, FakeRunner)
    yield made
    made.close()


def the_runner() -> FakeRunner:
    return FakeRunner.made[-1]


def test_nothing_starts_before_the_first_request(client):
    assert client.poll() == []
    assert (client.busy, client.running, client.pid) == (False, False, None)
    assert FakeRunner.made == []


def test_a_run_from_request_to_result(client, tmp_path):
    number = client.segment(tmp_path / "case", model="starter", threshold=0.2, method=None)
    runner = the_runner()
    assert runner.started == (["python", "-m", "worker"], tmp_path, {"A": "1"})
    assert runner.sent == [
        {
            "id": number,
            "do": "segment",
            "case": str(tmp_path / "case"),
            "options": {"model": "starter", "threshold": 0.2},
            "models": "",
        }
    ]
    assert client.busy
    assert client.running
    # A process that never says that it is ready is not waited for.
    assert client.poll() == []
    runner.says(event="ready", version="1", pid=77)
    runner.says(event="progress", id=number, stage="refining", done=3, total=9)
    assert client.poll() == [Event("progress", number, "refining", 3, 9)]
    assert client.pid == 77
    assert client.busy
    runner.says(event="result", id=number, case=str(tmp_path / "case"))
    assert client.poll() == [Event("result", number, case=tmp_path / "case")]
    assert not client.busy
    assert client.running


def test_one_process_serves_request_after_request(client, tmp_path):
    first = client.segment(tmp_path)
    the_runner().says(event="error", id=first, kind="input", sentence="No head.")
    assert client.poll() == [Event("error", first, sentence="No head.", reason="input")]
    second = client.rethreshold(tmp_path, 0.25)
    assert second != first
    assert len(FakeRunner.made) == 1
    assert the_runner().sent[1] == {"id": second, "do": "recut", "case": str(tmp_path), "threshold": 0.25}


@pytest.mark.parametrize(
    "line",
    [
        "Downloading...",
        "[1, 2]",
        "7",
        "{}",
        '{"event": "dance", "id": 1}',
        '{"event": "progress", "id": 1}',
        '{"event": "result", "id": 1, "case": null}',
    ],
)
def test_what_is_no_event_goes_to_the_log(client, tmp_path, line):
    client.segment(tmp_path)
    the_runner().said.append(line)
    assert client.poll() == [Event("log", text=line)]
    assert client.busy


def test_the_log_comes_in_whole_lines(client, tmp_path):
    client.segment(tmp_path)
    the_runner().text = "one\r\ntwo\nthr"
    assert client.poll() == [Event("log", text="one"), Event("log", text="two")]
    the_runner().text = "ee\nfour"
    assert client.poll() == [Event("log", text="three")]
    the_runner().exit = 1
    assert client.poll()[0] == Event("log", text="four")


@pytest.mark.parametrize(
    ("status", "part"),
    [
        (-9, "lack of memory"),
        (137, "lack of memory"),
        (0xC000012D, "lack of memory"),
        (1, r"unexpectedly \(exit status 1\)"),
        (-11, r"unexpectedly \(exit status -11, SIGSEGV\)"),
        (0xC0000005, "exit status 3221225477"),
    ],
)
def test_death_during_a_request_is_a_sentence(client, tmp_path, status, part):
    number = client.segment(tmp_path)
    the_runner().says(event="progress", id=number, stage="refining", done=1, total=2)
    the_runner().exit = status
    progress, ended, error = client.poll()
    assert progress.stage == "refining"
    assert ended == Event("ended", status=status)
    assert (error.kind, error.request, error.reason) == ("error", number, "crash")
    with pytest.raises(AssertionError, match=part):
        raise AssertionError(error.sentence)
    assert error.sentence.endswith(".")
    assert (client.busy, client.running, the_runner().killed) == (False, False, 1)
    assert client.poll() == []
    again = client.segment(tmp_path)
    assert len(FakeRunner.made) == 2
    assert the_runner().sent[0]["id"] == again


def test_a_child_that_slicers_launcher_lost_is_told_as_such(client, tmp_path):
    sentences = []
    for text in ("error: [python] exit abnormally - Report the problem.\n", "Traceback\n"):
        number = client.segment(tmp_path)
        the_runner().says(event="progress", id=number, stage="refining", done=1, total=2)
        the_runner().text = text
        the_runner().exit = 1
        sentences.append(client.poll()[-1].sentence)
    assert "crashed or was ended by the system, often for lack of memory" in sentences[0]
    assert "unexpectedly (exit status 1)" in sentences[1]


def test_an_answer_that_came_before_the_death_counts(client, tmp_path):
    number = client.segment(tmp_path)
    the_runner().says(event="result", id=number, case=str(tmp_path))
    the_runner().exit = -11
    assert [event.kind for event in client.poll()] == ["result", "ended"]


def test_every_waiting_request_is_told(client, tmp_path):
    numbers = [client.segment(tmp_path), client.rethreshold(tmp_path, 0.1)]
    the_runner().says(event="progress", id=numbers[0], stage="refining", done=1, total=2)
    the_runner().exit = 1
    assert [event.request for event in client.poll() if event.kind == "error"] == numbers


@pytest.mark.parametrize("seen", [True, False])
def test_death_between_requests_is_silent(client, tmp_path, seen):
    number = client.segment(tmp_path)
    the_runner().says(event="result", id=number, case=str(tmp_path))
    client.poll()
    the_runner().exit = -9
    if seen:
        assert client.poll() == [Event("ended", status=-9)]
    again = client.segment(tmp_path)
    assert len(FakeRunner.made) == 2
    assert [sent["id"] for sent in the_runner().sent] == [again]
    the_runner().says(event="result", id=again, case=str(tmp_path))
    events = client.poll()
    assert [event.kind for event in events] == ([] if seen else ["ended"]) + ["result"]


@pytest.mark.parametrize(
    ("status", "part"), [(0, "unexpectedly (exit status 0)"), (-9, "lack of memory"), (1, "exit status 1")]
)
def test_a_request_that_met_a_dying_worker_is_sent_again_once(client, tmp_path, status, part):
    # It went to sleep, or was killed, before it read the request.
    number = client.segment(tmp_path)
    the_runner().exit = status
    assert client.poll() == [Event("ended", status=status)]
    assert client.busy
    assert len(FakeRunner.made) == 2
    assert [sent["id"] for sent in the_runner().sent] == [number]
    the_runner().exit = status
    assert part in client.poll()[-1].sentence
    assert len(FakeRunner.made) == 2
    assert not client.busy
    # Another request has its own second chance.
    client.segment(tmp_path)
    the_runner().exit = status
    assert [event.kind for event in client.poll()] == ["ended"]
    assert client.busy


def test_a_process_that_cannot_start_is_a_sentence(client, tmp_path, monkeypatch):
    def fail(*_):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    with monkeypatch.context() as broken:
        broken.setattr(FakeRunner, "start", fail)
        number = client.segment(tmp_path)
        (event,) = client.poll()
    assert (event.kind, event.request, event.reason) == ("error", number, "start")
    assert "could not be started with python (No such file or directory)" in event.sentence
    assert (client.busy, client.running) == (False, False)
    client.segment(tmp_path)
    assert client.running


def test_cancel_says_nothing_and_the_next_request_starts_anew(client, tmp_path):
    number = client.segment(tmp_path)
    old = the_runner()
    old.says(event="progress", id=number, stage="refining", done=1, total=2)
    client.cancel()
    assert old.killed == 1
    assert (client.busy, client.running) == (False, False)
    assert client.poll() == []
    again = client.segment(tmp_path)
    assert again > number
    old.says(event="result", id=number, case=str(tmp_path))
    assert client.poll() == []
    assert the_runner() is not old


def test_cancel_takes_back_an_error_that_was_not_yet_told(client, tmp_path, monkeypatch):
    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FakeRunner, "start", fail)
    client.segment(tmp_path)
    client.cancel()
    assert client.poll() == []


def test_close_removes_the_cases(client, tmp_path):
    case = client.new_case(head().ct)
    client.segment(case)
    client.close()
    assert the_runner().killed == 1
    assert list(tmp_path.iterdir()) == []
    # It can go on afterwards.
    assert client.new_case(head().ct).is_dir()


def test_the_last_two_cases_are_kept_and_those_at_work(client):
    ct = CT(np.zeros((4, 4, 4), np.int16), np.eye(4))
    at_work = client.new_case(ct)
    number = client.segment(at_work)
    others = [client.new_case(ct) for _ in range(3)]
    assert [case.is_dir() for case in (at_work, *others)] == [True, False, True, True]
    the_runner().says(event="result", id=number, case=str(at_work))
    client.poll()
    client.new_case(ct)
    assert [case.is_dir() for case in (at_work, *others)] == [False, False, False, True]


def test_a_case_that_cannot_be_written_is_a_sentence(client, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with monkeypatch.context() as broken:
        broken.setattr(tempfile, "tempdir", str(blocked))
        with pytest.raises(InputError, match=r"cannot be written to the temporary folder .*file"):
            client.new_case(head().ct)
    kept = client.new_case(head().ct)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(np, "save", full)
        with pytest.raises(InputError, match="No space left on device"):
            client.new_case(head().ct)
    assert list(kept.parent.iterdir()) == [kept]


def test_models_are_found_from_another_folder(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICHWEAKSEG_MODELS", "own")
    # Its own environment was given: the test's does not count.
    client.segment(tmp_path, model=Path("tiny"))
    client.segment(tmp_path, model="sub/tiny")
    client.segment(tmp_path, model="tiny")
    requests = the_runner().sent
    assert [sent["options"]["model"] for sent in requests] == [
        str(tmp_path / "tiny"),
        str(tmp_path / "sub" / "tiny"),
        "tiny",
    ]
    assert requests[0]["models"] == ""
    inheriting = WorkerClient(["python"], tmp_path, None, FakeRunner)
    inheriting.segment(tmp_path)
    assert the_runner().sent[0]["models"] == str(tmp_path / "own")
    inheriting.close()


def test_leftovers_of_killed_callers_are_removed_a_day_later(client, tmp_path):
    old, new, other = (tmp_path / name for name in ("ichweakseg-run-a", "ichweakseg-run-b", "other"))
    yesterday = time.time() - 2 * process.OLD_SECONDS
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "hu.npy").touch()
    for folder in (old, other):
        os.utime(folder, (yesterday, yesterday))
    client.new_case(CT(np.zeros((4, 4, 4), np.int16), np.eye(4)))
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_the_client_needs_no_torch():
    code = "import sys, ICHWeakSegLib.worker.client, ICHWeakSegLib.worker.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The work


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    low = MapSettings("hgi-sam", 0.1, "hu", {"smallest_ml": 1.0})
    return {
        "tiny": tiny_model(folder / "tiny", tiny_card("tiny", map=low)),
        "many": tiny_model(folder / "many", tiny_card("many", "subtypes", map=low)),
        "blind": tiny_model(folder / "blind", tiny_card("blind", operating=OperatingPoint(1.0))),
    }


@pytest.fixture
def bench():
    return Workbench()


def case_of(ct: CT, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_case(folder, ct)
    return folder


def silent(*_) -> None:
    pass


def run(bench: Workbench, folder: Path, model: Path, **options) -> list[str]:
    """The stages that were told."""
    stages = []
    bench.segment(folder, {"model": str(model), **CPU, **options}, lambda stage, *_: stages.append(stage))
    return stages


@pytest.mark.parametrize("model", ["tiny", "many"])
def test_hands_over_what_segment_finds(bench, models, tmp_path, model):
    ct = head().ct
    folder = case_of(ct, tmp_path)
    run(bench, folder, models[model])
    handed, wanted = read_result(folder), segment(head().ct, load_model(models[model]), device="cpu")
    assert [one.name for one in handed.segments] == list(wanted.masks)
    for one in handed.segments:
        np.testing.assert_array_equal(one.mask.within(handed.shape), wanted.masks[one.name])
        assert one.found.volume_ml == pytest.approx(ct.volume_ml(wanted.masks[one.name]))
    np.testing.assert_array_equal(handed.map.within(handed.shape), wanted.map)
    assert handed.map.values.dtype == np.float32
    if wanted.subtypes is None:
        assert handed.subtypes is None
    else:
        np.testing.assert_array_equal(handed.subtypes.within(handed.shape), wanted.subtypes)
    assert handed.subtype_names == wanted.subtype_names
    blood = wanted.mask != 0
    assert handed.total.volume_ml == pytest.approx(wanted.volume_ml)
    assert handed.total.lesions == count_lesions(wanted.mask) > 0
    assert handed.total.slices == blood.any(axis=(1, 2)).sum()
    assert handed.total.mean_hu == pytest.approx(ct.hu[blood].mean())
    assert handed.slice_scores == wanted.slice_scores
    assert handed.positive == wanted.positive.tolist()
    assert handed.provenance == wanted.provenance


def test_axial_slices_are_counted_also_in_a_sagittal_ct(bench, models, tmp_path):
    axial = head()
    # The same voxels with the i and k axes exchanged.
    affine = axial.ct.ijk_to_ras[:, [2, 1, 0, 3]]
    sagittal = CT(np.ascontiguousarray(axial.ct.hu.transpose(2, 1, 0)), affine, source="Sagittal")
    run(bench, case_of(axial.ct, tmp_path / "axial"), models["tiny"])
    run(bench, case_of(sagittal, tmp_path / "sagittal"), models["tiny"])
    one, other = (read_result(tmp_path / name) for name in ("axial", "sagittal"))
    assert other.total.volume_ml == pytest.approx(one.total.volume_ml)
    assert replace(other.total, volume_ml=0) == replace(one.total, volume_ml=0)
    assert (
        other.total.slices != np.flatnonzero(other.segments[0].mask.within(other.shape).any(axis=(1, 2))).size
    )
    assert any("sagittal" in sentence for sentence in other.warnings)


def test_uneven_slices_and_warnings_come_through(bench, models, tmp_path):
    positions = np.concatenate([np.arange(16) * 4.0, 60 + np.arange(1, 11) * 7.0])
    affine = head().ct.ijk_to_ras.copy()
    uneven = on_grid((len(positions), 128, 128), affine, positions)
    uneven.ct.warnings.append("Said before.")
    folder = case_of(uneven.ct, tmp_path)
    run(bench, folder, models["tiny"])
    result = read_result(folder)
    mask = result.segments[0].mask.within(result.shape)
    assert mask.any()
    assert result.total.volume_ml == pytest.approx(uneven.ct.volume_ml(mask))
    assert result.total.volume_ml != pytest.approx(mask.sum() * uneven.ct.voxel_ml, rel=0.01)
    assert result.warnings.count("Said before.") == 1


def test_the_model_is_loaded_once_and_again_after_a_change(bench, tmp_path):
    package = tiny_model(tmp_path / "tiny", tiny_card("tiny"))
    folder = case_of(head().ct, tmp_path / "case")
    load = "loading the model"
    assert load in run(bench, folder, package)
    assert load not in run(bench, folder, package)
    before = read_result(folder)
    shutil.rmtree(package)
    tiny_model(package, tiny_card("tiny"), seed=1)
    assert load in run(bench, folder, package)
    assert read_result(folder).provenance["sha256"] != before.provenance["sha256"]
    # Other settings with the same weights.
    shutil.rmtree(package)
    tiny_model(package, tiny_card("tiny", operating=OperatingPoint(1.0)), seed=1)
    assert load in run(bench, folder, package)
    assert not any(read_result(folder).positive)


@pytest.mark.parametrize("model", ["tiny", "many"])
def test_recut_is_segment_at_that_threshold(models, tmp_path, model):
    bench, folder = Workbench(), case_of(head().ct, tmp_path / "one")
    run(bench, folder, models[model])
    before = read_result(folder)
    bench.rethreshold(folder, 0.5, silent)
    cut = read_result(folder)
    run(bench, case_of(head().ct, tmp_path / "two"), models[model], threshold=0.5)
    wanted = read_result(tmp_path / "two")
    assert 0 < wanted.total.volume_ml < before.total.volume_ml
    assert cut.total == wanted.total
    assert cut.provenance == wanted.provenance
    for one, other in zip(cut.segments, wanted.segments, strict=True):
        assert (one.name, one.found) == (other.name, other.found)
        np.testing.assert_array_equal(one.mask.within(cut.shape), other.mask.within(cut.shape))
    # The map and all else stay.
    np.testing.assert_array_equal(cut.map.values, before.map.values)
    assert (cut.slice_scores, cut.positive, cut.subtype_names) == (
        before.slice_scores,
        before.positive,
        before.subtype_names,
    )
    # Another worker, which knows the case from its folder only, comes back to the first mask.
    Workbench().rethreshold(folder, 0.1, silent)
    np.testing.assert_array_equal(
        read_result(folder).segments[0].mask.within(cut.shape), before.segments[0].mask.within(cut.shape)
    )


def test_a_stored_map_is_read_once_and_again_after_a_new_run(bench, models, tmp_path):
    folder = case_of(head().ct, tmp_path)
    run(bench, folder, models["tiny"])

    def stages(threshold: float) -> list[str]:
        seen = []
        bench.rethreshold(folder, threshold, lambda stage, *_: seen.append(stage))
        return seen

    assert stages(0.3)[:2] == ["reading", "brain mask"]
    assert "reading" not in stages(0.4)
    assert "refining" in stages(0.5)
    run(bench, folder, models["blind"])
    bench.rethreshold(folder, 0.0, silent)
    assert read_result(folder).total.volume_ml == 0


def test_no_blood_is_a_result(bench, models, tmp_path):
    folder = case_of(head().ct, tmp_path)
    run(bench, folder, models["blind"])
    result = read_result(folder)
    assert [one.name for one in result.segments] == ["hemorrhage"]
    assert (result.total.volume_ml, result.total.lesions, result.total.slices) == (0, 0, 0)
    assert result.total.mean_hu is None
    assert result.map.values.size == 0


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda hu: np.where(np.arange(128) == 5, np.nan, hu), "Head holds voxels that are not a number"),
        (lambda hu: (hu.astype(int) + 1100).clip(0, 3000), "Head has no value below zero"),
        (lambda hu: hu[0], "Head is a 2D image"),
        (lambda hu: hu[:1], "Head has only one slice"),
        (lambda hu: np.full_like(hu, -1000), "same value"),
        (lambda hu: hu[:, :, :0], "Head is empty"),
    ],
)
def test_bad_volumes_are_sentences(bench, models, tmp_path, spoil, part):
    ct = head().ct
    folder = case_of(CT(spoil(ct.hu), ct.ijk_to_ras, source="Head"), tmp_path)
    with pytest.raises(InputError, match=part):
        run(bench, folder, models["tiny"])
    assert not (folder / "result.json").exists()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32])
def test_any_type_and_any_padding_give_the_same(bench, models, tmp_path, kind):
    ct = head().ct
    run(bench, case_of(ct, tmp_path / "plain"), models["tiny"])
    values = ct.hu.astype(kind)
    # Outside the gantry's circle.
    values[:, :3, :3] = -3024
    folder = case_of(CT(values, ct.ijk_to_ras, source="phantom"), tmp_path / "other")
    clean = read_checked(folder).hu
    assert clean.dtype == np.int16
    assert (clean[:, :3, :3] == -1024).all()
    run(bench, folder, models["tiny"])
    plain, other = (read_result(tmp_path / name) for name in ("plain", "other"))
    assert plain.total.volume_ml > 0
    assert plain.total == other.total


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"method": "magic"}, "method"),
        ({"threshold": 7}, "between 0 and 1"),
        ({"colour": "red"}, "no option 'colour'"),
        ({"threads": 0}, "threads"),
    ],
)
def test_wrong_options_are_sentences(bench, models, tmp_path, options, part):
    with pytest.raises(InputError, match=part):
        run(bench, case_of(head().ct, tmp_path), models["tiny"], **options)


def test_recut_of_what_is_not_there(bench, models, tmp_path):
    folder = case_of(head().ct, tmp_path)
    with pytest.raises(InputError, match=r"result\.json is gone: segment again"):
        bench.rethreshold(folder, 0.5, silent)
    run(bench, folder, models["tiny"])
    with pytest.raises(InputError, match="between 0 and 1"):
        bench.rethreshold(folder, 1.5, silent)
    (folder / "hu.npy").unlink()
    with pytest.raises(InputError, match=r"hu\.npy is gone: segment again"):
        bench.rethreshold(folder, 0.5, silent)


def test_a_case_comes_back(tmp_path):
    positions = np.array([0.0, 4.0, 9.0])
    ct = CT(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4) * 2, positions, ["Über."], "Kopf 頭")
    back = read_case(case_of(ct, tmp_path))
    np.testing.assert_array_equal(back.hu, ct.hu)
    np.testing.assert_array_equal(back.ijk_to_ras, ct.ijk_to_ras)
    np.testing.assert_array_equal(back.slice_positions_mm, positions)
    assert (back.warnings, back.source) == (ct.warnings, ct.source)


# What is said of failures


def import_of(name: str) -> Exception:
    with pytest.raises(ImportError) as caught:
        __import__(name, fromlist=["x"])
    return caught.value


@pytest.mark.parametrize(
    ("problem", "kind", "part"),
    [
        (InputError("Not a head."), "input", "Not a head."),
        (MemoryError(), "memory", "not enough memory to segment Head: close"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory", "segment Head"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory", "segment Head"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory", "segment Head"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory", "segment Head"),
        (OSError(errno.ENOSPC, "No space left on device"), "input", "disk"),
        (OSError(errno.EFBIG, "File too large"), "input", "disk"),
        # So numpy tells it.
        (OSError("67200 requested and 34968 written"), "input", "disk"),
        (RuntimeError("shapes\ndiffer"), "bug", "(RuntimeError: shapes differ): see the log"),
        (KeyError("x"), "bug", "KeyError"),
    ],
)
def test_sentences(problem, kind, part):
    found, sentence = explain(problem, "segment Head")
    assert found == kind
    assert part in sentence


def test_a_missing_package_is_named():
    kind, sentence = explain(import_of("no_such_package.sub"), "segment")
    assert kind == "missing"
    assert "The Python package no_such_package is missing: install the dependencies" in sentence
    # One of our own is a fault of ours.
    assert explain(import_of("ICHWeakSegLib.no_such_module"), "segment")[0] == "bug"


def test_sentences_need_no_torch(monkeypatch):
    # As after an import of torch that failed.
    monkeypatch.setitem(sys.modules, "torch", None)
    assert explain(RuntimeError("x"), "segment")[0] == "bug"
    assert explain(import_of("torch"), "segment")[0] == "missing"
