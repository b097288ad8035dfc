"""Masks: run lengths, merging, connected parts, holes and distances against literal arrays."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import InputError
from DDSAM2SlicerLib.core.masks import (
    decode_rle,
    encode_rle,
    fill_holes,
    label_components,
    largest_component,
    merge_labels,
    most_interior_point,
    squared_distance_to,
)


def draw(*rows):
    """Mask from text, '#' is inside."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        (draw("..#", "##."), [2, 3, 1]),
        (draw("##", ".."), [0, 2, 2]),
        (draw("..", ".."), [4]),
        (draw("##", "##"), [0, 4]),
    ],
)
def test_run_lengths_start_outside_and_run_along_rows(mask, counts):
    assert encode_rle(mask) == counts
    assert decode_rle(counts, *mask.shape).tolist() == mask.tolist()


def test_random_masks_return_from_their_run_lengths():
    generator = np.random.default_rng(0)
    for shape in ((1, 1), (1, 9), (9, 1), (31, 17)):
        mask = generator.random(shape) > 0.5
        assert decode_rle(encode_rle(mask), *shape).tolist() == mask.tolist()


@pytest.mark.parametrize("counts", [[3], [0, 5], [5, -1], []])
def test_run_lengths_of_another_size_are_refused(counts):
    with pytest.raises(InputError, match="does not fill a mask of 2 x 2"):
        decode_rle(counts, 2, 2)


def test_later_object_wins_without_logits():
    masks = np.array([draw("##."), draw(".##")])
    assert merge_labels(masks, [5, 2]).tolist() == [[5, 2, 2]]


def test_higher_logit_wins_where_masks_overlap():
    masks = np.array([draw("##."), draw("###")])
    logits = np.array([[[1.0, 3, 9]], [[2.0, 1, 1]]])
    assert merge_labels(masks, [5, 2], logits).tolist() == [[2, 5, 2]]


def test_label_type_grows_with_the_labels():
    masks = np.array([draw("#.")])
    assert merge_labels(masks, [255]).dtype == np.uint8
    assert merge_labels(masks, [256]).dtype == np.uint16
    assert merge_labels(np.array([draw("#.")] * 2), [1, 300]).tolist() == [[300, 0]]
    assert merge_labels(masks, [256]).tolist() == [[256, 0]]


@pytest.mark.parametrize(
    ("object_ids", "logits", "message"),
    [
        ([1], None, "cannot be merged"),
        ([0, 5], None, "between 1 and 65535"),
        ([5, 65536], None, "between 1 and 65535"),
        ([1, 2], np.zeros((2, 3, 2)), "cannot be merged"),
    ],
)
def test_labels_that_do_not_fit_the_masks_are_refused(object_ids, logits, message):
    with pytest.raises(InputError, match=message):
        merge_labels(np.array([draw("#."), draw(".#")]), object_ids, logits)


def test_parts_are_numbered_and_corners_connect_only_if_asked():
    mask = draw("#..#", ".#.#", "#...")
    assert label_components(mask)[0].tolist() == [[1, 0, 0, 2], [0, 1, 0, 2], [1, 0, 0, 0]]
    assert label_components(mask)[1] == 2
    assert label_components(mask, diagonal=False)[0].tolist() == [[1, 0, 0, 2], [0, 3, 0, 2], [4, 0, 0, 0]]


def test_row_ends_do_not_touch_the_next_row_start():
    assert label_components(draw("..##", "##.."))[1] == 1  # by the corner in the middle
    assert label_components(draw("...#", "#..."))[1] == 2


def test_spiral_is_one_part():
    mask = draw("#######", "......#", "#####.#", "#...#.#", "#.#.#.#", "#.###.#", "#.....#", "#######")
    assert label_components(mask, diagonal=False)[1] == 1


def test_parts_agree_with_a_flood_fill():
    mask = np.random.default_rng(1).random((24, 31)) > 0.6
    labels, number = label_components(mask)
    unseen = {tuple(position) for position in np.argwhere(mask).tolist()}
    parts = 0
    while unseen:
        front = [unseen.pop()]
        label = labels[front[0]]
        parts += 1
        while front:
            y, x = front.pop()
            assert labels[y, x] == label
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & unseen
            unseen -= around
            front += around
    assert parts == number


def test_only_the_largest_part_is_kept():
    assert largest_component(draw("#..##", "...##", "##...")).tolist() == draw("...##", "...##", ".....").tolist()
    assert not largest_component(draw("...")).any()


def test_holes_are_filled_up_to_a_size_and_notches_are_not():
    mask = draw("#######", "#.##..#", "#.##..#", "####.##", "#####.#", "#.#####")
    assert fill_holes(mask).tolist() == draw("#######", "#######", "#######", "#######", "#######", "#.#####").tolist()
    two = draw("#######", "####..#", "####..#", "####.##", "#######", "#.#####")
    assert fill_holes(mask, 2).tolist() == two.tolist()
    assert fill_holes(mask, 0).tolist() == mask.tolist()


def test_full_and_empty_masks_stay_as_they_are():
    assert fill_holes(draw("##", "##")).all()
    assert not fill_holes(draw("..", "..")).any()


@pytest.mark.parametrize("shape", [(7, 9), (4, 5, 6)])
def test_distances_agree_with_all_pairs(shape):
    generator = np.random.default_rng(2)
    mask = generator.random(shape) > 0.9
    spacing = np.array([2.5, 1.0, 0.7][: len(shape)])
    cells = np.argwhere(np.ones(shape)) * spacing
    pairs = ((cells[:, None] - (np.argwhere(mask) * spacing)[None]) ** 2).sum(axis=2).min(axis=1)
    np.testing.assert_allclose(squared_distance_to(mask, spacing), pairs.reshape(shape), atol=1e-12)


def test_limit_leaves_near_distances_exact_and_far_ones_beyond_it():
    mask = np.random.default_rng(3).random((30, 30)) > 0.98
    exact, limited = squared_distance_to(mask, (1, 1)), squared_distance_to(mask, (1, 1), limit=3)
    assert (exact > 9).any()
    assert limited[exact <= 9].tolist() == exact[exact <= 9].tolist()
    assert (limited[exact > 9] > 9).all()


def test_distance_to_nothing_is_infinite():
    assert np.isinf(squared_distance_to(np.zeros((3, 4)), (1, 1))).all()


def test_most_interior_point_is_farthest_from_the_outside():
    assert most_interior_point(draw(".......", ".######", ".###...", ".###...")) == (2, 2)


def test_frame_border_counts_as_outside():
    assert most_interior_point(draw("#####", "#####", "#####", "#####", "#####")) == (2, 2)


def test_empty_mask_has_no_interior():
    with pytest.raises(InputError, match="no interior point"):
        most_interior_point(np.zeros((3, 3)))
