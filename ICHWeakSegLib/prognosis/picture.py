"""Where the model looked: slices with attention, weights of the slices, words with their weights."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.output.preview import OUTLINE, WINDOW

if TYPE_CHECKING:
    from ICHWeakSegLib.prognosis.assess import Assessment
    from ICHWeakSegLib.prognosis.predict import Prognosis

MOST_SLICES = 8
# Inches.
_WIDTH, _MARGIN, _HEAD, _TILE, _BARS, _WORDS, _LINE = 9.6, 0.4, 1.3, 2.44, 1.6, 0.45, 0.32
_ACROSS = 4
# In a line of words.
_LETTERS = 96
# Marks of tokenizers: BERT's ##, CLIP's </w>, GPT-2's and SentencePiece's blanks; special tokens whole.
_MARKS = re.compile(r"^<\|.*\|>$|^\[[A-Z]+\]$|^</?s>$|^##|</w>$|[\u0120\u2581]")
_GAP = 40
_ATTENTION = "#35C2E0"
_WORD = "#2E7FB8"
_INK = "#202020"


def write_picture(path: str | Path, assessment: Assessment, case: str = "") -> Path:
    """Write the picture as PNG.

    Slices: the brain window; where the outcome looked in blue, blood of the network (probability 0.5) outlined;
    those of highest weight, in their order. Attention shows what entered the forecast, not why.

    Args:
        path: target, `.png`.
        assessment: of one patient.
        case: for the title; no patient's identity.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = assessment.prognosis
    with_ct, with_text = "ct" in found.modalities, "text" in found.modalities
    shown = _shown(found) if with_ct else []
    lines = _lines(*words(found.tokens, found.token_weights, found.text)) if with_text else []
    slice_rows = -(-len(shown) // _ACROSS)
    height = _HEAD + _TILE * slice_rows + _BARS * with_ct + (_WORDS + _LINE * len(lines)) * bool(lines)
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)

    def place(left: float, top: float, width: float, tall: float):
        """Axes at inches from the left and the top."""
        return figure.add_axes((left / _WIDTH, 1 - (top + tall) / height, width / _WIDTH, tall / height))

    inner = _WIDTH - 2 * _MARGIN
    _head(place(_MARGIN, 0.1, inner, _HEAD - 0.5), assessment, case)
    tile = inner / _ACROSS
    for index, slab in enumerate(shown):
        row, column = divmod(index, _ACROSS)
        _slice(
            place(_MARGIN + column * tile + 0.03, _HEAD + row * _TILE + 0.22, tile - 0.06, tile - 0.06),
            found,
            slab,
        )
    top = _HEAD + _TILE * slice_rows
    if with_ct:
        # The axis' numbers stand to the left.
        _weights(place(_MARGIN + 0.25, top + 0.34, inner - 0.25, _BARS - 0.7), found, shown)
        top += _BARS
    if lines:
        _words(place(_MARGIN, top + 0.3, inner, _LINE * len(lines)), lines)
    facts = {
        **assessment.provenance,
        "outcome": assessment.rule.words,
        "probability": float(found.probability),
    }
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary,
            dpi=120,
            format="png",
            metadata={"Software": assessment.provenance["software"], "Description": json.dumps(facts)},
        )
    return Path(path)


def words(tokens: Sequence[str], weights: Sequence[float], text: str) -> tuple[list[str], list[float]]:
    """Whole words of a text from an encoder's pieces, whose weights are added; special tokens stay out.

    Args:
        tokens: pieces in their order, with the marks of any tokenizer (`##ed`, `comma</w>`).
        weights: of the pieces.
        text: that they were cut from.
    """
    found: list[str] = []
    summed: list[float] = []
    low, end = text.lower(), 0
    for token, weight in zip(tokens, weights, strict=True):
        bare = _MARKS.sub("", token).lower()
        start = low.find(bare, end) if bare else -1
        # Far away is no next piece: a token that the tokenizer made up.
        if start < 0 or start > end + _GAP:
            continue
        piece = text[start : start + len(bare)]
        if found and start == end:
            found[-1] += piece
            summed[-1] += float(weight)
        else:
            found.append(piece)
            summed.append(float(weight))
        end = start + len(bare)
    return found, summed


def _shown(found: Prognosis) -> list[int]:
    """The slices of highest weight, in their order from inferior."""
    return sorted(np.argsort(-np.asarray(found.slice_weights), kind="stable")[:MOST_SLICES].tolist())


