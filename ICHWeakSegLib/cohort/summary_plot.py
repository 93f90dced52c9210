"""A picture of the whole cohort: volumes of blood, and how the cases ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ICHWeakSegLib.cohort.flags import FLAGS
from ICHWeakSegLib.ct.atomic import atomic_path

_BLOOD, _QUIET, _BAD = "#D55E00", "#56A3C9", "#555555"


def draw_summary(path: Path, results: Sequence[Mapping[str, Any]], failed: int, made: str) -> None:
    """Write a PNG: histogram of volumes above 0 (logarithmic), counts of cases, counts of flags.

    Args:
        path: target.
        results: of the finished cases.
        failed: how many cases failed.
        made: model and version, for the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    volumes = np.array([result["volume_ml"] for result in results], float)
    positive = volumes[volumes > 0]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 1, 1.4))
    _histogram(left, positive)
    counts = {"blood": len(positive), "no blood": len(volumes) - len(positive), "failed": failed}
    _bars(middle, counts, (_BLOOD, _QUIET, _BAD), "Cases")
    flags = Counter(flag for result in results for flag in result["flags"])
    shown = {flag: flags[flag] for flag in FLAGS if flag not in ("failed", "no blood")}
    _bars(right, shown, _QUIET, "Flags (a case may have several)")
    title = f"{len(results)} of {len(results) + failed} cases, {made}. For research use only."
    figure.suptitle(title, fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Software": "ICHWeakSeg"})


def _histogram(axes: Any, positive: np.ndarray) -> None:
    axes.set_xlabel("volume of blood (mL)")
    axes.set_ylabel("cases")
    if not len(positive):
        axes.set_title("No blood in any case")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    low, high = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()) + 1e-9)
    edges = np.logspace(low, max(high, low + 1), 8 * int(max(high - low, 1)) + 1)
    axes.hist(positive, bins=edges, color=_BLOOD, edgecolor="white")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.get_major_locator().set_params(integer=True)
    middle = float(np.median(positive))
    axes.axvline(middle, color="black", linestyle="--", linewidth=1)
    axes.set_title(f"Cases with blood: median {middle:.1f} mL")
    axes.spines[["top", "right"]].set_visible(False)


def _bars(axes: Any, counts: Mapping[str, int], color: Any, title: str) -> None:
    bars = axes.barh(list(counts), list(counts.values()), color=color)
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_xmargin(0.15)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
