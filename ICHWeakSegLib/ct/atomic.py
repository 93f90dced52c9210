"""Nothing half-done: write beside the target, then rename."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError

PREFIX = ".ichweakseg-partial-"
OLD_SECONDS = 24 * 3600
_DOUBLE_ENDINGS = (".seg.nrrd", ".seg.nhdr", ".nii.gz", ".tar.gz", ".csv.gz")
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def ending(path: str | os.PathLike[str]) -> str:
    """The ending that tells the format, such as `.seg.nrrd`, `.nii.gz` or `.csv`; as spelled in `path`."""
    name = Path(path).name
    for double in _DOUBLE_ENDINGS:
        if name.lower().endswith(double):
            return name[-len(double) :]
    return Path(name).suffix


@contextmanager
def atomic_path(target: str | os.PathLike[str], suffix: str | None = None) -> Iterator[Path]:
    """A temporary path in the target's folder that takes the target's name once the block succeeds.

    Missing folders are created. If the block fails, the temporary file is removed and an older target
    stays as it was. What a killed process left behind is swept by a later write after a day.

    Args:
        target: the file to write.
        suffix: ending of the temporary name; None takes the target's, `.seg.nrrd` and `.nii.gz` whole.

    Raises:
        InputError: the target is a folder, its folder cannot be made or written to, or the disk is full.
        FileNotFoundError: the block wrote nothing.

    Example:
        >>> with atomic_path("out/mask.nii.gz") as path:
        ...     nibabel.save(image, path)
    """
    target = Path(target)
    if target.is_dir():
        raise InputError(f"{target} is a folder; give the name of a file to write.")
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be made ({error.strerror}); choose another.") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"The folder {folder} may not be written to; choose another.")
    _sweep(folder)
    partial = folder / f"{PREFIX}{uuid.uuid4().hex[:12]}{ending(target) if suffix is None else suffix}"
    try:
        yield partial
        _flush(partial)
        os.replace(partial, target)
    except OSError as error:
        sentence = _sentence(error, target, partial)
        if sentence is None:
            raise
        raise InputError(sentence) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _sentence(error: OSError, target: Path, partial: Path) -> str | None:
    if error.errno in _FULL:
        return f"The disk is full: {target} was not written; free some space and repeat."
    ours = error.filename is None or str(error.filename) in (str(partial), str(target))
    if error.errno in _FORBIDDEN and ours:
        return (
            f"{target} may not be written or is open in another program; close it or choose another folder."
        )
    return None


def _flush(path: Path) -> None:
    """On disk before the rename: else a power cut can leave the name without the content."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > OLD_SECONDS:
                left.unlink()
