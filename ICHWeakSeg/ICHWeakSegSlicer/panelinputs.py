"""The panel's choice of CT and model."""

import html
from collections.abc import Callable
from typing import Any

import slicer

from ICHWeakSegLib.vocabulary import DEFAULT_MODEL
from ICHWeakSegSlicer.cardsummary import summary
from ICHWeakSegSlicer.volumes import problemWith, volumesCtFirst


class InputsPanel:
    """Selectors of the CT and the model, with the model's card on demand.

    Args:
        ui: the panel's widgets by name.
        logic: lists the models.
        onVolume: called with the volume node, or None, that the user chose.
        onModel: called with the name, or folder, of the model that the user chose.
    """

    def __init__(
        self, ui: Any, logic: Any, onVolume: Callable[[Any], None], onModel: Callable[[str], None]
    ) -> None:
        self.ui, self.logic = ui, logic
        self._onVolume, self._onModel = onVolume, onModel
        self._filling = False
        self._problems: dict[str, str] = {}
        self._cards: dict[str, Any] = {}
        self._listed: dict[str, list] = {}
        self._described = ""
        ui.modelText.visible = False
        ui.inputSelector.connect("currentIndexChanged(int)", self._volumeChosen)
        ui.modelSelector.connect("currentIndexChanged(int)", self._modelChosen)
        ui.modelDetailsButton.connect("toggled(bool)", self._showDetails)

    def showVolumes(self, chosen: Any) -> list[Any]:
        """List the scene's volumes, CTs first, with one of them chosen; returns them."""
        nodes = volumesCtFirst(slicer.mrmlScene)
        # A script may choose what the list leaves out: it is shown, with the reason why it cannot be used.
        if chosen is not None and chosen not in nodes:
            nodes.append(chosen)
        entries = [(node.GetName(), node.GetID(), problemWith(node)) for node in nodes]
        if not entries:
            entries = [("Load a head CT first", "", "")]
        self._fill("volumes", self.ui.inputSelector, entries, "" if chosen is None else chosen.GetID())
        return nodes

    def showModels(self, chosen: str) -> None:
        """List the models, the bundled ones first, with one of them chosen; none is the default one."""
        self._problems, self._cards = {}, {}
        entries = []
        for model in self.logic.models():
            # A model whose name is taken is reached by its folder.
            key = str(model.folder) if model.hidden else model.name
            self._problems[key], self._cards[key] = model.problem, model.card
            name = f"{model.name} (own, folder {model.folder.name})" if model.hidden else model.name
            entries.append((name, key, model.problem or model.card.description))
        wanted = chosen or DEFAULT_MODEL
        if wanted not in self._problems:
            self._problems[wanted] = f"The model {wanted} is not installed; choose another one."
            entries.append((f"{wanted} (not installed)", wanted, self._problems[wanted]))
        self._fill("models", self.ui.modelSelector, entries, wanted)
        self._describe()

    @property
    def cards(self) -> tuple[Any, Any]:
        """Cards of the chosen model and of the one that brings further methods to it; None where there is none."""
        card = self._cards.get(self.model)
        others = None if card is None else self._cards.get(card.map.further)
        return card, others

    def problem(self, volumeNode: Any) -> str:
        """Why a run cannot start with what is chosen here; empty where it can."""
        return problemWith(volumeNode) or self._problems.get(self.model, "")

    @property
    def model(self) -> str:
        """Name, or folder, of the chosen model."""
        return self.ui.modelSelector.itemData(self.ui.modelSelector.currentIndex) or ""

    def _fill(self, what: str, selector: Any, entries: list[tuple[str, str, str]], chosen: str) -> None:
        import qt

        self._filling = True
        try:
            # Filled anew only where something is new: a list that is open just now keeps its place.
            if self._listed.get(what) != entries:
                self._listed[what] = entries
                selector.clear()
                for text, data, tip in entries:
                    selector.addItem(text, data)
                    selector.setItemData(selector.count - 1, tip, qt.Qt.ToolTipRole)
            index = selector.findData(chosen)
            if index != selector.currentIndex:
                selector.setCurrentIndex(index)
        finally:
            self._filling = False

    def _volumeChosen(self, index: int) -> None:
        if not self._filling:
            self._onVolume(slicer.mrmlScene.GetNodeByID(self.ui.inputSelector.itemData(index) or ""))

    def _modelChosen(self, index: int) -> None:
        if not self._filling:
            self._describe()
            self._onModel(self.model)

    def _showDetails(self, shown: bool) -> None:
        self.ui.modelText.visible = shown
        self._describe()

    def _describe(self) -> None:
        if not self.ui.modelDetailsButton.checked:
            return
        card = self._cards.get(self.model)
        problem = self._problems.get(self.model, "")
        text = f"<p><b>{html.escape(problem)}</b></p>" if problem else ""
        text += summary(card) if card is not None else ""
        # Setting it scrolls to the top.
        if text != self._described:
            self._described = self.ui.modelText.html = text
