"""A run in the worker, from the request to the finished nodes."""

import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.worker.exchange import read_result
from ICHWeakSegSlicer.ctstates import stateOf

RUNNING, FINISHED, CANCELLED, FAILED = "running", "finished", "cancelled", "failed"
# The jobs of every logic, as long as somebody knows them.
_jobs: weakref.WeakSet["Job"] = weakref.WeakSet()


class Engine(Protocol):
    """What a job asks of its logic."""

    def poll(self) -> None:
        """Deliver what the worker said."""

    def keepAlive(self) -> None:
        """Let the application breathe for a moment."""

    def cancelJob(self, job: "Job") -> None:
        """Stop a job, whether it runs or waits."""


class Job:
    """One run on one CT. The scene changes only when it has succeeded.

    Attributes:
        state: "running" (or waiting for its turn), "finished", "cancelled" or "failed".
        volumeNode: the CT.
        segmentationNode, mapNode, tableNode: the outputs; what was not given is made at the end.
        result: what the worker found, a `CaseResult` of a segmentation; None before.
        error: the sentence of a failed job; the reason of a job that was cancelled by something else.

    Example:
        >>> job = logic.start(volumeNode, onFinished=lambda job: print(job.result.total.volume_ml))
        >>> job.cancel()
    """

    # What happens to a CT meanwhile, and what to do where it has changed.
    meanwhile, again = "it was segmented", "segment it again"

    def __init__(
        self,
        engine: Engine,
        volumeNode: Any,
        onProgress: Callable[[str, int, int], None] | None = None,
        onFinished: Callable[["Job"], None] | None = None,
        onError: Callable[["Job", str], None] | None = None,
        onLog: Callable[[str], None] | None = None,
    ) -> None:
        self.state = RUNNING
        self.volumeNode = volumeNode
        self.segmentationNode = self.mapNode = self.tableNode = None
        self.result: Any = None
        self.error = ""
        self.requestId: int | None = None
        self._engine = engine
        self._onProgress, self._onFinished = onProgress, onFinished
        self._onError, self._onLog = onError, onLog
        self._states: list[tuple[Any, tuple]] = []
        _jobs.add(self)

    def submit(self) -> int:
        """Hand the request to the worker; its number."""
        raise NotImplementedError

    def read(self, folder: Path) -> Any:
        """What the worker has written into the case folder."""
        return read_result(folder)

    def write(self, result: Any) -> None:
        """Bring that into the scene."""
        raise NotImplementedError

    @property
    def nodes(self) -> dict[str, Any]:
        """Nodes without which the job makes no sense, by what they are."""
        return {"CT": self.volumeNode}

    @property
    def outputs(self) -> tuple[Any, ...]:
        """Nodes that it will write into, or None; more nodes may be among them."""
        return (self.segmentationNode, self.mapNode, self.tableNode)

    def handsOver(self, *volumeNodes: Any) -> None:
        """Note how CTs are now that the worker gets them: if they change until the end, the job fails."""
        self._states = [(node, stateOf(node)) for node in volumeNodes]

    def cancel(self) -> None:
        """Stop it; nothing happens to a job that is over."""
        if self.state == RUNNING:
            self._engine.cancelJob(self)

    def wait(self) -> "Job":
        """Return when it is over, however it ended; the application stays responsive meanwhile."""
        while self.state == RUNNING:
            self._engine.poll()
            if self.state == RUNNING:
                self._engine.keepAlive()
        return self

    def missingNode(self) -> str:
        """Why it cannot go on, where one of its nodes has left the scene; else empty."""
        gone = [what for what, node in self.nodes.items() if not inScene(node)]
        return f"The {gone[0]} was removed from the scene: the run was stopped." if gone else ""

    def progressed(self, stage: str, done: int, total: int) -> None:
        """The worker came further."""
        self._tell(self._onProgress, stage, done, total)

    def logged(self, text: str) -> None:
        """The worker wrote something for the log."""
        self._tell(self._onLog, text)

    def succeeded(self, folder: Path) -> None:
        """The worker has written its result."""
        try:
            result = self.read(folder)
            self._requireUnchanged()
            self.write(result)
        except InputError as problem:
            self.failed(str(problem))
            return
        except Exception as problem:
            logging.exception("The result could not be brought into the scene")
            self.failed(f"The result could not be brought into the scene ({problem}); see the log.")
            return
        self.result = result
        self.state = FINISHED
        self._tell(self._onFinished, self)

    def failed(self, sentence: str) -> None:
        """It ended with an error."""
        self.state, self.error = FAILED, sentence
        self._tell(self._onError, self, sentence)

    def stopped(self, reason: str = "") -> None:
        """It was cancelled: by the user (no reason), or since a node has gone."""
        self.state, self.error = CANCELLED, reason
        if reason:
            self._tell(self._onError, self, reason)

    def _requireUnchanged(self) -> None:
        problem = self.missingNode()
        changed = [] if problem else [node for node, state in self._states if stateOf(node) != state]
        if changed:
            problem = f"{changed[0].GetName()} was changed while {self.meanwhile}; {self.again}."
        if problem:
            raise InputError(problem)

    def _tell(self, callback: Callable[..., None] | None, *arguments: Any) -> None:
        if callback is None:
            return
        try:
            callback(*arguments)
        except Exception:
            # A caller's fault must not stop the delivery to others.
            logging.exception("A callback of a segmentation failed")


def nodesInUse() -> list[Any]:
    """Nodes of all jobs that have not ended."""
    running = [job for job in _jobs if job.state == RUNNING]
    return [node for job in running for node in (*job.nodes.values(), *job.outputs) if node is not None]


def inScene(node: Any) -> bool:
    """Whether a node is still in its scene; None is in no scene."""
    scene = None if node is None else node.GetScene()
    return scene is not None and scene.GetNodeByID(node.GetID() or "") is node
