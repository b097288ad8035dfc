"""Measurements become a table, and a chart that shows them over frame or time."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import InputError

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import tables  # noqa: E402 (needs slicer)

AREA = "blood area [mm2]"


def test_table_and_chart_come_back_with_the_scene(make, tmp_path):
    table = tables.create_table("heart", {AREA: [10.5, 9, 8]}, [4, 5, 6], ("time [s]", [0, 0.5, 1]))
    tables.create_chart(table, "time [s]", {AREA: (1, 0.5, 0)}, "area [mm2]")
    make.reload(tmp_path)
    chart = slicer.util.getNode("heart chart")
    series = chart.GetNthPlotSeriesNode(0)
    assert (series.GetXColumnName(), series.GetYColumnName()) == ("time [s]", AREA)
    assert series.GetColor() == (1, 0.5, 0)
    table = series.GetTableNode()
    np.testing.assert_array_equal(tables.read_column(table, "frame"), [4, 5, 6])
    np.testing.assert_array_equal(tables.read_column(table, "time [s]"), [0, 0.5, 1])
    np.testing.assert_array_equal(tables.read_column(table, AREA), [10.5, 9, 8])


def test_an_updated_table_keeps_its_node_and_plots(scene):
    table = tables.create_table("heart", {AREA: [1, 2]}, [0, 1])
    chart = tables.create_chart(table, "frame", {AREA: (1, 0, 0)}, "area [mm2]")
    tables.update_table(table, {AREA: [1, 2, 3]}, [0, 1, 2])
    np.testing.assert_array_equal(tables.read_column(table, AREA), [1, 2, 3])
    assert chart.GetNthPlotSeriesNode(0).GetTableNode() is table


def test_a_column_of_another_length_is_refused_before_anything_changes(scene):
    table = tables.create_table("heart", {AREA: [1, 2]}, [0, 1])
    with pytest.raises(InputError, match=r"'blood area \[mm2\]' has shape \(3,\); 2 frames need 2 values"):
        tables.update_table(table, {AREA: [1, 2, 3]}, [0, 1])
    np.testing.assert_array_equal(tables.read_column(table, AREA), [1, 2])


def test_a_column_that_is_missing_is_named(scene):
    table = tables.create_table("heart", {AREA: [1, 2]}, [0, 1])
    with pytest.raises(InputError, match=r"no column 'volume' \(it has: frame, blood area \[mm2\]\)"):
        tables.create_chart(table, "frame", {"volume": (1, 0, 0)}, "volume [ml]")


def test_marks_move_on_their_own_and_are_hidden_without_a_number(scene):
    table = tables.create_table("heart", {AREA: [1, 2, 3], "blood diameter [mm]": [4, 5, 6]}, [0, 1, 2])
    chart = tables.create_chart(table, "frame", {AREA: (1, 0, 0)}, "area [mm2]")
    marks = tables.create_marks(chart, table, ["blood here"])
    curve, mark = chart.GetNthPlotSeriesNode(0), chart.GetNthPlotSeriesNode(1)
    assert (mark.GetName(), mark.GetTableNode(), mark.GetYColumnName()) == ("blood here", marks, AREA)
    assert mark.GetMarkerSize() > curve.GetMarkerSize()
    assert np.isnan(tables.read_column(marks, AREA)).all()
    told = []
    chart.AddObserver("ModifiedEvent", lambda *_: told.append(1))
    tables.place_marks(marks, {"frame": 2, AREA: 3.0})
    assert told == [1]
    np.testing.assert_array_equal(tables.read_column(marks, "frame"), [2, 2])
    np.testing.assert_array_equal(tables.read_column(marks, AREA), [3, 3])
    np.testing.assert_array_equal(tables.read_column(table, AREA), [1, 2, 3])


def test_a_legend_is_shown_only_where_curves_have_to_be_told_apart(scene):
    table = tables.create_table("heart", {AREA: [1, 2], "wall area [mm2]": [4, 5]}, [0, 1])
    for titles, is_shown in (([AREA], False), ([AREA, "wall area [mm2]"], True)):
        chart = tables.create_chart(table, "frame", dict.fromkeys(titles, (1, 0, 0)), "area [mm2]")
        assert bool(chart.GetLegendVisibility()) is is_shown


def test_curves_and_marks_show_another_column_together(scene):
    diameter = "blood diameter [mm]"
    table = tables.create_table("heart", {AREA: [1, 2], diameter: [4, 5]}, [0, 1])
    chart = tables.create_chart(table, "frame", {AREA: (1, 0, 0)}, "area [mm2]")
    marks = tables.create_marks(chart, table, ["blood here"])
    for one in (table, marks):
        tables.show_columns(chart, one, [diameter], "diameter [mm]")
    shown = [chart.GetNthPlotSeriesNode(index) for index in (0, 1)]
    assert [one.GetYColumnName() for one in shown] == [diameter, diameter]
    assert [one.GetName() for one in shown] == [diameter, "blood here"]
    assert chart.GetYAxisTitle() == "diameter [mm]"
