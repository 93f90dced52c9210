"""Which head CTs an input holds: folder trees of DICOM or volumes, tables, patterns."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ICHWeakSegLib.cohort.case import Case, Found, Skipped
from ICHWeakSegLib.cohort.dicom_tree import find_series
from ICHWeakSegLib.cohort.table import read_table
from ICHWeakSegLib.cohort.volumes import find_volumes
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.read import VOLUME_ENDINGS

# Called as (stage, done, total).
Progress = Callable[[str, int, int], None]
# What runs of ours leave; never an input.
_OWN = (".seg.nrrd", ".seg.nhdr")


def find_cases(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    leave_out: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Found:
    """Find the head CTs of one or more inputs.

    - A folder is searched with its subfolders and with what links in it lead to. DICOM series are told apart by
      their headers, whatever their files are called; of each study the soft-tissue axial head series is taken (as
      `ct.dicom.choice` ranks them; series that rank alike are all taken). Volumes (NIfTI, NRRD, MetaImage) and zip
      archives are one case a file.
    - A file of one of these formats is itself a case.
    - A CSV has a column `ct` and, if wanted, `case`, `patient`, `series`; see `table.py`.
    - A pattern with `*`, `?` or `**` stands for whatever it matches.

    Scouts, other modalities, label maps, copies and series that are no head CT are left out with their reasons.

    Args:
        inputs: paths or patterns.
        leave_out: folders that are not searched, such as the output.
        progress: called as (stage, done, total).

    Raises:
        InputError: a path does not exist, a pattern matches nothing, or a table is wrong.

    Example:
        >>> found = find_cases("scans")
        >>> len(found.cases), [part.reason for part in found.skipped]
    """
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    found, files, roots = Found(), [], []
    for given in inputs:
        given = os.path.expanduser(os.fspath(given))
        for path in _matches(given):
            if path.is_dir():
                below, nowhere = _files_below(path, leave_out)
                files += below
                found.skipped += nowhere
            elif path.suffix.lower() == ".csv":
                found.add(read_table(path))
            else:
                files.append(path)
        roots.append(_root(given))
    # The same file may be reached by two inputs.
    files = list(dict.fromkeys(Path(os.path.abspath(file)) for file in files))
    own = [file for file in files if file.name.lower().endswith(_OWN)]
    volumes = [
        file
        for file in files
        if file.name.lower().endswith(VOLUME_ENDINGS) and not file.name.lower().endswith(_OWN)
    ]
    rest = sorted(set(files) - {*own, *volumes})
    found.skipped += [Skipped(file, "a segmentation, not a CT") for file in own]
    found.add(find_volumes(volumes, _common(roots), progress))
    found.add(find_series(rest, progress))
    _check_ids(found.cases)
    return found


def _matches(given: str) -> list[Path]:
    path = Path(given)
    if path.exists():
        return [path]
    if not glob.has_magic(given):
        raise InputError(
            f"{given} does not exist; give a folder, a CSV with a column ct, or a quoted pattern."
        )
    paths = [Path(match) for match in sorted(glob.glob(given, recursive=True))]
    # `**` matches folders and what is in them: the folders would bring everything a second time.
    paths = [path for path in paths if path.is_file()] or paths
    if not paths:
        raise InputError(f"The pattern {given} matches no file; check it.")
    return paths


def _root(given: str) -> Path:
    """The folder that names below an input count from: of a pattern its fixed part."""
    path = Path(given)
    if path.is_dir():
        return path
    fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    return Path(*fixed) if len(fixed) < len(path.parts) else path.parent


def _files_below(folder: Path, leave_out: Sequence[Path]) -> tuple[list[Path], list[Skipped]]:
    """All files of a tree by name, and links that lead nowhere new; hidden ones are not looked at.

    Links to folders are followed after all real folders, so that a file goes by its real name where it has one
    below `folder`; no folder is searched twice, which also ends loops.
    """
    out, seen = {os.path.realpath(place) for place in leave_out}, set()
    files, skipped, links = [], [], [folder]
    while links:
        start = links.pop(0)
        real = os.path.realpath(start)
        if start is not folder and real not in out and (real in seen or _holds(real, start.parent)):
            skipped.append(Skipped(start, "a link to a folder that is searched already or that holds it"))
            continue
        for place, folders, names in os.walk(start):
            real = os.path.realpath(place)
            if real in seen or (real in out and Path(place) != folder):
                folders[:] = []
                continue
            seen.add(real)
            below = [Path(place, name) for name in sorted(folders) if not name.startswith(".")]
            links += [path for path in below if path.is_symlink()]
            folders[:] = [path.name for path in below if not path.is_symlink()]
            files += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return files, skipped


def _holds(folder: str, place: Path) -> bool:
    """Whether a real folder is one of those above a place."""
    return Path(folder) in (Path(os.path.realpath(place)), *Path(os.path.realpath(place)).parents)


def _common(roots: Sequence[Path]) -> Path | None:
    """The folder that names of volumes count from, so that a tree may move as a whole; None for several."""
    places = {Path(os.path.abspath(root)) for root in roots}
    return places.pop() if len(places) == 1 else None


def _check_ids(cases: Sequence[Case]) -> None:
    """Refuse two cases of one caller's id: one would take the other's place."""
    seen: set[str] = set()
    for case in cases:
        # Some file systems do not tell A from a.
        name = case.id.casefold()
        if name and name in seen:
            raise InputError(f"Two cases have the id {case.id}: give each its own in the column case.")
        seen.add(name)
