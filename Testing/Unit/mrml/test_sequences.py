"""Volume sequences become frames, and item i of the segmentation sequence is the mask of frame i."""

from functools import partial

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import GeometryError, InputError
from DDSAM2SlicerLib.core.frames import SeriesFrames, TimeFrames
from DDSAM2SlicerLib.core.geometry import Axis
from DDSAM2SlicerLib.testing.phantoms import (
    create_beating_heart,
    create_beating_heart_series,
    create_geometry,
)

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import sequences  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.mrml.editing import EditRules, Overwrite  # noqa: E402
from DDSAM2SlicerLib.mrml.segmentations import read_volume_mask  # noqa: E402
from DDSAM2SlicerLib.mrml.sequence_history import SequenceHistory  # noqa: E402

SEGMENTS = [("blood", "Blood", (1.0, 0.0, 0.0)), ("muscle", "Muscle", (0.0, 1.0, 0.0))]
OBJECTS = {1: "blood", 2: "muscle"}


@pytest.fixture
def a_clip(make):
    """2D+t: phantom, browser, sequence; oblique and under a transform."""
    phantom = create_beating_heart(5, 24)
    browser, sequence = make.sequence([frame[None] for frame in phantom.array], create_geometry((1, 24, 24), seed=3))
    browser.GetProxyNode(sequence).SetAndObserveTransformNodeID(make.transform(make.random_matrix(5)).GetID())
    return phantom, browser, sequence


@pytest.fixture
def a_series(make):
    """3D+t: phantom, browser, sequence; oblique and under a transform."""
    phantom = create_beating_heart_series(4, (6, 20, 22))
    browser, sequence = make.sequence(list(phantom.array), create_geometry((6, 20, 22), seed=4))
    browser.GetProxyNode(sequence).SetAndObserveTransformNodeID(make.transform(make.random_matrix(6)).GetID())
    return phantom, browser, sequence


def test_2d_items_become_one_clip_with_times_and_place(a_clip):
    phantom, browser, sequence = a_clip
    frames = sequences.frames_of_sequence(browser)
    assert isinstance(frames, TimeFrames)
    assert frames.times_s == (0, 0.5, 1, 1.5, 2)
    np.testing.assert_array_equal(frames.array_thw, phantom.array)
    transform = browser.GetProxyNode(sequence).GetParentTransformNode()
    to_world = slicer.util.arrayFromTransformMatrix(transform, toWorld=True)
    np.testing.assert_allclose(frames.pixel_to_ras(2), to_world @ create_geometry((1, 24, 24), seed=3).ijk_to_ras)


def test_3d_items_become_a_series(a_series):
    phantom, browser, _ = a_series
    frames = sequences.frames_of_sequence(browser, Axis.J)
    assert isinstance(frames, SeriesFrames)
    assert (frames.num_times, frames.num_slices) == (4, 20)
    np.testing.assert_array_equal(frames.at_time(2).array_kji, phantom.array[2])


def test_colour_clip_stays_colour(make):
    array = np.random.default_rng(0).integers(0, 255, (3, 1, 8, 10, 3), np.uint8)
    browser, _ = make.sequence(list(array))
    np.testing.assert_array_equal(sequences.frames_of_sequence(browser).frame(1), array[1, 0])


@pytest.mark.parametrize(("unit", "expected"), [("ms", (0, 0.0005)), ("S", (0, 0.5)), ("%", None)])
def test_only_units_of_time_give_times(make, unit, expected):
    _, sequence = make.sequence([np.zeros((1, 4, 4), np.uint8)] * 2, unit=unit)
    assert sequences.item_times_s(sequence) == expected
    assert sequences.item_values(sequence) == (0, 0.5)


def test_items_of_different_size_are_refused(make):
    browser, _ = make.sequence([np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 5), np.uint8)])
    with pytest.raises(InputError, match=r"Item 1 of sequence 'images' has shape \(1, 4, 5\)"):
        sequences.frames_of_sequence(browser)


def test_volumes_on_different_grids_are_refused(make):
    browser, sequence = make.sequence([np.zeros((2, 4, 4), np.uint8)] * 3)
    sequence.GetNthDataNode(2).SetSpacing(2, 1, 1)
    with pytest.raises(GeometryError, match=r"Item 2 .* not on the grid of item 0"):
        sequences.frames_of_sequence(browser)


def test_browser_without_volumes_is_refused(scene):
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "empty")
    with pytest.raises(InputError, match="'empty' has no sequence of volumes"):
        sequences.frames_of_sequence(browser)


def test_trap_5_a_segmentation_sequence_cannot_be_saved_alone(a_clip, tmp_path):
    _, browser, sequence = a_clip
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    storage = slicer.vtkMRMLVolumeSequenceStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "result.seq.nrrd"))
    assert not storage.WriteData(output), "Slicer can do it now: offer .seq.nrrd beside the scene file"


