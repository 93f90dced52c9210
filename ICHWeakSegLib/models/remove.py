"""Removing a model of the user's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ICHWeakSegLib.models.find import find_model, list_models, user_folder
from ICHWeakSegLib.models.sections import ModelError


def remove_model(name: str) -> Path:
    """Delete the package of this name from the user's folder; a broken package can be removed too.

    Returns:
        The folder that is gone.

    Raises:
        ModelError: there is no such model, it came with ICHWeakSeg, or the folder cannot be deleted.
    """
    named = [model for model in list_models() if model.name == str(name)]
    own = [model for model in named if model.origin == "user"]
    if not own:
        if named:
            raise ModelError(f"Model {name} came with ICHWeakSeg and cannot be removed; only your own can.")
        find_model(str(name))
        raise ModelError(f"{name} is not in {user_folder()}: only models there are removed.")
    folder = own[0].folder
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
