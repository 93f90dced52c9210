"""Which volume files of a tree are CTs by their headers, and which repeat others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ICHWeakSegLib.cohort.case import Case, Found, Skipped

_FEWEST_SLICES = 3
_LABEL_INTENT = 1002
_BYTES = {"uint8", "int8", "uint8_t", "int8_t", "uchar", "char", "unsigned char", "signed char"}
_SAMPLE_BYTES = 65536


def find_volumes(
    files: Sequence[Path], root: Path | None, progress: Callable[[str, int, int], None] | None = None
) -> Found:
    """Sort volume files into cases and what is left out.

    A file whose header cannot be read stays a case: it fails with a sentence of its own.

    Args:
        files: absolute paths with one of `ct.read.VOLUME_ENDINGS`.
        root: names count from here, so that a tree may move; None: absolute paths count.
    """
    found, seen = Found(), {}
    for number, file in enumerate(files):
        if progress is not None:
            progress("looking at volumes", number, len(files))
        reason = why_no_ct(file)
        if reason:
            found.skipped.append(Skipped(file, reason))
            continue
        print_ = fingerprint(file)
        twins = [case for case in seen.get(print_, ()) if _same_bytes(case.source, file)]
        if print_ and twins:
            found.skipped.append(Skipped(file, "a copy of another file", 1, twins[0]))
            continue
        name = os.path.relpath(file, root) if root is not None else str(file)
        case = Case(f"file:{Path(name).as_posix()}", file, fingerprint=print_)
        seen.setdefault(print_, []).append(case)
        found.cases.append(case)
    return found


def why_no_ct(path: Path) -> str:
    """Why a volume can be no CT by its header, in a few words; empty if it can be one or cannot be read."""
    try:
        shape, kind, intent = _header(path)
    except Exception:
        # Damaged headers raise errors of nearly every type; reading it says what is wrong.
        return ""
    shape = [size for size in shape if size != 1] if len(shape) > 3 else shape
    if intent == _LABEL_INTENT:
        return "a label map, not a CT"
    if kind in _BYTES:
        return "8-bit values: a mask or picture, not a CT in HU"
    if len(shape) > 3:
        return f"{len(shape)}-dimensional, not one CT volume"
    if len(shape) < 3 or min(shape) < _FEWEST_SLICES:
        return f"fewer than {_FEWEST_SLICES} slices"
    return ""


def _header(path: Path) -> tuple[list[int], str, int]:
    """Sizes, name of the value type and NIfTI intent."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        import nibabel

        header = nibabel.load(path).header
        return list(header.get_data_shape()), str(header.get_data_dtype()), int(header.get("intent_code", 0))
    if name.endswith((".nrrd", ".nhdr")):
        import nrrd

        header = nrrd.read_header(str(path))
        return [int(size) for size in header["sizes"]], str(header["type"]), 0
    words = dict(_metaimage_lines(path))
    kind = words["elementtype"].lower().removeprefix("met_").replace("_", " ")
    return [int(size) for size in words["dimsize"].split()], kind, 0


def _metaimage_lines(path: Path) -> list[tuple[str, str]]:
    """The text before the voxels; not read by ITK, which a damaged header can end as a whole."""
    lines = []
    with open(path, "rb") as file:
        for _ in range(100):
            key, separator, value = file.readline(4096).decode("latin-1").partition("=")
            if not separator:
                break
            lines.append((key.strip().lower(), value.strip()))
            if lines[-1][0] == "elementdatafile":
                break
    return lines


def fingerprint(path: Path) -> str:
    """Tells a file's content by its size and parts of it, quick also on a network; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            for part in (0.0, 0.5, 1.0):
                file.seek(max(0, int((size - _SAMPLE_BYTES) * part)))
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError:
        return ""
    return digest.hexdigest()


def _same_bytes(one: Path, other: Path) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        while True:
            parts = first.read(1 << 20), second.read(1 << 20)
            if parts[0] != parts[1]:
                return False
            if not parts[0]:
                return True
