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
    segmentation = coordinator.segmentation.GetSegmentation()
    segmentation.GetNthSegment(0).SetColor(1.0, 0.3, 0.0)  # its prompts follow
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


def num_like(picture, color):
    """Pixels near a colour, given as three numbers from 0 to 255."""
    return int((abs(colours_of(picture) - np.array(color)).max(axis=2) < 60).sum())


def test_the_preview_of_each_object_has_its_own_colour(make_panel, booted, make):
    phantom = create_ellipsoids((16, 128, 144))
    panel = make_panel()
    view = SliceView(booted, "Second")
    volume = make.volume(phantom.array, phantom.geometry)
    volume.CreateDefaultDisplayNodes()
    view.show(volume)
    panel.ui.viewSelector.setCurrentNode(view.node)
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.ui.beginButton.click()
    coordinator = panel.coordinator
    panel.shared.viewing.show(FRAME)
    prompts = coordinator.notes.prompts
    for label, color in ((1, (1, 0, 0)), (2, (0, 0, 1))):
        one = coordinator.add_object(f"organ {label}", color)
        prompts = prompts.with_box(one, FRAME, Box.around(phantom.labels[FRAME] == label))
    coordinator.set_prompts(prompts)
    panel.loop.until_idle()
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsROINode"):
        node.SetDisplayVisibility(False)
    coordinator.preview.node.GetDisplayNode().SetOpacity2DFill(1.0)
    picture = view.picture()
    assert num_like(picture, (255, 0, 0)) > 1000
    assert num_like(picture, (0, 0, 255)) > 1000
    assert num_like(picture, (0, 255, 0)) == 0
