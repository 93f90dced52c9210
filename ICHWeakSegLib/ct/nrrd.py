"""Reading a CT from NRRD; the space directions of a sheared grid survive."""

from __future__ import annotations

import bz2
import gzip
import re
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.hu import HUVolume
from ICHWeakSegLib.ct.shape import check_grid, require_3d
from ICHWeakSegLib.ct.volume import CT

# Sign of each world axis on the way to RAS.
_TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_STREAMS = {"gzip": gzip.open, "gz": gzip.open, "bzip2": bz2.open, "bz2": bz2.open}
# Units of length of a world axis in mm; others are taken as mm.
_MM = {"m": 1000.0, "cm": 10.0, "um": 0.001}
_DATA_FILE = re.compile(r"data ?file: *(.*)", re.IGNORECASE)
_BROKEN = (EOFError, OSError, ValueError, KeyError, IndexError, StopIteration, TypeError, zlib.error)


def read_nrrd(path: Path) -> CT:
    """Read `.nrrd` or `.nhdr`; files with attached raw or compressed data are read slice by slice.

    Raises:
        InputError: truncated or damaged, not 3D, a vector image, NaN or without a usable grid.
    """
    import nrrd

    warnings: list[str] = []
    with open(path, "rb") as file:
        try:
            names = _names_of_pieces(file)
            header = nrrd.read_header(_before_names(file) if names else file)
            # numpy raises no error of its own for a header that lacks the essentials.
            sizes = [int(size) for size in header["sizes"]]
            kept = _volume_axes(header, sizes, path)
            shape = tuple(sizes[axis] for axis in kept)
            affine = _affine(header, kept, path, warnings)
        except InputError:
            raise
        except (*_BROKEN, nrrd.NRRDError) as error:
            raise InputError(
                f"{path} is not a readable NRRD file ({_text(error)}); export it again."
            ) from error
        check_grid(shape, affine, path)
        volume = HUVolume(shape[::-1], str(path))
        try:
            if not names and _streamable(header):
                _stream(header, file, volume)
            else:
                data = (
                    _join(header, names, path)
                    if names
                    else nrrd.read_data(header, file, str(path), index_order="C")
                ).reshape(shape[::-1])
                for k in range(shape[2]):
                    volume.put(k, data[k])
        except InputError:
            raise
        except (*_BROKEN, nrrd.NRRDError) as error:
            raise InputError(
                f"{path} is truncated or damaged ({_text(error)}); copy or export it again."
            ) from error
    return CT(volume.hu, affine, warnings=warnings, source=str(path), info={"format": "NRRD"})


def _names_of_pieces(file: BinaryIO) -> list[str]:
    """Names of the data files where the header has a list or a pattern of them; else none."""
    names: list[str] = []
    listed = False
    for raw in file:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if listed:
            names += [line.strip()] if line.strip() else []
        elif not line:
            break
        elif match := _DATA_FILE.match(line):
            words = match[1].split()
            if words and words[0] == "LIST":
                listed = True
            elif len(words) in (4, 5) and "%" in words[0]:
                # The pattern, its first, last and step, as the format has it.
                first, last, step = map(int, words[1:4])
                names = [words[0] % n for n in range(first, last + (1 if step > 0 else -1), step)]
                break
    file.seek(0)
    return names


def _before_names(file: BinaryIO) -> Iterator[str]:
    """Lines of the header up to the names of its data files; without that field, which pynrrd misreads."""
    for raw in file:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            return
        if match := _DATA_FILE.match(line):
            if match[1].startswith("LIST"):
                return
            continue
        yield line


def _join(header: dict, names: list[str], path: Path) -> np.ndarray:
    """The data of all pieces one behind the other, shape (voxels,)."""
    import nrrd

    voxels, rest = divmod(int(np.prod(header["sizes"], dtype=np.int64)), len(names))
    if rest:
        raise ValueError(f"{len(names)} data files do not share the voxels evenly")
    pieces = []
    for name in names:
        if not (path.parent / name).is_file():
            raise InputError(f"{path} names the data file {name}, which does not exist; copy it as well.")
        piece = {**header, "dimension": 1, "sizes": np.array([voxels]), "data file": name}
        pieces.append(nrrd.read_data(piece, None, str(path), index_order="C"))
    return np.concatenate(pieces)


def _volume_axes(header: dict, sizes: list[int], path: Path) -> tuple[int, ...]:
    kinds = [str(kind).lower() for kind in header.get("kinds", ["domain"] * len(sizes))]
    spatial = [axis for axis in range(len(sizes)) if kinds[axis] in ("domain", "space", "???", "none")]
    if len(spatial) == 3 and all(sizes[axis] == 1 for axis in range(len(sizes)) if axis not in spatial):
        return tuple(spatial)
    require_3d(sizes, path)
    return (0, 1, 2)


def _affine(header: dict, kept: tuple[int, ...], path: Path, warnings: list[str]) -> np.ndarray:
    affine = np.eye(4)
    directions = header.get("space directions")
    if directions is None:
        spacings = np.asarray(header.get("spacings", np.ones(len(header["sizes"]))), float)[list(kept)]
        affine[:3, :3] = np.diag(spacings)
    else:
        rows = [directions[axis] for axis in kept]
        affine[:3, :3] = np.stack([np.full(3, np.nan) if row is None else row for row in rows]).T
        affine[:3, 3] = header.get("space origin", np.zeros(3))
    signs = _TO_RAS.get(str(header.get("space", "")).lower())
    if signs is None or directions is None:
        warnings.append(f"{path.name} does not say how the patient lies: check left and right of the result.")
    units = header.get("space units") if directions is not None else None
    if units is not None:
        affine[:3] *= np.array([_MM.get(str(unit).strip('"').lower(), 1.0) for unit in units])[:, None]
    return np.diag([*(signs or (-1, -1, 1)), 1.0]) @ affine


def _streamable(header: dict) -> bool:
    detached = any(key in header for key in ("data file", "datafile"))
    skips = any(int(header.get(key, 0)) for key in ("byte skip", "byteskip", "line skip", "lineskip"))
    return not detached and not skips and header["encoding"] in ("raw", *_STREAMS)


def _stream(header: dict, file: BinaryIO, volume: HUVolume) -> None:
    import nrrd

    stream = _STREAMS[header["encoding"]](file) if header["encoding"] in _STREAMS else file
    count, rows, columns = volume.hu.shape
    plane = {key: header[key] for key in ("type", "endian") if key in header}
    plane |= {"dimension": 2, "sizes": np.array([columns, rows]), "encoding": "raw"}
    probe = plane | {"dimension": 1, "sizes": np.array([1])}
    size = rows * columns * nrrd.read_data(probe, BytesIO(bytes(16))).itemsize
    for k in range(count):
        data = stream.read(size)
        if len(data) < size:
            raise EOFError(f"the data end in slice {k + 1} of {count}")
        volume.put(k, nrrd.read_data(plane, BytesIO(data), index_order="C"))
    # The check sum of compressed data is compared only when its end is read.
    while stream.read(1 << 20):
        pass


def _text(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
