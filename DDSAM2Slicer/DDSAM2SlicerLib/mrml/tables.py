"""Measurements per frame as table, plot series and chart (layer: mrml)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
from numpy.typing import ArrayLike
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..core.errors import InputError

FRAME_COLUMN = "frame"


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
    for title, color in colors.items():
        read_column(table, title)  # says so if it is missing
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName(x_title)
        series.SetYColumnName(title)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
        series.SetColor(*color)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart
