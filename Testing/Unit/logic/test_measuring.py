"""Areas, volumes and ejection fractions against numbers that can be computed by hand."""

import csv
import errno
import math
import time

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import InputError, OutputError

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.core.geometry import VolumeGeometry  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.logic.curves import Curves  # noqa: E402
from DDSAM2SlicerLib.logic.measuring import Measurement, Quantity  # noqa: E402
from DDSAM2SlicerLib.logic.state import Phase  # noqa: E402
from DDSAM2SlicerLib.mrml import tables  # noqa: E402

SIZES = [10, 8, 5, 8, 10]


def square(size, shape=(16, 16), corner=(2, 3)):
    mask = np.zeros(shape, bool)
    mask[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = True
    return mask


def write(coordinator, object_id, masks):
    target = coordinator._space.target
    target.begin(coordinator.notes.segment_ids)
    for frame, mask in masks.items():
        target.write(frame, {object_id: mask})
    target.finish()


def measure(coordinator):
    space = coordinator._space
    return Measurement(space.stack, space.notes, space.target, lambda _: None).run()


@pytest.fixture
def a_beating_clip(loop, make):
    """Pixels of 0.5 x 2 mm; a square that shrinks and grows."""
    geometry = VolumeGeometry((1, 16, 16), np.diag([0.5, 2.0, 8.0, 1.0]))
    browser, _ = make.sequence([np.zeros((1, 16, 16), np.uint8)] * 5, geometry)
    loop.coordinator.choose_sequence(browser)
    one = loop.coordinator.add_object("pool", (1, 0, 0))
    write(loop.coordinator, one, {frame: square(size) for frame, size in enumerate(SIZES)})
    return loop, one


def test_clip_areas_diameters_and_displacements(a_beating_clip):
    loop, one = a_beating_clip
    found = measure(loop.coordinator)
    assert found.areas_mm2(one) == [size * size for size in SIZES]
    assert found.diameters_mm(one)[0] == pytest.approx(2 * math.sqrt(100 / math.pi))
    # The centre moves by half of the difference of the sizes: in pixels, which are 0.5 x 2 mm.
    assert found.displacements_mm(one)[2] == pytest.approx(math.hypot(2.5 * 0.5, 2.5 * 2.0))
    assert found.volume_ml(one) is None
    assert found.ejection_fraction(one).percent == pytest.approx(75)
    assert "area of this one slice over 5 time points" in found.ejection_fraction(one).method


def test_series_volumes_and_ejection_fraction(loop, make):
    geometry = VolumeGeometry((3, 16, 16), np.diag([1.0, 1.0, 5.0, 1.0]))
    browser, _ = make.sequence([np.zeros((3, 16, 16), np.uint8)] * 5, geometry, unit="%")
    coordinator = loop.coordinator
    coordinator.choose_sequence(browser)
    one = coordinator.add_object("pool")
    write(coordinator, one, {3 * time + k: square(size) for time, size in enumerate(SIZES) for k in (0, 1)})
    found = measure(coordinator)
    assert found.volumes_ml(one) == pytest.approx([2 * size * size * 5 / 1000 for size in SIZES])
    assert found.diameters_mm(one)[0] == pytest.approx((6 * 1000 / math.pi) ** (1 / 3))
    assert found.displacements_mm(one)[2] == pytest.approx(math.hypot(2.5, 2.5))
    assert found.ejection_fraction(one).percent == pytest.approx(75)
    assert found.index() is None


def test_volume_of_an_object_in_a_volume(loop, make):
    volume = make.volume(np.zeros((4, 16, 16), np.uint8), VolumeGeometry((4, 16, 16), np.diag([0.5, 2.0, 3.0, 1.0])))
    coordinator = loop.coordinator
    coordinator.choose_volume(volume, "k")
    one, empty = coordinator.add_object("cube"), coordinator.add_object("empty")
    write(coordinator, one, {1: square(5), 2: square(5)})
    found = measure(coordinator)
    assert found.areas_mm2(one) == [0, 25, 25, 0]
    assert found.volume_ml(one) == pytest.approx(2 * 25 * 3 / 1000)
    assert np.isnan(found.displacements_mm(one)).tolist() == [True, False, False, True]
    assert found.volume_ml(empty) == 0
    with pytest.raises(InputError, match="needs a time series"):
        found.ejection_fraction(one)


def test_an_open_cycle_and_an_empty_object_have_no_ejection_fraction(a_beating_clip):
    loop, one = a_beating_clip
    write(loop.coordinator, one, {4: square(5)})
    with pytest.raises(InputError, match="not one closed cycle"):
        measure(loop.coordinator).ejection_fraction(one)
    write(loop.coordinator, one, {frame: square(0) for frame in range(5)})
    with pytest.raises(InputError, match="is empty on all frames"):
        measure(loop.coordinator).ejection_fraction(one)


def test_measuring_takes_many_short_ticks_and_ends_with_table_chart_and_file(a_beating_clip, tmp_path):
    loop, _ = a_beating_clip
    finished = []
    loop.coordinator.measure(finished.append)
    assert loop.coordinator.state.phase is Phase.MEASURING
    loop.until_idle()
    table = finished[0].create_table("heart")
    np.testing.assert_array_equal(tables.read_column(table, "pool area [mm2]"), [100, 64, 25, 64, 100])
    np.testing.assert_array_equal(tables.read_column(table, "time [s]"), [0, 0.5, 1, 1.5, 2])
    chart = finished[0].create_chart(table)
    assert chart.GetXAxisTitle() == "time [s]"
    assert chart.GetNthPlotSeriesNode(0).GetYColumnName() == "pool area [mm2]"
    finished[0].write_csv(tmp_path / "heart.csv")
    with (tmp_path / "heart.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["pool area [mm2]"]) for row in rows] == [100, 64, 25, 64, 100]
    assert rows[1]["time [s]"] == "0.5"
    with pytest.raises(OutputError, match="is a folder"):
        finished[0].write_csv(tmp_path)


def test_a_full_disk_leaves_the_file_that_was_there(a_beating_clip, tmp_path, monkeypatch):
    loop, _ = a_beating_clip
    finished = []
    loop.coordinator.measure(finished.append)
    loop.until_idle()
    path = tmp_path / "heart.csv"
    path.write_text("old", encoding="utf-8")

    class FullDisk:
        def __init__(self, file):
            self.writerow = lambda row: file.write(str(row))

        def writerows(self, rows):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv, "writer", FullDisk)
    with pytest.raises(OutputError, match=r"the disk is full.*nothing was left half written"):
        finished[0].write_csv(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_measuring_can_be_stopped(a_beating_clip):
    loop, _ = a_beating_clip
    finished = []
    loop.coordinator.measure(finished.append)
    loop.coordinator.stop()
    loop.until_idle()
    assert finished == []


def marks_of(curves):
    """Where the symbols of the chart are: (x, y) of each object."""
    chart, count = curves.chart, len(curves.measurement.objects)
    series = [chart.GetNthPlotSeriesNode(count + index) for index in range(count)]
    return [
        tuple(tables.read_column(one.GetTableNode(), name)[0] for name in (one.GetXColumnName(), one.GetYColumnName()))
        for one in series
    ]


def test_marks_on_the_curves_follow_the_frame(a_beating_clip):
    loop, one = a_beating_clip
    curves = Curves(measure(loop.coordinator))
    assert np.isnan(marks_of(curves)[0][1])
    assert curves.show_frame(2)
    assert not curves.show_frame(2)  # nothing new
    assert marks_of(curves) == [(1.0, 25.0)]
    assert (curves.time_s(), curves.number(one, Quantity.SIZE)) == (1.0, 25.0)
    curves.show_quantity(Quantity.DIAMETER)
    assert marks_of(curves) == [(1.0, pytest.approx(2 * math.sqrt(25 / math.pi)))]
    assert curves.chart.GetYAxisTitle() == "diameter [mm]"
    for frame in (None, 5):
        curves.show_frame(frame)
        assert np.isnan(marks_of(curves)[0][1])
        assert math.isnan(curves.number(one, Quantity.SIZE))


def test_in_a_series_the_time_point_is_marked(loop, a_series):
    loop.coordinator.choose_sequence(a_series[1])
    one = loop.coordinator.add_object("pool")
    write(loop.coordinator, one, {6 * 3 + k: square(8, (32, 32)) for k in range(6)})
    curves = Curves(measure(loop.coordinator))
    curves.show_frame(6 * 3 + 2)
    assert curves.row == 3
    assert curves.time_s() == 1.5
    assert not curves.show_frame(6 * 3 + 5)  # another slice of the same time
    assert curves.number(one, Quantity.SIZE) == curves.measurement.volumes_ml(one)[3] > 0
    assert curves.number(one, Quantity.DISPLACEMENT) == 0


def test_nodes_that_a_user_removed_are_not_missed(a_beating_clip):
    loop, _ = a_beating_clip
    curves = Curves(measure(loop.coordinator))
    for node in (curves.chart.GetNthPlotSeriesNode(1).GetTableNode(), curves.table, curves.chart):
        slicer.mrmlScene.RemoveNode(node)
        curves.show_frame(1 if curves.row != 1 else 2)
        curves.show_quantity(Quantity.DISPLACEMENT)
    curves.close()


def test_a_closed_measurement_leaves_table_and_curves_without_marks(a_beating_clip):
    loop, _ = a_beating_clip
    curves = Curves(measure(loop.coordinator))
    curves.close()
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == [curves.table]
    (series,) = slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")
    assert series.GetYColumnName() == "pool area [mm2]"
    assert curves.chart.GetNumberOfPlotSeriesNodes() == 1


def test_marks_that_came_with_a_saved_scene_are_taken_out_and_the_curves_stay(a_beating_clip, make, tmp_path):
    """Nobody would move them any more; those of the present measurement stay."""
    loop, _ = a_beating_clip
    Curves(measure(loop.coordinator)).show_frame(2)
    make.reload(tmp_path)
    assert len(slicer.util.getNodesByClass("vtkMRMLPlotSeriesNode")) == 2
    loaded = slicer.util.getNode("DD-SAM2 measurements chart")
    loop.coordinator.choose_sequence(slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")[0])
    loop.coordinator.add_object("another")
    mine = Curves(measure(loop.coordinator))
    Curves.clean_up(mine)
    assert (loaded.GetNumberOfPlotSeriesNodes(), mine.chart.GetNumberOfPlotSeriesNodes()) == (1, 2)
    Curves.clean_up(None)
    assert tables.find_marks() == []
    assert loaded.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == len(SIZES)


def test_to_follow_a_thousand_rows_costs_nothing_to_speak_of(loop, make):
    browser, _ = make.sequence([np.zeros((1, 8, 8), np.uint8)] * 1000)
    loop.coordinator.choose_sequence(browser)
    for name in "abc":
        loop.coordinator.add_object(name)
    curves = Curves(measure(loop.coordinator))
    begin = time.perf_counter()
    for frame in range(100):
        curves.show_frame(frame)
    assert (time.perf_counter() - begin) / 100 < 0.005
