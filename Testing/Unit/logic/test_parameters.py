"""The parameter node's defaults are those of the settings; a small stand-in resolves annotations as Slicer does."""

import importlib
import sys

import pytest

from DDSAM2SlicerLib.core.settings import EngineSettings

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
import parameter_stand_in  # noqa: E402 (needs slicer)

MODULE = "DDSAM2SlicerLib.mrml.parameters"


@pytest.fixture
def parameters(monkeypatch):
    """The module, imported beside the stand-in."""
    monkeypatch.setitem(sys.modules, "slicer.parameterNodeWrapper", parameter_stand_in.create_module())
    sys.modules.pop(MODULE, None)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.fixture
def a_node():
    return slicer.vtkMRMLScriptedModuleNode()


def test_an_untouched_node_gives_the_default_settings(parameters, a_node):
    opened, settings = parameters.open_parameters(a_node), EngineSettings()
    found = opened.zoom, opened.memoryRule, opened.stopAfterEmpty, opened.maskPrior
    assert found == (settings.zoom, settings.memory_rule, settings.stop_after_empty, settings.mask_prior)
    found = opened.memoryUse, opened.nonOverlap, opened.fillHolesPx, opened.keepLargest, opened.precision
    assert found == (
        settings.memory_use,
        settings.non_overlap,
        settings.fill_holes_px,
        settings.keep_largest,
        settings.precision,
    )


def test_choices_are_those_of_the_settings_and_nodes_have_their_classes(parameters):
    hints = parameters.DDSAM2SlicerParameterNode.hints
    assert "split_pruned" in hints["memoryRule"].__metadata__[0].arguments[0]
    assert hints["direction"].__metadata__[0].arguments[0] == ["both", "forward", "backward"]
    assert hints["inputBrowser"] is slicer.vtkMRMLSequenceBrowserNode


@pytest.mark.parametrize(
    ("name", "stored", "value"),
    [
        ("stopAfterEmpty", "7", 7),
        ("stopAfterEmpty", "-2", 0),
        ("stopAfterEmpty", "2000", 1000),
        ("stopAfterEmpty", "many", EngineSettings().stop_after_empty),
        ("lastFrame", "1e9", 0),
        ("lastFrame", "9999999", 1_000_000),
        ("memoryRule", "of another release", EngineSettings().memory_rule),
        ("memoryRule", "diverse", "diverse"),
        ("direction", "sideways", "both"),
        ("axis", "", "view"),
        ("zoom", "perhaps", False),
        ("adapterFile", "/a/b.safetensors", "/a/b.safetensors"),
        ("model", "no such model", "no such model"),  # may be a file on the worker's machine
    ],
)
def test_whatever_a_scene_holds_becomes_an_accepted_value(parameters, a_node, name, stored, value):
    a_node.SetParameter(name, stored)
    opened = parameters.open_parameters(a_node)
    assert getattr(opened, name) == value
