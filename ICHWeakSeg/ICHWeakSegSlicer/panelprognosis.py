"""The panel's prognosis section: there only where a model for it is installed."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from ICHWeakSegSlicer.entries import Entries

SEXES = {"": "not known", "female": "female", "male": "male"}
HOW_TO_TRAIN = (
    "No model for prognosis is installed, and none comes with this module: train one on a cohort with known "
    "outcome by 'ichweakseg train prognosis' (docs/prognosis.md)."
)


class PrognosisPanel:
    """Asks for admission fields, and shows the probability that a model of the user gives.

    Args:
        ui: the panel's widgets by name.
        logic: forecasts, and lists the models.
        entries: what was entered about the patient; shared with the clinical scores.
        ct: gives the CT that is shown, or None.
        status: shows progress and sentences.
        blocked: why nothing can be forecast just now; empty where it can.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        entries: Entries,
        ct: Callable[[], Any],
        status: Any,
        blocked: Callable[[Any], str],
    ) -> None:
        self.ui, self.logic, self.status = ui, logic, status
        self._entries, self._ct, self._blocked = entries, ct, blocked
        self._node: Any = None
        self._job: Any = None
        self._showing = False
        # The last answer, and what it was asked about.
        self._answer: tuple[tuple, dict[str, Any]] | None = None
        # The CT and the history that the field was last brought up to.
        self._history: tuple[str | None, str] | None = None
        for data, text in SEXES.items():
            ui.prognosisSexSelector.addItem(text, data)
        ui.prognosisSexSelector.connect("currentIndexChanged(int)", self._changed)
        ui.prognosisAgeSpin.connect("valueChanged(int)", self._changed)
        ui.prognosisGcsSpin.connect("valueChanged(int)", self._changed)
        ui.prognosisOnsetSpin.connect("valueChanged(double)", self._changed)
        ui.prognosisHistoryEdit.connect("editingFinished()", self._changed)
        ui.prognosisModelSelector.connect("currentIndexChanged(int)", lambda index: self._showState())
        ui.prognosisButton.connect("clicked()", self._askOrCancel)

    def show(self, segmentationNode: Any) -> None:
        """Show the section where a model is installed; the segmentation gives the volume for the scores."""
        self._node = segmentationNode
        models = self.logic.prognosisModels()
        ui = self.ui
        ui.prognosisSection.visible = bool(models)
        ui.prognosisHintLabel.visible = not models
        ui.prognosisHintLabel.text = "" if models else HOW_TO_TRAIN
        if not models or not self._entries.writable:
            return
        self._showing = True
        try:
            self._fillModels(models)
            found = self._entries.read()
            for spin, name in (
                (ui.prognosisAgeSpin, "scoreAge"),
                (ui.prognosisGcsSpin, "scoreGcs"),
                (ui.prognosisOnsetSpin, "onsetHours"),
            ):
                # Writing the same value would reformat the text under the cursor.
                if spin.value != found[name]:
                    spin.value = found[name]
            ui.prognosisSexSelector.setCurrentIndex(max(ui.prognosisSexSelector.findData(found["sex"]), 0))
            # Only what changed in the scene is shown: a text that is being typed is not kept there yet.
            ct = self._ct()
            kept = (None if ct is None else ct.GetID(), found["history"])
            if self._history != kept:
                self._history = kept
                if ui.prognosisHistoryEdit.text != found["history"]:
                    ui.prognosisHistoryEdit.text = found["history"]
        finally:
            self._showing = False
        self._showState()

    def stop(self) -> None:
        """The scene is closed, or the panel goes."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
            self.status.endProgress()
        # The next scene may give its CT the same ID: no text may stay for that one.
        self._node = self._answer = self._history = None

    def _fillModels(self, models: list[Any]) -> None:
        selector = self.ui.prognosisModelSelector
        keys = [str(model.folder) if model.hidden else model.name for model in models]
        if keys == [selector.itemData(n) for n in range(selector.count)]:
            return
        chosen = selector.itemData(selector.currentIndex)
        selector.clear()
        for key, model in zip(keys, models, strict=True):
            selector.addItem(model.name, key)
        selector.setCurrentIndex(max(selector.findData(chosen), 0))

    def _showState(self) -> None:
        if self._showing:
            return
        ui, running = self.ui, self._job is not None
        reason = "" if running else self._blocked(self._ct())
        ui.prognosisButton.text = "Cancel" if running else "Forecast"
        ui.prognosisButton.enabled = running or not reason
        ui.prognosisButton.toolTip = (
            "Stops the forecast."
            if running
            else reason or "Gives the probability of a poor outcome; what is not known may be left out."
        )
        # An answer about other fields is no answer any more.
        fresh = self._answer is not None and self._answer[0] == self._question()
        ui.prognosisLabel.text = answerText(self._answer[1]) if fresh else html.escape(reason)
        ui.prognosisLabel.visible = bool(ui.prognosisLabel.text)

    def _question(self) -> tuple:
        ct, selector = self._ct(), self.ui.prognosisModelSelector
        model = selector.itemData(selector.currentIndex) or ""
        fields = tuple(sorted((name, str(value)) for name, value in self._entries.read().items()))
        return (None if ct is None else ct.GetID(), model, fields)

    def _changed(self, value: Any = None) -> None:
        if self._showing or not self._entries.writable:
            return
        ui = self.ui
        self._entries.write(
            {
                "scoreAge": ui.prognosisAgeSpin.value,
                "scoreGcs": ui.prognosisGcsSpin.value,
                "onsetHours": ui.prognosisOnsetSpin.value,
                "sex": ui.prognosisSexSelector.itemData(ui.prognosisSexSelector.currentIndex) or "",
                "history": ui.prognosisHistoryEdit.text,
            }
        )
        self.show(self._node)

    def _askOrCancel(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._ended()
            self.status.say("Cancelled.")
        else:
            self._ask()
        self._showState()

    def _ask(self) -> None:
        question = self._question()
        self._job = self.status.attempt(
            "The forecast",
            lambda: self.logic.startPrognosis(
                self._ct(),
                question[1],
                segmentationNode=self._node,
                **self._entries.forPrognosis(),
                onProgress=self.status.showProgress,
                onFinished=lambda job: self._finished(job, question),
                onError=self._failed,
            ),
        )
        if self._job is not None:
            self.status.showProgress("prognosis", 0, 0)

    def _finished(self, job: Any, question: tuple) -> None:
        if job is not self._job:
            return
        self._ended()
        self._answer = (question, job.result)
        self.status.say("The forecast is ready.")
        self._showState()

    def _failed(self, job: Any, sentence: str) -> None:
        if job is self._job:
            self._ended()
            self.status.say(sentence, True)
            self._showState()

    def _ended(self) -> None:
        self._job = None
        self.status.endProgress()


def answerText(answer: dict[str, Any]) -> str:
    """A forecast as rich text: probability, interval, the scores beside it, notices."""
    percent = 100 * answer["probability"]
    parts = [
        f'<p><span style="font-size:x-large; font-weight:600">{percent:.0f} %</span>&nbsp; '
        f"probability of a poor outcome ({html.escape(answer['outcome']['words'])})</p>"
    ]
    interval = answer["interval"]
    if interval is not None:
        low, high, merged = (100 * interval[name] for name in ("low", "high", "merged"))
        parts.append(
            f"<p>Calibrated on {interval['held_out_cases']} held-out cases: {merged:.0f} %, "
            f"interval {low:.0f} to {high:.0f} %.</p>"
        )
    lines = []
    for score in (answer["ich_score"], answer["func_score"]):
        if score["total"] is None:
            words = {part["name"]: part["words"] for part in score["parts"]}
            missing = ", ".join(words[name] for name in score["missing"])
            lines.append(f"{score['name']}: no total, missing: {missing}.")
        else:
            lines.append(f"{score['name']}: {score['total']}. {score['outcome'] or ''}")
    parts.append(f"<p>{'<br>'.join(html.escape(line) for line in lines)}</p>")
    parts += [f"<p>\N{WARNING SIGN} {html.escape(one)}</p>" for one in answer["notices"]]
    made = answer["provenance"]
    parts.append(
        f"<p><small>{html.escape(made['model'])} {html.escape(str(made['version']))}. "
        f"{html.escape(answer['notice'])}</small></p>"
    )
    return "".join(parts)
