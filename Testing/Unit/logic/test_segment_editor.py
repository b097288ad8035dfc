"""Segment Editor's masking and undo count for propagations into the segmentation it works on."""

from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import segmentations  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.mrml.editing import EditRules, Overwrite  # noqa: E402

SEED = 8


@pytest.fixture
def an_editor_node(loop, a_volume, a_phantom, scene):
    """An object with a mask prompt, and Segment Editor's node on the same segmentation and volume."""
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume, "k")
    one = coordinator.add_object("organ")
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, SEED, a_phantom.labels[SEED] == 1))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    node.SetAndObserveSegmentationNode(coordinator.segmentation)
    node.SetAndObserveSourceVolumeNode(a_volume)
    return node


def propagate(loop, masks_of):
    loop.coordinator.propagate()
    loop.until_idle()
    assert loop.coordinator.state.error == ""
    return masks_of(loop.coordinator, 1)


def test_only_what_the_masking_section_allows_is_changed(loop, an_editor_node, a_volume, a_phantom, masks_of):
    coordinator = loop.coordinator
    area = segmentations.add_segment(coordinator.segmentation, "area")
    allowed = np.zeros((16, 32, 36), bool)
    allowed[:, :, 14:] = True
    segmentations.SegmentWriter(coordinator.segmentation, a_volume, {1: area}).write_volume({1: allowed})
    free = propagate(loop, masks_of)
    assert free[:, :, :14].any()
    coordinator.undo()
    an_editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    an_editor_node.SetMaskSegmentID(area)
    np.testing.assert_array_equal(propagate(loop, masks_of), free & allowed)


def test_an_intensity_range_counts_for_its_own_image_only(loop, an_editor_node, a_phantom, make, masks_of):
    free = propagate(loop, masks_of)
    loop.coordinator.undo()
    limit = float(np.median(a_phantom.array[free]))
    an_editor_node.SourceVolumeIntensityMaskOn()
    an_editor_node.SetSourceVolumeIntensityMaskRange(limit, 1e6)
    np.testing.assert_array_equal(propagate(loop, masks_of), free & (a_phantom.array >= limit))
    loop.coordinator.undo()
    an_editor_node.SetAndObserveSourceVolumeNode(make.volume(a_phantom.array))
    np.testing.assert_array_equal(propagate(loop, masks_of), free)


def test_its_overwrite_mode_does_not_take_voxels_from_neighbours_unasked(loop, an_editor_node, a_volume, masks_of):
    coordinator = loop.coordinator
    everywhere = segmentations.add_segment(coordinator.segmentation, "everywhere")
    full = np.ones((16, 32, 36), bool)
    segmentations.SegmentWriter(coordinator.segmentation, a_volume, {1: everywhere}).write_volume({1: full})
    an_editor_node.SetOverwriteMode(an_editor_node.OverwriteAllSegments)
    found = propagate(loop, masks_of)
    assert segmentations.read_volume_mask(coordinator.segmentation, everywhere, a_volume).all()
    coordinator.undo()
    coordinator.rules = EditRules(overwrite=Overwrite.ALL)
    propagate(loop, masks_of)
    np.testing.assert_array_equal(
        segmentations.read_volume_mask(coordinator.segmentation, everywhere, a_volume), ~found
    )


@pytest.mark.parametrize("is_same", [True, False])
def test_a_propagation_is_one_step_of_its_undo(loop, an_editor_node, masks_of, monkeypatch, is_same):
    saved = []
    shown = loop.coordinator.segmentation.GetID() if is_same else "vtkMRMLSegmentationNode99"
    editor = SimpleNamespace(segmentationNodeID=lambda: shown, saveStateForUndo=lambda: saved.append(1))
    monkeypatch.setattr(slicer.modules, "SegmentEditorWidget", SimpleNamespace(editor=editor), raising=False)
    propagate(loop, masks_of)
    assert saved == ([1] if is_same else [])
