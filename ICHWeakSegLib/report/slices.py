"""Which slices a report shows, and how they are drawn."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ICHWeakSegLib.output.preview import OUTLINE, RIM, WINDOW, pick_slices
from ICHWeakSegLib.refine.components import bounding_box
from ICHWeakSegLib.report.case import Case

_AIR_BELOW_HU = -300.0
_MARGIN_MM = 5.0
# Below this the map is not drawn: a veil over the whole brain would hide it.
_FAINT = 0.05
_MOST_OPAQUE = 0.65
MAP_COLORS = "inferno"


def key_slices(case: Case, most: int = 6) -> list[int]:
    """Axial slices to show, ascending: the largest of each lesion, the largest lesions first; then more slices
    with blood. Without blood, the most probable slices, or where no probability is known, some from the middle.
    """
    areas = np.array([np.count_nonzero(plane) for plane in case.lesions])
    chosen: list[int] = []
    for lesion in case.quantities.lesions:
        if len(chosen) >= most:
            break
        span = range(lesion.first_slice, lesion.last_slice + 1)
        best = max(span, key=lambda s: (np.count_nonzero(case.lesions[s] == lesion.number), -s))
        if best not in chosen:
            chosen.append(best)
    # Neighbours of what is shown say least.
    for s in sorted(
        pick_slices(areas, most), key=lambda s: -min((abs(s - one) for one in chosen), default=0)
    ):
        if len(chosen) < most and s not in chosen:
            chosen.append(s)
    if not chosen:
        few = min(3, len(areas))
        if case.probabilities is not None:
            chosen = np.argsort(-case.probabilities, kind="stable")[:few].tolist()
        else:
            chosen = np.unique(np.linspace(0.35, 0.75, few) * (len(areas) - 1)).astype(int).tolist()
    return sorted(int(s) for s in chosen)


def head_box(case: Case, shown: list[int]) -> tuple[slice, slice]:
    """Rows and columns around the head on some slices, with a margin; the whole slice where no head is found."""
    _, height, width = case.grid.shape
    body = np.zeros((height, width), bool)
    for s in shown:
        # Opening parts the head from its rest and takes wires away.
        labels, count = ndimage.label(
            ndimage.binary_opening(case.grid.slice_hu(s) > _AIR_BELOW_HU, iterations=2)
        )
        if count:
            body |= labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    found = bounding_box(body)
    if found is None:
        return slice(0, height), slice(0, width)
    rows, columns = (
        slice(max(0, part.start - more), min(size, part.stop + more))
        for part, size, more in zip(
            found, (height, width), (int(_MARGIN_MM / step) + 1 for step in case.grid.spacing_mm), strict=True
        )
    )
    return rows, columns


def map_planes(case: Case, shown: list[int]) -> list[np.ndarray]:
    """The localization map on some slices, 0-1, shape (H, W); empty without a map."""
    if case.map is None:
        return []
    axial = case.grid.from_native(np.asarray(case.map, np.float32), order=1)
    return [np.array(axial[s]) for s in shown]


def draw_slice(
    axis,
    case: Case,
    s: int,
    box: tuple[slice, slice],
    map_plane: np.ndarray | None = None,
    points: float = 8.0,
) -> None:
    """Draw an axial slice in radiological view: blood outlined and numbered, or the map over it.

    Args:
        axis: of matplotlib.
        case: the case.
        s: axial slice.
        box: rows and columns to draw.
        map_plane: localization map, 0-1, shape (H, W).
        points: size of letters.
    """
    low, high = WINDOW[0] - WINDOW[1] / 2, WINDOW[0] + WINDOW[1] / 2
    aspect = case.grid.spacing_mm[0] / case.grid.spacing_mm[1]
    axis.set_axis_off()
    look = {"interpolation": "bilinear", "aspect": aspect}
    axis.imshow(case.grid.slice_hu(s)[box], cmap="gray", vmin=low, vmax=high, **look)
    if map_plane is not None:
        part = np.clip(map_plane[box], 0, 1)
        opacity = np.where(part > _FAINT, _MOST_OPAQUE * np.sqrt(part), 0)
        # The root, since maps are low nearly everywhere.
        axis.imshow(np.sqrt(part), cmap=MAP_COLORS, vmin=0, vmax=1, alpha=opacity, **look)
    lesions = case.lesions[s][box]
    if lesions.any():
        if map_plane is not None:
            _outline(axis, lesions, 0.07 * points, "white")
        else:
            _outline(axis, lesions, 0.15 * points, OUTLINE)
            _numbers(axis, lesions, points)
    for place, side in ((0.02, "R"), (0.98, "L")):
        align = "left" if side == "R" else "right"
        _text(axis, place, 0.5, side, "#9ED8FF", axis.transAxes, ha=align, size=points)


def _outline(axis, lesions: np.ndarray, width: float, color: str) -> None:
    from matplotlib import patheffects

    # A rim of zeros closes outlines at the picture's edge.
    padded = np.pad((lesions != 0).astype(np.float32), 1)
    rows, columns = (np.arange(-1, size + 1) for size in lesions.shape)
    lines = axis.contour(columns, rows, padded, levels=[0.5], colors=[color], linewidths=width)
    lines.set_path_effects([patheffects.withStroke(linewidth=2.2 * width, foreground=RIM, alpha=0.8)])
    axis.set_xlim(-0.5, lesions.shape[1] - 0.5)
    axis.set_ylim(lesions.shape[0] - 0.5, -0.5)


def _numbers(axis, lesions: np.ndarray, points: float) -> None:
    for number in np.unique(lesions[lesions > 0])[:12]:
        rows, columns = np.nonzero(lesions == number)
        # Beside the lesion, on the side of the picture's middle, where the skull is not in the way.
        inward = 1 if columns.mean() < lesions.shape[1] / 2 else -1
        edge = columns.max() if inward > 0 else columns.min()
        row = rows[columns == edge].mean()
        reach = 0.02 * lesions.shape[1]
        _text(
            axis,
            edge + inward * reach,
            row,
            str(number),
            OUTLINE,
            axis.transData,
            ha="left" if inward > 0 else "right",
            weight="bold",
            size=points,
        )


def _text(axis, x: float, y: float, words: str, color: str, place, **style) -> None:
    from matplotlib import patheffects

    text = axis.text(x, y, words, transform=place, color=color, va="center", clip_on=True, **style)
    text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="black")])
