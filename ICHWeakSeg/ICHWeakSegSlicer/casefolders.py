"""Which case folder of the worker belongs to a segmentation, as long as its CT and its run are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ICHWeakSegSlicer import segmentations
from ICHWeakSegSlicer.ctstates import stateOf


class CaseFolders:
    """Case folders that the worker may still hold.

    Example:
        >>> folders = CaseFolders()
        >>> folders.keep(segmentationNode, volumeNode, folder)
        >>> folders.of(segmentationNode, volumeNode)
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Path, tuple]] = {}

    def of(self, segmentationNode: Any, volumeNode: Any) -> Path | None:
        """The folder that a segmentation was made in; None where it is gone, or the CT or the run is another."""
        folder, made = self._kept.get(segmentationNode.GetID(), (None, None))
        usable = folder is not None and folder.is_dir() and made == _madeFrom(segmentationNode, volumeNode)
        return folder if usable else None

    def keep(self, segmentationNode: Any, volumeNode: Any, folder: Path) -> None:
        """Keep in mind that a folder holds this CT, and the result of this run where there is one."""
        # The client removes the older folders.
        self._kept = {key: one for key, one in self._kept.items() if one[0].is_dir()}
        self._kept[segmentationNode.GetID()] = (folder, _madeFrom(segmentationNode, volumeNode))

    def forget(self, segmentationNode: Any) -> None:
        """Take a folder for lost: what it holds may be half-written."""
        self._kept.pop(segmentationNode.GetID(), None)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


def _madeFrom(segmentationNode: Any, volumeNode: Any) -> tuple:
    # Another logic may have segmented the same CT into the same node since: its map is another.
    return segmentations.provenanceOf(segmentationNode).get("run"), stateOf(volumeNode)
