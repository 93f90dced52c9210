"""What can be asked about a case: numbers of its masks, change between two CTs, report, prognosis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.worker.exchange import Asked, Box, read_asked, write_answer

if TYPE_CHECKING:
    from ICHWeakSegLib.models import Model


def answer_measure(folder: Path, ct: CT, brain: BrainMask | None) -> None:
    """Measure the masks in a case folder; the answer is `Quantities.to_dict`.

    Args:
        folder: of the case, with `write_asked` done.
        ct: its CT.
        brain: of the CT's axial view, where it is known.

    Raises:
        InputError: there is no mask.
    """
    from ICHWeakSegLib.quantify import measure

    asked = read_asked(folder)
    ventricles = None if asked.ventricles is None else asked.ventricles.within(ct.hu.shape)
    quantities = measure(ct, _whole(asked, ct), brain=brain, ventricles=ventricles)
    write_answer(folder, quantities.to_dict())


def answer_follow_up(before: Path, ct_before: CT, after: Path, ct_after: CT) -> None:
    """Compare the masks of two case folders.

    The answer lies in the folder of the later one: `FollowUp.to_dict` with its `sentence`, and the overlay.

    Raises:
        InputError: a CT shows no skull with brain inside, or the two share nothing.
    """
    from ICHWeakSegLib.quantify import follow_up

    masks = [_whole(read_asked(folder), ct) for folder, ct in ((before, ct_before), (after, ct_after))]
    change = follow_up(ct_before, masks[0], ct_after, masks[1])
    answer = change.to_dict() | {"sentence": change.sentence()}
    answer["warnings"] = list(dict.fromkeys([*ct_before.warnings, *ct_after.warnings, *answer["warnings"]]))
    write_answer(after, answer, Box.of(change.overlay))


def answer_report(folder: Path, ct: CT, path: Path, facts: Mapping[str, Any]) -> None:
    """Write the HTML report of a case folder's masks; the answer is the report's path.

    Args:
        folder: of the case, with `write_asked` done.
        ct: its CT. Its `source` may name a patient: the report does not say it.
        path: target, `.html`.
        facts: what is known of the masks: `provenance`, `warnings`, `probabilities` of the axial slices, and
            `entered`, fields of `quantify.Entered`. Each may be missing.

    Raises:
        InputError: the file cannot be written, or an entered value is out of its range.
    """
    from ICHWeakSegLib.quantify import Entered
    from ICHWeakSegLib.report import make_case, write_html

    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"The report {path.name} is an HTML page: give it a name that ends in .html.")
    asked = read_asked(folder)
    probabilities: Sequence[float] | None = facts.get("probabilities")
    case = make_case(
        ct,
        _whole(asked, ct),
        probabilities=probabilities or None,
        map=None if asked.map is None else asked.map.within(ct.hu.shape),
        provenance=facts.get("provenance"),
        warnings=[*ct.warnings, *facts.get("warnings", ())],
        entered=Entered(**facts.get("entered", {})),
        scrub=lambda text: text.replace(ct.source, "the CT") if ct.source else text,
    )
    write_html(path, case)
    write_answer(folder, {"path": str(path)})


def answer_prognosis(
    folder: Path,
    ct: CT,
    model: Model,
    asked: Mapping[str, Any],
    progress: Callable[[str, int, int], None],
) -> None:
    """Forecast the outcome of one patient; the answer is `Assessment.to_dict`.

    Args:
        folder: of the case.
        ct: its CT.
        model: a loaded package of prognosis.
        asked: `clinical`, fields of `Clinical`; `facts`, fields of `ScoreFacts`; `volume_ml` of the hematoma, for
            the scores; `device`. Each may be missing.
        progress: called as (stage, done, total).

    Raises:
        InputError: the model tells no outcome, or a field is out of its range.
    """
    from ICHWeakSegLib.prognosis.assess import assess
    from ICHWeakSegLib.prognosis.clinical import Clinical
    from ICHWeakSegLib.prognosis.score_facts import ScoreFacts

    found = assess(
        model,
        ct,
        Clinical.from_fields(asked.get("clinical") or {}),
        ScoreFacts.from_fields(asked.get("facts") or {}),
        volume_ml=asked.get("volume_ml"),
        device=asked.get("device") or "auto",
        progress=progress,
    )
    write_answer(folder, found.to_dict())


def _whole(asked: Asked, ct: CT) -> dict[str, np.ndarray]:
    """Masks on the CT's whole grid."""
    return {name: box.within(ct.hu.shape) for name, box in asked.masks.items()}
