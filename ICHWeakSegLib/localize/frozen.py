"""Borrow a network for localization and give it back exactly as it was."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, no parameter gradients, no checkpointing inside the `with`; all restored afterwards.

    Maps need gradients of activations only: autograd then skips the parameters and keeps fewer activations.
    One thread at a time borrows a network; others wait. A thread that trains the same network must not run
    meanwhile.
    """
    with _lock_of(module):
        flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
        modes = [(child, child.training) for child in module.modules()]
        # A checkpointed stage would run its blocks without a graph, so their attention could not be followed.
        checkpointed = [
            child for child in module.modules() if getattr(child, "grad_checkpointing", False) is True
        ]
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(False)
            for child in checkpointed:
                child.grad_checkpointing = False
            module.eval()
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for child in checkpointed:
                child.grad_checkpointing = True
            for child, mode in modes:
                child.training = mode


def _lock_of(module: nn.Module) -> threading.RLock:
    with _LOCKS_GUARD:
        return _LOCKS.setdefault(module, threading.RLock())
