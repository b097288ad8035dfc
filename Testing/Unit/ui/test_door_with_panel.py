"""The module file with its real panel on the Qt stand-in: opened, reloaded, closed; torch is never touched."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")

HEAVY = {"torch", "sam2"}


@pytest.fixture
def widget(monkeypatch, with_qt, scene, repository, make_memory):
    """The opened module."""
    added = []

    class WidgetBase:
        """Stands for ScriptedLoadableModuleWidget."""

        def __init__(self, parent=None):
            """An empty layout."""
            self.layout = SimpleNamespace(addWidget=added.append)

        def setup(self):
            """Nothing, as outside developer mode."""

        def onReload(self):  # noqa: N802 (Slicer's name)
            added.append("reloaded")

        def resourcePath(self, name):  # noqa: N802
            return repository / "DDSAM2Slicer" / "Resources" / name

    bases = ModuleType("slicer.ScriptedLoadableModule")
    bases.ScriptedLoadableModule = bases.ScriptedLoadableModuleLogic = bases.ScriptedLoadableModuleTest = object
    bases.ScriptedLoadableModuleWidget = WidgetBase
    sys.modules["slicer.i18n"].translate = lambda context, text: text
    monkeypatch.setitem(sys.modules, bases.__name__, bases)
    monkeypatch.setattr(slicer.app, "applicationVersion", "5.12.3", raising=False)
    monkeypatch.setattr(slicer.util, "loadUI", with_qt.load_form)
    monkeypatch.setattr(slicer.util, "childWidgetVariables", with_qt.Names)
    monkeypatch.delitem(sys.modules, "DDSAM2Slicer", raising=False)
    import DDSAM2Slicer

    parameters = make_memory()
    monkeypatch.setattr(DDSAM2Slicer.DDSAM2SlicerLogic, "getParameterNode", lambda self: parameters)
    opened = DDSAM2Slicer.DDSAM2SlicerWidget()
    opened.setup()
    opened.added = added
    yield opened
    opened.cleanup()
    sys.modules.pop("DDSAM2Slicer", None)


def test_the_module_opens_with_waiting_buttons_and_without_torch(widget):
    before = HEAVY & set(sys.modules)
    widget.enter()
    assert len(widget.added) == 1
    assert not widget.panel.ui.propagateButton.enabled
    widget.exit()
    assert HEAVY & set(sys.modules) == before


def test_another_scene_is_taken_over(widget, make):
    import numpy as np

    volume = make.volume(np.zeros((4, 8, 8), np.uint8))
    widget.logic.getParameterNode().inputVolume = volume
    slicer.mrmlScene.InvokeEvent(slicer.mrmlScene.EndImportEvent)
    assert widget.panel.ui.inputSelector.currentNode() is volume
    assert widget.panel.ui.beginButton.enabled


def test_reload_ends_the_panel_and_forgets_the_package(widget, monkeypatch):
    kept = {name: module for name, module in sys.modules.items() if name.startswith("DDSAM2SlicerLib")}
    widget.onReload()
    assert widget.panel is None
    assert widget.added[-1] == "reloaded"
    assert not [name for name in sys.modules if name.startswith("DDSAM2SlicerLib")]
    sys.modules.update(kept)  # other tests hold on to these classes
