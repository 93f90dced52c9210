"""Output paths, checked before the long work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError


def check_target(flag: str, target: str, endings: Sequence[str]) -> None:
    """Refuse a target that cannot be written; makes no folder and no file.

    Args:
        flag: the option, for the sentence.
        target: as the user gave it.
        endings: allowed ones, in lower case.

    Raises:
        InputError: wrong ending, a folder of that name, or no right to write there.
    """
    from ICHWeakSegLib.output import check_place

    name = Path(target).name.lower()
    foreign = name.endswith(".seg.nrrd") and ".seg.nrrd" not in endings
    if foreign or not name.endswith(tuple(endings)) or name in endings:
        raise InputError(f"{flag} writes {', '.join(endings)}, not {target}: choose such a name.")
    check_place(target)


def check_apart(targets: Mapping[str, str | None], source: str | None = None) -> None:
    """Refuse outputs that would overwrite each other or the input.

    Args:
        targets: option to path; None where it was not given.
        source: path of the input.

    Raises:
        InputError: names the options.
    """
    seen: dict[Path, str] = {}
    for flag, target in targets.items():
        if not target:
            continue
        place = Path(target).resolve()
        if place in seen:
            raise InputError(f"{seen[place]} and {flag} have the same name {target}: give each its own.")
        if source is not None and place == Path(source).expanduser().resolve():
            raise InputError(f"{flag} would overwrite the input {target}: choose another name.")
        seen[place] = flag
