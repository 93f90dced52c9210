"""Taking what names a patient out of sentences."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.read import VOLUME_ENDINGS

if TYPE_CHECKING:
    from ICHWeakSegLib.ct.dicom.files import DicomFile

_TAGS = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientBirthDate",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "AccessionNumber",
    "StudyID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ReferringPhysicianName",
    "InstitutionName",
)
_SHORTEST = 3
# Files of a folder that may be no DICOM before one is.
_MOST_LOOKED_AT = 50
# Stand for the case and for a folder of it while a text is worked on.
_CASE, _FOLDER = "\1", "\0"
# A file that was not told of, in such a folder or archive, up to what is said of it: names may hold blanks.
_END = r"[^;:(]*?(?=\s(?:is|has|does|cannot|may|was|shows|holds|says|of|and)\b|[;:(]|$)"
_IN_CASE = re.compile(rf"{_CASE}[/\\]{_END}")
_BELOW = re.compile(rf"{_FOLDER}{_END}")
_UID = re.compile(r"(?<![\w.])[0-2](?:\.\d+){5,}")
_PATH = re.compile(r"(?<![\w/\\.])(?:[A-Za-z]:[\\/]|\\\\|/)[^\s'\",;()]+")


class Scrubber:
    """Takes a case's paths and what its header says of the patient out of texts.

    Args:
        case: what stands in their place.
        paths: of the case's files.
        words: from `header_words`, or the caller's.
    """

    def __init__(self, case: str, paths: Iterable[Path], words: Iterable[str] = ()) -> None:
        whole: dict[str, str] = {}
        for path in paths:
            for form in {path, path.resolve()}:
                whole[str(form)] = _CASE
                if form.suffix:
                    whole[form.name] = _CASE
                # A file that was not told of may lie in a folder that names somebody.
                for folder in form.parents:
                    if folder != folder.parent:
                        whole.setdefault(str(folder), _FOLDER)
        self._case = case
        self._whole = sorted(whole.items(), key=lambda item: -len(item[0]))
        words = sorted({word for word in words if len(word) >= _SHORTEST}, key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, words)), re.I) if words else None

    def __call__(self, text: str) -> str:
        """The text on one line without them."""
        for found, instead in self._whole:
            text = text.replace(found, instead)
        text = _IN_CASE.sub(lambda _: self._case, text).replace(_CASE, self._case)
        text = _UID.sub("[uid]", _BELOW.sub("[path]", text))
        if self._words is not None:
            text = self._words.sub("[removed]", text)
        return " ".join(_PATH.sub("[path]", text).split())


def header_words(path: Path) -> list[str]:
    """What identifies the patient in the header of a DICOM file, or of the first one of a folder or archive.

    Nothing for other files.
    """
    from ICHWeakSegLib.ct.dicom.files import dicom_files
    from ICHWeakSegLib.ct.dicom.frames import quiet_pydicom

    if path.is_file() and path.name.lower().endswith(VOLUME_ENDINGS):
        return []
    try:
        with quiet_pydicom(), dicom_files(path) as files:
            for file in files[:_MOST_LOOKED_AT]:
                words = _words_of(file)
                if words:
                    return words
    except (InputError, OSError, zipfile.BadZipFile):
        # Reading it says what is wrong.
        pass
    return []


def _words_of(file: DicomFile) -> list[str]:
    import pydicom

    try:
        with file.open() as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS))
        values = [str(header.get(tag) or "") for tag in _TAGS]
    except Exception:
        # No DICOM, or damaged.
        return []
    parts = [part for value in values for part in re.split(r"[\^=,\s]+", value)]
    return [word for word in [*values, *parts] if word]
