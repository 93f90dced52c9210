"""Which of several series is the head CT to segment."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ICHWeakSegLib.ct.dicom.frames import Frame
from ICHWeakSegLib.ct.dicom.stacks import Stack
from ICHWeakSegLib.ct.errors import InputError

FEWEST_SLICES = 3
FEWEST_SLICES_UNASKED = 8
_HEAD = re.compile(
    r"head|brain|skull|crani|cerebr|kopf|sch[aä]del|t[eê]te|cabeza|\bccT\b|\bncct\b|\bnect\b", re.I
)
_NECK = re.compile(r"neck|hals|cervical|\bc[- ]?spine", re.I)
_ELSEWHERE = re.compile(r"chest|thorax|abd|pelvi|spine|lung|cardiac|liver|\bleg|knee|extrem", re.I)
_CONTRAST = re.compile(
    r"\bcta\b|angio|perf|\bctp\b|post[- ]?c|\bc\+|venog|arterial|(?<!non)(?<!non[- ])contrast", re.I
)
_NO_CONTRAST = re.compile(r"without|w/o|\bwo\b|non|nativ|plain|unenhanced|\bc-", re.I)
_PROJECTION = re.compile(r"\bmip\b|\bminip\b|\b3d\b|\bvr[t]?\b|volren|surface|mpr colou?r", re.I)
_SHARP = re.compile(r"\bbone|\bedge|\blung|bony|knochen|sharp|\bos\b|ultra", re.I)

_PROJECTED = {"MIP", "MINIP", "VOLREN", "PROJECTION IMAGE"}
_MAP = re.compile(
    r"iodine|\bvnc\b|\bvnu\b|virtual|\bvmi\b|mono[ -]?e|monochromatic|\d ?kev\b|z[ _-]?eff|eff\w* z\b|spectral|"
    r"electron[ _]density|material|\bcb[fv]\b|\bmtt\b|\bttp\b|\btmax\b|perfusion map|subtract",
    re.I,
)
# Thick slices made of thin ones are derived too, and as good as the scanner's own.
_PLAIN_DERIVED = {"AXIAL", "MPR", "REFORMATTED", "AVERAGE", "RESAMPLED", "VOLUME"}


def choose_stack(stacks: Sequence[Stack], where: str, series: str | None = None) -> tuple[Stack, bool]:
    """Choose the stack to read.

    A series that was asked for is taken. Otherwise stacks of at least 8 axial slices compete by points:
    head in its description or body part +4 (neck +1, another region -6), bone kernel -4, slices of 2-6 mm
    +2, of 1-2 mm +1, original +1, contrast -4, projections and renderings -6. The best one is taken if it
    stands alone; a stack without rivals is taken whatever its points.

    Returns:
        The stack and whether it was chosen among rivals.

    Raises:
        InputError: unknown `series`, no stack of 3 slices, or no single best one; lists what there is.
    """
    usable = [stack for stack in stacks if len(stack.frames) >= FEWEST_SLICES]
    if series is not None:
        usable = [stack for stack in usable if series in (stack.key, stack.frames[0].series[-1])]
        if not usable:
            raise InputError(
                f"{where} has no CT series {series} with 3 or more slices; it has {_list(stacks)}."
            )
    if not usable:
        count = max((len(stack.frames) for stack in stacks), default=0)
        few = "one slice" if count == 1 else f"{count} slices"
        raise InputError(
            f"{where} has only {few} in its largest CT series; give the folder of the whole head CT."
        )
    if len(usable) == 1:
        return usable[0], False
    rivals = [stack for stack in usable if stack.is_axial and len(stack.frames) >= FEWEST_SLICES_UNASKED]
    if not rivals:
        raise _ambiguous(usable, where)
    ranked = sorted(rivals, key=points, reverse=True)
    if len(ranked) > 1 and points(ranked[0]) == points(ranked[1]):
        raise _ambiguous([stack for stack in ranked if points(stack) == points(ranked[0])], where)
    return ranked[0], True


def points(stack: Stack) -> int:
    """How much a stack looks like a soft-tissue axial head CT; see `choose_stack`."""
    frame = stack.frames[0]
    named = frame.description
    text = f"{named} {frame.hints}"
    total = 0
    if _HEAD.search(text):
        total += 4
    elif _NECK.search(text):
        total += 1
    elif _ELSEWHERE.search(text):
        total -= 6
    if _ELSEWHERE.search(named) and not _HEAD.search(named):
        total -= 6
    if is_sharp(frame.kernel) or _SHARP.search(named):
        total -= 4
    total += 2 if 2.0 <= stack.nominal_spacing <= 6.0 else 1 if 1.0 <= stack.nominal_spacing < 2.0 else 0
    total += "ORIGINAL" in frame.image_type
    if _has_contrast(frame):
        total -= 4
    if _PROJECTION.search(named) or _PROJECTED & set(frame.image_type):
        total -= 6
    return total


def cautions(stack: Stack) -> list[str]:
    """Sentences on what makes a stack no plain head CT by its headers."""
    frame = stack.frames[0]
    named = frame.description
    said = []
    if any(_has_contrast(each) for each in stack.frames):
        said.append(
            "The series was made with contrast medium by its header: enhanced vessels can be taken for blood; "
            "give the non-contrast head CT if there is one."
        )
    if is_sharp(frame.kernel) or _SHARP.search(named):
        said.append(
            f"The series was made with a sharp kernel for bone or lung ({frame.kernel or 'by its description'}): "
            "its noise can hide blood or look like it; give the soft-tissue series if there is one."
        )
    kinds = {value.upper() for value in frame.image_type}
    spectral = _MAP.search(" ".join([named, *kinds]).replace("_", " "))
    projected = _PROJECTION.search(named) or _PROJECTED & kinds
    derived = "DERIVED" in kinds and not kinds & _PLAIN_DERIVED
    if spectral or projected or derived:
        what = (
            "a spectral or parameter map"
            if spectral
            else "a projection or rendering"
            if projected
            else "derived"
        )
        said.append(
            f"The series is {what} by its header ({'/'.join(dict.fromkeys(frame.image_type))}): its values need "
            "not be those of a plain head CT; give the original series if there is one."
        )
    return said


def _has_contrast(frame: Frame) -> bool:
    named = frame.description
    return bool(frame.contrast or _CONTRAST.search(named)) and not _NO_CONTRAST.search(named)


def is_sharp(kernel: str) -> bool:
    """Whether a reconstruction kernel of the large makers is one for bone or lung."""
    siemens = re.match(r"[A-Z][a-z]?(\d{2})[a-z]?\b", kernel)
    canon = re.match(r"FC(\d{2})", kernel)
    if canon:
        return int(canon[1]) // 10 in (3, 5, 8)
    if siemens:
        return int(siemens[1]) >= 50
    return bool(re.match(r"bone|edge|lung|Y[A-E]\b|[DE]\b", kernel, re.I))


def _list(stacks: Sequence[Stack]) -> str:
    return "; ".join(stack.listing() for stack in stacks)


def _ambiguous(stacks: Sequence[Stack], where: str) -> InputError:
    return InputError(
        f"{where} has {len(stacks)} CT series that could be meant; choose one with --series: {_list(stacks)}."
    )
