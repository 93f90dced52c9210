"""The packages where an installed extension has them, in a folder with a blank and an umlaut."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# slicer-core stands for the application: it has no slicer.app, so that this Python starts the worker.
SCRIPT = """
import json, sys
sys.path[:0] = [{installed!r}, {helpers!r}]
sys.dont_write_bytecode = True
import slicer_core, slicer
factory = slicer.vtkSegmentationConverterFactory.GetInstance()
factory.RegisterConverterRule(slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule())
factory.RegisterConverterRule(slicer.vtkClosedSurfaceToBinaryLabelmapConversionRule())
import ICHWeakSegLib, ICHWeakSegSlicer
from ICHWeakSegSlicer.logic import SceneLogic
from ICHWeakSegSlicer.workers import libraryFolder
from phantom_heads import head
from slicer.util import updateVolumeFromArray, vtkMatrixFromArray
found = head(5)
scene = slicer.mrmlScene = slicer.vtkMRMLScene()
node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Schädel")
node.SetIJKToRASMatrix(vtkMatrixFromArray(found.ct.ijk_to_ras))
updateVolumeFromArray(node, found.ct.hu)
logic = SceneLogic()
log = []
job = logic.start(node, model={model!r}, onLog=log.append).wait()
import psutil
answer = dict(
    state=job.state, error=job.error, log=log, library=str(libraryFolder()),
    packages=[ICHWeakSegLib.__file__, ICHWeakSegSlicer.__file__],
    models={{model.name: str(model.folder) for model in logic.models()}},
    worker=psutil.Process(logic.client.pid).cwd() if logic.client.pid else "",
    volume=job.result.total.volume_ml if job.result else 0, truth=found.blood_ml)
logic.close()
with open({answer!r}, "w") as file:
    json.dump(answer, file)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """As CMake installs it: module, packages and resources side by side."""
    folder = tmp_path_factory.mktemp("Program Dateien ü") / "lib" / "Slicer-5.10" / "qt-scripted-modules"
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ICHWeakSegLib", folder / "ICHWeakSegLib", ignore=no_cache)
    shutil.copytree(ROOT / "ICHWeakSeg" / "ICHWeakSegSlicer", folder / "ICHWeakSegSlicer", ignore=no_cache)
    shutil.copytree(ROOT / "ICHWeakSeg" / "Resources", folder / "Resources")
    shutil.copy(ROOT / "ICHWeakSeg" / "ICHWeakSeg.py", folder)
    return folder


def test_the_worker_and_the_models_are_found_beside_the_module(installed, models, tmp_path, monkeypatch):
    monkeypatch.delenv("ICHWEAKSEG_MODELS", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    answer, script = tmp_path / "answer.json", tmp_path / "run.py"
    texts = {
        "installed": str(installed),
        "helpers": str(ROOT / "Testing" / "lib"),
        "model": str(models / "tiny"),
        "answer": str(answer),
    }
    script.write_text(SCRIPT.format(**texts), "utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(answer.read_text("utf-8"))
    assert told["state"] == "finished", (told["error"], told["log"])
    assert Path(told["library"]) == installed
    assert all(Path(one).is_relative_to(installed) for one in told["packages"])
    assert Path(told["models"]["starter"]) == installed / "Resources" / "Models" / "starter"
    assert Path(told["worker"]) == installed
    assert told["volume"] == pytest.approx(told["truth"], rel=0.3)
