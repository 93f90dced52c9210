"""The report as PDF on A4, drawn by matplotlib: it needs no browser."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

from ICHWeakSegLib.ct.atomic import atomic_path
from ICHWeakSegLib.report.case import NOTICE, Case
from ICHWeakSegLib.report.curve import draw_curve
from ICHWeakSegLib.report.html import title
from ICHWeakSegLib.report.pictures import Pictures, SlicePicture, pictures_of
from ICHWeakSegLib.report.tables import lesion_table, provenance_rows, score_head, score_inputs

A4_MM = (210.0, 297.0)
_MARGIN_MM = 12.0
_GAP_MM = 5.0
_TEXT, _SMALL, _HEAD = 7.5, 6.5, 9.5
_SOFT = "#444444"
# Width of a letter as a share of its size, so that lines are broken early rather than late.
_LETTER, _BOLD_LETTER = 0.55, 0.62
_MM_PER_POINT = 25.4 / 72
_LINE = 1.32
_DPI = 200


def write_pdf(path: str | Path, case: Case, pictures: Pictures | None = None) -> Path:
    """Write the report of a case; the same case gives the same bytes. What does not fit goes on a further page.

    Args:
        path: target, `.pdf`.
        case: from `make_case` or `case_of`.
        pictures: from `pictures_of`, where they are there already.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    pictures = pictures or pictures_of(case)
    look = {"pdf.fonttype": 42, "font.family": "DejaVu Sans"}
    with atomic_path(path) as temporary, matplotlib.rc_context(look), warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        sheet = _Sheet()
        _draw(sheet, case, pictures)
        facts = {
            "Title": title(case),
            "Creator": "ICHWeakSeg",
            "Producer": "matplotlib",
            "CreationDate": None,
        }
        with PdfPages(temporary, metadata=facts) as pages:
            for figure in sheet.figures:
                pages.savefig(figure, dpi=_DPI)
    return Path(path)


class _Sheet:
    """Pages that are filled from top to bottom; all lengths in mm."""

    def __init__(self) -> None:
        self.figures: list = []
        self.left, self.right = _MARGIN_MM, A4_MM[0] - _MARGIN_MM
        self.new()

    @property
    def width(self) -> float:
        return self.right - self.left

    def new(self) -> None:
        """Start a page."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=[side / 25.4 for side in A4_MM])
        FigureCanvasAgg(figure)
        self.figures.append(figure)
        self.y = _MARGIN_MM - 2
        number = "" if len(self.figures) == 1 else f"   Page {len(self.figures)}"
        self._put(self.left, A4_MM[1] - 7, NOTICE + number, _SMALL, color=_SOFT)

    def need(self, height: float) -> None:
        """A new page unless so much is left."""
        if self.y + height > A4_MM[1] - _MARGIN_MM:
            self.new()

    def text(
        self, words: str, size: float = _TEXT, left: float | None = None, width: float | None = None, **style
    ):
        """Lines of words below each other."""
        left = self.left if left is None else left
        for line in _lines(words, size, width or self.width, style.get("weight") == "bold"):
            height = size * _LINE * _MM_PER_POINT
            self.need(height)
            self._put(left, self.y, line, size, **style)
            self.y += height

    def head(self, words: str, left: float | None = None) -> None:
        """Head of a section."""
        self.y += 1.6
        self.need(12)
        self._put(self.left if left is None else left, self.y, words, _HEAD, weight="bold")
        self.y += _HEAD * _LINE * _MM_PER_POINT + 0.6

    def axis(self, left: float, top: float, width: float, height: float):
        """Axes at a place of the present page."""
        full_w, full_h = A4_MM
        return self.figures[-1].add_axes(
            (left / full_w, 1 - (top + height) / full_h, width / full_w, height / full_h)
        )

    def cells(
        self,
        row: Sequence[str],
        widths: Sequence[float],
        left: float | None = None,
        size: float = _TEXT,
        right_from: int = 1,
        **style,
    ) -> None:
        """A row of a table; cells from `right_from` on end at their column's right edge."""
        bold = style.get("weight") == "bold"
        columns = [_lines(cell, size, width - 1.5, bold) for cell, width in zip(row, widths, strict=True)]
        step = size * _LINE * _MM_PER_POINT
        height = max(len(lines) for lines in columns) * step
        self.need(height)
        x = self.left if left is None else left
        for n, (lines, width) in enumerate(zip(columns, widths, strict=True)):
            for row_number, line in enumerate(lines):
                end = n >= right_from
                place = x + width - 1.5 if end else x
                self._put(
                    place, self.y + row_number * step, line, size, ha="right" if end else "left", **style
                )
            x += width
        self.y += height + 0.5

    def rule(self, left: float, width: float, weight: float = 0.4) -> None:
        """A line across."""
        from matplotlib.lines import Line2D

        y = 1 - self.y / A4_MM[1]
        ends = [left / A4_MM[0], (left + width) / A4_MM[0]]
        self.figures[-1].add_artist(Line2D(ends, [y, y], color="#999999", linewidth=weight))
        self.y += 0.7

    def _put(self, x: float, y: float, words: str, size: float, **style) -> None:
        self.figures[-1].text(
            x / A4_MM[0], 1 - y / A4_MM[1], words, size=size, **({"va": "top", "parse_math": False} | style)
        )


def _lines(words: str, size: float, width: float, bold: bool = False) -> list[str]:
    letters = max(4, int(width / (size * (_BOLD_LETTER if bold else _LETTER) * _MM_PER_POINT)))
    return textwrap.wrap(words, letters) or [""]


