"""The panel's settings of a run: method, refinement, device, sensitivity, threshold; only what the model knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# The library's names, by kind of network: reading them from the library would load torch.
METHODS_OF = {
    "swin-classifier": ("hgi-sam", "swin-sam", "grad-cam", "layer-cam", "hires-cam"),
    "sequence-classifier": ("grad-cam", "cam"),
    "segmenter": ("probability",),
    "sc-network": ("probability",),
}
METHODS = {
    "hgi-sam": "HGI-SAM",
    "swin-sam": "Swin-SAM",
    "grad-cam": "Grad-CAM",
    "layer-cam": "LayerCAM",
    "hires-cam": "HiResCAM",
    "cam": "CAM",
    "probability": "The network's own probability",
}
REFINEMENTS = {
    "hysteresis": "Sure cores and what touches them",
    "hu": "Map and HU",
    "kmeans": "Map and HU, clustered",
    "threshold": "Map alone",
    "otsu": "Map alone, Otsu's threshold",
}
DEVICES = {
    "auto": "Fastest that is there",
    "cpu": "CPU",
    "cuda": "NVIDIA graphics card",
    "mps": "Apple graphics",
}
OWN = {"": "The model's own"}
ANY_SENSITIVITY = (0.0, 1.0)
SENSITIVITY_TIP = (
    "Asks for this sensitivity a slice, in place of the model's operating point. Higher finds more and raises "
    "more false alarms."
)


class SettingsPanel:
    """Offers what the chosen model can do, and keeps the choice in the parameter node.

    Args:
        ui: the panel's widgets by name.
        parameters: gives the parameter node's wrapper, or None.
        onChanged: called when the user chose something.
    """

    def __init__(self, ui: Any, parameters: Callable[[], Any], onChanged: Callable[[], None]) -> None:
        self.ui, self._parameters, self._onChanged = ui, parameters, onChanged
        self._filling = False
        self._shown: Any = None
        self._selectors = {
            "method": ui.methodSelector,
            "refine": ui.refineSelector,
            "device": ui.deviceSelector,
        }
        self._fill("refine", OWN | REFINEMENTS)
        self._fill("device", DEVICES)
        self._fill("method", OWN | METHODS)
        for name, selector in self._selectors.items():
            selector.connect("currentIndexChanged(int)", lambda index, name=name: self._chosen(name))

    def show(self, card: Any, others: Any = None) -> None:
        """Show the settings of the scene for a model.

        Args:
            card: of the model; None where that is broken or missing.
            others: card of the model that brings further methods; None where there is none.
        """
        parameters = self._parameters()
        if parameters is None:
            return
        self._fit(parameters, card, others)
        self._filling = True
        try:
            for name, selector in self._selectors.items():
                selector.setCurrentIndex(selector.findData(getattr(parameters, name)))
        finally:
            self._filling = False
        check = self.ui.sensitivityCheck
        check.enabled = card is None or bool(card.operating.table)
        check.toolTip = (
            SENSITIVITY_TIP
            if check.enabled
            else f"{card.name} was not measured at several sensitivities: it knows its own alone."
        )
        self.ui.sensitivitySpin.enabled = parameters.useSensitivity and check.enabled
        self.ui.mapThresholdSpin.enabled = parameters.useMapThreshold

    def problem(self, card: Any, others: Any = None) -> str:
        """Why the settings do not fit a model, for instance those of a scene that was saved; empty if they do."""
        parameters = self._parameters()
        if card is None:
            return ""
        if parameters.method and parameters.method not in methodsOf(card, others):
            name = METHODS.get(parameters.method, parameters.method)
            return f"{card.name} does not know the method {name}: choose another one under Advanced."
        if parameters.useSensitivity and not card.operating.table:
            return f"{card.name} knows its own sensitivity alone: untick it under Advanced."
        return ""

    def forRun(self) -> dict[str, Any]:
        """Arguments of `start`; None where the model's own counts."""
        chosen = self._parameters()
        return {
            "method": chosen.method or None,
            "refine": chosen.refine or None,
            "threshold": chosen.mapThreshold if chosen.useMapThreshold else None,
            "sensitivity": chosen.sensitivity if chosen.useSensitivity else None,
            "device": chosen.device,
        }

    def _fit(self, parameters: Any, card: Any, others: Any) -> None:
        """Offer what a model knows. What another model knew, and this one does not, becomes this one's own."""
        changed, self._shown = self._shown is not None and card != self._shown, card
        known = METHODS if card is None else {name: METHODS[name] for name in methodsOf(card, others)}
        self._fill("method", OWN | known)
        if changed and parameters.method not in ("", *known):
            parameters.method = ""
        if card is None:
            return
        if changed and not card.operating.table:
            parameters.useSensitivity = False
        low, high = sensitivitiesOf(card)
        # First, since a range pushes the value of its spin box in, and that the parameter.
        _set(parameters, "sensitivity", min(max(parameters.sensitivity, low), high))
        self.ui.sensitivitySpin.minimum, self.ui.sensitivitySpin.maximum = low, high
        if not parameters.useMapThreshold:
            # Where it begins when the user ticks it.
            _set(parameters, "mapThreshold", card.map.threshold)

    def _fill(self, name: str, texts: dict[str, str]) -> None:
        selector = self._selectors[name]
        if [selector.itemData(n) for n in range(selector.count)] == list(texts):
            return
        self._filling = True
        try:
            selector.clear()
            for data, text in texts.items():
                selector.addItem(text, data)
        finally:
            self._filling = False

    def _chosen(self, name: str) -> None:
        parameters, selector = self._parameters(), self._selectors[name]
        if parameters is not None and not self._filling:
            setattr(parameters, name, selector.itemData(selector.currentIndex))
            self._onChanged()


def _set(parameters: Any, name: str, value: Any) -> None:
    """Without telling anybody of what is so already."""
    if getattr(parameters, name) != value:
        setattr(parameters, name, value)


def methodsOf(card: Any, others: Any = None) -> tuple[str, ...]:
    """Methods of a model and of the one that brings further ones, the card's own first."""
    known = [card.map.method]
    for one in (card, others):
        if one is not None:
            known += METHODS_OF.get(one.architecture.kind, ())
    return tuple(dict.fromkeys(name for name in known if name in METHODS))


def sensitivitiesOf(card: Any) -> tuple[float, float]:
    """The lowest and the highest sensitivity that a model can be set to."""
    if not card.operating.table:
        return ANY_SENSITIVITY
    known = [sensitivity for sensitivity, _ in card.operating.table]
    return min(known), max(known)
