"""A real slice view, in a window that is not shown, draws prompts and the answer over the image."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from slice_view import SliceView  # noqa: E402 (needs slicer)
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

from DDSAM2SlicerLib.core.prompts import Box  # noqa: E402
from DDSAM2SlicerLib.testing.phantoms import create_ellipsoids  # noqa: E402

FRAME = 8


def colours_of(picture):
    """Pixels (height, width, 3)."""
    width, height, _ = picture.GetDimensions()
    return vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(height, width, -1).astype(int)


def num_coloured(picture):
    """Pixels that are not grey: prompts and overlay."""
    pixels = colours_of(picture)
    return int((pixels.max(axis=2) - pixels.min(axis=2) > 60).sum())


def test_prompts_and_the_answer_to_them_are_drawn_over_the_image(make_panel, booted, make):
    phantom = create_ellipsoids((16, 128, 144))
    panel = make_panel()
    view = SliceView(booted)
    volume = make.volume(phantom.array, phantom.geometry)
    volume.CreateDefaultDisplayNodes()
    view.show(volume)
    ui, coordinator = panel.ui, panel.coordinator
    ui.viewSelector.setCurrentNode(view.node)
    ui.inputSelector.setCurrentNode(volume)
    ui.beginButton.click()
    coordinator.add_object("organ", (1.0, 0.3, 0.0))  # as from a script; the panel sees it when it is shown again
    panel.enter()
    panel.shared.viewing.show(FRAME)
    assert coordinator.state.frame == FRAME
    assert num_coloured(view.picture()) == 0
    rows, columns = np.nonzero(phantom.labels[FRAME] == 1)
    source, index = coordinator.stack.source_of(FRAME)
    place = (source.pixel_to_ras(index) @ [columns.mean(), rows.mean(), 0, 1])[:3]
    ui.positiveButton.click()
    node = slicer.util.getNode(slicer.modules.markups.logic().GetActiveListID())
    node.AddControlPointWorld(*place.tolist())
    ui.positiveButton.click()
    (point,) = coordinator.notes.prompts.get(1, FRAME).points
    assert (point.x, point.y) == pytest.approx((columns.mean(), rows.mean()), abs=0.2)
    with_point = num_coloured(view.picture())
    assert with_point > 0
    box = Box(columns.min(), rows.min(), columns.max(), rows.max())
    coordinator.set_prompts(coordinator.notes.prompts.with_box(1, FRAME, box))
    panel.loop.until_idle()
    assert num_coloured(view.picture()) > with_point + 500
