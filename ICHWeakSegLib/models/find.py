"""Where models are kept, and which there are. Needs no torch.

Order: models that came with ICHWeakSeg (bundled) first, then the user's folder. Where both have a model of
one name, the name means the bundled one; the user's is reached by its folder, and the list says that it is
hidden. So nothing that a user installs can quietly take the place of a bundled model.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ICHWeakSegLib.models.card import CARD_FILE, ModelCard, read_card
from ICHWeakSegLib.models.sections import ModelError

MODELS_VARIABLE = "ICHWEAKSEG_MODELS"


@dataclass(frozen=True)
class FoundModel:
    """A model folder.

    Attributes:
        name: the card's name, or the folder's where the card is broken.
        folder: where it lies.
        origin: `bundled` or `user`.
        card: its card; None where broken.
        problem: why it cannot be used; empty where it can.
        hidden: a bundled model has the same name, so that this one is reached by its folder only.
    """

    name: str
    folder: Path
    origin: str
    card: ModelCard | None
    problem: str = ""
    hidden: bool = False


def bundled_folders() -> list[Path]:
    """Existing folders of models that came with ICHWeakSeg.

    A checkout has ICHWeakSegLib beside ICHWeakSeg; an installed Slicer extension has it beside Resources.
    """
    beside = Path(__file__).resolve().parents[2]
    places = (beside / "ICHWeakSeg" / "Resources" / "Models", beside / "Resources" / "Models")
    return [place for place in places if place.is_dir()]


def user_folder() -> Path:
    """Folder of the user's own models; may not exist yet.

    The environment variable ICHWEAKSEG_MODELS, else the platform's place for application data.
    """
    chosen = os.environ.get(MODELS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        data = os.environ.get("XDG_DATA_HOME", "")
        # The XDG rules say that a relative path is to be ignored.
        base = Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share"
    return base / "ICHWeakSeg" / "models"


def list_models() -> list[FoundModel]:
    """All models, bundled ones first, each group by name; broken ones are listed with their problem."""
    found: list[FoundModel] = []
    places = [(folder, "bundled") for folder in bundled_folders()] + [(user_folder(), "user")]
    for place, origin in places:
        taken = {model.name for model in found if model.card is not None}
        group = [_look(folder, origin, taken) for folder in _model_folders(place)]
        found += sorted(group, key=lambda model: model.name)
    return found


def find_model(name_or_dir: str | Path) -> FoundModel:
    """The model of a name or in a folder. A name wins over a folder of that name in the working folder.

    Raises:
        ModelError: there is none, with a list of those there are; or its card is broken.
    """
    models = list_models()
    wanted = str(name_or_dir)
    by_name = [model for model in models if model.name == wanted and not model.hidden]
    # A usable model goes before a broken folder of the same name.
    by_name.sort(key=lambda model: model.card is None)
    if by_name and not isinstance(name_or_dir, Path):
        return _usable(by_name[0])
    folder = Path(name_or_dir).expanduser()
    if folder.name == CARD_FILE and folder.is_file():
        folder = folder.parent
    if folder.is_dir():
        resolved = folder.resolve()
        known = [model for model in models if model.folder.resolve() == resolved]
        return (
            _usable(known[0])
            if known
            else FoundModel(read_card(folder).name, folder, "user", read_card(folder))
        )
    names = [model.name for model in models if model.card is not None and not model.hidden]
    there = f"there are: {', '.join(names)}" if names else "no model is installed"
    raise ModelError(f"There is no model '{wanted}'; {there}. Own models belong in {user_folder()}.")


def _usable(model: FoundModel) -> FoundModel:
    if model.card is None:
        raise ModelError(model.problem)
    return model


def _model_folders(place: Path) -> list[Path]:
    try:
        # A leading dot marks a package that is still being written.
        return [p for p in place.iterdir() if not p.name.startswith(".") and (p / CARD_FILE).is_file()]
    except OSError:
        return []


def _look(folder: Path, origin: str, taken: set[str]) -> FoundModel:
    try:
        card = read_card(folder)
    except ModelError as problem:
        return FoundModel(folder.name, folder, origin, None, str(problem), False)
    return FoundModel(card.name, folder, origin, card, "", card.name in taken)
