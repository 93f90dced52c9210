"""A picture of the result for a quick look: the slices with blood, outlined."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.output.provenance import provenance_fields

WINDOW = (40.0, 80.0)
# Amber differs from grey for every kind of colour vision; the dark rim keeps it visible on bright bone.
OUTLINE = "#FFB000"
RIM = "black"
_AIR_BELOW_HU = -300.0
_MARGIN_MM = 6.0
_HEADER_INCHES = 0.74
_LABEL_INCHES = 0.24


@dataclass(frozen=True)
class _Crop:
    rows: slice
    columns: slice


def write_preview(
    path: str | Path,
    ct_slices: np.ndarray,
    mask_slices: np.ndarray,
    spacing: Sequence[float],
    *,
    probabilities: Sequence[float] | None = None,
    slice_ml: Sequence[float] | None = None,
    total_ml: float | None = None,
    slice_numbers: Sequence[int] | None = None,
    model: str = "",
    case: str = "",
    provenance: Mapping[str, object] | None = None,
    most: int = 12,
) -> Path:
    """Write a montage of the positive slices as PNG.

    At most `most` slices are shown: the positive ones are parted into as many runs, and of each run the slice
    with the largest area is taken. Without a positive slice, slices from the middle of the head are shown
    with the words "no blood found".

    Args:
        path: target, `.png`.
        ct_slices: HU, shape (S, H, W), axial, inferior to superior, in radiological view: rows anterior to
            posterior, columns from the patient's right to left.
        mask_slices: nonzero is hemorrhage, same shape.
        spacing: (slice, row, column) steps in mm.
        probabilities: of each slice, shape (S,).
        slice_ml: volume of blood in each slice in mL, shape (S,); by default from the mask and the spacing.
        total_ml: total volume in mL, best measured on the native grid; by default the sum over slices.
        slice_numbers: number shown for each slice, shape (S,); by default the index from inferior, from 0.
        model: name and version, for the title.
        case: what was segmented, for the title; no patient's identity.
        provenance: written into the PNG's text fields.

    Raises:
        ValueError: shapes do not agree or there is no slice.
    """
    hu = np.asarray(ct_slices)
    mask = np.asarray(mask_slices)
    if hu.ndim != 3 or hu.shape != mask.shape or 0 in hu.shape:
        raise ValueError(f"Slices of shape {hu.shape} and a mask of shape {mask.shape} do not go together.")
    # Plane by plane, here and below: whole volumes of booleans would be large.
    areas = np.array([np.count_nonzero(plane) for plane in mask])
    if slice_ml is None:
        slice_ml = areas * float(np.prod(spacing)) / 1000.0
    if total_ml is None:
        total_ml = float(np.sum(slice_ml))
    numbers = range(len(hu)) if slice_numbers is None else slice_numbers
    positive = np.flatnonzero(areas)
    shown = pick_slices(areas, most) if len(positive) else _middle_slices(hu, min(most, 8))
    crop = _head_box(hu[shown], spacing)

    figure, axes = _canvas(len(shown), crop, spacing)
    for axis, index in zip(axes, shown, strict=True):
        _tile(axis, hu[index][crop.rows, crop.columns], mask[index][crop.rows, crop.columns] != 0, spacing)
        words = [f"slice {numbers[index]}"]
        if probabilities is not None:
            words.append(f"p {probabilities[index]:.2f}")
        if areas[index]:
            words.append(f"{slice_ml[index]:.1f} mL")
        _label(axis, "   ".join(words))
    _title(figure, len(positive), len(hu), len(shown), total_ml, model, case)

    path = Path(path)
    # Without the library's version the same result gives the same file.
    metadata = {"Software": "ICHWeakSeg", **provenance_fields(provenance or {})}
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes: no matter for the terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=110, facecolor=figure.get_facecolor(), metadata=metadata)
    return path


def pick_slices(areas: np.ndarray, most: int) -> list[int]:
    """Indices of at most `most` positive slices: spread evenly, the largest of each run."""
    positive = np.flatnonzero(areas)
    runs = np.array_split(positive, min(most, len(positive))) if len(positive) else []
    return [int(run[np.argmax(areas[run])]) for run in runs]


def _middle_slices(hu: np.ndarray, most: int) -> list[int]:
    """Evenly spread slices from the middle half of the head."""
    inside = np.flatnonzero([(plane > _AIR_BELOW_HU).mean() > 0.02 for plane in hu])
    if len(inside) == 0:
        inside = np.arange(len(hu))
    quarter = len(inside) // 4
    middle = inside[quarter : len(inside) - quarter]
    places = np.linspace(0, len(middle) - 1, min(most, len(middle))).round().astype(int)
    return [int(index) for index in np.unique(middle[places])]


def _head_box(hu: np.ndarray, spacing: Sequence[float]) -> _Crop:
    """Box around the head with a margin, the same for all slices; the whole slice where no head is found."""
    # Only here: the Slicer panel names segments without scipy.
    from scipy import ndimage

    _, height, width = hu.shape
    body = np.zeros((height, width), bool)
    for image in hu > _AIR_BELOW_HU:
        # Opening parts the head from its rest and takes wires away.
        labels, count = ndimage.label(ndimage.binary_opening(image, iterations=3))
        if count:
            body |= labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    if not body.any():
        return _Crop(slice(0, height), slice(0, width))
    box = []
    for axis, step in ((1, spacing[1]), (0, spacing[2])):
        places = np.flatnonzero(body.any(axis=axis))
        margin = int(np.ceil(_MARGIN_MM / step))
        box.append(slice(max(0, places[0] - margin), min(body.shape[1 - axis], places[-1] + 1 + margin)))
    return _Crop(*box)


def _canvas(count: int, crop: _Crop, spacing: Sequence[float]):
    """A dark figure with one axis a tile; the number of columns makes it about 3 to 2."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = (crop.rows.stop - crop.rows.start) * spacing[1]
    width = (crop.columns.stop - crop.columns.start) * spacing[2]
    # Few tiles are shown larger.
    tile_w = 5.0 if count <= 2 else 3.4 if count <= 6 else 2.6
    image_h = float(np.clip(tile_w * height / width, 0.4 * tile_w, 2.5 * tile_w))
    tile_h = image_h + _LABEL_INCHES
    # Empty tiles cost most, then the distance from 3 to 2.
    columns = min(
        range(min(3, count), min(6, count) + 1),
        key=lambda c: abs(np.log(c * tile_w / (-(-count // c) * tile_h) / 1.5)) + 2 * (-count % c) / count,
    )
    rows = -(-count // columns)
    # A narrow picture would cut the title.
    full_w = max(columns * tile_w, 6.6)
    full_h = rows * tile_h + _HEADER_INCHES
    figure = Figure(figsize=(full_w, full_h), facecolor="black")
    FigureCanvasAgg(figure)
    left = (full_w - columns * tile_w) / 2
    axes = []
    for index in range(count):
        row, column = divmod(index, columns)
        x, y = left + column * tile_w, full_h - _HEADER_INCHES - (row + 1) * tile_h
        axis = figure.add_axes((x / full_w, y / full_h, tile_w / full_w, image_h / full_h))
        axis.set_axis_off()
        axes.append(axis)
    return figure, axes


def _tile(axis, hu: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> None:
    from matplotlib import patheffects

    low, high = WINDOW[0] - WINDOW[1] / 2, WINDOW[0] + WINDOW[1] / 2
    aspect = spacing[1] / spacing[2]
    axis.imshow(hu, cmap="gray", vmin=low, vmax=high, interpolation="bilinear", aspect=aspect)
    if mask.any():
        # A rim of zeros closes outlines at the tile's edge.
        padded = np.pad(mask.astype(np.float32), 1)
        rows, columns = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
        lines = axis.contour(columns, rows, padded, levels=[0.5], colors=[OUTLINE], linewidths=1.3)
        lines.set_path_effects([patheffects.withStroke(linewidth=2.8, foreground=RIM, alpha=0.8)])
        axis.set_xlim(-0.5, mask.shape[1] - 0.5)
        axis.set_ylim(mask.shape[0] - 0.5, -0.5)
    for x, word in ((0.02, "R"), (0.98, "L")):
        _text(
            axis, x, 0.5, word, ha="left" if word == "R" else "right", va="center", size=10, color="#9ED8FF"
        )


def _label(axis, words: str) -> None:
    _text(axis, 0.5, 1.01, words, ha="center", va="bottom", size=9.5, color="white", weight="bold")


def _text(axis, x: float, y: float, words: str, **style) -> None:
    from matplotlib import patheffects

    text = axis.text(x, y, words, transform=axis.transAxes, **style)
    text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="black")])


def _title(figure, positive: int, slices: int, shown: int, total_ml: float, model: str, case: str) -> None:
    if positive:
        head = f"Intracranial hemorrhage {total_ml:.1f} mL on {positive} of {slices} slices"
        if shown < positive:
            head += f" ({shown} shown)"
    else:
        head = f"No blood found on {slices} slices ({shown} shown)"
    rest = "   |   ".join(word for word in (case, model, "research use only") if word)
    height = figure.get_figheight()
    style = {"ha": "center", "va": "center", "parse_math": False}
    figure.text(0.5, 1 - 0.24 / height, head, color="white", size=13, weight="bold", **style)
    figure.text(0.5, 1 - 0.53 / height, rest, color="#C8C8C8", size=9.5, **style)
