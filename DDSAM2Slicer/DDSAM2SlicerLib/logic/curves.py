"""A finished measurement in the scene, with marks on its curves where the views are (layer: logic).

To follow the views only the marks move: masks are not read again, and the table of the measurement stays as it is.
"""

from __future__ import annotations

import math

import slicer

from ..mrml import tables
from .i18n import _
from .measuring import Measurement, Quantity


class Curves:
    """Table and chart of a measurement.

    Attributes:
        measurement: The numbers.
        table: Table node with all of them.
        chart: Chart node with one curve and one mark for each object.
        row: Row of the frame on display; None if the views show none that was measured.
    """

    def __init__(self, measurement: Measurement) -> None:
        """Add the nodes to the scene; no row is marked yet."""
        self.measurement = measurement
        self.row: int | None = None
        self._columns = measurement.columns()
        index = measurement.index()
        self._index = dict([index] if index else [])
        self.table = measurement.create_table()
        self.chart = measurement.create_chart(self.table)
        names = [_("{name}, frame on display").format(name=name) for name in measurement.objects.values()]
        self._marks = tables.create_marks(self.chart, self.table, names)

    def show_quantity(self, quantity: Quantity) -> None:
        """Let the chart show another quantity."""
        titles = [self.measurement.title(one, quantity) for one in self.measurement.objects]
        if self._is_in_scene(self.chart):
            for table in (self.table, self._marks):
                tables.show_columns(self.chart, table, titles, self.measurement.axis_title(quantity))

    def show_frame(self, frame: int | None) -> bool:
        """Mark the row of a frame; whether it is another row than before."""
        row = self.measurement.row_of(frame)
        if row == self.row:
            return False
        self.row = row
        if self._is_in_scene(self._marks):
            columns = self._index | self._columns
            values = {title: math.nan if row is None else values[row] for title, values in columns.items()}
            tables.place_marks(self._marks, {tables.FRAME_COLUMN: row or 0} | values)
        return True

    def time_s(self) -> float | None:
        """Time of the marked row, if times are known."""
        times_s = next(iter(self._index.values()), None)
        return None if self.row is None or times_s is None else times_s[self.row]

    def number(self, object_id: int, quantity: Quantity) -> float:
        """What was measured of an object in the marked row; not a number if there is no such row or no mask."""
        return math.nan if self.row is None else self._columns[self.measurement.title(object_id, quantity)][self.row]

    def close(self) -> None:
        """Take the marks out of the scene; table and curves stay, they are the user's."""
        if self._is_in_scene(self._marks):
            tables.remove_marks(self._marks)

    @staticmethod
    def clean_up(mine: Curves | None) -> None:
        """Take all marks out of the scene that are not mine: those of a loaded scene do not move."""
        for marks in tables.find_marks():
            if mine is None or marks is not mine._marks:
                tables.remove_marks(marks)

    @staticmethod
    def _is_in_scene(node) -> bool:
        return bool(slicer.mrmlScene.IsNodePresent(node))
