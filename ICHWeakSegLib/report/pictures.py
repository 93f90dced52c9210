"""The report's pictures, each with the words that stand for it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from ICHWeakSegLib.report.case import Case
from ICHWeakSegLib.report.scene import View, render
from ICHWeakSegLib.report.slices import draw_slice, head_box, key_slices, map_planes

MOST_MAPS = 3
_PIXELS_WIDE = 300
_DPI = 100
_QUALITY = 88
# Browsers show the picture at about half its size.
_POINTS = 13.0


@dataclass(frozen=True)
class SlicePicture:
    """A slice to draw.

    Attributes:
        index: axial slice.
        caption: short, below the picture.
        words: what is to be seen, for those who do not see it.
        map_plane: the localization map to draw over it, shape (H, W); None for the outlined blood.
    """

    index: int
    caption: str
    words: str
    map_plane: np.ndarray | None = None


@dataclass(frozen=True)
class Pictures:
    """All pictures of a case.

    Attributes:
        case: the case.
        box: rows and columns of a slice that are drawn.
        slices: with outlined blood.
        maps: the map over some of these slices; empty without a map.
        views: the blood in space.
    """

    case: Case
    box: tuple[slice, slice]
    slices: list[SlicePicture]
    maps: list[SlicePicture]
    views: list[View]

    @property
    def height_by_width(self) -> float:
        """Shape of a slice's picture."""
        rows, columns = self.box
        row_mm, column_mm = self.case.grid.spacing_mm
        return (rows.stop - rows.start) * row_mm / ((columns.stop - columns.start) * column_mm)

    def draw(self, axis, picture: SlicePicture, points: float) -> None:
        """Draw a slice with letters of a size in points."""
        draw_slice(axis, self.case, picture.index, self.box, picture.map_plane, points)

    def jpeg(self, picture: SlicePicture) -> bytes:
        """A slice as JPEG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        wide = _PIXELS_WIDE / _DPI
        figure = Figure(figsize=(wide, wide * self.height_by_width), facecolor="black")
        FigureCanvasAgg(figure)
        self.draw(figure.add_axes((0, 0, 1, 1)), picture, _POINTS)
        stream = io.BytesIO()
        settings = {"quality": _QUALITY, "subsampling": 0, "optimize": True}
        figure.savefig(stream, format="jpeg", dpi=_DPI, facecolor="black", pil_kwargs=settings)
        return stream.getvalue()


def view_png(view: View) -> bytes:
    """A view of the scene as PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(view.rgb).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def view_words(case: Case, view: View) -> str:
    """What a view shows."""
    count = case.quantities.total.lesions
    blood = "no blood" if not count else "1 lesion" if count == 1 else f"{count} lesions"
    return f"The skull, translucent, seen {view.words}, with {blood} inside."


def pictures_of(case: Case) -> Pictures:
    """Choose the slices of a case and render it."""
    shown = key_slices(case)
    areas = {s: np.count_nonzero(case.lesions[s]) for s in shown}
    slices = [_with_blood(case, s) for s in shown]
    # The map where most is to be seen.
    weight = dict(areas)
    if not any(areas.values()) and case.probabilities is not None:
        weight = {s: float(case.probabilities[s]) for s in shown}
    mapped = sorted(sorted(shown, key=lambda s: -weight[s])[:MOST_MAPS])
    maps = [
        SlicePicture(
            s, f"Slice {s}", f"Localization map over slice {s}; its peak there is {plane.max():.2f}.", plane
        )
        for s, plane in zip(mapped, map_planes(case, mapped), strict=False)
    ]
    return Pictures(case, head_box(case, shown), slices, maps, render(case))


def _with_blood(case: Case, s: int) -> SlicePicture:
    numbers = np.unique(case.lesions[s])
    numbers = numbers[numbers > 0].tolist()
    volume = float(np.count_nonzero(case.lesions[s]) * case.grid.slice_ml[s])
    caption, words = [f"Slice {s}"], f"Axial slice {s}"
    if case.probabilities is not None:
        caption.append(f"p {case.probabilities[s]:.2f}")
        words += f", probability of blood {case.probabilities[s]:.2f}"
    if numbers:
        caption.append(f"{volume:.1f} mL")
        listed = ", ".join(map(str, numbers[:6])) + (" and more" if len(numbers) > 6 else "")
        words += f", with lesion {listed} outlined, {volume:.1f} mL on this slice"
    else:
        words += ", without outlined blood"
    return SlicePicture(s, " · ".join(caption), f"{words}.")