def _head(axes, assessment: Assessment, case: str) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    found, interval = assessment.prognosis, assessment.interval
    head = f"Poor outcome ({assessment.rule.words}): {found.probability:.2f}"
    axes.text(0, 1, head, size=14, weight="bold", va="top", color=_INK, parse_math=False)
    facts = assessment.provenance
    note = "   |   ".join(
        part for part in (case, f"{facts['model']} {facts['version']}", "research use only") if part
    )
    axes.text(0, 0.6, note, size=9, va="top", color="0.35", parse_math=False)
    if interval is not None:
        sentence = (
            f"calibrated {interval.merged:.2f}, interval {interval.low:.2f} to {interval.high:.2f} "
            f"({interval.cases} held-out cases)"
        )
        axes.text(1, 0.6, sentence, size=9, va="top", ha="right", color=_WORD)
        axes.plot([interval.low, interval.high], [0.1, 0.1], color=_WORD, linewidth=7, solid_capstyle="butt")
    axes.plot([0, 1], [0.1, 0.1], color="0.8", linewidth=1, zorder=0)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        axes.text(tick, -0.05, f"{tick:g}", size=7.5, ha="center", va="top", color="0.4")
    axes.plot([found.probability], [0.1], "o", color=_INK, markersize=8, clip_on=False)


def _slice(axes, found: Prognosis, slab: int) -> None:
    from matplotlib.colors import to_rgba

    axes.set_axis_off()
    low, high = WINDOW[0] - WINDOW[1] / 2, WINDOW[0] + WINDOW[1] / 2
    axes.imshow(found.hu[slab], cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
    look = np.empty((*found.image_maps[slab].shape, 4))
    look[:] = to_rgba(_ATTENTION)
    look[..., 3] = 0.6 * np.clip(found.image_maps[slab], 0, 1)
    axes.imshow(look, interpolation="bilinear")
    blood = found.blood[slab]
    if (blood >= 0.5).any():
        axes.contour(blood, levels=[0.5], colors=[OUTLINE], linewidths=1.3)
    group = found.slices[slab]
    name = f"slice {group.start}" + (f" to {group.stop - 1}" if len(group) > 1 else "")
    axes.set_title(f"{name}, weight {found.slice_weights[slab]:.2f}", size=8.5, pad=2, color=_INK)
    for x, word in ((0.03, "R"), (0.97, "L")):
        axes.text(x, 0.5, word, transform=axes.transAxes, color="#9ED8FF", size=8, ha="center", va="center")


def _weights(axes, found: Prognosis, shown: list[int]) -> None:
    weights = found.slice_weights
    colors = [_ATTENTION if slab in shown else "0.75" for slab in range(len(weights))]
    axes.bar(range(len(weights)), weights, color=colors, width=0.85)
    axes.axhline(1 / len(weights), color="0.5", linewidth=0.8, linestyle=":")
    axes.set_xlim(-0.7, len(weights) - 0.3)
    every = range(0, len(weights), max(1, len(weights) // 16))
    axes.set_xticks(list(every), [str(found.slices[slab].start) for slab in every])
    axes.set_title(
        "weight of each slice in the forecast, from inferior (blue: shown above; dotted: all alike)",
        size=8.5,
        pad=3,
        loc="left",
        color=_INK,
    )
    axes.tick_params(labelsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(found: list[str], weights: list[float], width: int = _LETTERS) -> list[list[tuple[str, float]]]:
    """Words with weights, broken into lines."""
    lines: list[list[tuple[str, float]]] = [[]]
    used = 0
    for word, weight in zip(found, weights, strict=True):
        if used + len(word) + 1 > width and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append((word, weight))
        used += len(word) + 1
    return [line for line in lines if line]


def _words(axes, lines: list[list[tuple[str, float]]]) -> None:
    axes.set_axis_off()
    # One column a letter of a fixed-width font.
    axes.set(xlim=(0, _LETTERS + 4), ylim=(len(lines), 0))
    axes.set_title(
        "words with their weight in the forecast (darker: more)", size=8.5, pad=3, loc="left", color=_INK
    )
    most = max((weight for line in lines for _, weight in line), default=0) or 1
    for row, line in enumerate(lines):
        column = 0.0
        for word, weight in line:
            share = weight / most
            axes.text(
                column,
                row + 0.5,
                word,
                family="monospace",
                size=10,
                va="center",
                color="white" if share > 0.55 else _INK,
                bbox={"boxstyle": "round,pad=0.18", "facecolor": _WORD, "alpha": share, "linewidth": 0},
                parse_math=False,
            )
            column += len(word) + 1.2
