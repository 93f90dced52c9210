"""What Slicer's Extensions Index and a build of the extension get, as CMake itself reads our files.

Slicer's own CMake files are stand-ins here: its macro only notes what it is given.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RAW = "https://raw.githubusercontent.com/"
# The properties of slicer-extension-catalog-entry-schema-v1.0.1.json; it allows no others.
PROPERTIES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
LISTS = """
project(outer NONE)
# Our own file asks for compilers that a module of Python alone does not need.
macro(project name)
  _project(${{name}} NONE)
endmacro()
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(GIVEN "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${{ARGN}})
  file(APPEND "{noted}" "${{GIVEN_NAME}}|${{CMAKE_CURRENT_SOURCE_DIR}}|${{GIVEN_SCRIPTS}}|${{GIVEN_RESOURCES}}\\n")
endfunction()
function(slicer_add_python_unittest)
  cmake_parse_arguments(GIVEN "" "SCRIPT" "" ${{ARGN}})
  file(APPEND "{noted}" "SCRIPT=${{GIVEN_SCRIPT}}\\n")
endfunction()
set(BUILD_TESTING ON)
add_subdirectory("{root}" ours)
"""
NAMES = ("HOMEPAGE", "CATEGORY", "ICONURL", "SCREENSHOTURLS", "DESCRIPTION", "DEPENDS", "CONTRIBUTORS")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The extension's variables, and by module (source folder, scripts, resources) as the build gets them."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    folder = tmp_path_factory.mktemp("cmake")
    noted = folder / "noted.txt"
    said = "".join(f'file(APPEND "{noted}" "{name}=${{EXTENSION_{name}}}\\n")\n' for name in NAMES)
    (folder / "use.cmake").write_text("")
    (folder / "generate.cmake").write_text(f'file(APPEND "{noted}" "NAME=${{PROJECT_NAME}}\\n")\n{said}')
    (folder / "SlicerConfig.cmake").write_text(
        f'set(Slicer_USE_FILE "{folder}/use.cmake")\n'
        f'set(Slicer_EXTENSION_GENERATE_CONFIG "{folder}/generate.cmake")\n'
        f'set(Slicer_EXTENSION_CPACK "{folder}/use.cmake")\n'
    )
    text = "cmake_minimum_required(VERSION 3.16.3...3.28)" + LISTS.format(noted=noted, root=ROOT)
    (folder / "CMakeLists.txt").write_text(text)
    done = subprocess.run(
        [cmake, "-S", folder, "-B", folder / "build", f"-DSlicer_DIR={folder}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    variables, modules = {}, {}
    for line in noted.read_text().splitlines():
        if "|" in line:
            name, source, scripts, resources = line.split("|")
            modules[name] = Path(source), scripts.split(";"), resources.split(";")
        else:
            name, _, value = line.partition("=")
            variables[name] = value
    return variables, modules


@pytest.fixture
def entry():
    return json.loads((ROOT / "ICHWeakSeg.json").read_text())


def test_the_catalog_entry_keeps_the_schema(entry):
    assert {"$schema", "category", "scm_url"} <= entry.keys()
    for name, value in entry.items():
        assert type(value) is PROPERTIES[name], name
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert 1 <= entry["tier"] <= 5


def test_the_catalog_entry_and_cmake_say_the_same(entry, build):
    variables, _ = build
    assert variables["NAME"] == "ICHWeakSeg"  # the entry's file name
    assert variables["CATEGORY"] == entry["category"]
    assert variables["HOMEPAGE"] == entry["scm_url"]
    assert variables["DEPENDS"].split(";") == entry["build_dependencies"]
    assert variables["DESCRIPTION"]
    assert variables["CONTRIBUTORS"]


def raw_start(entry):
    """What the address of a file of the repository begins with."""
    return f"{RAW}{entry['scm_url'].removeprefix('https://github.com/')}/{entry['scm_revision']}/"


def test_icon_and_screenshots_are_files_of_the_repository(entry, build):
    variables, _ = build
    start = raw_start(entry)
    addresses = [variables["ICONURL"], *variables["SCREENSHOTURLS"].split()]
    for address in addresses:
        assert address.startswith(start)
        assert (ROOT / address.removeprefix(start)).is_file(), address
    header = (ROOT / addresses[0].removeprefix(start)).read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert struct.unpack(">II", header[16:]) == (128, 128)


def test_the_index_finds_the_addresses_without_cmake(entry):
    """It reads our file as text, and takes what stands between the quotation marks as it is."""
    text = (ROOT / "CMakeLists.txt").read_text()

    def told(name: str) -> str:
        (value,) = re.findall(rf'^set\(EXTENSION_{name} "([^"]+)"\)$', text, re.MULTILINE)
        assert "$" not in value, name
        return value

    assert re.findall(r"project\s*\(\s*([^\s)]+)", text)[0] == "ICHWeakSeg"
    assert (ROOT / "ICHWeakSeg.json").is_file()
    assert told("CATEGORY") == entry["category"]
    assert told("HOMEPAGE") == entry["scm_url"]
    assert told("CONTRIBUTORS")
    assert told("DESCRIPTION")
    for address in [told("ICONURL"), *told("SCREENSHOTURLS").split()]:
        assert address.startswith(raw_start(entry))
        assert address.endswith(".png")
        assert (ROOT / address.removeprefix(raw_start(entry))).is_file(), address


def test_the_index_takes_the_names(entry):
    """The repository's name starts with "Slicer", the extension's does not."""
    assert re.fullmatch(r"https://github\.com/[^/]+/SlicerICHWeakSeg", entry["scm_url"])
    assert b"\r" not in (ROOT / "ICHWeakSeg.json").read_bytes()


def test_ctest_runs_a_script_that_exists(build):
    variables, _ = build
    script = Path(variables["SCRIPT"])
    assert script == ROOT / "ICHWeakSeg" / "ICHWeakSeg.py"
    assert script.is_file()
    # CTest looks for the test class in the module of that name.
    assert f"class {script.stem}Test(ScriptedLoadableModuleTest)" in script.read_text("utf-8")


def files_below(folder: Path) -> set[str]:
    """Files relative to the module's folder, without caches and hidden ones."""
    inside = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {
        path.as_posix()
        for path in inside
        if "__pycache__" not in path.parts and not any(part.startswith(".") for part in path.parts)
    }


def test_the_build_installs_every_file_of_the_module(build):
    _, modules = build
    source, scripts, resources = modules["ICHWeakSeg"]
    assert source == ROOT / "ICHWeakSeg"
    files = files_below(source) - {"CMakeLists.txt"}
    assert set(scripts) == {file for file in files if file.endswith(".py")}
    assert set(resources) == {file for file in files if file.startswith("Resources/")}
    assert files == {*scripts, *resources}


def test_the_build_installs_every_file_of_the_library(build):
    _, modules = build
    source, scripts, resources = modules["ICHWeakSegLib"]
    given = {*scripts, *resources} - {""}
    assert source == ROOT
    assert {f"ICHWeakSegLib/{file}" for file in files_below(ROOT / "ICHWeakSegLib")} == given


def test_no_file_is_too_large_for_the_index():
    large = [path for path in (ROOT / "ICHWeakSeg").rglob("*") if path.stat().st_size > 100e6]
    assert large == []


def test_the_licence_is_there():
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text()
