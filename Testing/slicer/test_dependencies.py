"""Installing what the segmentation needs: a real pip in a fresh Python, started by slicer-core's `slicer.util`.

Where Slicer's part is a stand-in (pip_ensure, PyTorchUtils, the question to the user), the test hands it in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import types
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from fresh_python import FreshPython
from tiny_wheels import module_of, never_built, tiny_wheel

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegSlicer import dependencies as module
from ICHWeakSegSlicer.dependencies import Dependencies
from ICHWeakSegSlicer.pipfailure import failureSentence
from ICHWeakSegSlicer.pipwatch import PipWatch, endTree

REQUIREMENTS = Path(__file__).resolve().parents[2] / "ICHWeakSeg" / "Resources" / "requirements.txt"
GONE = "ichweakseg-no-such-package>=1.0"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fresh Python is made for POSIX")


@pytest.fixture
def fresh(tmp_path):
    return FreshPython(tmp_path)


@pytest.fixture
def wheels(tmp_path):
    """A folder of wheels, its name with a blank and an umlaut: torch and its pair, and two nibabels."""
    folder = tmp_path / "wheels für Slicer"
    tiny_wheel(folder, "torch", "2.5.0", ("numpy",))
    tiny_wheel(folder, "torchvision", "0.20.0", ("torch==2.5.0", "numpy"))
    tiny_wheel(folder, "numpy", "1.26.0")
    tiny_wheel(folder, "numpy", "2.1.0")
    # The newest would replace Slicer's numpy.
    tiny_wheel(folder, "nibabel", "5.9.0", ("numpy>=2",))
    tiny_wheel(folder, "nibabel", "5.2.0", ("numpy>=1",))
    return folder


def local_index(folder: Path) -> dict[str, str]:
    """pip's settings for a folder in place of the internet."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.as_uri()}


