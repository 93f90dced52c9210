"""Where DICOM objects lie: one file, a folder tree or a zip archive."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from ICHWeakSegLib.ct.errors import InputError


@dataclass(frozen=True)
class DicomFile:
    """A file on disk or a member of a zip archive.

    Attributes:
        name: name for error texts.
        path: the file, or the archive.
        archive: the open archive that `member` is in; None for a file on disk.
        member: name within the archive.
    """

    name: str
    path: Path
    archive: zipfile.ZipFile | None = None
    member: str = ""

    @property
    def folder(self) -> str:
        """The folder that holds the file, within the archive where it is in one."""
        return str(self.path.parent if self.archive is None else (self.path / self.member).parent)

    def open(self) -> BinaryIO:
        """The content as a binary stream that can seek."""
        if self.archive is None:
            return open(self.path, "rb")
        return BytesIO(self.archive.read(self.member))


@contextmanager
def dicom_files(path: Path) -> Iterator[list[DicomFile]]:
    """All files under `path` in the order of their names; an archive stays open within the context.

    Raises:
        InputError: no files, or an archive that cannot be read.
    """
    if path.is_dir():
        files = [DicomFile(str(file), file) for file in sorted(path.rglob("*")) if file.is_file()]
        if not files:
            raise InputError(f"The folder {path} is empty; give the folder that holds the CT series.")
        yield files
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if any(info.flag_bits & 1 for info in members):
                raise InputError(f"The archive {path} is encrypted; unpack it and give the folder.")
            names = sorted(info.filename for info in members)
            if not names:
                raise InputError(f"The archive {path} is empty; give the folder that holds the CT series.")
            yield [DicomFile(f"{path}/{name}", path, archive, name) for name in names]
    elif path.suffix.lower() == ".zip":
        raise InputError(f"{path} is not a readable zip archive; copy or export it again.")
    else:
        yield [DicomFile(str(path), path)]


def looks_like_dicom(stream: BinaryIO) -> bool:
    """Whether the stream starts like DICOM, with or without its preamble; leaves it at the start."""
    head = stream.read(132)
    stream.seek(0)
    return head[128:132] == b"DICM" or head[:2] in (b"\x08\x00", b"\x02\x00")
