"""The curve of slice probabilities with the threshold and the slices where blood was outlined."""

from __future__ import annotations

import io
import re

import numpy as np

from ICHWeakSegLib.output.preview import OUTLINE
from ICHWeakSegLib.report.case import Case

# Stands for the page's own text colour until it is known.
_INK = "#010203"
_LINE = "#2F7FD0"


def draw_curve(axis, case: Case, ink: str = "black", points: float = 8.0) -> None:
    """Draw the probability of blood on every axial slice.

    Args:
        axis: of matplotlib.
        case: the case.
        ink: colour of text and axes.
        points: size of letters.

    Raises:
        ValueError: the case has no probabilities.
    """
    if case.probabilities is None:
        raise ValueError("The case has no slice probabilities.")
    slices = np.arange(len(case.probabilities))
    blood = np.array([plane.any() for plane in case.lesions])
    axis.fill_between(slices, 0, 1, where=blood, step="mid", color=OUTLINE, alpha=0.25, linewidth=0)
    marker = "o" if len(slices) <= 80 else ""
    axis.plot(slices, case.probabilities, color=_LINE, marker=marker, markersize=3, linewidth=1.4)
    if case.slice_threshold is not None:
        axis.axhline(case.slice_threshold, color=ink, linewidth=1, linestyle="--")
        high = case.slice_threshold > 0.88
        axis.annotate(
            f"threshold {case.slice_threshold:.2f}",
            (1, case.slice_threshold),
            (-3, -3 if high else 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top" if high else "bottom",
            size=points,
            color=ink,
        )
    axis.set_xlim(-0.5, len(slices) - 0.5)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("slice, from the lowest (0)", size=points, color=ink)
    axis.set_ylabel("probability of blood", size=points, color=ink)
    axis.tick_params(labelsize=points, colors=ink)
    axis.xaxis.get_major_locator().set_params(integer=True)
    for name, spine in axis.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(ink)


def curve_svg(case: Case) -> str:
    """The curve as an SVG element for a page, in the page's text colour."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # The salt makes the same case the same text.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ICHWeakSeg"}):
        figure = Figure(figsize=(5.2, 2.1), layout="constrained")
        FigureCanvasSVG(figure)
        draw_curve(figure.add_subplot(), case, ink=_INK)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace(_INK, "currentColor").replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1).strip()


def curve_words(case: Case) -> str:
    """What the curve shows, for those who do not see it."""
    assert case.probabilities is not None
    highest = int(np.argmax(case.probabilities))
    text = (
        f"Probability of blood on each of {len(case.probabilities)} slices; the highest is "
        f"{case.probabilities[highest]:.2f} on slice {highest}"
    )
    if case.slice_threshold is not None:
        count = int((case.probabilities >= case.slice_threshold).sum())
        text += f"; {count} slices reach the threshold of {case.slice_threshold:.2f}"
    return f"{text}."
