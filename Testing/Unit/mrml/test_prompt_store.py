"""Prompts and settings survive a saved scene."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import InputError
from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import prompt_store  # noqa: E402 (needs slicer)

MASK = np.eye(8, dtype=bool)
PROMPTS = (
    PromptSet.empty()
    .with_point(1, 3, Point(4.5, 6, positive=False))
    .with_box(1, 3, Box(1, 2, 3.25, 4))
    .with_mask(2, 5, MASK)
)


def test_prompts_and_settings_come_back_with_the_scene(make, tmp_path):
    volume = make.volume(np.zeros((2, 8, 8), np.uint8))
    node = prompt_store.create_prompt_node(volume)
    prompt_store.save_prompts(node, PROMPTS)
    prompt_store.save_settings(node, {"axis": "k", "locked": '{"1": [3, 4]}', "odd": "ä < > & \" ' ; :"})
    make.reload(tmp_path)
    node = prompt_store.find_prompt_node(slicer.util.getNode("image"))
    assert prompt_store.load_prompts(node) == PROMPTS
    settings = {"axis": "k", "locked": '{"1": [3, 4]}', "odd": "ä < > & \" ' ; :"}
    assert prompt_store.load_settings(node) == settings


def test_each_volume_has_prompts_of_its_own(make):
    first, second, third = (make.volume(np.zeros((2, 8, 8), np.uint8)) for _ in range(3))
    for volume, prompts in ((first, PROMPTS), (second, PromptSet.empty())):
        prompt_store.save_prompts(prompt_store.create_prompt_node(volume), prompts)
    assert prompt_store.load_prompts(prompt_store.find_prompt_node(first)) == PROMPTS
    assert prompt_store.load_prompts(prompt_store.find_prompt_node(second)) == PromptSet.empty()
    assert prompt_store.find_prompt_node(third) is None


def test_another_text_node_is_refused(scene):
    notes = scene.AddNewNodeByClass("vtkMRMLTextNode", "notes")
    with pytest.raises(InputError, match="'notes' does not keep prompts"):
        prompt_store.load_prompts(notes)
    with pytest.raises(InputError, match="None does not keep prompts"):
        prompt_store.save_prompts(None, PROMPTS)
