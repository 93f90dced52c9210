"""Where models are kept, and which there are. Needs no torch.

Order: models that came with ICHWeakSeg (bundled) first, then the user's folder, each by name and folder. Where
several have one name, the name means the first of them whose card can be read; the others are reached by their
folders, and the list says that they are hidden. So nothing that a user installs can quietly take the place of a
bundled model.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.card import CARD_FILE, ModelCard, read_card
from ICHWeakSegLib.models.completeness import package_problem

MODELS_VARIABLE = "ICHWEAKSEG_MODELS"


@dataclass(frozen=True)
class FoundModel:
    """A model folder.

    Attributes:
        name: the card's name, or the folder's where the card is broken.
        folder: where it lies.
        origin: `bundled` or `user`.
        card: its card; None where broken.
        problem: why it cannot be used, its card or a file beside it being broken; empty where nothing is.
        hidden: the name means another model, so that this one is reached by its folder only.
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
    """All models, bundled ones first, each group by name; broken ones are listed with their problem.

    Cheap enough to be asked often: it reads the cards, and of the files beside them their sizes alone.
    """
    found: list[FoundModel] = []
    places = [(folder, "bundled") for folder in bundled_folders()] + [(user_folder(), "user")]
    for place, origin in places:
        group = [_look(folder, origin) for folder in _model_folders(place)]
        found += sorted(group, key=lambda model: (model.name, model.folder.name))
    meant: dict[str, FoundModel] = {}
    # One without a card has no name but its folder's: it never hides one that has.
    for model in sorted(found, key=lambda model: model.card is None):
        meant.setdefault(model.name, model)
    return [replace(model, hidden=meant[model.name] is not model) for model in found]


def find_model(name_or_dir: str | Path, usable: bool = True) -> FoundModel:
    """The model of a name or in a folder. A name wins over a folder of that name in the working folder.

    Args:
        name_or_dir: a name, or a model folder; a Path is always a folder.
        usable: refuse one with a problem.

    Raises:
        ModelError: there is none, with a list of those there are; or it cannot be used.
    """
    found = _find(name_or_dir)
    if usable and found.problem:
        raise ModelError(found.problem)
    return found


def _find(name_or_dir: str | Path) -> FoundModel:
    models = list_models()
    wanted = str(name_or_dir)
    by_name = [model for model in models if model.name == wanted and not model.hidden]
    if by_name and not isinstance(name_or_dir, Path):
        return by_name[0]
    folder = Path(name_or_dir).expanduser()
    if folder.name == CARD_FILE and folder.is_file():
        folder = folder.parent
    if folder.is_dir():
        resolved = folder.resolve()
        known = [model for model in models if model.folder.resolve() == resolved]
        return known[0] if known else _look(folder, "user")
    names = [model.name for model in models if not model.problem and not model.hidden]
    there = f"there are: {', '.join(names)}" if names else "no model is installed"
    raise ModelError(f"There is no model '{wanted}'; {there}. Own models belong in {user_folder()}.")


def _model_folders(place: Path) -> list[Path]:
    try:
        # A leading dot marks a package that is still being written.
        return [p for p in place.iterdir() if not p.name.startswith(".") and (p / CARD_FILE).is_file()]
    except OSError:
        return []


def _look(folder: Path, origin: str) -> FoundModel:
    try:
        card = read_card(folder)
    except ModelError as problem:
        return FoundModel(folder.name, folder, origin, None, str(problem))
    return FoundModel(card.name, folder, origin, card, package_problem(folder, card))
