"""Editable area and overwrite mode act as in Segment Editor, whose own logic is the yardstick here."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import InputError
from DDSAM2SlicerLib.core.geometry import Axis
from DDSAM2SlicerLib.testing.phantoms import create_geometry

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import segmentations, volumes  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.mrml.editing import EditableArea, EditRules, Overwrite  # noqa: E402
from DDSAM2SlicerLib.mrml.labelmaps import create_image  # noqa: E402
from DDSAM2SlicerLib.mrml.segmentations import SegmentWriter, read_volume_mask  # noqa: E402

SHAPE = (4, 8, 9)
FRAME = 2
NAMES = ("target", "beside", "across", "hidden")
MASK_MODES = {
    EditableArea.EVERYWHERE: "EditAllowedEverywhere",
    EditableArea.INSIDE_ALL: "EditAllowedInsideAllSegments",
    EditableArea.INSIDE_VISIBLE: "EditAllowedInsideVisibleSegments",
    EditableArea.OUTSIDE_ALL: "EditAllowedOutsideAllSegments",
    EditableArea.OUTSIDE_VISIBLE: "EditAllowedOutsideVisibleSegments",
    EditableArea.INSIDE_SEGMENT: "EditAllowedInsideSingleSegment",
}


@pytest.fixture
def a_volume(make):
    array = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.int16)
    return make.volume(array, create_geometry(SHAPE, seed=2), transform=make.transform(make.random_matrix(2)))


@pytest.fixture
def an_editor(scene):
    """Slicer's own segment editor logic and its parameter node."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(node)
    return logic, node


@pytest.mark.parametrize("intensity_range", [None, (30.0, 70.0)], ids=["any value", "30 to 70"])
@pytest.mark.parametrize("overwrite", list(Overwrite))
@pytest.mark.parametrize("area", list(EditableArea))
def test_rules_act_as_in_segment_editor(a_volume, an_editor, area, overwrite, intensity_range):
    logic, node = an_editor
    theirs, ours = _filled(a_volume), _filled(a_volume)
    mask = np.zeros(SHAPE, bool)
    mask[FRAME, 1:7, 1:8] = True
    mask[FRAME] |= read_volume_mask(ours, "target", a_volume)[FRAME]  # "add" and "replace" then mean the same

    logic.SetSegmentationNode(theirs)
    logic.SetSourceVolumeNode(a_volume)
    _set_rules(node, area, overwrite, intensity_range)
    image = create_image(mask.astype(np.uint8), (0, 0, 0), volumes.local_geometry(a_volume).ijk_to_ras)
    logic.ModifySegmentByLabelmap(theirs, "target", image, logic.ModificationModeAdd, False, False)

    rules = EditRules.from_editor_node(node)
    assert rules == EditRules(
        overwrite, area, "across" if area is EditableArea.INSIDE_SEGMENT else None, intensity_range
    )
    frames = volumes.frames_along_axis(a_volume, Axis.K)
    SegmentWriter(ours, a_volume, {1: "target"}, rules).write_frame(frames, FRAME, {1: mask[FRAME]})
    for name in NAMES:
        expected = read_volume_mask(theirs, name, a_volume)
        np.testing.assert_array_equal(read_volume_mask(ours, name, a_volume), expected, err_msg=name)


@pytest.mark.parametrize(
    ("area", "expected_columns"), [(EditableArea.EVERYWHERE, ()), (EditableArea.INSIDE_SEGMENT, (3, 4, 5, 6, 7, 8))]
)
def test_an_empty_mask_clears_only_the_editable_area(a_volume, area, expected_columns):
    node = _filled(a_volume)
    SegmentWriter(node, a_volume, {1: "target"}).write_volume({1: np.ones(SHAPE, bool)})
    limits = np.zeros(SHAPE, bool)
    limits[:, :, :3] = True
    SegmentWriter(node, a_volume, {1: "across"}).write_volume({1: limits})
    frames = volumes.frames_along_axis(a_volume, Axis.K)
    writer = SegmentWriter(node, a_volume, {1: "target"}, EditRules(area=area, area_segment_id="across"))
    writer.write_frame(frames, FRAME, {1: np.zeros(SHAPE[1:], bool)})
    left = read_volume_mask(node, "target", a_volume)[FRAME]
    assert tuple(np.flatnonzero(left.all(axis=0))) == expected_columns
    assert tuple(np.flatnonzero(left.any(axis=0))) == expected_columns


def test_overwriting_holds_on_oblique_frames(make, a_volume):
    node = _filled(a_volume)
    view_directions = make.random_matrix(9)[:3, :3]
    frames = volumes.PlaneFrames.covering(
        volumes.volume_array(a_volume),
        volumes.volume_geometry(a_volume),
        view_directions[0],
        view_directions[1],
        (0.7, 0.7, 0.7),
    )
    before = read_volume_mask(node, "beside", a_volume)
    index = frames.num_frames // 2
    everything = np.ones((frames.height, frames.width), bool)
    SegmentWriter(node, a_volume, {1: "target"}, EditRules(Overwrite.ALL)).write_frame(frames, index, {1: everything})
    taken = frames.to_volume({index: everything}) == 1
    assert (before & taken).any()
    np.testing.assert_array_equal(read_volume_mask(node, "beside", a_volume), before & ~taken)


def test_intensity_range_needs_grey_values(make):
    volume = make.volume(np.zeros((*SHAPE, 3), np.uint8))
    node = segmentations.create_segmentation(volume, "result")
    segment_id = segmentations.add_segment(node, "target")
    with pytest.raises(InputError, match="no single grey value per voxel"):
        SegmentWriter(node, volume, {1: segment_id}, EditRules(intensity_range=(0, 1)))


def test_default_rules_change_the_own_segment_only():
    assert EditRules() == EditRules(Overwrite.NONE, EditableArea.EVERYWHERE, None, None)


def _filled(volume):
    """Four segments: two that touch, one across both, one that is not visible."""
    node = segmentations.create_segmentation(volume, "result")
    masks = np.zeros((4, *SHAPE), bool)
    masks[0, :, :4] = True
    masks[1, :, 4:6] = True
    masks[2, :, 2:7, :3] = True
    masks[3, :, :, 5:7] = True
    for name in NAMES:
        node.GetSegmentation().AddEmptySegment(name, name)
    SegmentWriter(node, volume, dict(enumerate(NAMES))).write_volume(dict(enumerate(masks)))
    node.GetDisplayNode().SetSegmentVisibility("hidden", False)
    return node


def _set_rules(node, area, overwrite, intensity_range):
    node.SetSelectedSegmentID("target")
    node.SetMaskMode(getattr(slicer.vtkMRMLSegmentationNode, MASK_MODES[area]))
    if area is EditableArea.INSIDE_SEGMENT:
        node.SetMaskSegmentID("across")
    modes = {
        Overwrite.NONE: node.OverwriteNone,
        Overwrite.ALL: node.OverwriteAllSegments,
        Overwrite.VISIBLE: node.OverwriteVisibleSegments,
    }
    node.SetOverwriteMode(modes[overwrite])
    if intensity_range is not None:
        node.SourceVolumeIntensityMaskOn()
        node.SetSourceVolumeIntensityMaskRange(*intensity_range)
