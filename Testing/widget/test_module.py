"""The module file by itself: what it imports, its entry, sample data, self-test."""

import subprocess
import sys
import types

import slicer
from widget_tools import PATIENCE, ROOT, module

STARTS = """
import sys
import slicer
sys.path.append({testing!r})
import standins
application = standins.install(slicer.vtkMRMLScene())
from pathlib import Path
application.loadModule(Path({path!r}))
loaded = set(sys.modules)
application.openModule("ICHWeakSeg")
heavy = sorted({{"torch", "torchvision", "timm", "monai", "lightning", "sklearn"}} & set(sys.modules))
assert not heavy, heavy
assert "PySide6" in sys.modules
print("light")
"""


def test_opening_the_module_loads_no_torch():
    code = STARTS.format(testing=str(ROOT / "Testing"), path=str(ROOT / "ICHWeakSeg" / "ICHWeakSeg.py"))
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE
    )
    assert ran.stdout.strip().endswith("light"), ran.stderr


def test_the_package_needs_no_qt():
    """Console scripts, and the tests in Testing/slicer, run where there is no Qt."""
    code = (
        "import sys; sys.modules['qt'] = sys.modules['ctk'] = None\n"
        "import slicer, pathlib, importlib\n"
        f"folder = pathlib.Path({str(ROOT / 'ICHWeakSeg')!r}); sys.path.insert(0, str(folder))\n"
        "names = [f.stem for f in (folder / 'ICHWeakSegSlicer').glob('*.py') if f.stem != '__init__']\n"
        "[importlib.import_module('ICHWeakSegSlicer.' + name) for name in names]\n"
        "print(len(names) > 10)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE
    )
    assert ran.stdout.strip() == "True", ran.stderr


def test_the_entry_in_the_module_list(application):
    parent = slicer.modules.ichweakseg
    assert parent.title == "ICH WeakSeg"
    assert parent.categories == ["Segmentation"]
    assert "research use only" in parent.helpText.lower()
    assert "HGI-SAM" in parent.acknowledgementText
    assert parent.icon.availableSizes()
    assert "ICHWeakSeg" in slicer.selfTests


def test_from_the_console(application):
    from ICHWeakSeg import ICHWeakSegLogic

    logic = ICHWeakSegLogic()
    assert logic.dependenciesInstalled()
    assert not logic.busy
    assert logic.moduleName == "ICHWeakSeg"
    parameters = logic.getParameterNode()
    assert parameters.device == "auto"
    assert logic.getParameterNode().parameterNode is parameters.parameterNode
    logic.close()


def test_the_phantom_is_offered_as_sample_data(application, monkeypatch):
    registered = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(**source):
            registered.append(source)

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=SampleDataLogic))
    application.start()
    (source,) = registered
    assert source["category"] == "ICH WeakSeg"
    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    monkeypatch.setattr(application, "layoutManager", lambda: None, raising=False)
    (node,) = source["customDownloader"](types.SimpleNamespace(**source))
    assert node.GetName() == "Head phantom"
    assert node.GetImageData().GetDimensions()[:2] == (512, 512)
    assert composite.GetBackgroundVolumeID() == node.GetID()


def test_the_self_test(application):
    """As CTest runs it in the application; here on stand-ins, with the real worker and the bundled model."""
    application.runUnitTest(ROOT / "ICHWeakSeg" / "ICHWeakSeg.py")


def test_reload_and_test_runs_the_self_test(application, monkeypatch):
    kind, ran = module().ICHWeakSegTest, []
    tests = [name for name in dir(kind) if name.startswith("test_")]
    for name in tests:
        monkeypatch.setattr(kind, name, lambda self, name=name: ran.append((name, self.messageDelay)))
    slicer.selfTests["ICHWeakSeg"](msec=5)
    assert sorted(ran) == [(name, 5) for name in tests]
