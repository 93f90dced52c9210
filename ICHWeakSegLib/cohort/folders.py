"""Case folders: written beside their place, renamed into it as a whole, never seen half-done."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ICHWeakSegLib.ct.atomic import atomic_path

CASES, FAILED = "cases", "failed"
RESULT_FILE = "result.json"
_PART, _OLD = ".part", ".old"


@contextmanager
def case_folder(cases: Path, name: str, replace: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes `cases/name` once the block succeeds; else it is removed.

    Its files and its name are on disk before it counts as there, so that a power cut leaves all or nothing. Where
    another process was first, its folder stays.

    Args:
        replace: an older folder of this name is another result, and goes.
    """
    # A token: with Dask, a worker that was given up for lost may still be at the same case.
    part = cases / f".{name}.{uuid.uuid4().hex[:8]}{_PART}"
    part.mkdir(parents=True)
    try:
        yield part
        flush_folder(part)
        _rename(part, cases / name, replace)
        flush_folder(cases)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rename(part: Path, target: Path, replace: bool) -> None:
    if replace and target.exists():
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{_OLD}")
        os.rename(target, old)
        shutil.rmtree(old, ignore_errors=True)
    try:
        os.rename(part, target)
    except OSError as problem:
        taken = problem.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES)
        if not (taken and (target / RESULT_FILE).is_file()):
            raise


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems refuse it for folders.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(cases: Path) -> None:
    """Remove what a killed run left of unfinished cases; only for who holds the output folder's lock."""
    for left in [*cases.glob(f".*{_PART}"), *cases.glob(f".*{_OLD}")]:
        shutil.rmtree(left, ignore_errors=True)


def finished(output: Path) -> Iterator[dict[str, Any]]:
    """The results of all finished cases, by name."""
    for folder in sorted((output / CASES).glob("[!.]*")):
        result = read_result(output, folder.name)
        if result is not None:
            yield result


def read_result(output: Path, name: str) -> dict[str, Any] | None:
    """Result of a finished case; None where there is none."""
    return _read(output / CASES / name / RESULT_FILE)


def read_failure(output: Path, name: str) -> dict[str, Any] | None:
    """Why a case failed; None where it did not."""
    return _read(output / FAILED / f"{name}.json")


def failures(output: Path) -> Iterator[dict[str, Any]]:
    """All failures, by name of their cases."""
    for path in sorted((output / FAILED).glob("[!.]*.json")):
        failure = _read(path)
        if failure is not None:
            yield failure


def write_failure(output: Path, name: str, facts: dict[str, Any]) -> None:
    """Keep that a case failed."""
    write_json(output / FAILED / f"{name}.json", facts)


def remove_failure(output: Path, name: str) -> None:
    """Forget that a case failed."""
    (output / FAILED / f"{name}.json").unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write plain values; NaN is refused."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False),
            encoding="utf-8",
            errors="backslashreplace",
        )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None
