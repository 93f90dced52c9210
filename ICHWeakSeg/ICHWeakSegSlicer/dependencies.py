"""The Python packages that the segmentation needs beyond Slicer's own: what is missing, and installing it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegSlicer.pipfailure import failureSentence
from ICHWeakSegSlicer.pipwatch import PipWatch

TORCH = ("torch>=2.2", "torchvision>=0.17")
# What Slicer is built with or has loaded: another version of these can break it.
SLICERS_OWN = (
    "numpy",
    "scipy",
    "SimpleITK",
    "pydicom",
    "vtk",
    "pillow",
    "dicomweb-client",
    "dcmqi",
    "highdicom",
    "pyjpegls",
)
LIGHT_THE_TORCH = "light-the-torch>=0.5"
TITLE = "ICH WeakSeg: Python packages"

# Download of torch and torchvision with what they need, in MB. Measured on the package index for torch 2.15:
# Linux with CUDA 3030, macOS 140, Windows without CUDA 130, Linux without CUDA 190. Windows with CUDA is
# taken to be as large as Linux.
CUDA_MB, MACOS_MB, NO_CUDA_MB = 3000, 150, 200
# The other packages have 17 MB together; with what they need themselves, about this much each.
PACKAGE_MB = 10
# Unpacked, wheels are two to three times as large.
UNPACKED = 2.5


@dataclass(frozen=True)
class InstallOutcome:
    """How an installation ended.

    Attributes:
        installed: everything that is needed is there now.
        restartNeeded: a package that this Slicer had already loaded got another version.
        sentence: for the user.
        cancelled: the user declined or cancelled.
    """

    installed: bool
    restartNeeded: bool
    sentence: str
    cancelled: bool = False


class Dependencies:
    """What the segmentation needs in Slicer's Python, and the way to get it.

    Nothing happens before a method is called; no method but `install` changes anything, and none but the
    PyTorch extension's own installer imports a package that it asks about.

        dependencies = Dependencies(Path(".../Resources/requirements.txt"))
        if not dependencies.installed():
            outcome = dependencies.install()
            print(outcome.sentence)

    Floors, not pins: `torch` and the lines of `requirementsFile` say the least version; `own` are Slicer's
    packages, which keep the version that they have.
    """

    def __init__(
        self, requirementsFile: Path, torch: tuple[str, ...] = TORCH, own: tuple[str, ...] = SLICERS_OWN
    ) -> None:
        self.requirementsFile = Path(requirementsFile)
        self.torch = torch
        self.own = own
        self._running = False

    # ------------------------------------------------------------------ asking

    def missing(self) -> list[Requirement]:
        """The requirements that are not met, torch and torchvision first; nothing is imported.

        A torchvision that was built for another torch counts as missing, in any version but this one.
        """
        return self._missingTorch() + [need for need in self._others() if not _isMet(need)]

    def installed(self) -> bool:
        """Whether everything is there."""
        return not self.missing()

    def megabytes(self) -> int:
        """About how large the download is, in MB; 0 when nothing is missing."""
        torch = bool(self._missingTorch())
        others = sum(not _isMet(need) for need in self._others())
        return (self._torchMegabytes() if torch else 0) + others * PACKAGE_MB

    def describe(self) -> str:
        """What is missing, about how large it is, where it goes and what it takes; for the user to confirm."""
        missing = self.missing()
        if not missing:
            return "All Python packages that the segmentation needs are installed."
        size = self.megabytes()
        folder = sysconfig.get_paths()["purelib"]
        text = (
            f"The segmentation needs Python packages that Slicer does not have yet: "
            f"{', '.join(str(need) for need in missing)}.\n\n"
            f"About {_sizeText(size)} will be downloaded"
        )
        if self._missingTorch() and self._torchMegabytes() == CUDA_MB:
            text += " (PyTorch for NVIDIA graphics cards is the largest part)"
        text += (
            f" and installed into Slicer's own Python ({folder}). Other programs are not changed, and "
            "Slicer's own packages keep their versions.\n\n"
            "This needs the internet, or a folder with the wheels of the packages."
        )
        free = _freeMegabytes(folder)
        if free is not None and free < size * (1 + UNPACKED):
            needed = _sizeText(round(size * (1 + UNPACKED)))
            text += f"\n\nOnly {_sizeText(free)} are free there; about {needed} are needed for a while."
        return text

    # -------------------------------------------------------------- installing

    def install(
        self,
        interactive: bool = False,
        wheels: Path | str | None = None,
        onProgress: Callable[[str, int, int], None] | None = None,
        onLog: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> InstallOutcome:
        """Install what is missing; blocks, with Slicer's window alive.

        interactive: ask once, with `describe()`. Otherwise nothing is asked and nothing pops up.
        wheels: a folder with wheel files, used instead of the internet. It is filled on a computer with the same
            system and Python by `PythonSlicer -m pip download -d FOLDER torch torchvision -r requirements.txt`.
        onProgress: called as (stage, done, total), in packages; the stage says also how much of a file is here.
        onLog: called with each line that pip writes.
        cancelled: asked often; at True pip is ended at once.

        Also in Slicer's testing mode, in which `slicer.packaging.pip_ensure` would by itself do nothing without
        a word: whoever calls this wants an installation.

        Whatever goes wrong with pip is told by the outcome's sentence.

        Raises:
            InputError: `wheels` is not a folder with wheels, when not interactive.
        """
        if self._running or _otherInstallation():
            return InstallOutcome(
                False, False, "Packages are already being installed: wait until that has ended."
            )
        if not self.missing():
            return InstallOutcome(True, False, self.describe())
        try:
            folder = None if wheels is None else _wheelFolder(Path(wheels))
        except InputError as error:
            if not interactive:
                raise
            return InstallOutcome(False, False, str(error))
        if interactive and not self._confirmed():
            return InstallOutcome(False, False, "Nothing was installed.", cancelled=True)
        self._running = True
        try:
            return self._install(folder, onProgress, onLog, cancelled or (lambda: False))
        finally:
            self._running = False

    def _install(
        self,
        wheels: Path | None,
        onProgress: Callable[[str, int, int], None] | None,
        onLog: Callable[[str], None] | None,
        cancelled: Callable[[], bool],
    ) -> InstallOutcome:
        versions, loaded = _versions(), set(sys.modules)
        steps = self._steps(wheels)
        trouble = ""
        stopped = False
        late = False  # cancel could not take effect before a step's end
        for done, (title, run) in enumerate(steps):
            if stopped := cancelled():
                break

            def tell(detail: str = "", title: str = title, done: int = done) -> None:
                if onProgress is not None:
                    onProgress(f"Installing {title}{detail}", done, len(steps))

            tell()

            def download(file: str, here: int, whole: int, tell: Callable[[str], None] = tell) -> None:
                tell(f": {file.split('-')[0]}, {here / 1e6:.0f} of {whole / 1e6:.0f} MB")

            with (
                tempfile.TemporaryDirectory(prefix="ichweakseg-") as folder,
                PipWatch(onLog, download, cancelled, _environment()) as watch,
            ):
                try:
                    run(self._constraints(Path(folder)))
                    problem = ""
                except Exception as error:  # pip's failure, or an extension's own
                    problem = failureSentence(title, [*watch.lines, *_texts(error)], wheels)
            _forgetCaches()
            if watch.stopped:
                stopped = True
                break
            late = not watch.canStop
            # An error after pip's success (PyTorchUtils imports torch) is told by what is missing at the end.
            if problem and any(not _isMet(need) for need in self._needs(title)):
                trouble = problem
                break
        _forgetCaches()
        if not (stopped or trouble) and onProgress is not None:
            onProgress("Installing packages", len(steps), len(steps))
        return self._outcome(versions, loaded, trouble, stopped, stopped and late)

    def _outcome(
        self, before: dict[str, str], loaded: set[str], trouble: str, stopped: bool, late: bool
    ) -> InstallOutcome:
        after = _versions()
        changed = {name for name, version in after.items() if before.get(name) != version}
        changed |= before.keys() - after.keys()
        restart = any(_importNames(name) & loaded for name in changed)
        missing = self.missing()
        names = ", ".join(need.name for need in missing)
        if trouble:
            sentence = trouble
        elif stopped and missing:
            sentence = f"The installation was cancelled; still missing: {names}."
            if late:
                sentence += " It could be stopped only after the package that was under way."
        elif missing:
            sentence = (
                f"pip ended without an error, but these packages are still missing: {names}; see the log."
            )
        else:
            sentence = "All Python packages that the segmentation needs are installed."
        replaced = [
            f"{name} {before[name]} (now {after.get(name, 'missing')})"
            for name in sorted(canonicalize_name(own) for own in self.own)
            if name in before and after.get(name) != before[name]
        ]
        if replaced:
            sentence += f" Slicer's own packages were changed; install these again: {', '.join(replaced)}."
        if restart:
            sentence += " Restart Slicer: it has loaded other versions of packages that are installed now."
        return InstallOutcome(not missing, restart, sentence, cancelled=stopped and bool(missing))

    def _confirmed(self) -> bool:
        import slicer

        return bool(slicer.util.confirmOkCancelDisplay(self.describe(), TITLE))

    # ------------------------------------------------------------------- steps

    def _steps(self, wheels: Path | None) -> list[tuple[str, Callable[[Path], None]]]:
        """Title, and action given the constraints file: torch with torchvision, then a step a package."""
        steps: list[tuple[str, Callable[[Path], None]]] = []
        torch = self._missingTorch()
        pytorchUtils = _pytorchUtils() if torch and wheels is None else None
        if pytorchUtils is not None:
            # Otherwise PyTorchUtils gets it itself, with a progress window and, when that fails, a popup.
            helper = Requirement(LIGHT_THE_TORCH)
            if not _isMet(helper):
                steps.append((helper.name, lambda constraints: _pipInstall([helper], constraints, None)))
            steps.append(("PyTorch", lambda constraints: self._installTorch(pytorchUtils, constraints)))
        elif torch:
            steps.append(("PyTorch", lambda constraints: _pipInstall(torch, constraints, wheels)))
        for need in self._others():
            if not _isMet(need):
                steps.append(
                    (need.name, lambda constraints, need=need: _pipInstall([need], constraints, wheels))
                )
        return steps

    def _needs(self, title: str) -> list[Requirement]:
        """What must be met after the step of this title."""
        if title == "PyTorch":
            return [Requirement(text) for text in self.torch] + self._missingTorch()
        if title == Requirement(LIGHT_THE_TORCH).name:
            return [Requirement(LIGHT_THE_TORCH)]
        return [need for need in self._others() if need.name == title]

    def _installTorch(self, pytorchUtils: ModuleType, constraints: Path) -> None:
        """By the PyTorch extension, which picks the build that fits the graphics card."""
        missing = {need.name: need for need in self._missingTorch()}
        wanted = {}
        for text in self.torch:
            need = missing.get(Requirement(text).name, Requirement(text))
            wanted[need.name] = str(need.specifier)
        # It hands no constraints on, but pip reads them from here as well; a URL, as pip splits it at blanks.
        own = os.environ.get("PIP_CONSTRAINT")
        os.environ["PIP_CONSTRAINT"] = " ".join(filter(None, [own, constraints.as_uri()]))
        try:
            pytorchUtils.PyTorchUtilsLogic().installTorch(
                askConfirmation=False,
                torchVersionRequirement=wanted["torch"],
                torchvisionVersionRequirement=wanted["torchvision"],
            )
        finally:
            if own is None:
                del os.environ["PIP_CONSTRAINT"]
            else:
                os.environ["PIP_CONSTRAINT"] = own

    def _constraints(self, folder: Path) -> Path:
        """A file for pip that keeps Slicer's own packages, and a torch that is good, at their versions."""
        missing = {canonicalize_name(need.name) for need in self.missing()}
        lines = []
        for name in (*self.own, *(Requirement(text).name for text in self.torch[:1])):
            version = _version(name)
            if version is not None and canonicalize_name(name) not in missing:
                lines.append(f"{name}=={version}\n")
        path = folder / "constraints.txt"
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def _others(self) -> list[Requirement]:
        lines = self.requirementsFile.read_text(encoding="utf-8").splitlines()
        texts = [line.split(" #")[0].strip() for line in lines]
        needs = [Requirement(text) for text in texts if text and not text.startswith(("#", "-"))]
        return [need for need in needs if need.marker is None or need.marker.evaluate()]

    def _missingTorch(self) -> list[Requirement]:
        needs = [Requirement(text) for text in self.torch]
        missing = [need for need in needs if not _isMet(need)]
        vision = next((need for need in needs if need.name == "torchvision"), None)
        if vision is not None and not missing and not _torchvisionFits():
            missing = [Requirement(f"torchvision{vision.specifier},!={_version('torchvision')}")]
        return missing

    def _torchMegabytes(self) -> int:
        if sys.platform == "darwin":
            return MACOS_MB
        if _extensionThere():
            return CUDA_MB if _nvidiaThere() else NO_CUDA_MB
        # Without the extension it comes from the common index: with CUDA for Linux, without for Windows.
        return CUDA_MB if sys.platform.startswith("linux") and platform.machine() == "x86_64" else NO_CUDA_MB


