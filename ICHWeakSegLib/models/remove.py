"""Removing a model of the user's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ICHWeakSegLib.errors import ModelError
from ICHWeakSegLib.models.find import FoundModel, find_model, list_models, user_folder


def remove_model(name_or_dir: str | Path) -> Path:
    """Delete a package from the user's folder; a broken package can be removed too.

    Args:
        name_or_dir: its name, or its folder in the user's folder. A Path is always a folder; text is one where no
            model has that name.

    Returns:
        The folder that is gone.

    Raises:
        ModelError: there is no such model, it came with ICHWeakSeg, several of the user's models have the name,
            or the folder cannot be deleted.
    """
    folder = _own_model(name_or_dir).folder
    try:
        if folder.is_symlink():
            folder.unlink()
            return folder
        # Renamed first, so that a deletion cut short leaves no half model in the list.
        doomed = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
        folder.rename(doomed / folder.name)
        shutil.rmtree(doomed)
    except OSError as problem:
        raise ModelError(f"{folder} cannot be removed: {problem}.") from problem
    return folder


def _own_model(name_or_dir: str | Path) -> FoundModel:
    """The one package of the user's that is meant."""
    models = list_models()
    meant = [] if isinstance(name_or_dir, Path) else [m for m in models if m.name == name_or_dir]
    # No text at all would be the working folder.
    if not meant and name_or_dir != "":
        place = _place(Path(name_or_dir))
        meant = [model for model in models if _place(model.folder) == place]
    own = [model for model in meant if model.origin == "user"]
    if len(own) > 1:
        folders = " or ".join(str(model.folder) for model in own)
        raise ModelError(
            f"{len(own)} models of yours are named {name_or_dir}: give the folder of the one to remove, {folders}."
        )
    if own:
        return own[0]
    if meant:
        raise ModelError(
            f"Model {meant[0].name} came with ICHWeakSeg and cannot be removed; only your own can."
        )
    # Its own sentence where there is no model at all.
    find_model(name_or_dir, usable=False)
    raise ModelError(f"{name_or_dir} is not in {user_folder()}: only models there are removed.")


def _place(folder: Path) -> Path:
    """Where a folder lies; a link is what it is called, not what it leads to."""
    folder = folder.expanduser()
    return folder.parent.resolve() / folder.name
