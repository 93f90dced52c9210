"""The panel's clinical scores: what the user enters, and the result while they do."""

from __future__ import annotations

import html
from typing import Any

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegSlicer import bloodmasks, segmentations
from ICHWeakSegSlicer.entries import EMPTY, Entries
from ICHWeakSegSlicer.reportfacts import enteredValues
from ICHWeakSegSlicer.scores import ClinicalScores, Hematoma, hematomaOf, scoresOf

LOCATIONS = {"": "not known", "lobar": "lobar", "deep": "deep", "infratentorial": "infratentorial"}
YES_NO = {"": "not known", "yes": "yes", "no": "no"}
# What this section shows of the entries.
OWN = ("scoreVolume", "scoreGcs", "scoreAge", "scoreLocation", "scoreIvh", "scoreCognition")


class ScoresPanel:
    """ICH score and FUNC score of the shown result.

    Args:
        ui: the panel's widgets by name.
        entries: what was entered about the patient.
    """

    def __init__(self, ui: Any, entries: Entries) -> None:
        self.ui, self._entries = ui, entries
        self._node: Any = None
        self._showing = False
        self._known: tuple[tuple, Hematoma] | None = None
        self._spins = {
            "scoreVolume": ui.scoreVolumeSpin,
            "scoreGcs": ui.scoreGcsSpin,
            "scoreAge": ui.scoreAgeSpin,
        }
        self._selectors = {
            "scoreLocation": (ui.scoreLocationSelector, LOCATIONS),
            "scoreIvh": (ui.scoreIvhSelector, YES_NO),
            "scoreCognition": (ui.scoreCognitionSelector, YES_NO),
        }
        for selector, texts in self._selectors.values():
            for data, text in texts.items():
                selector.addItem(text, data)
            selector.connect("currentIndexChanged(int)", self._changed)
        ui.scoreVolumeSpin.connect("valueChanged(double)", self._changed)
        ui.scoreGcsSpin.connect("valueChanged(int)", self._changed)
        ui.scoreAgeSpin.connect("valueChanged(int)", self._changed)
        ui.clearScoresButton.connect("clicked()", self._clear)
        ui.scoresSection.connect("contentsCollapsed(bool)", lambda collapsed: self.show(self._node))

    def show(self, segmentationNode: Any) -> None:
        """Show the entries and the scores of a segmentation; None shows what was entered alone."""
        self._node = segmentationNode
        # What nobody sees need not be counted.
        if not self._entries.writable or self.ui.scoresSection.collapsed:
            return
        self._showing = True
        try:
            entries = self._entries.read()
            for name, spin in self._spins.items():
                # Writing the same value would reformat the text under the cursor.
                if spin.value != entries[name]:
                    spin.value = entries[name]
            for name, (selector, _) in self._selectors.items():
                selector.setCurrentIndex(max(selector.findData(entries[name]), 0))
            self.ui.clearScoresButton.enabled = any(entries[name] != EMPTY[name] for name in OWN)
        finally:
            self._showing = False
        self._showScores()

    def forget(self) -> None:
        """The scene was closed."""
        self._node = self._known = None

    def _ct(self) -> Any:
        return None if self._node is None else segmentations.referenceVolume(self._node)

    def _changed(self, value: Any = None) -> None:
        if self._showing or not self._entries.writable:
            return
        values = {name: spin.value for name, spin in self._spins.items()}
        for name, (selector, _) in self._selectors.items():
            values[name] = selector.itemData(selector.currentIndex) or ""
        self._keep(values)

    def _clear(self) -> None:
        self._keep({name: EMPTY[name] for name in OWN})

    def _keep(self, values: dict[str, Any]) -> None:
        self._entries.write(values)
        self.show(self._node)

    def _showScores(self) -> None:
        ui = self.ui
        problem, hematoma = "", None
        try:
            hematoma = self._hematoma()
        except InputError as sentence:
            problem = str(sentence)
        known = "from the segmentation" if hematoma is None else f"{hematoma.volumeMl:.1f} (segmentation)"
        if ui.scoreVolumeSpin.specialValueText != known:
            ui.scoreVolumeSpin.specialValueText = known
        try:
            found = scoresOf(hematoma, enteredValues(**self._entries.forScores()))
        except (InputError, ImportError) as sentence:
            ui.scoresLabel.text = html.escape(str(sentence))
            return
        ui.scoresLabel.text = scoresText(found, hematoma, problem)

    def _hematoma(self) -> Hematoma | None:
        """The volumes of the shown segmentation, counted once as long as it stays as it is."""
        if self._node is None:
            return None
        ids = bloodmasks.bloodSegments(self._node)
        ct = self._ct()
        image = None if ct is None else ct.GetImageData()
        transform = None if ct is None else ct.GetParentTransformNode()
        state = (
            self._node.GetID(),
            segmentations.signature(self._node, ids),
            None if image is None else (ct.GetID(), image.GetMTime()),
            None if transform is None else transform.GetTransformToWorldMTime(),
        )
        if self._known is None or self._known[0] != state:
            self._known = (state, hematomaOf(self._node))
        return self._known[1]


def scoresText(found: ClinicalScores, hematoma: Hematoma | None, problem: str = "") -> str:
    """Both scores as rich text: points, published figure or what is missing, source, limits."""
    parts = []
    for score in found.scores:
        most = sum(part.possible[-1] for part in score.parts)
        if score.total is None:
            missing = ", ".join(part.words for part in score.parts if part.name in score.missing)
            head = f"<b>{score.name}: no total</b>, {score.lowest} to {score.highest} of {most} are possible."
            head += f"<br>Missing: {html.escape(missing)}."
        else:
            head = f"<b>{score.name}: {score.total} of {most}</b><br>{html.escape(score.outcome or '')}"
        parts.append(f"<p>{head}<br><small>{html.escape(score.source)}</small></p>")
    notes = [problem or found.note]
    if hematoma is not None and hematoma.hint:
        notes.append(hematoma.hint)
    notes += [found.scores[0].applies_to, found.scores[0].notice]
    parts.append(f"<p>{html.escape(' '.join(notes))}</p>")
    return "".join(parts)
