"""Writing leaves the whole file or none."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ICHWeakSegLib.ct import InputError, atomic_path
from ICHWeakSegLib.ct.atomic import OLD_SECONDS, PREFIX, ending

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.seg.nrrd", ".seg.nrrd"),
        ("b.c.nii.gz", ".nii.gz"),
        ("a.csv", ".csv"),
        ("A.NII.GZ", ".NII.GZ"),
        ("a", ""),
    ],
)
def test_ending(name, expected):
    assert ending(name) == expected


def test_success_renames(tmp_path):
    target = tmp_path / "neu er" / "Ordner ü" / "mask.seg.nrrd"
    with atomic_path(target) as path:
        assert path.parent == target.parent
        assert path.name.startswith(PREFIX)
        assert path.name.endswith(".seg.nrrd")
        path.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]
    with atomic_path(target, suffix=".part") as path:
        assert path.suffix == ".part"
        path.write_bytes(b"again")
    assert target.read_bytes() == b"again"


def write_half(target, error):
    """Start to write and fail."""
    with atomic_path(target) as path:
        path.write_text("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file(tmp_path, error):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(type(error)):
        write_half(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_fails(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.csv"):
        pass


def test_bad_targets(tmp_path):
    with pytest.raises(InputError, match="is a folder; give the name of a file"), atomic_path(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"), atomic_path(tmp_path / "file" / "a.csv"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(InputError, match="may not be written"), atomic_path(tmp_path / "locked" / "a.csv"):
        pass


def test_folder_that_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with (
        pytest.raises(InputError, match="may not be written to; choose another"),
        atomic_path(tmp_path / "a.csv"),
    ):
        pass


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "may not be written or is open")]
)
def test_errors_of_the_disk_become_sentences(tmp_path, number, sentence):
    with pytest.raises(InputError, match=sentence):
        write_half(tmp_path / "a.csv", OSError(number, os.strerror(number)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_for_real(tmp_path):
    with (
        pytest.raises(InputError, match="disk is full"),
        atomic_path(tmp_path / "a.csv"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_errors_of_other_files_pass_through(tmp_path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "a.csv"):
        raise PermissionError(errno.EACCES, "no", "/another/file")


def test_killed_while_writing(tmp_path):
    script = (
        "import sys, time\n"
        "from ICHWeakSegLib.ct import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path, open(path, 'wb') as file:\n"
        "    file.write(b'half'); file.flush(); print('writing', flush=True); time.sleep(60)\n"
    )
    target = tmp_path / "mask.nii.gz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert child.stdout.readline() == "writing\n"
    child.kill()
    child.wait()
    child.stdout.close()
    assert not target.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(PREFIX)
    with atomic_path(target) as path:
        path.write_bytes(b"whole")
    assert left.exists(), "it could belong to a process that is still writing"
    old = time.time() - OLD_SECONDS - 60
    os.utime(left, (old, old))
    with atomic_path(target) as path:
        path.write_bytes(b"whole")
    assert list(tmp_path.iterdir()) == [target]