def test_trap_5_segmentation_sequence_of_a_clip_survives_a_saved_scene(make, a_clip, tmp_path):
    phantom, browser, sequence = a_clip
    frames = sequences.frames_of_sequence(browser)
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS)
    for time in range(frames.num_frames):
        writer.write_frame(time, frames, time, {1: phantom.labels[time] == 1, 2: phantom.labels[time] > 0})
    _check_items(phantom.labels[:, None], browser, sequence, output)
    make.reload(tmp_path)
    browser, sequence, output = (_node(kind, name) for kind, name in SAVED)
    _check_items(phantom.labels[:, None], browser, sequence, output)


@pytest.mark.parametrize("way", ["slices through time", "time points"])
def test_segmentation_sequence_of_a_series_survives_a_saved_scene(make, a_series, tmp_path, way):
    phantom, browser, sequence = a_series
    series = sequences.frames_of_sequence(browser, Axis.I)
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS)
    for time in range(series.num_times):
        stack = series.at_time(time)
        for position in range(series.num_slices):
            label = stack.from_volume(phantom.labels[time], position)
            frames, index = (stack, position) if way == "time points" else (series.at_slice(position), time)
            writer.write_frame(time, frames, index, {1: label == 1, 2: label > 0})
    _check_items(phantom.labels, browser, sequence, output)
    make.reload(tmp_path)
    browser, sequence, output = (_node(kind, name) for kind, name in SAVED)
    _check_items(phantom.labels, browser, sequence, output)


def test_whole_time_points_can_be_written(a_series):
    phantom, browser, sequence = a_series
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS)
    for time, labels in enumerate(phantom.labels):
        writer.write_volume(time, {1: labels == 1, 2: labels > 0})
    _check_items(phantom.labels, browser, sequence, output)


def test_the_proxy_is_ready_for_segment_editor(a_clip):
    _, browser, sequence = a_clip
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    volume, proxy = browser.GetProxyNode(sequence), browser.GetProxyNode(output)
    for item in (1, 3):
        browser.SetSelectedItemNumber(item)
        role = proxy.GetReferenceImageGeometryReferenceRole()
        assert proxy.GetNodeReference(role) is volume
        assert output.GetNthDataNode(item).GetNodeReferenceID(role) is None, "items are not in the scene"
        name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
        text = proxy.GetSegmentation().GetConversionParameter(name)
        numbers = [float(number) for number in text.split(";")[:16]]
        # Relative to the transform that the proxy shares with the image.
        expected = create_geometry((1, 24, 24), seed=3).ijk_to_ras
        np.testing.assert_allclose(np.reshape(numbers, (4, 4)), expected, atol=1e-9)


def test_the_item_on_display_follows_while_it_is_written(a_clip):
    phantom, browser, sequence = a_clip
    frames = sequences.frames_of_sequence(browser)
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS)
    browser.SetSelectedItemNumber(2)
    volume, proxy = browser.GetProxyNode(sequence), browser.GetProxyNode(output)
    for time in (1, 2, 3):
        writer.write_frame(time, frames, time, {1: phantom.labels[time] == 1})
    np.testing.assert_array_equal(read_volume_mask(proxy, "blood", volume)[0], phantom.labels[2] == 1)


def test_a_correction_made_in_the_proxy_is_kept(a_clip):
    phantom, browser, sequence = a_clip
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    browser.SetSelectedItemNumber(1)
    proxy = browser.GetProxyNode(output)
    corrected = (phantom.labels[1:2] == 2).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(corrected, proxy, "muscle", browser.GetProxyNode(sequence))
    browser.SetSelectedItemNumber(3)
    browser.SetSelectedItemNumber(1)
    mask = read_volume_mask(proxy, "muscle", browser.GetProxyNode(sequence))
    np.testing.assert_array_equal(mask, corrected == 1)


def test_overwrite_mode_holds_in_sequences_too(a_clip):
    _, browser, sequence = a_clip
    frames = sequences.frames_of_sequence(browser)
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    rules = EditRules(Overwrite.ALL)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS, rules)
    mask = np.ones((24, 24), bool)
    writer.write_frame(2, frames, 2, {1: mask})
    writer.write_frame(2, frames, 2, {2: mask})
    browser.SetSelectedItemNumber(2)
    volume, proxy = browser.GetProxyNode(sequence), browser.GetProxyNode(output)
    assert not read_volume_mask(proxy, "blood", volume).any()
    assert read_volume_mask(proxy, "muscle", volume).all()


