"""What the user entered about a patient, kept in the parameter node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What the parameter node holds where nothing was entered; also the spin boxes' lowest values.
NO_NUMBER, NO_GCS = -1, 2
EMPTY = {
    "scoreVolume": -1.0,
    "scoreGcs": NO_GCS,
    "scoreAge": NO_NUMBER,
    "scoreLocation": "",
    "scoreIvh": "",
    "scoreCognition": "",
    "sex": "",
    "onsetHours": -1.0,
    "history": "",
}
_YES_NO = {"yes": True, "no": False, "": None}


class Entries:
    """Entries about the patient on one CT: on another one they begin anew, so that nothing mixes two patients.

    Args:
        parameters: gives the parameter node's wrapper, or None.
        ct: gives the CT that is shown, or None.
    """

    def __init__(self, parameters: Callable[[], Any], ct: Callable[[], Any]) -> None:
        self._parameters, self._ct = parameters, ct

    @property
    def writable(self) -> bool:
        """Whether there is a parameter node."""
        return self._parameters() is not None

    def read(self) -> dict[str, Any]:
        """What was entered for the shown CT, by the parameter node's names."""
        parameters = self._parameters()
        if parameters is None or parameters.scoredVolume is not self._ct():
            return dict(EMPTY)
        return {name: getattr(parameters, name) for name in EMPTY}

    def write(self, values: dict[str, Any]) -> None:
        """Keep values for the shown CT; the others stay as they are for it."""
        parameters, values = self._parameters(), self.read() | values
        parameters.scoredVolume = self._ct()
        for name, value in values.items():
            if getattr(parameters, name) != value:
                setattr(parameters, name, value)

    def forScores(self) -> dict[str, Any]:
        """As arguments of `clinicalScores`; None where nothing was entered."""
        found = self.read()
        return {
            "gcs": None if found["scoreGcs"] <= NO_GCS else found["scoreGcs"],
            "age": None if found["scoreAge"] <= NO_NUMBER else float(found["scoreAge"]),
            "ivh": _YES_NO[found["scoreIvh"]],
            "infratentorial": None,
            "location": found["scoreLocation"] or None,
            "cognitiveImpairment": _YES_NO[found["scoreCognition"]],
            "volumeMl": None if found["scoreVolume"] < 0 else found["scoreVolume"],
        }

    def forPrognosis(self) -> dict[str, Any]:
        """As arguments of `prognosis`."""
        found = self.read()
        more = {
            "sex": found["sex"] or None,
            "onsetHours": None if found["onsetHours"] < 0 else found["onsetHours"],
            "history": found["history"],
        }
        return {name: value for name, value in self.forScores().items() if name != "infratentorial"} | more
