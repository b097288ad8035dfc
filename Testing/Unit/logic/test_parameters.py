"""The parameter node's defaults are those of the settings; a small stand-in resolves annotations as Slicer does."""

import importlib
import sys
import typing
from types import ModuleType, SimpleNamespace

import pytest

from DDSAM2SlicerLib.core.settings import EngineSettings

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")

MODULE = "DDSAM2SlicerLib.mrml.parameters"


class Note:
    """An annotation with its arguments."""

    def __init__(self, *arguments):
        """Keep them."""
        self.arguments = arguments


class Choice(Note):
    """Accepted values."""


class Default(Note):
    """Default value."""


class WithinRange(Note):
    """Smallest and largest value."""


def wrap(cls):
    """Resolve the annotations now, and turn defaults into attributes."""
    cls.hints = typing.get_type_hints(cls, include_extras=True)
    for name, hint in cls.hints.items():
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, Default):
                setattr(cls, name, note.arguments[0])
    return cls


@pytest.fixture
def parameters(monkeypatch):
    """The module, imported beside the stand-in."""
    wrapper = ModuleType("slicer.parameterNodeWrapper")
    wrapper.__dict__.update(Choice=Choice, Default=Default, WithinRange=WithinRange, parameterNodeWrapper=wrap)
    monkeypatch.setitem(sys.modules, wrapper.__name__, wrapper)
    sys.modules.pop(MODULE, None)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


def test_an_untouched_node_gives_the_default_settings(parameters):
    assert parameters.engine_settings(parameters.DDSAM2SlicerParameterNode) == EngineSettings()


def test_changed_values_reach_the_settings(parameters):
    node = SimpleNamespace(
        zoom=False,
        memoryRule="diverse",
        stopAfterEmpty=7,
        maskPrior=False,
        nonOverlap=True,
        fillHolesPx=9,
        keepLargest=True,
        precision="fp32",
    )
    assert parameters.engine_settings(node) == EngineSettings(
        zoom=False,
        memory_rule="diverse",
        stop_after_empty=7,
        mask_prior=False,
        non_overlap=True,
        fill_holes_px=9,
        keep_largest=True,
        precision="fp32",
    )


def test_choices_are_those_of_the_settings_and_nodes_have_their_classes(parameters):
    hints = parameters.DDSAM2SlicerParameterNode.hints
    assert "split_pruned" in hints["memoryRule"].__metadata__[0].arguments[0]
    assert hints["direction"].__metadata__[0].arguments[0] == ["both", "forward", "backward"]
    assert hints["inputBrowser"] is slicer.vtkMRMLSequenceBrowserNode
