"""Frames, prompts, results and errors through messages and back."""

import io

import numpy as np
import pytest

from DDSAM2SlicerLib.core import errors
from DDSAM2SlicerLib.core.frames import TimeFrames, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis
from DDSAM2SlicerLib.core.plan import Direction, FrameRange
from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet
from DDSAM2SlicerLib.core.results import FrameResult, FrameScore
from DDSAM2SlicerLib.testing.phantoms import create_ellipsoids, create_geometry
from DDSAM2SlicerLib.worker import contents
from DDSAM2SlicerLib.worker.codec import encode_message, read_message
from DDSAM2SlicerLib.worker.protocol import CHUNK_BYTES, Message
from DDSAM2SlicerLib.worker.stacks import ReceivedFrames


def travel(fields=None, arrays=None, kind="x"):
    """Send through real bytes."""
    parts = encode_message(Message(kind, 1, fields or {}, arrays or {}))
    return read_message(io.BytesIO(b"".join(bytes(part) for part in parts)))


def receive(source):
    """Send a whole stack."""
    stack = ReceivedFrames(travel(*contents.pack_stack(source)))
    for first, frames in contents.chunks_of(source):
        stack.add(travel({"first": first}, {"frames": frames}))
    return stack


@pytest.mark.parametrize("width", [1, 7, 8, 9, 33])
def test_results_arrive_to_the_bit(width):
    masks = np.random.default_rng(width).random((3, 5, width)) > 0.5
    scores = tuple(FrameScore(0.1 * n, 1 / 3, 0.7, n == 1, n) for n in range(3))
    got = contents.unpack_result(travel(*contents.pack_result(FrameResult(4, (1, 2, 9), masks, scores))))
    assert (got.frame, got.object_ids, got.scores) == (4, (1, 2, 9), scores)
    assert got.masks.dtype == bool
    np.testing.assert_array_equal(got.masks, masks)


def test_a_result_whose_parts_do_not_fit_is_refused():
    score = FrameScore(1.0, 1.0, 1.0)
    fields, arrays = contents.pack_result(FrameResult(0, (1,), np.ones((1, 4, 4), bool), (score,)))
    with pytest.raises(errors.WorkerError, match=r"'result' cannot be read .*2 objects, 1 masks"):
        contents.unpack_result(travel({**fields, "objects": [1, 2]}, arrays, kind="result"))


@pytest.mark.parametrize("axis", list(Axis))
def test_a_stack_arrives_with_its_pixels_and_its_place(axis):
    geometry = create_geometry((6, 7, 8), seed=3, is_left_handed=True)
    source = VolumeFrames(create_ellipsoids((6, 7, 8)).array, geometry, axis)
    got = receive(source)
    assert (got.num_frames, got.height, got.width) == (source.num_frames, source.height, source.width)
    assert (got.pixel_spacing_mm, got.frame_step_mm) == (source.pixel_spacing_mm, source.frame_step_mm)
    assert got.is_complete
    for index in range(source.num_frames):
        np.testing.assert_array_equal(got.frame(index), source.frame(index))
        np.testing.assert_array_equal(got.pixel_to_ras(index), source.pixel_to_ras(index))


def test_a_colour_clip_arrives_in_several_chunks():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 500, 350, 3), np.uint8)
    source = TimeFrames(pixels)
    firsts = [first for first, _ in contents.chunks_of(source)]
    assert firsts == [0, 2, 4, 6]
    assert 2 * source.frame(0).nbytes >= CHUNK_BYTES
    got = receive(source)
    assert got.frame_step_mm is None
    np.testing.assert_array_equal(got.frame(6), pixels[6])


def test_a_received_frame_is_a_copy():
    stack = receive(TimeFrames(np.full((2, 4, 4), 7, np.uint8)))
    before = stack.frame(0).copy()
    stack.frame(0)[:] = 99
    np.testing.assert_array_equal(stack.frame(0), before)


@pytest.mark.parametrize(
    ("first", "shape"), [(1, (1, 4, 5)), (0, (1, 4, 6)), (0, (3, 4, 5)), (0, (1, 4, 5, 3)), (None, (1, 4, 5))]
)
def test_chunks_that_do_not_follow_are_refused(first, shape):
    stack = ReceivedFrames(travel(*contents.pack_stack(TimeFrames(np.zeros((2, 4, 5), np.uint8)))))
    with pytest.raises(errors.WorkerError, match="'frames' cannot be read"):
        stack.add(travel({"first": first}, {"frames": np.zeros(shape, np.uint8)}, kind="frames"))
    assert not stack.is_complete


@pytest.mark.parametrize("shape", [[], [2, 4], [0, 4, 5], [3, 4, 5], "abc", None])
def test_a_stack_without_a_sensible_shape_is_refused(shape):
    fields, arrays = contents.pack_stack(TimeFrames(np.zeros((2, 4, 5), np.uint8)))
    with pytest.raises(errors.WorkerError, match="'open_stack' cannot be read"):
        ReceivedFrames(travel({**fields, "shape": shape}, arrays, kind="open_stack"))


def test_prompts_arrive_equal():
    mask = np.eye(9, dtype=bool)
    sent = PromptSet.empty().with_point(1, 2, Point(1.5, 2, positive=False)).with_box(2, 0, Box(0, 1, 2, 3))
    sent = sent.with_mask(3, 1, mask)
    assert contents.unpack_prompts(travel({}, contents.pack_prompts(sent))) == sent


def test_the_arguments_of_a_propagation_arrive():
    locked = {2: {0: np.eye(9, 11, dtype=bool), 5: np.ones((9, 11))}, 7: {5: np.zeros((9, 11))}}
    packed = contents.pack_propagation("forward", FrameRange(1, 6), locked, {2: (None, np.int64(4))}, (2, np.int64(3)))
    got = contents.unpack_propagation(travel(*packed))
    assert got["direction"] is Direction.FORWARD
    assert (got["frame_range"], got["ends"], got["changed"]) == (FrameRange(1, 6), {2: (None, 4)}, [(2, 3)])
    assert {one: sorted(own) for one, own in got["locked"].items()} == {2: [0, 5], 7: [5]}
    np.testing.assert_array_equal(got["locked"][2][0], np.eye(9, 11, dtype=bool))
    assert got["locked"][2][5].all()
    assert not got["locked"][7][5].any()


def test_the_defaults_of_a_propagation_arrive():
    got = contents.unpack_propagation(travel(*contents.pack_propagation()))
    assert got == {"direction": Direction.BOTH, "frame_range": None, "locked": {}, "ends": {}, "changed": None}


@pytest.mark.parametrize("kind", [errors.PromptError, errors.WeightsError, errors.DeviceError, errors.WorkerError])
def test_errors_keep_class_and_sentence(kind):
    got = contents.unpack_error(travel(contents.pack_error(kind("Do this."))))
    assert type(got) is kind
    assert str(got) == "Do this."


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "suggest", "NoSuchError", None, "NonFiniteVoxelsWarning"])
def test_an_error_class_that_is_not_ours_becomes_a_worker_error(name):
    assert type(contents.unpack_error(travel({"error": name, "sentence": "x"}))) is errors.WorkerError
