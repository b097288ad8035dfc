"""Metrics against small literal masks, with units, and what an empty mask gives."""

import math

import numpy as np
import pytest

from DDSAM2SlicerLib.core import metrics
from DDSAM2SlicerLib.core.errors import InputError

EMPTY = np.zeros((4, 6), bool)


def square(top, left, size, shape=(20, 20)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


@pytest.fixture
def two_masks():
    """Four and two pixels that share one."""
    one, other = EMPTY.copy(), EMPTY.copy()
    one[1, 0:4] = True
    other[1, 3:5] = True
    return one, other


def test_dice_and_iou_count_pixels(two_masks):
    assert metrics.dice(*two_masks) == pytest.approx(2 / 6)
    assert metrics.iou(*two_masks) == pytest.approx(1 / 5)


@pytest.mark.parametrize("metric", [metrics.dice, metrics.iou])
def test_overlap_of_empty_masks(two_masks, metric):
    assert metric(EMPTY, EMPTY) == 1
    assert metric(two_masks[0], EMPTY) == 0
    assert metric(EMPTY, two_masks[0]) == 0


def test_any_non_zero_value_is_inside(two_masks):
    one, other = two_masks
    assert metrics.dice(one * 255, other.astype(np.uint8)) == metrics.dice(one, other)


def test_shifted_square_is_as_far_as_its_shift_in_mm():
    one, other = square(2, 2, 5), square(2, 5, 5)
    assert metrics.hd95_mm(one, other, (2, 1)) == 6  # three columns of 2 mm
    assert metrics.hd95_mm(one, other, (1, 2)) == 3
    assert metrics.centre_distance_mm(one, other, (2, 1)) == pytest.approx(6)


def test_hausdorff_is_the_larger_of_both_directed_quantiles():
    one = np.zeros((1, 41), bool)
    other = one.copy()
    one[0, :20] = True
    other[0, 0] = True
    # From the one row of pixels 0 to 19 to pixel 0: quantile 0.95 of 0, 1, ..., 19; the other way it is 0.
    assert metrics.hd95_mm(one, other, (1, 1)) == pytest.approx(18.05)
    assert metrics.mean_surface_distance_mm(one, other, (1, 1)) == pytest.approx((9.5 + 0) / 2)


def test_inner_pixels_do_not_count_as_edge():
    full, ring = square(2, 2, 5), square(2, 2, 5) & ~square(3, 3, 3)
    assert metrics.hd95_mm(full, full, (1, 1)) == 0
    # Every pixel of the ring is edge, and it is the edge of the full square.
    assert metrics.mean_surface_distance_mm(full, ring, (1, 1)) == 0


def test_surface_dice_counts_edge_pixels_within_the_tolerance():
    one, other = np.zeros((3, 10), bool), np.zeros((3, 10), bool)
    one[1, 0:4] = True
    other[1, 2:8] = True
    # Distances 2 1 0 0 and 0 0 1 2 3 4 pixels of 2 mm.
    assert metrics.surface_dice(one, other, (2, 1), tolerance_mm=2) == pytest.approx(6 / 10)
    assert metrics.surface_dice(one, other, (2, 1), tolerance_mm=1.9) == pytest.approx(4 / 10)


@pytest.mark.parametrize("metric", [metrics.hd95_mm, metrics.mean_surface_distance_mm, metrics.centre_distance_mm])
def test_distance_to_an_empty_mask_is_the_longest_side(two_masks, metric):
    assert metric(EMPTY, EMPTY, (1, 1)) == 0
    assert metric(two_masks[0], EMPTY, (1, 1)) == 6
    assert metric(EMPTY, two_masks[0], (1, 2)) == 8


def test_surface_dice_of_empty_masks(two_masks):
    assert metrics.surface_dice(EMPTY, EMPTY, (1, 1), 1) == 1
    assert metrics.surface_dice(two_masks[0], EMPTY, (1, 1), 1) == 0


def test_distances_work_in_three_axes_with_index_order_of_spacing():
    one, other = np.zeros((6, 6, 6), bool), np.zeros((6, 6, 6), bool)
    one[1:3, 1:3, 1:3] = True
    other[3:5, 1:3, 1:3] = True
    assert metrics.hd95_mm(one, other, (1, 1, 5)) == 10
    assert metrics.centre_distance_mm(one, other, (5, 1, 1)) == pytest.approx(2)


def test_boundaries_within_the_davis_tolerance_match():
    # Diagonal 28.3, times 0.008, rounded up: one pixel.
    same = metrics.j_and_f(square(5, 5, 8), square(5, 5, 8))
    assert same == (1, 1, 1)
    near = metrics.j_and_f(square(5, 5, 8), square(5, 6, 8))
    assert near.j == pytest.approx(56 / 72)
    assert near.f == 1
    assert near.mean == pytest.approx((56 / 72 + 1) / 2)


@pytest.mark.parametrize(("shift", "f"), [(3, 1), (4, 0)])
def test_davis_tolerance_grows_with_the_frame(shift, f):
    # Diagonal 283, times 0.008, rounded up: three pixels.
    one, other = np.zeros((200, 200), bool), np.zeros((200, 200), bool)
    one[:, :50] = True
    other[:, : 50 + shift] = True
    assert metrics.j_and_f(one, other).f == f


def test_boundary_measure_counts_literal_pixels():
    one, other = np.zeros((1, 8), bool), np.zeros((1, 8), bool)
    one[0, 0:3] = True
    other[0, 0:6] = True
    # A run in a single row has one boundary pixel, its last: 2 and 5, three pixels apart, tolerance one.
    assert metrics.j_and_f(one, other) == (0.5, 0, 0.25)


def test_boundary_measure_weighs_precision_and_recall():
    one = square(5, 5, 8)
    both = one | square(15, 15, 3)
    edges = 8 * 4, 8 * 4 + 3 * 4
    precision, recall = 1, edges[0] / edges[1]
    assert metrics.j_and_f(one, both).f == pytest.approx(2 * precision * recall / (precision + recall))


def test_davis_measures_of_empty_masks():
    assert metrics.j_and_f(np.zeros((20, 20)), np.zeros((20, 20))) == (1, 1, 1)
    assert metrics.j_and_f(square(5, 5, 8), np.zeros((20, 20))) == (0, 0, 0)
    assert metrics.j_and_f(np.zeros((20, 20)), square(5, 5, 8)) == (0, 0, 0)


def test_area_and_volume_multiply_by_the_spacing():
    assert metrics.area_mm2(square(0, 0, 3), (0.5, 2)) == 9
    assert metrics.volume_mm3(np.ones((2, 3, 4)), (0.5, 2, 3)) == 72
    assert metrics.area_mm2(EMPTY, (1, 1)) == 0


def test_equivalent_diameter_is_that_of_disc_or_ball():
    assert metrics.equivalent_diameter_mm(square(0, 0, 3), (1, 1)) == pytest.approx(math.sqrt(36 / math.pi))
    assert metrics.equivalent_diameter_mm(np.ones((2, 3, 4)), (1, 1, 1)) == pytest.approx((144 / math.pi) ** (1 / 3))
    assert metrics.equivalent_diameter_mm(EMPTY, (1, 1)) == 0


def test_longest_diameter_runs_between_pixel_corners():
    assert metrics.max_diameter_mm(square(2, 2, 4), (1, 1)) == pytest.approx(math.hypot(4, 4))
    assert metrics.max_diameter_mm(square(2, 2, 1), (3, 4)) == pytest.approx(5)
    two_corners = square(0, 0, 1) | square(19, 19, 1)
    assert metrics.max_diameter_mm(two_corners, (1, 1)) == pytest.approx(math.hypot(20, 20))
    assert metrics.max_diameter_mm(EMPTY, (1, 1)) == 0


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: metrics.dice(np.ones((2, 3)), np.ones((3, 2))), r"shapes \(2, 3\) and \(3, 2\)"),
        (lambda: metrics.hd95_mm(EMPTY, EMPTY, (1, 1, 1)), "does not fit a mask of 2 axes"),
        (lambda: metrics.area_mm2(EMPTY, (1, 0)), "one positive number per axis"),
        (lambda: metrics.area_mm2(np.ones((2, 3, 4)), (1, 1, 1)), "has 3 axes; 2 are needed"),
        (lambda: metrics.volume_mm3(EMPTY, (1, 1)), "has 2 axes; 3 are needed"),
    ],
)
def test_masks_and_spacings_that_do_not_fit_are_refused(measure, message):
    with pytest.raises(InputError, match=message):
        measure()
