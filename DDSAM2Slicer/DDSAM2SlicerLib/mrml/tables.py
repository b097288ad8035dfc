"""Measurements per frame as table, plot series and chart (layer: mrml)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
from numpy.typing import ArrayLike
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.errors import InputError
from .prompt_store import ROLE_ATTRIBUTE

FRAME_COLUMN = "frame"
MARKS_ROLE = "marks"
MARK_ROWS = 2
"""A mark is drawn twice at one place: of a curve with a single point VTK complains at every rendering."""
MARK_SIZE = 15.0
"""In pixels; the symbols of the curves have 7."""


def create_table(
    name: str, columns: Mapping[str, ArrayLike], frames: Sequence[int], index: tuple[str, ArrayLike] | None = None
):
    """Add a table: one row per frame, one column per measured quantity.

    Args:
        name: Name of the node.
        columns: Values by column title; the title carries the unit, for example "left ventricle area [mm2]".
        frames: Frame numbers of the rows.
        index: Title and values of a second x axis, for example ("time [s]", times).

    Raises:
        InputError: If a column is not as long as the list of frames.
    """
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    update_table(table, columns, frames, index)
    return table


def update_table(
    table, columns: Mapping[str, ArrayLike], frames: Sequence[int], index: tuple[str, ArrayLike] | None = None
) -> None:
    """Replace the content of a table; plots that show it follow."""
    content = {FRAME_COLUMN: np.asarray(frames, dtype=np.int32)}
    if index is not None:
        content[index[0]] = np.asarray(index[1], dtype=np.float64)
    content |= {title: np.asarray(values, dtype=np.float64) for title, values in columns.items()}
    for title, values in content.items():
        if values.shape != (len(frames),):
            msg = f"Column {title!r} has shape {values.shape}; {len(frames)} frames need {len(frames)} values."
            raise InputError(msg)
    was_modifying = table.StartModify()
    table.RemoveAllColumns()
    for title, values in content.items():
        column = numpy_to_vtk(values, deep=True)
        column.SetName(title)
        table.AddColumn(column)
    table.EndModify(was_modifying)


def read_column(table, title: str) -> np.ndarray:
    """Copy a column of a table.

    Raises:
        InputError: If there is no such column.
    """
    column = table.GetTable().GetColumnByName(title)
    if column is None:
        names = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
        msg = f"Table {table.GetName()!r} has no column {title!r} (it has: {', '.join(names)})."
        raise InputError(msg)
    return vtk_to_numpy(column).copy()


def create_chart(table, x_title: str, colors: Mapping[str, tuple[float, float, float]], y_axis: str):
    """Add a chart with one line per column of a table.

    Args:
        table: Table with the columns.
        x_title: Column of the x axis: the frame or the time.
        colors: Columns to draw, each with its segment's colour.
        y_axis: Title of the y axis, with the unit.
    """
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{table.GetName()} chart")
    chart.SetTitle(table.GetName())
    chart.SetXAxisTitle(x_title)
    chart.SetYAxisTitle(y_axis)
    chart.SetLegendVisibility(len(colors) > 1)  # it covers a part of the curves
    for title, color in colors.items():
        read_column(table, title)  # says so if it is missing
        _add_series(chart, table, title, color, title)
    return chart


def create_marks(chart, table, names: Sequence[str]):
    """Add a large symbol for each curve of a chart, and return the table that says where the symbols are.

    The table has the columns of the measurements and nearly no rows: to move the symbols costs the same however many
    frames were measured. They are hidden until ``place_marks`` is called.

    Args:
        chart: Chart with one series per curve.
        table: Table of the curves.
        names: Names of the symbols in the legend, in the order of the series.
    """
    titles = [table.GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    columns = {title: [np.nan] * MARK_ROWS for title in titles if title != FRAME_COLUMN}
    marks = create_table(f"{table.GetName()}, frame on display", columns, [0] * MARK_ROWS)
    marks.SetAttribute(ROLE_ATTRIBUTE, MARKS_ROLE)
    curves = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    for name, curve in zip(names, curves, strict=True):
        series = _add_series(chart, marks, name, curve.GetColor(), curve.GetYColumnName())
        series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleDiamond)
        series.SetMarkerSize(MARK_SIZE)
    return marks


def place_marks(marks, values: Mapping[str, float]) -> None:
    """Move the symbols to a value for each column title, not a number to hide one; plots that show them follow."""
    for title, value in values.items():
        column = marks.GetTable().GetColumnByName(title)
        if column is not None:  # somebody may have edited the table
            for row in range(column.GetNumberOfTuples()):
                column.SetVariantValue(row, value)
            column.Modified()
    marks.GetTable().Modified()


def find_marks() -> list:
    """All tables of marks in the scene; those that came with a file follow no view."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return [table for table in tables if table.GetAttribute(ROLE_ATTRIBUTE) == MARKS_ROLE]


def remove_marks(marks) -> None:
    """Take the symbols of such a table, and the table, out of the scene."""
    series = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    for node in [*(one for one in series if one.GetTableNode() is marks), marks]:
        slicer.mrmlScene.RemoveNode(node)


def show_columns(chart, table, titles: Sequence[str], y_axis: str) -> None:
    """Let the curves of a chart that come from a table show other columns, in the order of its series."""
    series = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    mine = [one for one in series if one is not None and one.GetTableNode() is table]
    for one, title in zip(mine, titles, strict=False):  # a user may have removed some
        if one.GetName() == one.GetYColumnName():
            one.SetName(title)
        one.SetYColumnName(title)
    chart.SetYAxisTitle(y_axis)


def _add_series(chart, table, name: str, color: tuple[float, float, float], title: str):
    """Add a line with round symbols: one column of a table over the chart's x axis."""
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(chart.GetXAxisTitle())
    series.SetYColumnName(title)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    series.SetColor(*color)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return series
