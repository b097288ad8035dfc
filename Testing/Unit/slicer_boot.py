"""Boots real MRML (scene, module logics, scene file IO) from the slicer-core wheel, without the application.

The fixtures here are imported by the conftest files of the folders that need a scene.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from DDSAM2SlicerLib.core.geometry import VolumeGeometry

try:
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk
except ImportError:  # every test module of this folder then skips itself, with the reason
    slicer = None

# Module logics in the order they are created: what comes later looks up what came before.
MODULES = (
    "Colors",
    "Volumes",
    "Terminologies",
    "SubjectHierarchy",
    "Segmentations",
    "Markups",
    "Models",
    "Transforms",
    "Tables",
    "Plots",
    "Texts",
    "Units",
    "Sequences",
)

BOOTED: list[SimpleNamespace] = []


def _logic_class(module):
    singular = module.removesuffix("s")
    for name in (f"vtkSlicer{module}ModuleLogic", f"vtkSlicer{module}Logic", f"vtkSlicer{singular}Logic"):
        found = getattr(slicer, name, None)
        if isinstance(found, type):  # the wheel also has Python modules of that name
            return found
    msg = f"This slicer-core wheel has no logic for the module {module!r}."
    raise LookupError(msg)


def _create_application_logic(scene, home):
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetHomeDirectory(str(home))
    logic.SetShareDirectory("share")
    logic.SetMRMLScene(scene)
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return logic


def boot(home):
    """Create scene and logics where Slicer's own Python code looks for them; return what to keep alive."""
    scene = slicer.vtkMRMLScene()
    vtk.vtkObject.GlobalWarningDisplayOff()  # the logics miss the application's colour and terminology files
    application_logic = _create_application_logic(scene, home)
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace()
    logics = {}
    for module in MODULES:
        logic = _logic_class(module)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(home / "share"))
        logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(module, logic)
        logics[module] = logic
        setattr(slicer.modules, module.lower(), SimpleNamespace(logic=lambda logic=logic: logic))
    slicer.app = SimpleNamespace(applicationLogic=lambda: application_logic, temporaryPath=str(home))

    remote_io = slicer.vtkMRMLRemoteIOLogic()
    remote_io.GetCacheManager().SetRemoteCacheDirectory(str(home))
    remote_io.SetMRMLScene(scene)
    data_io = slicer.vtkDataIOManagerLogic()
    data_io.SetMRMLApplicationLogic(application_logic)
    data_io.SetAndObserveDataIOManager(remote_io.GetDataIOManager())
    remote_io.AddDataIOToScene()
    return SimpleNamespace(scene=scene, application_logic=application_logic, logics=logics, io=(remote_io, data_io))


@pytest.fixture(scope="session")
def booted(tmp_path_factory):
    """Scene and logics, booted once, however many folders import this fixture."""
    if not BOOTED:
        BOOTED.append(boot(tmp_path_factory.mktemp("slicer")))
    return BOOTED[0]


@pytest.fixture
def scene(booted):
    """The scene, empty."""
    booted.scene.Clear(0)
    yield booted.scene
    booted.scene.Clear(0)


def _set_matrix(method, matrix):
    vtk_matrix = vtk.vtkMatrix4x4()
    vtk_matrix.DeepCopy(np.asarray(matrix, dtype=float).ravel())
    method(vtk_matrix)


def make_volume(array, geometry=None, node=None, transform=None):
    """Fill a volume node, in the scene unless one is given."""
    if geometry is None:
        geometry = VolumeGeometry(array.shape[:3], np.eye(4))
    if node is None:
        kind = "vtkMRMLVectorVolumeNode" if array.ndim == 4 else "vtkMRMLScalarVolumeNode"
        node = slicer.mrmlScene.AddNewNodeByClass(kind, "image")
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[2::-1])
    values = np.ascontiguousarray(array).reshape(-1, *array.shape[3:])
    image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True))
    _set_matrix(node.SetIJKToRASMatrix, geometry.ijk_to_ras)
    node.SetAndObserveImageData(image)
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def _make_transform(matrix, parent=None):
    """Add a linear transform node, under a parent if one is given."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
    _set_matrix(node.SetMatrixTransformToParent, matrix)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def _make_sequence(arrays, geometry=None, unit="s"):
    """Add a volume sequence with its browser; items are half a unit apart. Return (browser, sequence)."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "images")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit(unit)
    for item, array in enumerate(arrays):
        node = slicer.vtkMRMLVectorVolumeNode() if array.ndim == 4 else slicer.vtkMRMLScalarVolumeNode()
        sequence.SetDataNodeAtValue(make_volume(array, geometry, node), str(0.5 * item))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser, sequence


def _reload(folder):
    """Save the scene as MRB and read it back into an empty one."""
    path = folder / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path), None, None)
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(path), True, None)


def _random_matrix(seed):
    """Rigid transform with a random rotation and translation."""
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    rotation[:, 0] *= np.sign(np.linalg.det(rotation))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = generator.uniform(-50, 50, 3)
    return matrix


@pytest.fixture
def make(scene):
    """Builders of nodes in the empty scene."""
    return SimpleNamespace(
        volume=make_volume,
        transform=_make_transform,
        sequence=_make_sequence,
        reload=_reload,
        random_matrix=_random_matrix,
    )
