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

    def __init__(self):
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


@pytest.fixture
def door(monkeypatch):
    """The module file, imported beside stand-ins."""
    bases = _module(
        "slicer.ScriptedLoadableModule",
        ScriptedLoadableModule=FakeModuleBase,
        ScriptedLoadableModuleWidget=FakeWidgetBase,
        ScriptedLoadableModuleTest=object,
    )
    i18n = _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    slicer = _module("slicer", ScriptedLoadableModule=bases, i18n=i18n)
    qt = _module("qt", QLabel=FakeLabel, Qt=SimpleNamespace(TextSelectableByMouse=1))
    for module in (slicer, bases, i18n, qt):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("DDSAM2Slicer", "DDSAM2SlicerLib.ui.getting_started"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import DDSAM2Slicer

    yield DDSAM2Slicer
    for name in ("DDSAM2Slicer", "DDSAM2SlicerLib.ui.getting_started"):
        sys.modules.pop(name, None)


def test_the_module_declares_itself(door):
    parent = SimpleNamespace()
    door.DDSAM2Slicer(parent)
    assert (parent.title, parent.categories, parent.dependencies) == ("DDSAM2Slicer", ["Segmentation"], [])
    assert "DD-SAM2" in parent.helpText
    assert "cite" in parent.acknowledgementText


def test_the_panel_explains_the_command_line_and_admits_what_is_missing(door):
    widget = door.DDSAM2SlicerWidget()
    widget.setup()
    assert widget.added == [widget.gettingStarted]
    assert "ddsam2 propagate" in widget.gettingStarted.text
    assert "not part of this version" in widget.gettingStarted.text


def test_the_package_has_a_version_and_importing_it_loads_nothing_heavy(repository):
    code = (
        "import sys, DDSAM2SlicerLib as lib; print(lib.__version__, *({'torch', 'numpy', 'sam2'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository / "DDSAM2Slicer"
    )
    assert answer.stdout.split() == [__version__]
