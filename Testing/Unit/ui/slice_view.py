"""A real slice view of Slicer's libraries, in a window that is not shown, with a mouse."""

from itertools import count
from types import SimpleNamespace

import slicer
import vtk

MANAGERS = ("vtkMRMLMarkupsDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D")
SIZE = (480, 400)
NUMBERS = count(1)  # for names: a second view of the same name would stay empty


class SliceView:
    """What Slicer's slice widget is made of, in a window that is not shown."""

    def __init__(self, booted, name="View", size=SIZE):
        """Build logic, window and displayable managers; each view has a name of its own."""
        self.size = size
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(booted.application_logic)
        self.logic.SetMRMLScene(booted.scene)
        self.node = self.logic.AddSliceNode(f"{name} {next(NUMBERS)}")
        self.window, self.renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
        self.window.SetOffScreenRendering(1)
        self.window.SetNumberOfLayers(2)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.mouse = vtk.vtkGenericRenderWindowInteractor()
        self.mouse.SetRenderWindow(self.window)
        self.mouse.SetInteractorStyle(vtk.vtkInteractorStyleUser())  # VTK's default one would swallow releases
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

    def show(self, volume, orientation="Axial"):
        """Show a volume, fitted to the window."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self.node.SetOrientation(orientation)
        self.logic.ResizeSliceNode(*self.size)
        self.logic.FitSliceToAll()
        mapper, self.image = vtk.vtkImageMapper(), vtk.vtkActor2D()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self.image.SetMapper(mapper)
        self.image.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self.image)

    def xy_of(self, ras):
        """Place of a point in the window, in pixels from below."""
        ras_to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), ras_to_xy)
        return tuple(round(value) for value in ras_to_xy.MultiplyPoint((*ras, 1.0))[:2])

    def happen(self, event, xy, shift=0):
        """Let the mouse do something somewhere."""
        self.mouse.SetEventInformation(*xy, 0, shift, chr(0), 0, None)
        self.mouse.InvokeEvent(event)

    def click(self, xy):
        """Go somewhere and click."""
        self.drag(xy)

    def drag(self, *places):
        """Press the left button at the first place, and release it at the last."""
        for event in ("EnterEvent", "MouseMoveEvent", "LeftButtonPressEvent"):
            self.happen(event, places[0])
        for xy in places[1:]:
            self.happen("MouseMoveEvent", xy)
        self.happen("LeftButtonReleaseEvent", places[-1])

    def picture(self):
        """What the window shows."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        return grab.GetOutput()


class Layout:
    """Stands for Slicer's layout manager: which slice views there are."""

    def __init__(self, views):
        """Know them all."""
        self._views = {view.node.GetName(): view for view in views}

    def sliceViewNames(self):  # noqa: N802 (Slicer's name)
        return tuple(self._views)

    def sliceWidget(self, name):  # noqa: N802
        view = self._views[name]
        return SimpleNamespace(
            mrmlSliceNode=lambda: view.node, sliceView=lambda: SimpleNamespace(interactor=lambda: view.mouse)
        )