def test_undo_and_redo_restore_every_item_to_the_bit(a_clip):
    phantom, browser, sequence = a_clip
    frames = sequences.frames_of_sequence(browser)
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    first = sequences.SequenceWriter(browser, sequence, output, OBJECTS)
    for time in range(5):
        first.write_frame(time, frames, time, {1: phantom.labels[time] == 1, 2: phantom.labels[time] > 0})
    history = SequenceHistory(browser, output)
    assert not history.undo()
    second = sequences.SequenceWriter(browser, sequence, output, OBJECTS, history=history)
    for time in (1, 2, 3):
        second.write_frame(time, frames, time, {1: phantom.labels[time] == 2})
    assert history.undo()
    assert not history.can_undo
    _check_items(phantom.labels[:, None], browser, sequence, output)
    assert history.redo()
    browser.SetSelectedItemNumber(2)
    mask = read_volume_mask(browser.GetProxyNode(output), "blood", browser.GetProxyNode(sequence))
    np.testing.assert_array_equal(mask[0], phantom.labels[2] == 2)


def test_slicer_offers_to_save_what_was_written_or_taken_back_since_the_last_save(a_clip, tmp_path):
    phantom, browser, sequence = a_clip
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    save = partial(slicer.mrmlScene.WriteToMRB, str(tmp_path / "scene.mrb"), None, None)
    assert save()
    assert not output.GetModifiedSinceRead()
    history = SequenceHistory(browser, output)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS, history=history)
    writer.write_frame(3, sequences.frames_of_sequence(browser), 3, {1: phantom.labels[3] == 1})
    writer.finish()
    assert output.GetModifiedSinceRead()
    assert save()
    assert not output.GetModifiedSinceRead()
    assert history.undo()
    assert output.GetModifiedSinceRead()


def test_slicers_widgets_hear_of_a_run_once_not_frame_by_frame(a_clip):
    """Each time they go through all items."""
    phantom, browser, sequence = a_clip
    frames = sequences.frames_of_sequence(browser)
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    history = SequenceHistory(browser, output)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS, history=history)
    told = []
    output.AddObserver("ModifiedEvent", lambda *_: told.append(1))
    for time in range(1, frames.num_frames):  # the first one is on display
        writer.write_frame(time, frames, time, {1: phantom.labels[time] == 1})
    assert told == []
    writer.finish()
    assert told == [1]
    history.undo()
    assert told == [1, 1]


def test_surfaces_of_items_follow_when_finished(a_series):
    phantom, browser, sequence = a_series
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    sequences.SequenceWriter(browser, sequence, output, OBJECTS).write_volume(1, {1: phantom.labels[1] == 1})
    output.GetNthDataNode(1).CreateClosedSurfaceRepresentation()
    old = _surface_points(output, 1)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS)
    half = phantom.labels[1] == 1
    half[:3] = False
    writer.write_volume(1, {1: half})
    writer.finish()
    assert 0 < _surface_points(output, 1) < old


def test_an_object_without_a_segment_is_named(a_clip):
    _, browser, sequence = a_clip
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    writer = sequences.SequenceWriter(browser, sequence, output, OBJECTS)
    with pytest.raises(InputError, match="Object 7 has no segment"):
        writer.write_volume(0, {7: np.ones((1, 24, 24), bool)})
    with pytest.raises(InputError, match="Item 5 does not exist"):
        writer.write_volume(5, {1: np.ones((1, 24, 24), bool)})


def test_sequence_of_another_length_is_refused(make, a_clip):
    _, browser, sequence = a_clip
    output = sequences.create_segmentation_sequence(browser, sequence, "result", SEGMENTS)
    output.RemoveDataNodeAtValue("0.5")
    with pytest.raises(InputError, match=r"'result' has 4 items, the volumes 'images' have 5"):
        sequences.SequenceWriter(browser, sequence, output, OBJECTS)


def _surface_points(output, item):
    segment = output.GetNthDataNode(item).GetSegmentation().GetSegment("blood")
    return segment.GetRepresentation("Closed surface").GetNumberOfPoints()


SAVED = (
    ("vtkMRMLSequenceBrowserNode", "browser"),
    ("vtkMRMLSequenceNode", "images"),
    ("vtkMRMLSequenceNode", "result"),
)


def _node(kind, name):
    return next(node for node in slicer.util.getNodesByClass(kind) if node.GetName() == name)


def _check_items(labels, browser, sequence, output):
    """Move the slider through all items and compare what the proxies show, in the world."""
    volume, proxy = browser.GetProxyNode(sequence), browser.GetProxyNode(output)
    assert proxy.GetParentTransformNode() is volume.GetParentTransformNode() is not None
    for item in range(len(labels)):
        browser.SetSelectedItemNumber(item)
        for name, expected in (("blood", labels[item] == 1), ("muscle", labels[item] > 0)):
            np.testing.assert_array_equal(read_volume_mask(proxy, name, volume), expected, err_msg=f"{name} {item}")
    segment = proxy.GetSegmentation().GetSegment("blood")
    assert (segment.GetName(), segment.GetColor()) == ("Blood", (1, 0, 0))
