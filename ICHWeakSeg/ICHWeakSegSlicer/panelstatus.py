"""The panel's status line, progress bar and log."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from ICHWeakSegLib.ct.errors import InputError

# Readable on a light and on a dark window.
ERROR_ON_LIGHT, ERROR_ON_DARK = "#b3261e", "#ff9b8f"
# Before this many seconds an estimate says nothing.
SOONEST_ESTIMATE = 1.0


class StatusPanel:
    """One sentence about how it stands, how far it is, and the log."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._left = TimeLeft()
        self.say("")
        self.endProgress()

    def say(self, sentence: str, error: bool = False) -> None:
        """Show a sentence, an error in red; an empty one takes the line away."""
        label = self.ui.statusLabel
        label.styleSheet = f"color: {errorColor(label)}" if error else ""
        label.text = sentence
        label.visible = bool(sentence)

    def attempt(self, what: str, start: Callable[[], Any]) -> Any:
        """What `start` returns; where it raises, a sentence here and None."""
        try:
            return start()
        except InputError as problem:
            self.say(str(problem), True)
        except Exception as problem:
            logging.exception("%s could not start", what)
            self.say(f"{what} could not start ({problem}); see Slicer's log.", True)
        return None

    def showProgress(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is; a total of 1 or less has no counts."""
        bar = self.ui.progressBar
        bar.visible = True
        # A range of nothing makes the bar run to and fro.
        bar.maximum = total if total > 1 else 0
        bar.value = done if total > 1 else 0
        self.say(progressText(stage, done, total, self._left.seconds(stage, done, total)))

    def endProgress(self) -> None:
        """Take the bar away."""
        self.ui.progressBar.visible = False
        self._left = TimeLeft()

    def log(self, text: str) -> None:
        """Add lines to the log."""
        text = text.rstrip("\n")
        if text:
            self.ui.logText.appendPlainText(text)


class TimeLeft:
    """Estimates how long a stage still takes from how long its part so far took."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage, self._began, self._first = "", 0.0, 0

    def seconds(self, stage: str, done: int, total: int) -> float | None:
        """Seconds that are left, or None where that cannot be told yet."""
        now = self._clock()
        if stage != self._stage or done < self._first:
            self._stage, self._began, self._first = stage, now, done
        passed, came = now - self._began, done - self._first
        if total <= 1 or came <= 0 or passed < SOONEST_ESTIMATE:
            return None
        return passed / came * (total - done)


def progressText(stage: str, done: int, total: int, left: float | None) -> str:
    """Such as "Classifying and localizing: 16 of 32 slices, about 5 s left"."""
    text = stage[:1].upper() + stage[1:]
    if total > 1:
        text += f": {done} of {total} slices"
    if left is not None:
        text += f", about {durationText(left)} left"
    return text if total > 1 else f"{text} ..."


def durationText(seconds: float) -> str:
    """Such as "5 s" or "3 min"."""
    return f"{math.ceil(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} min"


def errorColor(widget: Any) -> str:
    """A red that can be read on a widget's window."""
    import qt

    dark = widget.palette.color(qt.QPalette.Window).lightness() < 128
    return ERROR_ON_DARK if dark else ERROR_ON_LIGHT