def requirements(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text("# needed\n" + "\n".join(lines) + "\n")
    return path


# ---------------------------------------------------------------- a real pip


def test_installs_what_is_missing_and_keeps_slicers_numpy(fresh, wheels, tmp_path):
    fresh.pip("install", "--no-index", "--find-links", str(wheels), "numpy==1.26.0")
    needs = requirements(tmp_path, "nibabel>=5.0  # files", "", "--no-cache-dir", "numpy>=1.20")
    answer = fresh.run(
        f"""
        d = Dependencies({str(needs)!r})
        answer["before"] = [str(need) for need in d.missing()], d.installed()
        answer["imported"] = [name for name in ("torch", "torchvision", "nibabel") if name in sys.modules]
        outcome = install(d)
        answer["outcome"] = vars(outcome)
        answer["after"] = d.installed(), d.describe()
        answer["versions"] = {{n: version(n) for n in ("torch", "torchvision", "nibabel", "numpy")}}
        answer["again"] = vars(install(d))
        """,
        **local_index(wheels),
    )
    assert answer["before"] == [["torch>=2.2", "torchvision>=0.17", "nibabel>=5.0"], False]
    assert answer["imported"] == []
    assert answer["outcome"] == {
        "installed": True,
        "restartNeeded": False,
        "sentence": "All Python packages that the segmentation needs are installed.",
        "cancelled": False,
    }
    assert answer["after"] == [True, answer["outcome"]["sentence"]]
    assert answer["versions"] == {
        "torch": "2.5.0",
        "torchvision": "0.20.0",
        "nibabel": "5.2.0",
        "numpy": "1.26.0",
    }
    assert answer["again"]["installed"]
    stages = answer["stages"]
    assert stages[0] == ["Installing PyTorch", 0, 2]
    assert ["Installing nibabel", 1, 2] in stages
    assert stages[-1] == ["Installing packages", 2, 2]
    assert any("Successfully installed nibabel-5.2.0" in line for line in answer["log"])
    assert answer["ticks"] > 5


def test_without_the_constraint_numpy_would_have_been_replaced(fresh, wheels, tmp_path):
    fresh.pip("install", "--no-index", "--find-links", str(wheels), "numpy==1.26.0")
    needs = requirements(tmp_path, "nibabel>=5.0")
    answer = fresh.run(
        f"""
        import {module_of("numpy")}
        outcome = install(Dependencies({str(needs)!r}, torch=(), own=()))
        answer["outcome"] = vars(outcome)
        answer["numpy"] = version("numpy")
        """,
        **local_index(wheels),
    )
    assert answer["numpy"] == "2.1.0"
    # And a changed package that this process had loaded asks for a restart.
    assert answer["outcome"]["installed"]
    assert answer["outcome"]["restartNeeded"]
    assert "Restart Slicer" in answer["outcome"]["sentence"]


def test_an_installer_that_ignores_the_constraints_is_told_of(fresh, wheels, tmp_path):
    fresh.pip("install", "--no-index", "--find-links", str(wheels), "numpy==1.26.0")
    tiny_wheel(wheels, "light-the-torch", "0.8.0")
    answer = fresh.run(
        f"""
        class PyTorchUtilsLogic:
            def installTorch(self, **options):
                answer["asked"] = options
                slicer.util.executePythonModule("pip", ["install", "--isolated", "--no-index", "--find-links",
                    {str(wheels)!r}, "torch", "torchvision", "numpy>=2"])
                raise ImportError("torch cannot be loaded")
        sys.modules["PyTorchUtils"] = types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
        answer["outcome"] = vars(install(Dependencies({str(requirements(tmp_path))!r})))
        """,
        **local_index(wheels),
    )
    assert answer["asked"] == {
        "askConfirmation": False,
        "torchVersionRequirement": ">=2.2",
        "torchvisionVersionRequirement": ">=0.17",
    }
    assert answer["outcome"]["installed"]
    changed = "Slicer's own packages were changed; install these again: numpy 1.26.0 (now 2.1.0)."
    assert changed in answer["outcome"]["sentence"]


def test_torchvision_of_another_torch_is_replaced_and_torch_stays(fresh, wheels, tmp_path):
    tiny_wheel(wheels, "torch", "2.6.0")
    tiny_wheel(wheels, "torchvision", "0.21.0", ("torch==2.6.0",))
    fresh.pip("install", "--no-index", "--find-links", str(wheels), "torch==2.5.0", "numpy==1.26.0")
    fresh.pip("install", "--no-index", "--find-links", str(wheels), "--no-deps", "torchvision==0.21.0")
    answer = fresh.run(
        f"""
        d = Dependencies({str(requirements(tmp_path))!r})
        answer["missing"] = [str(need) for need in d.missing()]
        answer["outcome"] = vars(install(d))
        answer["versions"] = version("torch"), version("torchvision")
        """,
        **local_index(wheels),
    )
    assert answer["missing"] == ["torchvision!=0.21.0,>=0.17"]
    assert answer["outcome"]["installed"]
    assert answer["versions"] == ["2.5.0", "0.20.0"]


def test_a_folder_of_wheels_needs_no_index_and_names_what_it_lacks(fresh, wheels, tmp_path):
    needs = requirements(tmp_path, "nibabel>=5.0", "timm>=1.0")
    answer = fresh.run(
        f"""
        d = Dependencies({str(needs)!r})
        answer["outcome"] = vars(install(d, wheels={str(wheels)!r}))
        answer["missing"] = [str(need) for need in d.missing()]
        """,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
    )
    assert not answer["outcome"]["installed"]
    assert not answer["outcome"]["cancelled"]
    assert f"The folder {wheels} has no wheel of timm>=1.0" in answer["outcome"]["sentence"]
    assert answer["missing"] == ["timm>=1.0"]


def test_no_network_is_one_sentence(fresh, tmp_path):
    answer = fresh.run(
        f"""
        d = Dependencies({str(requirements(tmp_path, "nibabel>=5.0"))!r})
        answer["outcome"] = vars(install(d))
        """,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="1",
    )
    sentence = answer["outcome"]["sentence"]
    assert sentence.startswith("PyTorch could not be installed: there is no connection to the package index")
    assert "(pip: Failed to establish a new connection: [Errno " in sentence
    assert "\n" not in sentence
    assert not answer["outcome"]["installed"]


def test_cancel_ends_pip_and_its_children(fresh, wheels, tmp_path):
    note = tmp_path / "pid"
    never_built(wheels, "timm", "1.0.9", note)
    needs = requirements(tmp_path, "nibabel>=5.0", "timm>=1.0")
    answer = fresh.run(
        f"""
        note = Path({str(note)!r})
        started = []
        def cancelled():
            if note.exists() and not started:
                started.append(time.monotonic())
            return bool(started)
        d = Dependencies({str(needs)!r}, torch=())
        answer["outcome"] = vars(install(d, cancelled=cancelled))
        answer["seconds"] = time.monotonic() - started[0]
        answer["missing"] = [str(need) for need in d.missing()]
        """,
        **local_index(wheels),
    )
    assert answer["outcome"] == {
        "installed": False,
        "restartNeeded": False,
        "sentence": "The installation was cancelled; still missing: timm.",
        "cancelled": True,
    }
    assert answer["missing"] == ["timm>=1.0"]
    assert answer["seconds"] < 15
    assert not alive(int(note.read_text()))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_process_that_will_not_end_is_ended_with_its_child(tmp_path):
    note = tmp_path / "pid"
    stubborn = (
        "import os, signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        f"open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    process = subprocess.Popen(["/bin/sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, stubborn])
    while not (note.exists() and note.read_text()):
        time.sleep(0.02)
    endTree(process, grace=0.3)
    assert process.poll() is not None
    assert not alive(int(note.read_text()))


class Stalled(BaseHTTPRequestHandler):
    """An index whose only wheel begins and then comes no further."""

    def do_GET(self):
        self.send_response(200)
        if self.path.endswith(".whl"):
            self.send_header("Content-Length", "50000000")
            self.end_headers()
            self.wfile.write(b"PK" * 50_000)
            self.wfile.flush()
            self.server.begun.set()
            self.server.over.wait(60)
            return
        page = b'<a href="/nibabel-5.2.0-py3-none-any.whl">nibabel-5.2.0-py3-none-any.whl</a>'
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def test_the_window_lives_while_a_download_stalls_and_cancel_works(fresh, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stalled)
    server.begun, server.over = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        answer = fresh.run(
            f"""
            silent = []
            def cancelled():
                if any("Downloading" in line for line in log):
                    silent.append(time.monotonic())
                return len(silent) > 20
            d = Dependencies({str(requirements(tmp_path, "nibabel>=5.0"))!r}, torch=())
            answer["outcome"] = vars(install(d, cancelled=cancelled))
            answer["seconds"] = time.monotonic() - silent[0]
            """,
            PIP_INDEX_URL=f"http://127.0.0.1:{server.server_port}/simple",
        )
        assert server.begun.is_set()
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
    assert answer["outcome"]["cancelled"]
    assert not answer["outcome"]["installed"]
    assert answer["ticks"] > 20
    assert answer["seconds"] < 15


# ------------------------------------------------- metadata, routes, questions


def installed_as(folder: Path, name: str, number: str, *requires: str, record: bool = True) -> None:
    """What importlib.metadata knows of an installed package."""
    info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    info.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {need}\n" for need in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n{needs}")
    if record:
        (info / "RECORD").write_text("")


def missing(tmp_path, *lines: str) -> list[str]:
    return [str(need) for need in Dependencies(requirements(tmp_path, *lines)).missing()]


@pytest.mark.parametrize(
    ("torch", "vision", "asks", "expected"),
    [
        ("2.2.0", "0.17.0", "torch==2.2.0", []),
        ("2.4.1+cu121", "0.19.1+cu121", "torch==2.4.1", []),
        ("2.10.0.dev20260101", "0.25.0", "torch", []),
        ("2.1.2", "0.16.2", "torch==2.1.2", ["torch>=2.2", "torchvision>=0.17"]),
        ("2.5.0", "0.16.2", "torch==2.1.2", ["torchvision>=0.17"]),
        ("2.5.0", "0.19.0", "torch==2.4.0", ["torchvision!=0.19.0,>=0.17"]),
    ],
)
def test_floors_and_pairs(tmp_path, monkeypatch, torch, vision, asks, expected):
    installed_as(tmp_path / "site", "torch", torch)
    installed_as(tmp_path / "site", "torchvision", vision, asks)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert missing(tmp_path) == expected


def test_a_killed_installation_counts_as_missing(tmp_path, monkeypatch):
    installed_as(tmp_path / "site", "ichweakseg-no-such-package", "1.5", record=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert GONE in missing(tmp_path, GONE)
    (tmp_path / "site" / "ichweakseg_no_such_package-1.5.dist-info" / "RECORD").write_text("")
    assert GONE not in missing(tmp_path, GONE)


def test_a_requirement_of_another_system_is_not_asked_for(tmp_path):
    assert GONE not in " ".join(missing(tmp_path, f"{GONE}; sys_platform == 'no-such-system'"))


def test_the_extensions_own_file_has_floors_only_and_nothing_of_slicers(tmp_path):
    needs = Dependencies(REQUIREMENTS)._others()
    assert {"timm", "safetensors"} <= {need.name for need in needs}
    assert all({part.operator for part in need.specifier} == {">="} for need in needs)
    assert not {need.name for need in needs} & {*module.SLICERS_OWN, "torch", "torchvision"}


class FakeSlicer:
    """slicer.util and slicer.packaging that note how they are called; `pip` is what an installation does."""

    def __init__(self, monkeypatch, packaging: bool, answer: bool = True, pip=lambda: None) -> None:
        self.calls: list[tuple] = []
        self.questions: list[str] = []
        util = types.SimpleNamespace(launchConsoleProcess=lambda *_: None)
        util.confirmOkCancelDisplay = lambda text, title: self.questions.append(text) or answer
        slicer = types.ModuleType("slicer")
        slicer.util = util
        # None in sys.modules makes an import fail, as where the module does not exist.
        monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        monkeypatch.setitem(sys.modules, "slicer", slicer)

        def note(route, needs, **options):
            constraints = options.get("constraints") or needs[needs.index("-c") + 1]
            self.calls.append((route, [str(need) for need in needs], options, Path(constraints).read_text()))
            pip()

        util.pip_install = partial(note, "pip_install")
        if packaging:
            slicer.packaging = types.ModuleType("slicer.packaging")
            slicer.packaging.pip_ensure = partial(note, "pip_ensure")
            slicer.packaging.isPipInstallInProgress = lambda: False
            monkeypatch.setitem(sys.modules, "slicer.packaging", slicer.packaging)
        self.module = slicer


def test_pip_ensure_is_asked_for_no_popup_and_gets_the_constraints(tmp_path, monkeypatch):
    slicer = FakeSlicer(monkeypatch, packaging=True)
    outcome = Dependencies(requirements(tmp_path, GONE), torch=()).install()
    ((route, needs, options, constraints),) = slicer.calls
    assert route == "pip_ensure"
    assert needs == [GONE]
    del options["constraints"]
    assert options == {
        "prompt_install": False,
        "prompt_restart": False,
        "show_progress": False,
        "skip_in_testing": False,
        "requester": "ICH WeakSeg",
    }
    assert f"numpy=={version('numpy')}\n" in constraints
    assert f"SimpleITK=={version('SimpleITK')}\n" in constraints
    assert slicer.questions == []
    # This pip_ensure did nothing and raised nothing.
    assert not outcome.installed
    assert "still missing: ichweakseg-no-such-package" in outcome.sentence


@pytest.mark.parametrize("packaging", [True, False])
def test_wheels_go_to_pip_install_without_a_window(tmp_path, monkeypatch, packaging):
    slicer = FakeSlicer(monkeypatch, packaging)
    tiny_wheel(tmp_path / "wheels", "other", "1.0")
    Dependencies(requirements(tmp_path, GONE), torch=()).install(wheels=tmp_path / "wheels")
    ((route, arguments, options, _),) = slicer.calls
    assert route == "pip_install"
    assert arguments[:4] == [GONE, "--no-index", "--find-links", str(tmp_path / "wheels")]
    assert options.get("show_progress", "not known there") == (False if packaging else "not known there")


def test_pytorchutils_installs_torch_with_floors_and_constraints(tmp_path, monkeypatch):
    installed_as(tmp_path / "site", "torch", "2.1.0")
    installed_as(tmp_path / "site", "torchvision", "0.16.0", "torch==2.1.0")
    installed_as(tmp_path / "site", "light_the_torch", "0.8.0")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("PIP_CONSTRAINT", "theirs.txt")
    FakeSlicer(monkeypatch, packaging=True)
    seen = {}

    class PyTorchUtilsLogic:
        def installTorch(self, **options):
            theirs, ours = os.environ["PIP_CONSTRAINT"].split()
            seen.update(options, theirs=theirs, ours=Path(ours.removeprefix("file://")).read_text())
            raise RuntimeError("WinError 5: Access is denied: torch_cpu.dll")

    utils = types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    outcome = Dependencies(requirements(tmp_path)).install()
    assert seen["torchVersionRequirement"] == ">=2.2"
    assert seen["torchvisionVersionRequirement"] == ">=0.17"
    assert seen["askConfirmation"] is False
    assert seen["theirs"] == "theirs.txt"
    assert f"numpy=={version('numpy')}" in seen["ours"]
    assert "torch" not in seen["ours"]
    assert os.environ["PIP_CONSTRAINT"] == "theirs.txt"
    assert "PyTorch could not be installed: a file in Slicer's Python cannot be written" in outcome.sentence


def test_interactive_asks_once_with_the_description(tmp_path, monkeypatch):
    slicer = FakeSlicer(monkeypatch, packaging=True)
    needed = Dependencies(requirements(tmp_path, GONE, f"{GONE.replace('such', 'other')}"), torch=())
    needed.install(interactive=True)
    assert slicer.questions == [needed.describe()]
    assert len(slicer.calls) == 2  # a step a package
    slicer = FakeSlicer(monkeypatch, packaging=True, answer=False)
    outcome = needed.install(interactive=True)
    assert slicer.calls == []
    assert outcome.cancelled
    assert outcome.sentence == "Nothing was installed."


def test_a_bad_folder_of_wheels(tmp_path, monkeypatch):
    slicer = FakeSlicer(monkeypatch, packaging=True)
    needed = Dependencies(requirements(tmp_path, GONE), torch=())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="There is no folder"):
        needed.install(wheels=tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no wheels"):
        needed.install(wheels=tmp_path / "empty")
    outcome = needed.install(interactive=True, wheels=tmp_path / "empty")
    assert "holds no wheels" in outcome.sentence
    assert slicer.calls == slicer.questions == []


def test_a_second_installation_is_refused(tmp_path, monkeypatch):
    needed = Dependencies(requirements(tmp_path, GONE), torch=())
    sentences = []
    slicer = FakeSlicer(monkeypatch, packaging=True, pip=lambda: sentences.append(needed.install().sentence))
    needed.install()
    slicer.module.packaging.isPipInstallInProgress = lambda: True
    sentences.append(needed.install().sentence)
    assert sentences == ["Packages are already being installed: wait until that has ended."] * 2


def test_where_pip_cannot_be_watched_cancel_waits_for_the_step_and_says_so(tmp_path, monkeypatch):
    asked = []
    slicer = FakeSlicer(monkeypatch, packaging=False, pip=lambda: asked.append(True))
    del slicer.module.util.launchConsoleProcess
    needed = Dependencies(requirements(tmp_path, GONE, GONE.replace("such", "other")), torch=())
    outcome = needed.install(cancelled=lambda: bool(asked))
    assert len(slicer.calls) == 1
    assert outcome.cancelled
    assert "only after the package that was under way" in outcome.sentence


@pytest.mark.parametrize(
    ("system", "machine", "extension", "nvidia", "size"),
    [
        ("linux", "x86_64", True, True, "3.0 GB"),
        ("linux", "x86_64", True, False, "210 MB"),
        ("linux", "x86_64", False, False, "3.0 GB"),
        ("win32", "AMD64", False, True, "210 MB"),
        ("darwin", "arm64", False, False, "160 MB"),
    ],
)
def test_the_description_says_what_how_large_and_where(
    tmp_path, monkeypatch, system, machine, extension, nvidia, size
):
    installed_as(tmp_path / "site", "torch", "1.9")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(module.platform, "machine", lambda: machine)
    monkeypatch.setattr(module, "_extensionThere", lambda: extension)
    monkeypatch.setattr(module, "_nvidiaThere", lambda: nvidia)
    monkeypatch.setattr(module, "_freeMegabytes", lambda folder: 100)
    needed = Dependencies(requirements(tmp_path, GONE))
    monkeypatch.setattr(module.sys, "platform", system)
    text = needed.describe()
    monkeypatch.undo()
    assert f"torch>=2.2, {GONE}" in text.replace("torchvision>=0.17, ", "")
    assert f"About {size} will be downloaded" in text
    assert "Slicer's own Python (" in text
    assert "internet, or a folder" in text
    assert "Only 100 MB are free there" in text


# ------------------------------------------------------------ pip's own words


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [
                "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'",
                "ERROR: Could not find a version that satisfies the requirement timm (from versions: none)",
                "ERROR: No matching distribution found for timm",
            ],
            "no connection to the package index",
        ),
        (
            [
                "Collecting timm",
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left",
            ],
            "the disk is full; free some space and install again (pip: Could not install packages",
        ),
        (
            ["ERROR: Could not install packages due to an OSError: [WinError 5] Access is denied"],
            "be written",
        ),
        (["ERROR: No matching distribution found for timm>=1.0"], "no version that fits this Python"),
        (
            ["ERROR: ResolutionImpossible: for help visit https://pip.pypa.io"],
            "fits the packages that Slicer has",
        ),
        (["pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out."], "the download broke off"),
        (["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."], "is damaged"),
        (["SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))"], "could not be trusted"),
        (["Collecting timm", "ERROR: something new", "bye"], "see the log (pip: something new)."),
        ([], "timm could not be installed: see the log."),
    ],
)
def test_pips_failure_as_one_sentence(lines, said):
    sentence = failureSentence("timm", lines)
    assert said in sentence
    assert sentence.startswith("timm could not be installed: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_pips_progress_becomes_megabytes(monkeypatch):
    seen = []
    watch = PipWatch(onDownload=lambda *part: seen.append(part))
    assert watch.take("  Downloading https://files.example.org/ab/torch-2.5.0-cp312-win_amd64.whl (126 MB)\n")
    assert not watch.take("Progress 5000000 of 126000000\n")
    assert seen == [("torch-2.5.0-cp312-win_amd64.whl", 5000000, 126000000)]
    assert len(watch.lines) == 1


def test_nothing_happens_at_import_or_in_the_constructor(tmp_path):
    started = time.monotonic()
    Dependencies(tmp_path / "no such file.txt")
    assert time.monotonic() - started < 1
