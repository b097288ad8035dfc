"""The shipped model through a real worker: box, preview, propagation, correction."""

import sys

import numpy as np
import pytest

from DDSAM2SlicerLib.core.metrics import dice
from DDSAM2SlicerLib.core.prompts import Box, PromptSet
from DDSAM2SlicerLib.testing.phantoms import create_beating_heart
from DDSAM2SlicerLib.weights.catalog import DEFAULT_MODEL, find_entry
from DDSAM2SlicerLib.weights.store import Store

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
pytest.importorskip("torch", reason="the real engine needs torch")
from DDSAM2SlicerLib.logic.runs import RunOptions  # noqa: E402 (needs slicer)

SEED = 2


def test_default_model_follows_a_box_and_a_correction(make_loop, make, masks_of):
    if Store().state(find_entry(DEFAULT_MODEL)) == "missing":
        pytest.skip(f"the default model {DEFAULT_MODEL!r} is not part of this checkout")
    phantom = create_beating_heart(6, 64)
    browser, _ = make.sequence([frame[None] for frame in phantom.array])
    loop = make_loop(DEFAULT_MODEL, (sys.executable, "-m", "DDSAM2SlicerLib.worker"))
    coordinator = loop.coordinator
    coordinator.choose_sequence(browser)
    one = coordinator.add_object("blood")
    coordinator.show_frame(SEED)
    coordinator.set_prompts(PromptSet.empty().with_box(one, SEED, Box.around(phantom.labels[SEED] == 1)))
    loop.until_idle()
    assert coordinator.state.error == ""
    assert dice(coordinator.preview.masks[one], phantom.labels[SEED] == 1) > 0.5

    coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == ""
    before = masks_of(coordinator, one)
    assert dice(before, phantom.labels == 1) > 0.4
    assert set(coordinator.review.scores()) == set(range(6))

    coordinator.review.set_locked(3)
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, 5, phantom.labels[5] == 1))
    coordinator.propagate(RunOptions(is_update=True))
    loop.until_idle()
    after = masks_of(coordinator, one)
    np.testing.assert_array_equal(after[5], phantom.labels[5] == 1)
    np.testing.assert_array_equal(after[:4], before[:4])
