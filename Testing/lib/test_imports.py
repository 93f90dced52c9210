"""What is loaded when: the Slicer panel opens without heavy libraries."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("scipy", "torch", "timm", "monai", "SimpleITK", "nibabel", "pydicom", "matplotlib")


def loaded_by(*modules):
    """Top-level names of all modules that a new process has after importing these."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def of_the_panel():
    """Modules of the library that the Slicer side imports while Slicer starts, at the top of its files."""
    found = set()
    for file in (ROOT / "ICHWeakSeg").rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ICHWeakSegLib"):
                found.add(node.module)
    return sorted(found)


def test_the_panel_opens_without_heavy_libraries():
    modules = of_the_panel()
    assert "ICHWeakSegLib.worker.client" in modules
    assert not loaded_by(*modules).intersection(HEAVY)


@pytest.mark.parametrize("module", ["ICHWeakSegLib", "ICHWeakSegLib.errors", "ICHWeakSegLib.vocabulary"])
def test_names_and_errors_need_no_numpy(module):
    assert not loaded_by(module).intersection((*HEAVY, "numpy"))


def test_the_function_segment_is_not_hidden_by_its_module():
    code = "import ICHWeakSegLib.segment as s, ICHWeakSegLib; from ICHWeakSegLib import segment; "
    code += "from ICHWeakSegLib.segment import Result; assert callable(segment); assert s is segment; "
    code += "assert ICHWeakSegLib.segment is segment; assert ICHWeakSegLib.Result is Result"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_error_is_one_class_by_all_its_names():
    import ICHWeakSegLib
    from ICHWeakSegLib import ct, errors, models, segment
    from ICHWeakSegLib.ct.errors import InputError

    assert ICHWeakSegLib.InputError is ct.InputError is InputError is errors.InputError
    assert models.ModelError is errors.ModelError
    assert callable(segment)