def _pipInstall(needs: list[Requirement], constraints: Path, wheels: Path | None) -> None:
    """Run pip by the best way that this Slicer has, without a popup; raises what that way raises."""
    import slicer

    packaging = _slicerPackaging()
    if wheels is None and packaging is not None:
        packaging.pip_ensure(
            list(needs),
            constraints=constraints,
            prompt_install=False,
            prompt_restart=False,
            show_progress=False,
            skip_in_testing=False,
            requester="ICH WeakSeg",
        )
        return
    arguments = [str(need) for need in needs]
    if wheels is not None:
        arguments += ["--no-index", "--find-links", str(wheels)]
    if packaging is not None:
        # Without this, a window opens, and an error pops up.
        slicer.util.pip_install(arguments, constraints=constraints, show_progress=False)
    else:
        slicer.util.pip_install([*arguments, "-c", str(constraints)])


def _slicerPackaging() -> ModuleType | None:
    """`slicer.packaging`, from 5.11 on."""
    try:
        return importlib.import_module("slicer.packaging")
    except ImportError:
        return None


def _pytorchUtils() -> ModuleType | None:
    """The module of the PyTorch extension; None where it is not installed or cannot be loaded."""
    try:
        return importlib.import_module("PyTorchUtils")
    except Exception:  # somebody else's module, in whatever state: pip can do without it
        return None


