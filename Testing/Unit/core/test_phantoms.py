"""Phantoms: repeatable, labelled, and shaped as they claim."""

import numpy as np
import pytest

from DDSAM2SlicerLib.testing.phantoms import (
    create_beating_heart,
    create_beating_heart_series,
    create_ellipsoids,
    create_geometry,
)


@pytest.mark.parametrize("create", [create_ellipsoids, create_beating_heart, create_beating_heart_series])
def test_phantom_is_small_repeatable_and_brighter_inside(create):
    phantom = create()
    assert phantom.array.shape == phantom.labels.shape
    assert max(phantom.array.shape) <= 64
    assert create().array.tolist() == phantom.array.tolist()
    assert create(seed=1).array.tolist() != phantom.array.tolist()
    assert phantom.array[phantom.labels == 1].mean() > phantom.array[phantom.labels == 0].mean() + 30


def test_heart_contracts_by_half_and_returns():
    for labels in (create_beating_heart(12).labels, create_beating_heart_series(12).labels):
        blood = (labels == 1).reshape(12, -1).sum(axis=1)
        assert blood.argmax() == 0
        assert blood.argmin() == 6
        assert 0.3 < blood.min() / blood.max() < 0.7


def test_random_geometries_differ_and_have_the_asked_hand_and_spacing():
    one, other = create_geometry((2, 3, 4), 1), create_geometry((2, 3, 4), 2, is_left_handed=True)
    assert not one.is_left_handed
    assert other.is_left_handed
    assert one.spacing_mm == pytest.approx((0.8, 1.1, 2.5))
    assert not np.allclose(one.ijk_to_ras, other.ijk_to_ras)
