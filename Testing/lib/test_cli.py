"""The command line: what it writes, what it says, and how it refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import slicerio
import torch
from phantom_heads import dice, head
from PIL import Image
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import CT
from ICHWeakSegLib.cli import main
from ICHWeakSegLib.commands import demo as demo_command
from ICHWeakSegLib.commands import segment as segment_command
from ICHWeakSegLib.ct import write_volume
from ICHWeakSegLib.models import Architecture, OperatingPoint, import_hgi_sam
from ICHWeakSegLib.models import find as find_module
from ICHWeakSegLib.models.build import build_network

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A CT of six slices around a bleed, and a model, under names that are not ASCII."""
    folder = tmp_path_factory.mktemp("Fälle 头 part")
    case = head()
    middle = int(case.blood.sum(axis=(1, 2)).argmax())
    part = slice(middle - 3, middle + 3)
    ct = CT(case.ct.hu[part], case.ct.ijk_to_ras)
    write_volume(folder / "Kopf 脑.nii.gz", ct.hu, ct)
    tiny_model(folder / "models" / "tiny")
    tiny_model(folder / "models" / "blind", tiny_card("blind", operating=OperatingPoint(1.0)))
    tiny_model(folder / "models" / "many", tiny_card("many", "subtypes"))
    return folder, ct, case.blood[part]


@pytest.fixture(autouse=True)
def models(files, monkeypatch, tmp_path):
    """Only these models: the user's folder is a temporary one, and nothing is bundled."""
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(files[0] / "models"))
    monkeypatch.setattr(find_module, "bundled_folders", list)


@pytest.fixture
def ct_file(files):
    return files[0] / "Kopf 脑.nii.gz"