def _extensionThere() -> bool:
    return "PyTorchUtils" in sys.modules or importlib.util.find_spec("PyTorchUtils") is not None


def _otherInstallation() -> bool:
    """Whether somebody else's pip runs: two at a time can damage the installation."""
    underWay = getattr(_slicerPackaging(), "isPipInstallInProgress", None)
    return underWay is not None and bool(underWay())


def _environment() -> dict[str, str]:
    """Settings for pip during a step."""
    settings = {
        "PIP_NO_INPUT": "1",  # never wait for an answer that nobody can type
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    pip = _version("pip")
    if pip is not None and Version(pip) >= Version("24.1"):
        settings["PIP_PROGRESS_BAR"] = "raw"  # tells the bytes although no terminal is there
    return settings


def _wheelFolder(folder: Path) -> Path:
    """The folder as an absolute path; refuses what holds no wheels."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: choose the folder that holds the wheels (*.whl).")
    if not any(folder.glob("*.whl")):
        raise InputError(
            f"The folder {folder} holds no wheels (*.whl): choose the one that `pip download` filled."
        )
    return folder.resolve()


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    # pip writes RECORD at the very end: without it an installation was killed in the middle. (An egg has none.)
    whole = distribution.read_text("RECORD") is not None or distribution.read_text("SOURCES.txt") is not None
    return distribution if whole else None


def _version(name: str) -> str | None:
    distribution = _distribution(name)
    return None if distribution is None else distribution.version


def _isMet(need: Requirement) -> bool:
    version = _version(need.name)
    return version is not None and need.specifier.contains(version, prereleases=True)


def _torchvisionFits() -> bool:
    """Whether the torch that is installed is one that torchvision asks for."""
    vision, torch = _distribution("torchvision"), _version("torch")
    if vision is None or torch is None:
        return False
    asked = [Requirement(text) for text in vision.requires or []]
    return all(need.specifier.contains(torch, prereleases=True) for need in asked if need.name == "torch")


def _versions() -> dict[str, str]:
    """Version of each installed package by its canonical name; the first on the path counts, as for `import`."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(canonicalize_name(name), distribution.version)
    return found


def _importNames(package: str) -> set[str]:
    """Top-level names that an installed package is imported by."""
    distribution = _distribution(package)
    if distribution is None:
        return {package.replace("-", "_")}
    listed = (distribution.read_text("top_level.txt") or "").split()
    if listed:
        return set(listed)
    parts = [file.parts for file in distribution.files or [] if file.suffix in (".py", ".so", ".pyd")]
    return {part[0].split(".")[0] for part in parts if part[0] != ".."}


def _forgetCaches() -> None:
    """Let this process see what pip has changed."""
    importlib.invalidate_caches()


def _texts(error: BaseException) -> list[str]:
    """An error that is not just pip's exit status, which says nothing."""
    if type(error).__name__ == "CalledProcessError":
        return []
    return [f"{type(error).__name__}: {error}"]


def _nvidiaThere() -> bool:
    if shutil.which("nvidia-smi"):
        return True
    windows = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvidia-smi.exe"
    return Path("/proc/driver/nvidia/version").exists() or windows.exists()


def _freeMegabytes(folder: str) -> int | None:
    try:
        return round(shutil.disk_usage(folder).free / 1e6)
    except OSError:
        return None


def _sizeText(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
