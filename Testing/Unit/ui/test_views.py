"""A real slice view, in a window that is not shown, draws prompts and the answer over the image."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
import vtk  # noqa: E402
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

from DDSAM2SlicerLib.core.prompts import Box  # noqa: E402
from DDSAM2SlicerLib.testing.phantoms import create_ellipsoids  # noqa: E402

MANAGERS = ("vtkMRMLMarkupsDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D")
SIZE = (480, 400)
FRAME = 8


class SliceView:
    """What Slicer's slice widget is made of, in a window that is not shown."""

    def __init__(self, booted):
        """Build logic, window and displayable managers."""
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(booted.application_logic)
        self.logic.SetMRMLScene(booted.scene)
        self.node = self.logic.AddSliceNode("View")
        self.window, self.renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
        self.window.SetOffScreenRendering(1)
        self.window.SetNumberOfLayers(2)
        self.window.SetSize(*SIZE)
        self.window.AddRenderer(self.renderer)
        self.mouse = vtk.vtkGenericRenderWindowInteractor()  # the managers need one, even if nobody moves it
        self.mouse.SetRenderWindow(self.window)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(booted.application_logic)
        for name in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.Initialize(factory, self.renderer)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.style = slicer.vtkMRMLSliceViewInteractorStyle()
        self.style.SetSliceLogic(self.logic)
        self.style.SetDisplayableManagers(self.managers)
        self.style.SetInteractor(self.mouse)

    def show(self, volume):
        """Show a volume, fitted to the window."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.node.SetOrientationToAxial()
        self.logic.ResizeSliceNode(*SIZE)
        self.logic.FitSliceToAll()
        mapper, self.image = vtk.vtkImageMapper(), vtk.vtkActor2D()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self.image.SetMapper(mapper)
        self.image.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.image)

    def picture(self):
        """What the window shows."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        return grab.GetOutput()


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
