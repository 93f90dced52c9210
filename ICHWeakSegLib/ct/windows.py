"""CT display windows as network channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apply_windows(
    hu: np.ndarray, windows: Sequence[tuple[float, float]], scaling: str = "fixed"
) -> np.ndarray:
    """Cut HU into windows and scale each to 0-1.

    Args:
        hu: HU, shape (H, W).
        windows: (level, width) pairs in HU.
        scaling: `fixed` maps the window's own limits to 0 and 1. `observed` maps the smallest and largest
            value that the slice has inside the window to 0 and 1, as the HGI-SAM reference does (a slice of
            one value gives zeros).

    Returns:
        float32 array of shape (len(windows), H, W).

    Raises:
        ValueError: unknown scaling, or a window without width.
    """
    if scaling not in ("fixed", "observed"):
        raise ValueError(f"Scaling is 'fixed' or 'observed', not {scaling!r}.")
    channels = np.empty((len(windows), *hu.shape), np.float32)
    for channel, (level, width) in zip(channels, windows, strict=True):
        if width <= 0:
            raise ValueError(f"A window needs a positive width, not {width}.")
        low, high = level - width / 2, level + width / 2
        np.clip(hu, low, high, out=channel, casting="unsafe")
        if scaling == "observed":
            low, high = float(channel.min()), float(channel.max())
        channel -= low
        channel /= (high - low) or 1.0
    return channels