def _draw(sheet: _Sheet, case: Case, pictures: Pictures) -> None:
    sheet.text(title(case), 14, weight="bold")
    sheet.text(NOTICE, _TEXT, weight="bold", color="#8A4B00")
    for what, value in case.identity.items():
        sheet.text(f"{what}: {value}")
    sheet.y += 1
    sheet.text(case.summary(), 11.5, weight="bold")
    for sentence in case.warnings:
        sheet.text(f"Warning: {sentence}")
    if not case.warnings:
        sheet.text("No warnings.", color=_SOFT)
    sheet.head("Key slices, blood outlined" if case.quantities.lesions else "Slices, no blood outlined")
    _tiles(sheet, pictures, pictures.slices, sheet.left, sheet.width, 6)
    _space_and_map(sheet, case, pictures)
    _lesions(sheet, case)
    _curve_and_scores(sheet, case)
    _provenance(sheet, case)


def _tiles(
    sheet: _Sheet, pictures: Pictures, chosen: Sequence[SlicePicture], left: float, width: float, columns: int
) -> None:
    gap = 1.5
    tile = (width - gap * (columns - 1)) / columns
    height = tile * pictures.height_by_width
    sheet.need(height + 4)
    for n, picture in enumerate(chosen):
        x = left + n * (tile + gap)
        axis = sheet.axis(x, sheet.y, tile, height)
        pictures.draw(axis, picture, 6.0)
        sheet._put(x, sheet.y + height + 0.5, picture.caption, _SMALL)
    sheet.y += height + 4


def _space_and_map(sheet: _Sheet, case: Case, pictures: Pictures) -> None:
    half = (sheet.width - _GAP_MM) / 2
    other = sheet.left + half + _GAP_MM
    tall = 42.0
    sheet.need(tall + 14)
    top = sheet.y
    sheet.head("In space")
    start = sheet.y
    for n, view in enumerate(pictures.views):
        wide = (half - 1.5) / 2
        x = sheet.left + n * (wide + 1.5)
        axis = sheet.axis(x, start, wide, tall)
        axis.set_facecolor("#0b0e12")
        axis.set(xticks=[], yticks=[])
        axis.imshow(view.rgb, interpolation="bilinear", aspect="equal")
        axis.set_adjustable("datalim")
        places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
        places += ((0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom"))
        for (px, py, ha, va), letter in zip(places, view.letters, strict=True):
            axis.text(px, py, letter, transform=axis.transAxes, color="#9ED8FF", size=6, ha=ha, va=va)
        sheet._put(x, start + tall + 0.5, f"Seen {view.words}", _SMALL)
    sheet.y = top
    sheet.head("Localization map", other)
    if pictures.maps:
        _tiles(sheet, pictures, pictures.maps, other, half, 3)
        sheet.text(
            "Yellow: the network looked here most; white: the blood's outline.",
            _SMALL,
            other,
            half,
            color=_SOFT,
        )
    else:
        sheet.text("No map was given.", left=other, width=half)
    sheet.y = max(sheet.y, start + tall + 4)


def _lesions(sheet: _Sheet, case: Case) -> None:
    table = lesion_table(case)
    sheet.head("Lesions")
    if table.rows:
        # The first columns hold little.
        shares = [0.6, *[1.0] * (len(table.heads) - 1)]
        widths = [share * sheet.width / sum(shares) for share in shares]
        sheet.cells(table.heads, widths, size=_SMALL, weight="bold")
        sheet.rule(sheet.left, sheet.width, 0.8)
        for row in table.rows:
            sheet.cells(row, widths)
        sheet.rule(sheet.left, sheet.width)
        sheet.cells(table.last, widths, weight="bold")
    if table.note:
        sheet.text(table.note, _SMALL, color=_SOFT)


def _curve_and_scores(sheet: _Sheet, case: Case) -> None:
    half = (sheet.width - _GAP_MM) / 2
    other = sheet.left + half + _GAP_MM
    sheet.need(55)
    top, page = sheet.y, len(sheet.figures)
    sheet.head("Slice probabilities")
    if case.probabilities is None:
        sheet.text("No slice scores were given.", width=half)
    else:
        draw_curve(sheet.axis(sheet.left + 9, sheet.y, half - 10, 34), case, points=6.5)
        sheet.y += 42
        sheet.text("Amber: slices with outlined blood.", _SMALL, width=half, color=_SOFT)
    low = sheet.y
    sheet.y = top
    sheet.head("Clinical scores", other)
    for score in case.scores.scores:
        sheet.text(score_head(score), _TEXT, other, half, weight="bold")
        given = "; ".join(
            f"{what}: {value}" + (f" ({points})" if points else "")
            for what, value, points in score_inputs(score)
        )
        sheet.text(f"Inputs (points): {given}.", _SMALL, other, half)
        sheet.text(score.source, _SMALL, other, half, color=_SOFT)
        sheet.y += 1
    if case.scores.scores:
        first = case.scores.scores[0]
        sheet.text(f"{first.applies_to} {first.notice}", _SMALL, other, half, color=_SOFT)
    sheet.text(case.scores.note, _SMALL, other, half, color=_SOFT)
    if len(sheet.figures) == page:
        sheet.y = max(sheet.y, low)


def _provenance(sheet: _Sheet, case: Case) -> None:
    sheet.head("How it was made")
    rows = provenance_rows(case)
    half = (sheet.width - _GAP_MM) / 2
    # In two columns side by side, row by row.
    for pair in zip(rows[::2], [*rows[1::2], ("", "")], strict=False):
        cells = [text for row in pair for text in row]
        sheet.cells(cells, [32, half - 32 + _GAP_MM, 32, half - 32], size=_SMALL, right_from=4)
