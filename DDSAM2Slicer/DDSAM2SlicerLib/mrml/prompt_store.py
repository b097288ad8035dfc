"""Prompts and settings of a stack kept in the scene, so that a saved scene brings them back (layer: mrml)."""

from __future__ import annotations

from collections.abc import Mapping

import slicer

from ..core.errors import InputError
from ..core.prompts import PromptSet

ROLE_ATTRIBUTE = "DDSAM2.Role"
PROMPTS_ROLE = "prompts"
PROMPTS_KEY = "prompts"
VOLUME_REFERENCE = "inputVolume"
SEGMENTATION_REFERENCE = "segmentation"
SETTING_PREFIX = "DDSAM2.Setting."


def create_prompt_node(volume_node, name: str = "DD-SAM2 prompts"):
    """Add a node that keeps the prompts of a volume (or of the volume a sequence browser shows)."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", name)
    node.SetAttribute(ROLE_ATTRIBUTE, PROMPTS_ROLE)
    node.SetNodeReferenceID(VOLUME_REFERENCE, volume_node.GetID())
    node.SetText(PromptSet.empty().to_json())
    return node


def find_prompt_node(volume_node):
    """The node that keeps the prompts of a volume, or None."""
    for node in slicer.util.getNodesByClass("vtkMRMLTextNode"):
        is_ours = node.GetAttribute(ROLE_ATTRIBUTE) == PROMPTS_ROLE
        if is_ours and node.GetNodeReferenceID(VOLUME_REFERENCE) == volume_node.GetID():
            return node
    return None


def save_prompts(node, prompts: PromptSet) -> None:
    """Keep prompts in a prompt node."""
    _check_role(node)
    node.SetText(prompts.to_json())


def load_prompts(node) -> PromptSet:
    """Read the prompts of a prompt node.

    Raises:
        InputError: If it is another kind of node.
        PromptError: If its text was damaged.
    """
    _check_role(node)
    return PromptSet.from_json(node.GetText() or "")


def save_settings(node, settings: Mapping[str, str]) -> None:
    """Keep short texts beside the prompts (axis, direction, locked frames as text)."""
    _check_role(node)
    for name, value in settings.items():
        node.SetAttribute(SETTING_PREFIX + name, value)


def load_settings(node) -> dict[str, str]:
    """Read what ``save_settings`` kept."""
    _check_role(node)
    names = [name for name in node.GetAttributeNames() if name.startswith(SETTING_PREFIX)]
    return {name.removeprefix(SETTING_PREFIX): node.GetAttribute(name) for name in names}


def _check_role(node) -> None:
    if node is None or node.GetAttribute(ROLE_ATTRIBUTE) != PROMPTS_ROLE:
        name = node.GetName() if node is not None else None
        msg = f"The node {name!r} does not keep prompts. Create one with create_prompt_node."
        raise InputError(msg)
