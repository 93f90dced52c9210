"""What the ICH and FUNC scores ask beside volume, age and Glasgow Coma Scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.prognosis.clinical import MISSING
from ICHWeakSegLib.quantify.func_score import LOCATIONS

NAMES = ("ivh", "infratentorial", "location", "cognitive_impairment")
_YES = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}


@dataclass(frozen=True)
class ScoreFacts:
    """Inputs of the scores that never enter the text; None where they are not known.

    Attributes:
        ivh: blood in the ventricles on the first CT.
        infratentorial: whether the bleed began below the tentorium.
        location: `lobar`, `deep` or `infratentorial`.
        cognitive_impairment: whether there was one before the hemorrhage.
    """

    ivh: bool | None = None
    infratentorial: bool | None = None
    location: str | None = None
    cognitive_impairment: bool | None = None

    @classmethod
    def from_fields(cls, mapping: Mapping[str, Any], where: str = "") -> ScoreFacts:
        """From a CSV row or JSON object; says `infratentorial` where only the location does, and the reverse.

        Raises:
            InputError: a value that is not allowed, or location and infratentorial contradict each other.
        """
        start = f"{where}, column " if where else ""
        found: dict[str, Any] = {}
        for name in NAMES:
            value = mapping.get(name)
            text = "" if value is None else str(value).strip().lower()
            if text in MISSING:
                continue
            if name == "location":
                if text not in LOCATIONS:
                    raise InputError(f"{start}location: it is one of {', '.join(LOCATIONS)}, not {value!r}.")
                found[name] = text
            elif text not in _YES:
                raise InputError(f"{start}{name}: it is yes or no (1 or 0), not {value!r}.")
            else:
                found[name] = _YES[text]
        location, below = found.get("location"), found.get("infratentorial")
        if location is not None and below is not None and below != (location == "infratentorial"):
            raise InputError(
                f"{start}infratentorial: it contradicts the location {location}; correct one of them."
            )
        if location is not None:
            found["infratentorial"] = location == "infratentorial"
        elif below:
            found["location"] = "infratentorial"
        return cls(**found)
