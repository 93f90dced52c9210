"""The head CT of every study in a tree of DICOM files, told by their headers alone."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ICHWeakSegLib.cohort.case import Case, Found, Skipped
from ICHWeakSegLib.ct.dicom.choice import FEWEST_SLICES, FEWEST_SLICES_UNASKED, is_sharp, points
from ICHWeakSegLib.ct.dicom.files import DicomFile, dicom_files
from ICHWeakSegLib.ct.dicom.frames import Frame, quiet_pydicom, read_frames
from ICHWeakSegLib.ct.dicom.stacks import Stack, make_stacks
from ICHWeakSegLib.ct.errors import InputError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Candidate:
    """A stack of slices that could be a case, without the memory of its headers.

    Attributes:
        place: folder, archive or multi-frame file.
        series: patient, study, series UID (or its folder) and frame of reference.
        key: of the stack within the cohort.
        paths: the files of its slices; none where `place` itself is read.
        instances: SOP instance UIDs, or files where these do not tell the slices apart.
        slices, spacing_mm, axial, points: as `ct.dicom.choice` looks at them.
        facts: what speaks against it, in words.
        study, patient: of its first slice.
    """

    place: Path
    series: tuple[str, ...]
    key: str
    paths: tuple[Path, ...]
    instances: frozenset[str]
    slices: int
    spacing_mm: float
    axial: bool
    points: int
    facts: str
    study: str
    patient: str


def find_series(files: Sequence[Path], progress: Progress | None = None) -> Found:
    """The head CT series among files of any name.

    Args:
        files: absolute paths; those that are no DICOM are left out with a reason.
        progress: called as (stage, done, total).
    """
    found = Found()
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        # Each archive is a place of its own.
        by_folder[file if file.suffix.lower() == ".zip" else file.parent].append(file)
    candidates: list[_Candidate] = []
    done = 0
    with quiet_pydicom():
        for place, members in by_folder.items():
            if progress is not None:
                progress("looking at DICOM files", done, len(files))
            done += len(members)
            try:
                with _opened(place, members) as opened:
                    candidates += _look(place, opened, found)
            except (InputError, OSError, zipfile.BadZipFile):
                # Reading it says in a sentence what is wrong with it.
                found.cases.append(Case(f"file:{place}", place))
        candidates = _once(candidates, found)
    by_study: dict[tuple[str, str], list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_study[candidate.patient, candidate.study or candidate.series[2]].append(candidate)
    for members in by_study.values():
        _choose(members, found)
    return _told_apart(found)


def _told_apart(found: Found) -> Found:
    """Cases of several patients to whom an anonymiser gave one series UID get keys of their own."""
    counts = Counter(case.key for case in found.cases)

    def apart(case: Case) -> Case:
        return replace(case, key=f"{case.key}/{case.fingerprint[:16]}") if counts[case.key] > 1 else case

    found.cases = [apart(case) for case in found.cases]
    found.skipped = [
        replace(part, copy_of=apart(part.copy_of)) if part.copy_of else part for part in found.skipped
    ]
    return found


@contextmanager
def _opened(place: Path, members: Sequence[Path]) -> Iterator[list[DicomFile]]:
    if place.suffix.lower() == ".zip" and not place.is_dir():
        with dicom_files(place) as files:
            yield files
    else:
        yield [DicomFile(str(file), file) for file in members]


def _look(place: Path, files: Iterable[DicomFile], found: Found) -> list[_Candidate]:
    """The stacks of one folder; what is none is noted as left out."""
    frames: list[Frame] = []
    rejected: Counter[str] = Counter()
    for file in files:
        try:
            frames_of = read_frames(file)
        except OSError as problem:
            rejected[f"cannot be read ({problem.strerror or 'damaged'})"] += 1
            continue
        if frames_of is None:
            rejected["no DICOM and no volume"] += 1
        elif not frames_of:
            rejected["DICOM without image"] += 1
        for frame in (frames_of or [])[:1]:
            if frame.reject:
                rejected[_words(frame.reject)] += 1
        frames += [frame for frame in frames_of or [] if not frame.reject]
    placed = [frame for frame in frames if _placed(frame)]
    if len(placed) < len(frames):
        rejected["CT slices without position or pixel size"] += len(frames) - len(placed)
    found.skipped += [Skipped(place, reason, count) for reason, count in rejected.items()]
    return [_candidate(place, stack) for stack in make_stacks(placed)]


def _words(reject: str) -> str:
    return f"modality {reject}, not CT" if not reject.startswith(("CT", "no ")) else reject


def _placed(frame: Frame) -> bool:
    """Whether a slice says where it lies, how it is turned and how large its pixels are."""
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        return False
    turned = np.linalg.norm(np.cross(frame.orientation[:3], frame.orientation[3:])) >= 0.5
    return bool(turned and min(frame.spacing) > 0)


def _candidate(place: Path, stack: Stack) -> _Candidate:
    first = stack.frames[0]
    single = all(frame.frame_count == 1 and frame.file.archive is None for frame in stack.frames)
    # What was left out of the stack goes along, so that reading it says how much that is.
    frames = [*stack.frames, *stack.dropped, *stack.strays]
    paths = tuple(dict.fromkeys(frame.file.path for frame in frames))
    against = [
        "" if "ORIGINAL" in first.image_type else "derived",
        "sharp kernel" if is_sharp(first.kernel) else "",
        "contrast" if first.contrast else "",
        "" if stack.is_axial else "not axial",
        f"{len(stack.frames)} slices of {stack.nominal_spacing:.2g} mm",
    ]
    return _Candidate(
        place=place if single or len(paths) > 1 else paths[0],
        series=(*first.series, first.frame_of_reference),
        key=stack.key,
        paths=paths if single else (),
        instances=_instances(stack.frames),
        slices=len(stack.frames),
        spacing_mm=stack.nominal_spacing,
        axial=stack.is_axial,
        points=points(stack),
        facts=", ".join(word for word in against if word),
        study=first.study,
        patient=first.patient,
    )


def _instances(frames: Sequence[Frame]) -> frozenset[str]:
    identities = frozenset(frame.identity for frame in frames)
    if len(identities) == len(frames):
        return identities
    return frozenset(f"{frame.file.name}/{frame.index}" for frame in frames)


def _once(candidates: list[_Candidate], found: Found) -> list[_Candidate]:
    """Each series once: copies left out, parts in several folders put together."""
    by_series: dict[tuple[str, ...], list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_series[candidate.series].append(candidate)
    kept = []
    for members in by_series.values():
        if len({member.place for member in members}) == 1:
            kept += members
            continue
        # The fullest first: what is in it already is a copy.
        left: list[_Candidate] = []
        for member in sorted(members, key=lambda member: -member.slices):
            original = next((one for one in left if member.instances <= one.instances), None)
            if original is None:
                left.append(member)
            else:
                found.skipped.append(
                    Skipped(member.place, "a copy of another series", member.slices, _case(original))
                )
        kept += _joined(left, found)
    return kept


def _joined(parts: list[_Candidate], found: Found) -> list[_Candidate]:
    """Stacks of the slices that lie in several folders together."""
    if len({part.place for part in parts}) == 1 or not all(part.paths for part in parts):
        return parts
    frames: dict[tuple[str, str], Frame] = {}
    for path in sorted(path for part in parts for path in part.paths):
        for frame in read_frames(DicomFile(str(path), path)) or []:
            frames.setdefault((frame.identity, str(frame.position)), frame)
    place = Path(os.path.commonpath([part.place for part in parts]))
    stacks = make_stacks([frame for frame in frames.values() if not frame.reject and _placed(frame)])
    return [_candidate(place, stack) for stack in stacks]


def _choose(members: list[_Candidate], found: Found) -> None:
    """The head CT of a study becomes a case; those that rank alike all do."""
    usable = []
    for member in members:
        if member.slices < FEWEST_SLICES:
            found.skipped.append(
                Skipped(member.place, f"a CT series of only {member.slices} slice(s)", member.slices)
            )
        else:
            usable.append(member)
    rivals = usable
    if len(usable) > 1:
        rivals = [one for one in usable if one.axial and one.slices >= FEWEST_SLICES_UNASKED]
        if not rivals:
            found.skipped += [
                Skipped(one.place, f"none of the study's series is axial with {FEWEST_SLICES_UNASKED} slices "
                        "or more: name one in a CSV with a column series", one.slices)
                for one in usable
            ]  # fmt: skip
            return
    best = max((one.points for one in rivals), default=0)
    taken = [one for one in rivals if one.points == best and best >= 0]
    for one in usable:
        if one in taken:
            continue
        why = "another series of the study suits better" if taken else "no head CT by its header"
        found.skipped.append(Skipped(one.place, f"{why} ({one.facts})", one.slices))
    note = f"{len(taken)} series of the study rank alike: each is a case of its own."
    found.cases += [replace(_case(one), notes=(note,) if len(taken) > 1 else ()) for one in taken]


def _case(one: _Candidate) -> Case:
    print_ = hashlib.sha256("\n".join(sorted(one.instances)).encode()).hexdigest()
    if one.paths:
        names = tuple(os.path.relpath(path, one.place) for path in one.paths)
        return Case(f"series:{one.key}", one.place, names, None, "", one.patient, one.study, {}, print_)
    return Case(f"series:{one.key}", one.place, (), one.key, "", one.patient, one.study, {}, print_)
