"""The module file loads and builds its panel with stand-ins for Slicer and Qt, and pulls in nothing heavy."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from DDSAM2SlicerLib import __version__


class FakeLabel:
    """Keeps the text a real label would show."""

    def __init__(self, text):
        """Store the text."""
        self.text = text


class FakeWidgetBase:
    """Stands for ScriptedLoadableModuleWidget: a layout that records what is added."""

    def __init__(self, parent=None):
        """Start with an empty layout."""
        self.added = []
        self.layout = SimpleNamespace(addWidget=self.added.append, addStretch=lambda factor: None)

    def setup(self):
        """Do nothing, as outside developer mode."""


class FakeModuleBase:
    """Stands for ScriptedLoadableModule."""

    def __init__(self, parent):
        """Keep the parent that receives the metadata."""
        self.parent = parent


def _module(name, **contents):
    module = ModuleType(name)
    module.__dict__.update(contents)
    return module


class FakeMixin:
    """Stands for slicer.util.VTKObservationMixin."""


@pytest.fixture
def door(monkeypatch):
    """The module file, imported beside stand-ins; no panel can be built, so a try to do so fails loudly."""
    bases = _module(
        "slicer.ScriptedLoadableModule",
        ScriptedLoadableModule=FakeModuleBase,
        ScriptedLoadableModuleWidget=FakeWidgetBase,
        ScriptedLoadableModuleLogic=object,
        ScriptedLoadableModuleTest=object,
    )
    i18n = _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    util = _module("slicer.util", VTKObservationMixin=FakeMixin)
    app = SimpleNamespace(connected=[], applicationVersion="5.8.1")
    app.connect = lambda signal, slot: app.connected.append((signal, slot))
    slicer = _module("slicer", ScriptedLoadableModule=bases, i18n=i18n, util=util, app=app)
    qt = _module("qt", QLabel=FakeLabel, Qt=SimpleNamespace(TextSelectableByMouse=1))
    for module in (slicer, bases, i18n, util, qt):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("DDSAM2Slicer", "DDSAM2SlicerLib.ui.notice"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import DDSAM2Slicer

    yield DDSAM2Slicer
    for name in ("DDSAM2Slicer", "DDSAM2SlicerLib.ui.notice"):
        sys.modules.pop(name, None)


def test_the_module_declares_itself_and_loads_nothing_heavy(door):
    parent = SimpleNamespace()
    before = set(sys.modules)
    door.DDSAM2Slicer(parent)
    assert (parent.title, parent.categories, parent.dependencies) == ("DDSAM2Slicer", ["Segmentation"], [])
    assert "DD-SAM2" in parent.helpText
    assert "cite" in parent.acknowledgementText
    assert set(sys.modules) == before


def test_slicers_own_samples_are_registered_with_their_hashes_when_slicer_has_started(door, monkeypatch):
    registered = []
    logic = SimpleNamespace(
        registerCustomSampleDataSource=lambda *values, checksums: registered.append((values, checksums))
    )
    monkeypatch.setitem(sys.modules, "SampleData", _module("SampleData", SampleDataLogic=logic))
    door.DDSAM2Slicer(SimpleNamespace())
    ((signal, register),) = sys.modules["slicer"].app.connected
    assert signal == "startupCompleted()"
    assert registered == []
    register()
    assert [values[7] for values, _ in registered] == ["VolumeFile", "SequenceFile"]
    for values, checksums in registered:
        algorithm, _, digest = checksums.partition(":")
        assert (algorithm, len(digest)) == ("SHA256", 64)
        assert values[2].endswith(digest)


def test_an_old_slicer_is_told_what_is_missing(door, monkeypatch):
    monkeypatch.setattr(door, "sys", SimpleNamespace(version_info=(3, 9, 10), modules=sys.modules))
    widget = door.DDSAM2SlicerWidget()
    widget.setup()
    assert widget.added == [widget.notice]
    assert "Slicer 5.8.1 has Python 3.9" in widget.notice.text
    assert "5.10 or later" in widget.notice.text
    widget.enter()
    widget.exit()


def test_the_package_has_a_version_and_importing_it_loads_nothing_heavy(repository):
    code = (
        "import sys, DDSAM2SlicerLib as lib; print(lib.__version__, *({'torch', 'numpy', 'sam2'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository / "DDSAM2Slicer"
    )
    assert answer.stdout.split() == [__version__]
