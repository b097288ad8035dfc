"""Where label images of any extent lie on the volume's grid."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.geometry import VolumeGeometry

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import labelmaps, segmentations  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.mrml.labelmaps import Layer, create_image, grow_to_grid, read_whole_segment  # noqa: E402

GRID = VolumeGeometry((3, 4, 5), np.diag([1.0, 2.0, 3.0, 1.0]))


@pytest.mark.parametrize(
    ("first_ijk", "shape_kji", "origin_mm", "expected"),
    [
        ((0, 0, 0), (3, 4, 5), (0, 0, 0), True),
        ((1, 0, 0), (3, 4, 9), (0, 0, 0), False),  # begins one voxel late, however far it goes
        ((-2, -1, 0), (5, 6, 9), (0, 0, 0), True),
        ((0, 0, 0), (3, 4, 4), (0, 0, 0), False),
        ((3, 0, 0), (3, 4, 5), (-3, 0, 0), True),  # another origin, the same voxels
        ((0, 0, 0), (3, 4, 9), (0.5, 0, 0), False),  # half a voxel off
    ],
)
def test_a_layer_knows_whether_it_stores_the_whole_grid(first_ijk, shape_kji, origin_mm, expected):
    matrix = np.array(GRID.ijk_to_ras)
    matrix[:3, 3] = origin_mm
    layer = Layer(create_image(np.zeros(shape_kji, np.uint8), first_ijk, matrix), GRID)
    assert layer.covers(GRID.shape_kji) is expected


def test_labels_outside_of_a_layer_read_as_background_and_are_not_written():
    image = create_image(np.full((1, 1, 2), 7, np.uint8), (3, 2, 1), GRID.ijk_to_ras)
    layer = Layer(image, GRID)
    ijk = tuple(np.ogrid[:5, :4, :3])
    expected = np.zeros((5, 4, 3))
    expected[3:, 2, 1] = 7
    np.testing.assert_array_equal(layer.read(ijk), expected)
    layer.write(ijk, np.full((5, 4, 3), 9, np.uint8))
    assert Layer(image, GRID).array.tolist() == [[[9, 9]]]


@pytest.fixture
def a_small_segment(make, monkeypatch):
    """A segmentation on GRID with one voxel painted in a cropped label map; room is made slice by slice."""
    monkeypatch.setattr(labelmaps, "PIECE_BYTES", 1)
    node = segmentations.create_segmentation(make.volume(np.zeros(GRID.shape_kji, np.uint8), GRID), "segmentation")
    segment_id = segmentations.add_segment(node, "small")
    image = create_image(np.ones((1, 1, 1), np.uint8), (2, 1, 1), GRID.ijk_to_ras)
    node.GetSegmentation().GetSegment(segment_id).AddRepresentation(labelmaps.BINARY_LABELMAP, image)
    return node, segment_id


def test_room_is_made_in_pieces_and_the_segment_changes_with_the_last_one(a_small_segment):
    node, segment_id = a_small_segment
    before = read_whole_segment(node, segment_id, GRID)
    pieces = grow_to_grid(node, segment_id, GRID)
    for _ in range(GRID.shape_kji[0]):
        next(pieces)
        assert not labelmaps.layer_of(node, segment_id, GRID).covers(GRID.shape_kji)
    assert next(pieces, "ready") == "ready"
    assert labelmaps.layer_of(node, segment_id, GRID).covers(GRID.shape_kji)
    np.testing.assert_array_equal(read_whole_segment(node, segment_id, GRID), before)
    assert list(grow_to_grid(node, segment_id, GRID)) == []


def test_what_is_painted_while_room_is_made_is_kept(a_small_segment):
    node, segment_id = a_small_segment
    pieces = grow_to_grid(node, segment_id, GRID)
    next(pieces)
    next(pieces)
    labelmaps.layer_of(node, segment_id, GRID).array[0, 0, 0] = 0
    labelmaps.announce(node, segment_id)
    for _ in pieces:
        pass
    assert not read_whole_segment(node, segment_id, GRID).any()
