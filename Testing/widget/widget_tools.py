"""What the tests of the panel and the script for its pictures share."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer

ROOT = Path(__file__).resolve().parents[2]
# A loaded machine of two cores is slow; whatever is waited for ends the wait.
PATIENCE = 240.0


class Panel:
    """The opened panel with its parts at hand."""

    def __init__(self, application: Any, width: int = 420, height: int = 820) -> None:
        self.application = application
        self.widget = application.openModule("ICHWeakSeg")
        # A user does not mind a tenth of a second after each change of the scene; hundreds of tests would.
        self.widget._settling.setInterval(5)
        self.widget.parent.resize(width, height)
        self.widget.parent.show()
        self.settle()

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def logic(self) -> Any:
        return self.widget.logic

    @property
    def parameters(self) -> Any:
        return self.widget._parameters

    @property
    def running(self) -> bool:
        return self.widget._job is not None

    @property
    def segmentation(self) -> Any:
        return self.parameters.outputSegmentation

    def settle(self) -> None:
        """Let the panel catch up with the scene."""
        slicer.app.processEvents()
        end = time.monotonic() + PATIENCE
        while self.logic is not None and self.widget._settling.active:
            assert time.monotonic() < end, "The panel does not come to rest"
            slicer.app.processEvents()
            time.sleep(0.002)

    def finish(self, seconds: float = PATIENCE) -> None:
        """Let a run, or cuts, come to their end."""
        end = time.monotonic() + seconds
        while self.running or (self.logic is not None and self.logic.busy):
            assert time.monotonic() < end, "The run did not end in time"
            slicer.app.processEvents()
            time.sleep(0.005)
        self.settle()

    def start(self, worker: ScriptedWorker) -> None:
        """Press Segment with a scripted worker behind it, and wait until that was asked."""
        self.logic._runner = lambda: worker
        self.ui.runButton.click()
        end = time.monotonic() + PATIENCE
        while not worker.requests:
            assert time.monotonic() < end, self.ui.statusLabel.text
            slicer.app.processEvents()
            time.sleep(0.005)

    def run(self) -> None:
        """Press Segment and wait for the end."""
        assert self.ui.runButton.enabled, self.ui.runButton.toolTip
        self.ui.runButton.click()
        self.finish()
        assert "Finished" in self.ui.statusLabel.text, self.ui.statusLabel.text + self.ui.logText.plainText

    def choose(self, selector: Any, text: str) -> None:
        """Choose an entry of a combo box by its text, as a user does."""
        index = selector.findText(text)
        assert index >= 0, f"{text} is not one of {[selector.itemText(n) for n in range(selector.count)]}"
        selector.setCurrentIndex(index)


class ScriptedWorker:
    """A runner whose program is a function: for states that the real worker does not hold still in.

    Args:
        answer: called with each request; returns the events that answer it.
    """

    def __init__(self, answer: Callable[[dict], list[dict]]) -> None:
        self.answer = answer
        self.requests: list[dict] = []
        self.events: list[str] = ['{"event": "ready", "version": "0", "pid": 1}']
        self.text, self.ended, self.killed = "", None, False

    def start(self, command: Sequence[str], cwd: str | Path, env: Mapping[str, str] | None) -> None:
        self.command = list(command)

    def send(self, line: str) -> None:
        request = json.loads(line)
        self.requests.append(request)
        for event in self.answer(request):
            self.tell(event, request)

    def tell(self, event: dict, request: dict | None = None) -> None:
        request = request or self.requests[-1]
        self.events.append(json.dumps({"id": request["id"], **event}))

    def lines(self) -> list[str]:
        lines, self.events = self.events, []
        return lines

    def log(self) -> str:
        text, self.text = self.text, ""
        return text

    def status(self) -> int | None:
        return self.ended

    def kill(self) -> None:
        self.killed, self.ended = True, -9


def node_ids(scene: Any) -> set[str]:
    """Ids of all nodes of a scene."""
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def module() -> Any:
    """The module under test, as it is loaded now."""
    return sys.modules["ICHWeakSeg"]
