"""Networks of an earlier run that teach a later one, fold by fold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.training.cache import Cropped


def earlier_part(run: Path, part: str, cases: Iterable[Cropped], kind: str) -> Path:
    """The folder of `part` (`fold-0`, `final`) in an earlier run, if its network may teach these cases.

    A network that has seen a patient must not teach a fold that holds him out.

    Args:
        run: output folder of the earlier training.
        part: of the training that it teaches.
        cases: the training cases.
        kind: command of the earlier training, for the sentence.

    Raises:
        InputError: there is no such finished part, or it was trained on a patient who is not in `cases`.
    """
    place = Path(run) / part
    if not (place / "run.json").is_file():
        raise InputError(f"{run} holds no {part}: give the output of a finished '{kind}'.")
    trained = set(json.loads((place / "run.json").read_text(encoding="utf-8"))["train"])
    strange = sorted(trained - {case.patient for case in cases})
    if strange:
        raise InputError(
            f"{place} was trained on the patient {strange[0]}, who is held out here: give both trainings the "
            "same --folds, --valid and --seed."
        )
    return place