def run(*arguments):
    """Exit status of the command line."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


def refused(capsys, *arguments, words="", left=None):
    """Exit 2, one sentence on stderr, nothing on stdout; `left` stays without any file."""
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("ichweakseg: ")
    assert said.err.count("\n") == 1, said.err
    assert words in said.err
    assert "Traceback" not in said.err
    if left is not None:
        assert not [path for path in left.rglob("*") if path.is_file()]
    return said.err


@pytest.mark.filterwarnings("error::UserWarning")
class TestSegment:
    def test_everything(self, files, ct_file, tmp_path, capsys):
        _, ct, blood = files
        out = tmp_path / "neuer Ordner" / "深い"
        status = run(
            *("segment", ct_file, "--output", out / "a.seg.nrrd", "--model", "tiny", "--device", "cpu"),
            *("--map", out / "map.nii.gz", "--slice-scores", out / "s.csv", "--preview", out / "p.png"),
        )
        assert status == 0
        said = capsys.readouterr()
        assert "mL of blood" in said.out
        assert "research use only" in said.out.lower()
        # No bar where standard error is no terminal.
        assert said.err == ""
        read = slicerio.read_segmentation(str(out / "a.seg.nrrd"))
        assert dice(read["voxels"].transpose(2, 1, 0), blood) > 0.8
        assert read["ICHWeakSeg_model"] == "tiny"
        assert read["ICHWeakSeg_device"] == "cpu"
        image = nibabel.load(out / "map.nii.gz")
        np.testing.assert_allclose(image.affine, ct.ijk_to_ras, atol=1e-4)
        assert image.get_data_dtype() == np.float32
        with (out / "s.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert list(rows[0]) == ["slice", "probability", "any"]
        assert [row["slice"] for row in rows] == [str(s) for s in range(6)]
        with Image.open(out / "p.png") as picture:
            assert min(picture.size) > 300
        assert sorted(path.name for path in out.iterdir()) == ["a.seg.nrrd", "map.nii.gz", "p.png", "s.csv"]

    @pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".SEG.NRRD"])
    def test_endings(self, ending, ct_file, tmp_path, capsys):
        assert run("segment", ct_file, "-o", tmp_path / f"a{ending}", "--model", "tiny") == 0
        assert [path.name for path in tmp_path.iterdir()] == [f"a{ending}"]

    def test_json(self, ct_file, tmp_path, capsys):
        out = tmp_path / "é a.nii.gz"
        assert run("segment", ct_file, "-o", out, "--model", "tiny", "--json", "--threshold", "0.01") == 0
        said = capsys.readouterr()
        found = json.loads(said.out)
        assert said.err == ""
        assert found["files"] == {"segmentation": str(out)}
        assert found["slices"] == 6
        assert found["volume_ml"] > 5
        assert found["lesions"] >= 1
        assert found["provenance"]["map_threshold"] == 0.01
        assert set(found["slices_with_blood"]) <= set(found["positive_slices"])

    def test_subtypes_have_a_segment_each(self, ct_file, tmp_path, capsys):
        out = tmp_path / "a.seg.nrrd"
        assert run("segment", ct_file, "-o", out, "--model", "many", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert list(found["subtypes_ml"]) == ["EDH", "IPH", "IVH", "SAH", "SDH"]
        assert sum(found["subtypes_ml"].values()) == pytest.approx(found["volume_ml"], abs=0.01)
        segments = slicerio.read_segmentation(str(out), skip_voxels=True)["segments"]
        assert [segment["name"] for segment in segments] == list(found["subtypes_ml"])

    def test_subtypes_together_in_a_label_map(self, ct_file, tmp_path, capsys):
        out = tmp_path / "a.nii.gz"
        assert run("segment", ct_file, "-o", out, "--model", "many", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        voxels = np.asarray(nibabel.load(out).dataobj)
        assert set(np.unique(voxels)) == {0, 1}
        assert found["volume_ml"] > 1

    def test_quiet(self, ct_file, tmp_path, capsys):
        assert run("segment", ct_file, "-o", tmp_path / "a.nii.gz", "--model", "tiny", "--quiet") == 0
        said = capsys.readouterr()
        assert said.out == said.err == ""

    @pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz"])
    def test_no_blood_is_a_result(self, ending, ct_file, tmp_path, capsys):
        out = tmp_path / f"a{ending}"
        status = run("segment", ct_file, "-o", out, "--model", "blind", "--preview", tmp_path / "p.png")
        assert status == 0
        assert "No blood found on 6 slices (0 mL)" in capsys.readouterr().out
        if ending == ".seg.nrrd":
            read = slicerio.read_segmentation(str(out))
            assert [segment["name"] for segment in read["segments"]] == ["Intracranial hemorrhage"]
            assert not read["voxels"].any()
        else:
            assert not np.asarray(nibabel.load(out).dataobj).any()

    def test_warnings_go_to_stderr(self, files, tmp_path, capsys):
        _, ct, _ = files
        affine = ct.ijk_to_ras.copy()
        affine[1, 2] = 1.2
        write_volume(tmp_path / "tilted.nrrd", ct.hu, CT(ct.hu, affine))
        assert run("segment", tmp_path / "tilted.nrrd", "-o", tmp_path / "a.nii.gz", "--model", "tiny") == 0
        said = capsys.readouterr()
        assert "Warning: The gantry was tilted" in said.err
        assert "Warning" not in said.out

    def test_an_older_result_is_replaced(self, ct_file, tmp_path):
        out = tmp_path / "a.nii.gz"
        out.write_text("old")
        assert run("segment", ct_file, "-o", out, "--model", "tiny", "--quiet") == 0
        assert nibabel.load(out).shape == (128, 128, 6)


class TestRefusedTargets:
    """Before any work: the CT is not even read."""

    @pytest.fixture(autouse=True)
    def no_work(self, monkeypatch):
        def read(*_, **__):
            raise AssertionError("the CT was read")

        monkeypatch.setattr("ICHWeakSegLib.ct.read.read_ct", read)

    @pytest.mark.parametrize("name", ["a.txt", "a", "a.mha", ".nii.gz", "a.nii.bz2", "a.dcm"])
    def test_ending(self, name, ct_file, tmp_path, capsys):
        refused(capsys, "segment", ct_file, "-o", tmp_path / name, words="--output writes", left=tmp_path)

    @pytest.mark.parametrize(
        ("flag", "name"),
        [
            ("--map", "m.csv"),
            ("--map", "m.seg.nrrd"),
            ("--map", "m.mha"),
            ("--slice-scores", "s.txt"),
            ("--preview", "p.jpg"),
        ],
    )
    def test_ending_of_the_others(self, flag, name, ct_file, tmp_path, capsys):
        arguments = ("segment", ct_file, "-o", tmp_path / "a.nii.gz", flag, tmp_path / name)
        refused(capsys, *arguments, words=f"{flag} writes", left=tmp_path)

    def test_folder(self, ct_file, tmp_path, capsys):
        (tmp_path / "a.nii.gz").mkdir()
        refused(capsys, "segment", ct_file, "-o", tmp_path / "a.nii.gz", words="is a folder", left=tmp_path)

    def test_a_file_in_the_way(self, ct_file, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        refused(capsys, "segment", ct_file, "-o", tmp_path / "file" / "a.nii.gz", words="not a folder")

    @pytest.mark.parametrize("flag", ["--output", "--preview"])
    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_write_protected(self, flag, ct_file, tmp_path, capsys):
        (tmp_path / "closed").mkdir(mode=0o500)
        targets = {"--output": tmp_path / "a.nii.gz", flag: tmp_path / "closed" / "a.png"}
        refused(capsys, "segment", ct_file, *(x for pair in targets.items() for x in pair), words="protected")

    def test_same_name_twice(self, ct_file, tmp_path, capsys):
        name, again = tmp_path / "a.nii.gz", tmp_path / "x" / ".." / "a.nii.gz"
        refused(capsys, "segment", ct_file, "-o", name, "--map", again, words="same name", left=tmp_path)

    def test_input_would_be_overwritten(self, ct_file, capsys):
        before = ct_file.read_bytes()
        refused(capsys, "segment", ct_file, "-o", ct_file, words="overwrite the input")
        assert ct_file.read_bytes() == before

    def test_options(self, ct_file, tmp_path, capsys):
        for wrong in (["--method", "magic"], ["--device", "tpu"], ["--threads", "many"], []):
            target = ["-o", str(tmp_path / "a.nii.gz")] if wrong else []
            assert run("segment", ct_file, *target, *wrong) == 2
            assert "Traceback" not in capsys.readouterr().err


def _bad_inputs(folder: Path, ct: CT) -> dict[str, Path]:
    """A file of each kind of bad input of a CT."""
    made = {
        name: folder / f"{name}.nii.gz" for name in ("4d", "2d", "rgb", "nan", "normalised", "air", "soft")
    }
    affine = ct.ijk_to_ras

    def save(name, array):
        nibabel.save(nibabel.Nifti1Image(array, affine), made[name])

    save("4d", np.stack([ct.hu.T] * 2, axis=-1))
    save("2d", ct.hu.T[..., 0])
    rgb = np.zeros(ct.hu.T.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    save("rgb", rgb)
    with_nan = ct.hu.T.astype(np.float32)
    with_nan[3, 4, 2] = np.nan
    save("nan", with_nan)
    save("normalised", (ct.hu.T.astype(np.float32) + 1000) / 3000)
    save("air", np.full(ct.hu.T.shape, -1000, np.int16) + (np.arange(6) * 20).astype(np.int16))
    save("soft", np.where(ct.hu.T > 20, 35, -1000).astype(np.int16))
    made |= {
        name: folder / name for name in ("empty.nii.gz", "cut.nii.gz", "notes.txt", "empty folder", "a.zip")
    }
    made["empty.nii.gz"].write_bytes(b"")
    write_volume(folder / "whole.nii.gz", ct.hu, ct)
    made["cut.nii.gz"].write_bytes((folder / "whole.nii.gz").read_bytes()[:20000])
    made["notes.txt"].write_text("no CT")
    made["empty folder"].mkdir()
    made["a.zip"].write_bytes(b"PK no zip")
    made["missing"] = folder / "missing.nii.gz"
    return made


@pytest.mark.parametrize(
    "kind",
    [
        *("4d", "2d", "rgb", "nan", "normalised", "air", "soft", "empty.nii.gz", "cut.nii.gz", "notes.txt"),
        *("empty folder", "a.zip", "missing"),
    ],
)
def test_bad_input(kind, files, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    path = _bad_inputs(tmp_path / "in", files[1])[kind]
    out = tmp_path / "out"
    refused(
        capsys,
        "segment",
        path,
        "-o",
        out / "a.seg.nrrd",
        "--model",
        "tiny",
        "--json",
        words=str(path),
        left=out,
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "nobody"], "no model 'nobody'"),
        (["--threshold", "2"], "between 0 and 1"),
        (["--sensitivity", "0.9"], "no table"),
        (["--sensitivity", "low"], "knows the sensitivities normal, not 'low'"),
        (["--threads", "0"], "at least 1"),
        (["--series", "1.2.3"], "no DICOM"),
    ],
)
def test_bad_options(options, words, ct_file, tmp_path, capsys):
    arguments = ("segment", ct_file, "-o", tmp_path / "a.seg.nrrd", "--model", "tiny", *options)
    refused(capsys, *arguments, words=words, left=tmp_path)


def test_damaged_model(files, ct_file, tmp_path, capsys):
    folder = tiny_model(tmp_path / "models" / "copy")
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    out = tmp_path / "out"
    arguments = ("segment", ct_file, "-o", out / "a.nii.gz", "--model", folder)
    refused(capsys, *arguments, words="is damaged", left=out)
    weights.write_bytes(data[:-100])
    refused(capsys, *arguments, words="truncated", left=out)
    weights.unlink()
    refused(capsys, *arguments, words="missing", left=out)


def test_ctrl_c(monkeypatch, ct_file, tmp_path, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(segment_command, "segment", stopped)
    assert run("segment", ct_file, "-o", tmp_path / "a.nii.gz", "--model", "tiny") == 130
    assert "stopped" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_memory(monkeypatch, ct_file, tmp_path, capsys):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(segment_command, "segment", full)
    refused(capsys, "segment", ct_file, "-o", tmp_path / "a.nii.gz", words="not enough memory", left=tmp_path)


class TestProcess:
    """In a process of its own, as a shell runs it."""

    def start(self, *arguments, code="from ICHWeakSegLib.cli import main; main()"):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
        )

    def test_module_and_status(self, tmp_path):
        command = [sys.executable, "-m", "ICHWeakSegLib"]
        done = subprocess.run([*command, "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("ICHWeakSeg ")
        target = str(tmp_path / "a.nii.gz")
        done = subprocess.run(
            [*command, "segment", "nowhere.nii.gz", "-o", target],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr == "ichweakseg: nowhere.nii.gz does not exist; check the path.\n"

    def test_listing_needs_no_torch(self):
        code = "import sys; from ICHWeakSegLib.cli import main; main(); assert 'torch' not in sys.modules"
        process = self.start("models", "list", code=code)
        said, problem = process.communicate(timeout=60)
        assert process.returncode == 0, problem
        assert "tiny" in said

    @pytest.mark.skipif(os.name == "nt", reason="no such pipes here")
    def test_reader_of_the_pipe_has_gone(self):
        process = self.start(
            "models", "list", code="import sys; sys.stdin.read(1); from ICHWeakSegLib.cli import main; main()"
        )
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1
        process.stderr.close()

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
    @pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
    def test_stopped_while_writing(self, how, ct_file, tmp_path):
        # The writer is held once bytes are on the disk.
        code = (
            "import nrrd.writer, pathlib, time\n"
            "def hold(data, file, *_, **__):\n"
            "    file.write(b'half'); file.flush(); print('writing', flush=True); time.sleep(60)\n"
            "nrrd.writer._write_data = hold\n"
            "from ICHWeakSegLib.cli import main; main()"
        )
        out = tmp_path / "out"
        process = self.start(
            "segment", ct_file, "-o", out / "a.seg.nrrd", "--model", "tiny", "--quiet", code=code
        )
        assert process.stdout.readline() == "writing\n"
        assert list(out.iterdir())
        process.send_signal(getattr(signal, how))
        _, said = process.communicate(timeout=60)
        assert not (out / "a.seg.nrrd").exists()
        if how == "SIGINT":
            assert process.returncode == 130
            assert said.startswith("ichweakseg: stopped")
            assert not list(out.iterdir())
        else:
            assert process.returncode == -signal.SIGKILL
            # What is left is hidden, and swept a day later by the next write.
            (left,) = out.iterdir()
            assert left.name.startswith(".ichweakseg-partial-")
            day_ago = time.time() - 25 * 3600
            os.utime(left, (day_ago, day_ago))
            assert run("segment", ct_file, "-o", out / "b.nii.gz", "--model", "tiny", "--quiet") == 0
            assert [path.name for path in out.iterdir()] == ["b.nii.gz"]


class TestBar:
    def test_only_on_a_terminal(self, monkeypatch, ct_file, tmp_path, capsys):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        arguments = ("segment", ct_file, "-o", tmp_path / "a.nii.gz", "--model", "tiny")
        assert run(*arguments) == 0
        assert "classifying and localizing" in capsys.readouterr().err
        assert run(*arguments, "--quiet") == 0
        assert capsys.readouterr().err == ""


class TestPhantom:
    def test_ct_and_truth(self, tmp_path, capsys):
        ct, truth = tmp_path / "neu" / "Kopf.nii.gz", tmp_path / "neu" / "t.seg.nrrd"
        arguments = ("phantom", ct, "--truth", truth, "--subtype", "epidural", "--volume-ml", "25")
        assert run(*arguments, "--spacing", "10", "--tilt", "12", "--seed", "4") == 0
        assert "mL of epidural blood" in capsys.readouterr().out
        image, read = nibabel.load(ct), slicerio.read_segmentation(str(truth))
        assert image.shape == read["voxels"].shape
        volume = read["voxels"].sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1000
        assert volume == pytest.approx(25, rel=0.05)
        assert (np.asarray(image.dataobj)[read["voxels"] > 0] > 30).mean() > 0.9

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["a.txt"], "OUT writes"),
            (["a.mha", "--tilt", "5"], "OUT writes"),
            (["a.nii.gz", "--truth", "t.png"], "--truth writes"),
            (["a.nii.gz", "--truth", "a.nii.gz"], "same name"),
            (["a.nii.gz", "--volume-ml", "-3"], "volume"),
            (["a.nii.gz", "--tilt", "50"], "tilt"),
            (["a.nii.gz", "--spacing", "0"], "spacing"),
        ],
    )
    def test_refused(self, options, words, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        refused(capsys, "phantom", *options, words=words, left=tmp_path)


class TestDemo:
    def test_files_and_figures(self, monkeypatch, files, tmp_path, capsys):
        case = head()
        case.truth, case.volume_ml = case.blood.astype(np.uint8), case.blood_ml
        monkeypatch.setattr("ICHWeakSegLib.commands.phantom.make", lambda *_, **__: case)
        assert run("demo", "--output", tmp_path / "demo", "--model", "tiny") == 0
        said = capsys.readouterr().out
        assert f"true volume: {case.blood_ml:.1f} mL" in said
        assert "Dice" in said
        assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(demo_command.FILES)


class TestModels:
    def test_list_and_info(self, files, capsys):
        assert run("models", "list") == 0
        said = capsys.readouterr().out
        assert "tiny" in said
        assert str(files[0] / "models") in said
        assert run("models", "info", "tiny") == 0
        assert "swin_tiny_patch4_window7_224" in capsys.readouterr().out

    def test_verify(self, tmp_path, capsys):
        assert run("models", "verify", "tiny") == 0
        assert "whole and runs" in capsys.readouterr().out
        folder = tiny_model(tmp_path / "hurt")
        with (folder / "weights.safetensors").open("ab") as stream:
            stream.write(b"x")
        assert run("models", "verify", folder) == 2
        said = capsys.readouterr()
        assert "FAILED" in said.out
        assert "weights.safetensors" in said.err
        assert said.err.count("\n") == 1

    @pytest.mark.parametrize("action", ["info", "verify", "remove"])
    def test_unknown(self, action, capsys):
        assert run("models", action, "nobody") == 2
        assert "no model 'nobody'" in capsys.readouterr().err

    def test_remove(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path))
        tiny_model(tmp_path / "mine", tiny_card("mine"))
        assert run("models", "remove", "mine") == 0
        assert not (tmp_path / "mine").exists()
        assert "Removed" in capsys.readouterr().out

    def test_remove_one_of_two_with_one_name(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path))
        for folder in ("a", "b"):
            tiny_model(tmp_path / folder, tiny_card("mine"))
        assert run("models", "list") == 0
        first, second, _ = capsys.readouterr().out.splitlines()
        assert "hidden" not in first
        assert f"hidden by another of this name: use its folder {tmp_path / 'b'}" in second
        refused(capsys, "models", "remove", "mine", words=f"{tmp_path / 'a'} or {tmp_path / 'b'}")
        assert run("models", "remove", tmp_path / "b") == 0
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_weights_that_are_lost_are_told(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path))
        folder = tiny_model(tmp_path / "mine", tiny_card("mine"))
        (folder / "weights.safetensors").unlink()
        assert run("models", "list") == 0
        assert f"cannot be used: {folder / 'weights.safetensors'} is missing" in capsys.readouterr().out
        # The card is shown, and what is wrong.
        assert run("models", "info", "mine") == 2
        said = capsys.readouterr()
        assert said.out.startswith("mine 0.1")
        assert "weights.safetensors is missing" in said.err

    def test_bundled_models_stay(self, monkeypatch, tmp_path, capsys):
        tiny_model(tmp_path / "ours", tiny_card("ours"))
        monkeypatch.setattr(find_module, "bundled_folders", lambda: [tmp_path])
        refused(capsys, "models", "remove", "ours", words="came with ICHWeakSeg")
        assert (tmp_path / "ours" / "model.json").is_file()

    def test_import(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setenv("ICHWEAKSEG_MODELS", str(tmp_path / "models"))
        # The published network is large: a small one stands in.
        small = Architecture(
            "swin_tiny_patch4_window7_224", 1, overrides=dict(tiny_card().architecture.overrides)
        )

        def import_small(*arguments, **options):
            return import_hgi_sam(*arguments, **options, architecture=small)

        monkeypatch.setattr("ICHWeakSegLib.models.import_hgi_sam", import_small)
        torch.save(build_network(small).state_dict(), tmp_path / "theirs.pth")
        command = ("models", "import", tmp_path / "theirs.pth", "--format", "hgi-sam", "--name")
        assert run(*command, "theirs") == 0
        assert "is ready in" in capsys.readouterr().out
        assert run("models", "info", "theirs") == 0
        capsys.readouterr()
        refused(capsys, *command, "theirs", words="choose another name")
        assert run(*command, "theirs", "--overwrite", "--windows", "rsna") == 0
        capsys.readouterr()
        refused(capsys, *command, "a/b", words="cannot name a model")
        (tmp_path / "theirs.pth").write_bytes(b"no weights")
        refused(capsys, *command, "other", words="theirs.pth")
        (tmp_path / "theirs.pth").unlink()
        refused(capsys, *command, "other", words="theirs.pth")
        assert not (tmp_path / "models" / "other").exists()


class TestUnforeseen:
    """Whatever goes wrong: one sentence, exit 1, and the traceback in a file."""

    @pytest.fixture
    def fails(self, monkeypatch, ct_file, tmp_path):
        def run_with(problem):
            def broken(*_, **__):
                raise problem

            monkeypatch.setattr(segment_command, "segment", broken)
            return run("segment", ct_file, "-o", tmp_path / "out" / "a.nii.gz", "--model", "tiny")

        return run_with

    @pytest.mark.parametrize(
        "problem",
        [
            ValueError("first line\nsecond line of a \udcff path"),
            OSError(5, "Input/output error"),
            RecursionError("too deep"),
            ModuleNotFoundError("No module named 'ICHWeakSegLib.lost'", name="ICHWeakSegLib.lost"),
        ],
    )
    def test_an_error_is_a_sentence_that_names_its_log(self, problem, fails, monkeypatch, tmp_path, capsys):
        logs = tmp_path / "logs"
        logs.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(logs))
        assert fails(problem) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("ichweakseg: ")
        assert said.err.count("\n") == 1
        assert "Traceback" not in said.err
        assert type(problem).__name__ in said.err
        (log,) = logs.iterdir()
        assert str(log) in said.err
        text = log.read_text(encoding="utf-8")
        assert text.startswith("ICHWeakSeg ")
        assert "Traceback (most recent call last)" in text
        assert "in broken" in text
        assert os.name == "nt" or log.stat().st_mode & 0o077 == 0
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]

    def test_without_room_for_a_log_the_sentence_says_where(self, fails, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        assert fails(ValueError("x" * 5000)) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "test_cli.py, line " in said
        assert len(said) < 700

    @pytest.mark.skipif(os.name == "nt", reason="paths are Unicode there")
    def test_a_path_that_is_no_utf_8_can_be_printed(self, tmp_path):
        raw = os.fsencode(tmp_path) + b"/M\xfcller.nii.gz"
        done = subprocess.run(
            [sys.executable, "-m", "ICHWeakSegLib", "phantom", raw],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        )
        assert done.returncode == 0, done.stderr
        assert os.path.exists(raw)
