"""The house as docs/architecture.md tells it: the test reads the page and the imports."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "ICHWeakSegLib"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# The rooms from the lowest to the highest, as the page lists them.
ROOMS = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", PAGE, re.M)


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in LIB.rglob("*.py")}


def imports_of(name, lazy):
    """Files of the library that a file imports, not counting what only a type checker reads.

    Args:
        lazy: also what functions import.
    """
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not lazy:
            return
        if isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.update({inner if inner in FILES else source} & FILES.keys())
        elif isinstance(node, ast.Import):
            found.update({alias.name for alias in node.names} & FILES.keys())
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(FILES[name].read_text(encoding="utf-8")))
    return found - {name}


def room_of(name):
    return name.split(".")[1] if "." in name else ""


def test_the_page_lists_every_room_once():
    there = {room_of(name) for name in FILES} - {"", "__main__"}
    assert len(ROOMS) == len(set(ROOMS))
    assert set(ROOMS) == there


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_climbs(room):
    climbing = [
        f"{name} imports {other}"
        for name in FILES
        if room_of(name) == room
        for other in imports_of(name, lazy=True)
        if room_of(other) and ROOMS.index(room_of(other)) > ROOMS.index(room)
    ]
    assert not climbing


def test_no_files_import_each_other_in_a_circle():
    # A package's own names do not count: Python has made it before it runs the files inside.
    packages = {name for name, file in FILES.items() if file.name == "__init__.py"}
    graph = {name: imports_of(name, lazy=False) - packages for name in FILES.keys() - packages}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as problem:
        pytest.fail(" -> ".join(problem.args[1]))


def test_the_library_knows_nothing_of_slicer():
    outside = {"slicer", "qt", "ctk", "vtk", "ICHWeakSeg", "ICHWeakSegSlicer"}
    for name, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots = {(node.module or "").split(".")[0]}
            else:
                continue
            assert not roots & outside, name
