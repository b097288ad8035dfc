"""Segment Editor, where it works on the same segmentation: its masking and its undo count here, too (layer: logic)."""

from __future__ import annotations

from dataclasses import replace

import slicer

from ..mrml.editing import EditableArea, EditRules


def with_editor_area(rules: EditRules, segmentation_node, volume_node) -> EditRules:
    """Limit rules that allow changes everywhere to what the user has set in Segment Editor's masking section.

    The overwrite mode stays: Segment Editor's own default takes voxels from other segments.

    Args:
        rules: Rules of the next step.
        segmentation_node: Where it writes.
        volume_node: Its image; an intensity range counts if it is meant for this one.
    """
    if rules.area is not EditableArea.EVERYWHERE or rules.intensity_range is not None:
        return rules
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode"):
        if node.GetSegmentationNode() is segmentation_node:
            area = EditRules.from_editor_node(node)
            is_same_image = node.GetSourceVolumeNode() is volume_node
            intensity_range = area.intensity_range if is_same_image else None
            return replace(area, overwrite=rules.overwrite, intensity_range=intensity_range)
    return rules


def save_editor_state(segmentation_node) -> None:
    """Make the state before our step one that Segment Editor's own Undo comes back to."""
    editor = getattr(getattr(slicer.modules, "SegmentEditorWidget", None), "editor", None)
    if editor is not None and editor.segmentationNodeID() == segmentation_node.GetID():
        editor.saveStateForUndo()
