"""Work through many images in batches that shrink when memory runs out."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED", re.I
)

# Told in one sentence what had to be changed.
Notice = Callable[[str], None]
# Told after each batch how many images are done, and of how many; it may raise to stop the work.
Progress = Callable[[int, int], None]


def warn(sentence: str) -> None:
    """The default notice: a Python warning."""
    warnings.warn(sentence, RuntimeWarning, stacklevel=2)


def device_of(module: nn.Module) -> torch.device:
    """Where the parameters of a network lie."""
    return next(module.parameters()).device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device or the machine ran out of memory."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def in_batches(
    network: nn.Module,
    indices: Sequence[int],
    batch_size: int,
    work: Callable[[list[int]], None],
    notice: Notice = warn,
    progress: Progress | None = None,
) -> None:
    """Call `work` with batches of `indices`; halve the batch when memory runs out, then go to the CPU.

    A network that had to move to the CPU is back on its device afterwards.

    Args:
        network: what `work` runs; `work` asks `device_of(network)` where to put the images.
        indices: which images, all of them to be worked on once.
        batch_size: images at a time, to begin with.
        work: handles one batch, all or nothing; it is called again with less when memory runs out.
        notice: told of every retreat.
        progress: told after each batch how many images are done, and of how many.

    Raises:
        MemoryError: not even one image fits into the memory of the machine.
        ValueError: batch_size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    home = device_of(network)
    done = 0
    try:
        while done < len(indices):
            batch = list(indices[done : done + batch_size])
            if _fits(work, batch):
                done += len(batch)
                if progress:
                    progress(done, len(indices))
                continue
            _release_memory()
            device = device_of(network)
            if len(batch) > 1:
                batch_size = len(batch) // 2
                notice(f"{device} ran out of memory with {len(batch)} images; going on with {batch_size}.")
            elif device.type != "cpu":
                network.to("cpu")
                notice(f"{device} ran out of memory with one image; going on, slower, on the CPU.")
            else:
                raise MemoryError("The machine's memory is too small for one image. Close other programs.")
    finally:
        if device_of(network) != home:
            network.to(home)


def _fits(work: Callable[[list[int]], None], batch: list[int]) -> bool:
    # Only a boolean leaves this frame: a kept exception would keep the tensors of its traceback.
    try:
        work(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
