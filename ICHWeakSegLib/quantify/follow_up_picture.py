"""A picture of a follow-up: matching slices of both CTs side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.output.preview import OUTLINE, WINDOW, pick_slices
from ICHWeakSegLib.quantify.follow_up import BOTH, ONLY_AFTER, ONLY_BEFORE, FollowUp
from ICHWeakSegLib.quantify.moved import moved_slice
from ICHWeakSegLib.refine.components import bounding_box

# Blue and amber differ for every kind of colour vision; blue is dashed, too.
BEFORE_COLOR = "#56B4E9"
MARGIN_MM = 6.0
_TILE_INCHES = 2.6
_HEADER_INCHES = 0.95


def write_follow_up_picture(
    path: str | Path, change: FollowUp, ct_before: CT, ct_after: CT, most: int = 6
) -> Path:
    """Write the earlier CT, moved onto the later one's slices, above the later CT, as PNG.

    At most `most` slices are shown, spread over those with blood on either CT; without any, from the middle of
    the head. Blue, dashed: blood before; amber: blood after.

    Args:
        path: target, `.png`.
        change: of these two CTs.
        ct_before, ct_after: the CTs.
        most: slices.

    Raises:
        InputError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = AxialGrid(ct_after)
    overlay = grid.from_native(change.overlay)
    areas = np.array([np.count_nonzero(plane) for plane in overlay])
    shown = pick_slices(areas, most) or _middle(grid.shape[0], most)
    after = [grid.slice_hu(s) for s in shown]
    to_before = np.linalg.inv(change.registration.before_to_after)
    before = [moved_slice(ct_before.hu, ct_before, to_before, _plane(grid, s), grid.shape[1:]) for s in shown]
    box = _head_box(after, grid.spacing_mm)
    height = (box[0].stop - box[0].start) * grid.spacing_mm[0]
    width = (box[1].stop - box[1].start) * grid.spacing_mm[1]
    tile = _TILE_INCHES * height / width
    full_w, full_h = max(len(shown) * _TILE_INCHES, 7.8), 2 * tile + _HEADER_INCHES
    figure = Figure(figsize=(full_w, full_h), facecolor="black")
    FigureCanvasAgg(figure)
    left = (full_w - len(shown) * _TILE_INCHES) / 2
    for column, s in enumerate(shown):
        for row, hu in enumerate((before[column], after[column])):
            x, y = left + column * _TILE_INCHES, (1 - row) * tile
            axis = figure.add_axes((x / full_w, y / full_h, _TILE_INCHES / full_w, tile / full_h))
            axis.set_axis_off()
            _tile(axis, hu[box], overlay[s][box], grid.spacing_mm, row == 1)
            words = ("before", f"after, slice {s}")[row]
            axis.text(0.03, 0.97, words, transform=axis.transAxes, color="white", va="top", size=9)
            for place, side in ((0.02, "R"), (0.98, "L")):
                axis.text(
                    place, 0.5, side, transform=axis.transAxes, color="#9ED8FF", size=9,
                    ha="left" if side == "R" else "right", va="center",
                )  # fmt: skip
    _header(figure, change, full_h)
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=110, facecolor="black", metadata={"Software": "ICHWeakSeg"}
        )
    return path


def _middle(count: int, most: int) -> list[int]:
    return np.unique(np.linspace(count // 3, 2 * count // 3, min(most, 4)).astype(int)).tolist()


def _plane(grid: AxialGrid, s: int) -> np.ndarray:
    """From (column, row, 0) of an axial slice to RAS."""
    affine = grid.ijk_to_ras.copy()
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    affine[:3, 3] += normal * (grid.positions_mm[s] - grid.positions_mm[0])
    return affine


def _head_box(planes: list[np.ndarray], spacing: tuple[float, float]) -> tuple[slice, slice]:
    found = bounding_box(np.logical_or.reduce([plane > -300 for plane in planes]))
    if found is None:
        return slice(0, planes[0].shape[0]), slice(0, planes[0].shape[1])
    margin = [int(np.ceil(MARGIN_MM / step)) for step in spacing]
    rows, columns = (
        slice(max(0, part.start - more), min(size, part.stop + more))
        for part, more, size in zip(found, margin, planes[0].shape, strict=True)
    )
    return rows, columns


def _tile(axis, hu: np.ndarray, overlay: np.ndarray, spacing: tuple[float, float], with_after: bool) -> None:
    from matplotlib import patheffects

    low, high = WINDOW[0] - WINDOW[1] / 2, WINDOW[0] + WINDOW[1] / 2
    aspect = spacing[0] / spacing[1]
    axis.imshow(hu, cmap="gray", vmin=low, vmax=high, interpolation="bilinear", aspect=aspect)
    outlines = [((ONLY_BEFORE, BOTH), BEFORE_COLOR, "dashed")]
    if with_after:
        outlines.append(((ONLY_AFTER, BOTH), OUTLINE, "solid"))
    for values, color, style in outlines:
        mask = np.isin(overlay, values)
        if mask.any():
            lines = axis.contour(
                mask.astype(np.float32), levels=[0.5], colors=[color], linestyles=[style], linewidths=1.2
            )
            lines.set_path_effects([patheffects.withStroke(linewidth=2.4, foreground="black", alpha=0.7)])


def _header(figure, change: FollowUp, height: float) -> None:
    quality = change.registration
    percent = "" if change.change_percent is None else f" ({change.change_percent:+.0f} %)"
    head = (
        f"{change.before.total.volume_ml:.1f} mL before, {change.after.total.volume_ml:.1f} mL after: "
        f"{change.change_ml:+.1f} mL{percent}"
    )
    verdict = "Expansion (> 6 mL or > 33 %)" if change.expansion else "No expansion (> 6 mL or > 33 %)"
    fit = "POOR REGISTRATION" if quality.poor else "registration"
    rest = f"{verdict}   |   {fit}: correlation {quality.correlation:.2f}"
    last = "blue, dashed: before   |   amber: after   |   research use only"
    for place, words, size in ((0.22, head, 12), (0.5, rest, 9.5), (0.74, last, 9)):
        figure.text(
            0.5, 1 - place / height, words, color="white", size=size, ha="center", va="center",
            parse_math=False,
        )  # fmt: skip
