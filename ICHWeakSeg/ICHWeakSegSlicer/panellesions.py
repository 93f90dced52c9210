"""The panel's table of lesions: shown, clicked to find one in the slice views, measured again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ICHWeakSegSlicer import lesiontables, segmentations, sliceviews
from ICHWeakSegSlicer.jobs import inScene

# The first columns: head, column of the table node, decimals (None for text), tooltip.
COLUMNS = (
    ("", "Lesion", None, "Number of the lesion, the largest first."),
    ("Kind", "Subtype", None, "The subtype with most of the lesion's volume."),
    ("mL", "Volume (mL)", 1, "Volume in mL, by the CT's true geometry."),
    ("ABC/2", "ABC/2 (mL)", 1, "A x B x C / 2 in mL, C weighted by area (Kothari 1996)."),
    ("mm", "Largest axial diameter (mm)", 0, "Largest diameter on an axial slice, in mm."),
    ("HU", "Mean (HU)", 0, "Mean of the CT within the lesion, in HU."),
    ("Slices", "Slices", None, "Axial slices with blood."),
    ("Side", "Side", None, "Side of the midline."),
)
MOST_ROWS_SHOWN = 6
ROW_HEIGHT, FRAME = 24, 2
# About as high as a horizontal one is anywhere.
SCROLL_BAR = 18
# After the last cut of the map; while the slider moves, cutting comes first.
REST_MS = 600


class LesionsPanel:
    """The lesions of the shown result.

    Args:
        ui: the panel's widgets by name.
        logic: measures.
        status: shows sentences.
        blocked: why nothing can be measured just now; empty where it can.
        output: gives the table node that the user chose, or None.
        onMeasured: called when the lesions have been measured, or could not be.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        status: Any,
        blocked: Callable[[], str],
        output: Callable[[], Any],
        onMeasured: Callable[[], None],
    ) -> None:
        import qt

        self.ui, self.logic = ui, logic
        self._status, self._blocked = status, blocked
        self._output, self._onMeasured = output, onMeasured
        self._node: Any = None
        self._table: Any = None
        self._filled: tuple | None = None
        self._height = 0
        self._filling = False
        self._job: Any = None
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.connect("timeout()", self._measureAfterCut)
        ui.lesionsTable.verticalHeader().hide()
        ui.lesionsTable.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        ui.lesionsTable.horizontalHeader().setHighlightSections(False)
        ui.lesionsTable.connect("cellClicked(int,int)", self._jump)
        ui.lesionsTable.connect("currentCellChanged(int,int,int,int)", self._jump)
        ui.measureButton.connect("clicked()", self.measure)

    @property
    def table(self) -> Any:
        """The table node that is shown, or None."""
        return self._table

    def show(self, segmentationNode: Any) -> None:
        """Show the lesions of a segmentation of ours; None shows nothing."""
        self._node = segmentationNode
        self._table = None if segmentationNode is None else lesiontables.lesionTableOf(segmentationNode)
        measuring = self._job is not None
        self._fill()
        ui = self.ui
        sentence = ""
        if segmentationNode is not None and self._table is None:
            sentence = "The lesions have not been measured yet."
        elif self._table is not None and not lesiontables.isUpToDate(self._table, segmentationNode):
            sentence = "The segments have changed since these lesions were measured: measure again."
        if measuring or self._rest.active:
            sentence = "Measuring the lesions ..."
        ui.lesionsLabel.text = sentence
        ui.lesionsLabel.visible = bool(sentence)
        reason = self._blocked() or ("The lesions are being measured." if measuring else "")
        there = segmentationNode is None or segmentations.referenceVolume(segmentationNode) is not None
        if not reason and not there:
            reason = "The CT of this segmentation is not in the scene any more: load it to measure."
        ui.measureButton.text = "Meas&ure again" if self._table is not None else "Meas&ure lesions"
        ui.measureButton.enabled = not reason
        ui.measureButton.toolTip = (
            reason or "Measures the lesions as they are now, for instance after edits in Segment Editor."
        )

    def measure(self) -> None:
        """Measure the shown segmentation."""
        self._rest.stop()
        if self._node is None or self._job is not None:
            return
        self._job = self._status.attempt(
            "Measuring",
            lambda: self.logic.startMeasure(
                self._node, None, self._output(), onFinished=self._ended, onError=self._ended
            ),
        )
        self.show(self._node)

    def measureSoon(self, segmentationNode: Any) -> None:
        """The map was cut again: measure once the slider rests."""
        if segmentationNode is self._node and self._table is not None:
            self._rest.start()

    def forget(self) -> None:
        """The scene was closed."""
        self._rest.stop()
        self._node = self._table = self._filled = self._job = None

    def _measureAfterCut(self) -> None:
        if self._node is None or not inScene(self._node):
            return
        if self.logic.cutting or self._job is not None:
            self._rest.start()
        elif not self._blocked():
            self.measure()

    def _ended(self, job: Any, sentence: str = "") -> None:
        if job is not self._job:
            return
        self._job = None
        if sentence:
            self._status.say(sentence, True)
        self._onMeasured()

    def _fill(self) -> None:
        """Bring the rows up to the table node, where that has changed."""
        table, widget = self._table, self.ui.lesionsTable
        count = 0 if table is None else lesiontables.lesionCount(table)
        widget.visible = bool(count)
        state = None if table is None else (table.GetID(), table.GetMTime(), table.GetTable().GetMTime())
        if state != self._filled:
            self._filling = True
            try:
                if count:
                    self._fillRows(count)
                else:
                    widget.setRowCount(0)
            finally:
                self._filling = False
            self._filled = state
        if count:
            self._fitHeight()

    def _fillRows(self, count: int) -> None:
        import qt

        widget, table = self.ui.lesionsTable, self._table.GetTable()
        shown = [one for one in COLUMNS if table.GetColumnByName(one[1]) is not None]
        widget.clearContents()
        widget.setColumnCount(len(shown))
        widget.setRowCount(count)
        widget.setHorizontalHeaderLabels([head for head, *_ in shown])
        for place, (_, name, decimals, tip) in enumerate(shown):
            widget.horizontalHeaderItem(place).setToolTip(tip)
            column = table.GetColumnByName(name)
            for row in range(count):
                item = qt.QTableWidgetItem(cellText(column.GetValue(row), decimals))
                item.setToolTip(tip)
                if not isinstance(column.GetValue(row), str):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                widget.setItem(row, place, item)
            widget.horizontalHeader().setSectionResizeMode(place, qt.QHeaderView.ResizeToContents)
        widget.horizontalHeader().setStretchLastSection(True)
        rows = min(count, MOST_ROWS_SHOWN)
        # Not laid out yet, a header has any height.
        head = min(max(widget.horizontalHeader().height, ROW_HEIGHT - 4), ROW_HEIGHT + 8)
        self._height = head + rows * ROW_HEIGHT + FRAME
        # No row is chosen: the first arrow key, or a click, chooses one.
        widget.setCurrentCell(-1, -1)

    def _fitHeight(self) -> None:
        """As high as its rows; in a narrow panel the scroll bar must not cover the last of them."""
        widget = self.ui.lesionsTable
        narrow = widget.horizontalHeader().length() > widget.viewport().width
        widget.setFixedHeight(self._height + (SCROLL_BAR if narrow else 0))

    def _jump(self, row: int, column: int) -> None:
        if self._filling or self._table is None:
            return
        place = lesiontables.lesionPlace(self._table, row)
        if place is not None:
            sliceviews.jumpTo(self._table.GetScene(), place)


def cellText(value: Any, decimals: int | None) -> str:
    """A value as few characters; nothing where it is not a number."""
    if decimals is None or isinstance(value, str):
        return str(value)
    if math.isnan(value):
        return ""
    # A small lesion is not nothing.
    return f"{value:.{decimals + 1}f}" if 0 < value < 1 else f"{value:.{decimals}f}"
