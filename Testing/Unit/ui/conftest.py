"""The fixtures of the logic's tests (real MRML, a worker with the fake engine), and panels on a Qt stand-in."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parent))  # for slice_view, the helper of tests in this folder

FORM = Path(__file__).resolve().parents[3] / "DDSAM2Slicer" / "Resources" / "UI" / "DDSAM2Slicer.ui"


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fixtures = _load("ddsam2_logic_fixtures", Path(__file__).resolve().parents[1] / "logic" / "conftest.py")
booted, make, scene = fixtures.booted, fixtures.make, fixtures.scene
make_loop, loop = fixtures.make_loop, fixtures.loop
a_phantom, a_volume, a_clip, a_series = fixtures.a_phantom, fixtures.a_volume, fixtures.a_clip, fixtures.a_series
masks_of = fixtures.masks_of


@pytest.fixture(scope="session")
def stand_in():
    """The Qt stand-in with a running application."""
    for name in ("PySide6.QtWidgets", "PySide6.QtUiTools"):
        pytest.importorskip(name, reason="the panels' tests need PySide6 (extra 'slicer')", exc_type=ImportError)
    module = _load("ddsam2_qt_stand_in", Path(__file__).with_name("qt_stand_in.py"))
    module.application = module.QtWidgets.QApplication.instance() or module.QtWidgets.QApplication([])
    return module


@pytest.fixture
def with_qt(stand_in, booted, monkeypatch):
    """Modules ``qt`` and ``slicer.i18n``, and Slicer's main window."""
    import slicer

    i18n = ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    monkeypatch.setitem(sys.modules, "qt", stand_in.create_module())
    monkeypatch.setitem(sys.modules, "slicer.i18n", i18n)
    window = stand_in.Dressed(stand_in.QtWidgets.QMainWindow())
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None, raising=False)  # no slice views to draw in
    stand_in.PROBLEMS.clear()
    yield stand_in
    for name in [name for name in sys.modules if name.startswith("DDSAM2SlicerLib.ui")]:
        del sys.modules[name]
    assert stand_in.PROBLEMS == []


@pytest.fixture
def make_memory():
    """Builders of what the scene remembers, as an untouched parameter node with some changes."""

    def create(**changes):
        nodes = dict.fromkeys(("inputVolume", "inputBrowser", "segmentation"))
        choices = {"axis": "view", "direction": "both", "overwrite": "none"}
        engine = {"memoryRule": "recent", "memoryUse": "auto", "precision": "auto"}
        limits = {"limitRange": False, "firstFrame": 0, "lastFrame": 0}
        model = {"model": "nano", "device": "auto", "adapterFile": "", "workerCommand": ""}
        switches = {"zoom": True, "maskPrior": True, "nonOverlap": False, "keepLargest": False}
        numbers = {"stopAfterEmpty": 3, "fillHolesPx": 0}
        return SimpleNamespace(**{**nodes, **choices, **limits, **model, **engine, **switches, **numbers, **changes})

    return create


@pytest.fixture
def make_panel(make_loop, with_qt, scene, tmp_path):
    """Builders of the whole panel; it is closed with the test."""
    import slicer

    from DDSAM2SlicerLib.logic.install import Outcome
    from DDSAM2SlicerLib.logic.model_list import ModelList
    from DDSAM2SlicerLib.ui.widget import Panel
    from DDSAM2SlicerLib.weights.store import Store

    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    panels = []

    def create(model="fake", outcome=None, parameters=None):
        loop = make_loop(model)
        installs = []
        installer = SimpleNamespace(ensure=lambda: installs.append(1) or outcome or Outcome(True))
        root = with_qt.load_form(FORM)
        models = ModelList(Store(tmp_path / "models"))
        panel = Panel(with_qt.Names(root), parameters, loop.coordinator, installer, models)
        panel.ui.viewSelector.setCurrentNode(view)
        loop.coordinator.choose_model(model)
        panel.root, panel.loop, panel.installs, panel.view = root, loop, installs, view
        panels.append(panel)
        return panel

    yield create
    for panel in panels:
        panel.close()


@pytest.fixture
def panel(make_panel):
    """The whole panel, without input."""
    return make_panel()
