"""How many workers a machine can take."""

from __future__ import annotations

import os
from pathlib import Path

from ICHWeakSegLib.ct.errors import InputError

# Torch, one CT in work and the next one read ahead; `bench_cohort.py` measures it.
WORKER_BYTES = 2 * 2**30
# All workers share one device's memory.
MOST_ON_GPU = 2


def choose_workers(wish: int | str, cases: int, on_gpu: bool = False) -> int:
    """The number of workers: as asked for, or for `auto` by free memory and cores; never more than cases.

    Raises:
        InputError: neither `auto` nor a number from 1 on.
    """
    if wish != "auto":
        if isinstance(wish, bool) or not isinstance(wish, int) or wish < 1:
            raise InputError(f"The number of workers is auto or a number from 1 on, not {wish!r}.")
        return max(1, min(wish, cases))
    most = cores()
    free = free_bytes()
    if free is not None:
        most = min(most, free // WORKER_BYTES)
    if on_gpu:
        most = min(most, MOST_ON_GPU)
    return max(1, min(most, cases))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def free_bytes() -> int | None:
    """Memory that is free, within the container's limit; None where nothing tells."""
    found = [part for part in (_system_free(), _container_free()) if part is not None]
    return min(found) if found else None


def _system_free() -> int | None:
    try:
        import psutil
    except ModuleNotFoundError:
        pass
    else:
        return int(psutil.virtual_memory().available)
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _container_free() -> int | None:
    """What cgroup v2 leaves to this process."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        return None if limit == "max" else max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None
