"""Masks of frames into segments, in place and as one undo step, and segments back as masks (layer: mrml)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.frames import FrameSource
from ..core.geometry import VolumeGeometry
from .editing import DEFAULT_RULES, EditRules, LabelmapEditor
from .labelmaps import read_segment, read_whole_segment, segment_of
from .transforms import local_to_world, matrix_to_vtk, share_transform
from .volumes import local_geometry, volume_array, volume_geometry


class SegmentWriter:
    """Writes an object's masks into the segments of a segmentation, on the grid of a volume; one undo step in all."""

    def __init__(
        self,
        segmentation_node,
        volume_node,
        segment_ids: Mapping[int, str],
        rules: EditRules = DEFAULT_RULES,
        save_state: Callable[[], object] | None = None,
    ) -> None:
        """Check the nodes; nothing is changed before the first mask.

        Args:
            segmentation_node: Where to write.
            volume_node: Volume the frames came from.
            segment_ids: Segment of each object.
            rules: Editable area and overwrite mode.
            save_state: Called once, before the first change; vtkSlicerSegmentEditorLogic.SaveStateForUndo or
                UndoHistory.save.
        """
        for segment_id in segment_ids.values():
            segment_of(segmentation_node, segment_id)
        self._geometry = volume_geometry(volume_node)
        self._node, self._volume = segmentation_node, volume_node
        self._segment_ids = dict(segment_ids)
        self._save_state = save_state
        array = volume_array(volume_node) if rules.intensity_range is not None else None
        self._editor = LabelmapEditor(segmentation_node, local_geometry(volume_node), rules, array)
        self._is_started = False

    def prepare(self, object_ids: Iterable[int]) -> Iterator[None]:
        """Save the state for undo and make room in the segments, in pieces of a few milliseconds for event loops."""
        self._start()
        yield
        yield from self._editor.prepare(self._segment(one) for one in object_ids)

    def write_frame(self, frames: FrameSource, index: int, masks: Mapping[int, NDArray]) -> None:
        """Replace what the segments show on one frame; the views follow with ``show`` or ``finish``.

        Args:
            frames: Frames of the volume, along an axis or oblique.
            index: The frame.
            masks: (H, W) mask of each object; where they overlap and overwriting is on, the last one wins.

        Raises:
            InputError: If a mask does not have the frame's shape, or an object has no segment.
        """
        for object_id, mask in masks.items():
            check_frame_mask(mask, frames, index, object_id)
        pixel_to_ijk = self._geometry.ras_to_ijk @ frames.pixel_to_ras(index)
        self._start()
        for object_id, mask in masks.items():
            self._editor.replace(self._segment(object_id), pixel_to_ijk, mask)

    def write_volume(self, masks: Mapping[int, NDArray]) -> None:
        """Replace the segments by whole (K, J, I) masks on the volume's grid."""
        self._start()
        for object_id, mask in masks.items():
            self._editor.replace_all(self._segment(object_id), np.asarray(mask))

    def show(self) -> None:
        """Let the views follow what was written so far."""
        self._editor.show()

    def finish(self) -> None:
        """Let the views follow, and bring closed surfaces up to date; call it once after the last frame."""
        self._editor.finish()

    def _segment(self, object_id: int) -> str:
        return segment_of_object(self._segment_ids, object_id)

    def _start(self) -> None:
        if self._is_started:
            return
        # This moves nothing in the world, so it is not part of the undo step.
        place_on_volume(self._node, self._volume)
        if self._save_state is not None:
            self._save_state()
        self._is_started = True


class UndoHistory:
    """Undo and redo of whole propagations, for scripts and Slicer versions without vtkSlicerSegmentEditorLogic."""

    def __init__(self, segmentation_node, max_states: int = 5) -> None:
        """Keep up to this many states of one segmentation."""
        self._history = slicer.vtkSegmentationHistory()
        self._history.SetSegmentation(segmentation_node.GetSegmentation())
        self._history.SetMaximumNumberOfStates(max_states)

    def save(self) -> None:
        """Remember the segmentation as it is now."""
        self._history.SaveState()

    @property
    def can_undo(self) -> bool:
        """Whether there is a state to go back to."""
        return bool(self._history.IsRestorePreviousStateAvailable())

    @property
    def can_redo(self) -> bool:
        """Whether an undone state can come back."""
        return bool(self._history.IsRestoreNextStateAvailable())

    def undo(self) -> bool:
        """Go back to the last saved state; False if there is none."""
        return bool(self._history.RestorePreviousState())

    def redo(self) -> bool:
        """Take an undo back; False if there is none."""
        return bool(self._history.RestoreNextState())


def create_segmentation(volume_node, name: str):
    """Add an empty segmentation node on the grid and under the transform of a volume."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    place_on_volume(node, volume_node)
    return node


def add_segment(segmentation_node, name: str, color: tuple[float, float, float] | None = None) -> str:
    """Add an empty segment and return its ID; without a colour Slicer picks one."""
    segmentation = segmentation_node.GetSegmentation()
    if color is None:
        return segmentation.AddEmptySegment("", name)
    return segmentation.AddEmptySegment("", name, color)


def copy_look(source, target) -> None:
    """Give a segment name, colour and tags (terminology) of another one, if they differ; its voxels stay."""
    if _look_of(source) != _look_of(target):
        label = target.GetLabelValue()
        target.DeepCopyMetadata(source)
        target.SetLabelValue(label)


def place_on_volume(segmentation_node, volume_node) -> None:
    """Put a segmentation under the volume's parent transform and on its grid; what it holds stays in its place.

    Slicer's own import applies the transform twice, silently, if the two nodes are not under the same one. The grid is
    the one segments are saved on; it is stored relative to the transform, so it is set after that.
    """
    if segmentation_node.GetParentTransformNode() is not volume_node.GetParentTransformNode():
        before, after = local_to_world(segmentation_node), local_to_world(volume_node)
        if not np.allclose(before, after):
            transform = vtk.vtkTransform()
            transform.SetMatrix(matrix_to_vtk(np.linalg.inv(after) @ before))
            segmentation_node.GetSegmentation().ApplyLinearTransform(transform)
        share_transform(segmentation_node, volume_node)
    segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)


def read_volume_mask(segmentation_node, segment_id: str, volume_node) -> NDArray[np.bool_]:
    """A segment as a (K, J, I) mask on the grid of a volume; the nearest voxel where the grids differ."""
    geometry = volume_geometry(volume_node)
    to_local = np.linalg.inv(local_to_world(segmentation_node))
    grid = VolumeGeometry(geometry.shape_kji, to_local @ geometry.ijk_to_ras)
    return read_whole_segment(segmentation_node, segment_id, grid)


def read_frame_mask(segmentation_node, segment_id: str, frames: FrameSource, index: int) -> NDArray[np.bool_]:
    """A segment as a frame shows it, (H, W): the label of the voxel nearest to each pixel's centre."""
    segment_of(segmentation_node, segment_id)
    world_to_local = np.linalg.inv(local_to_world(segmentation_node))
    # A grid whose voxels are the pixels of this frame: reading it is sampling the segment at the pixel centres.
    grid = VolumeGeometry((1, frames.height, frames.width), world_to_local @ frames.pixel_to_ras(index))
    ijk = (np.arange(frames.width)[None, :], np.arange(frames.height)[:, None], np.zeros((1, 1), int))
    return read_segment(segmentation_node, segment_id, ijk, grid)


def frames_with_segment(segmentation_node, segment_id: str, frames: FrameSource) -> list[int]:
    """Frames on which a segment shows at least one pixel."""
    indices = range(frames.num_frames)
    return [index for index in indices if read_frame_mask(segmentation_node, segment_id, frames, index).any()]


def _look_of(segment) -> tuple[str, tuple[float, float, float], str]:
    """Name, colour and terminology of a segment."""
    terminology = vtk.mutable("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), terminology)
    return segment.GetName(), segment.GetColor(), str(terminology)


def segment_of_object(segment_ids: Mapping[int, str], object_id: int) -> str:
    """Segment an object is written to; InputError if it has none."""
    if object_id not in segment_ids:
        msg = f"Object {object_id} has no segment (objects: {sorted(segment_ids)}). Give it one first."
        raise InputError(msg)
    return segment_ids[object_id]


def check_frame_mask(mask: NDArray, frames: FrameSource, index: int, object_id: int) -> None:
    """Raise InputError unless a mask has the shape of the frames."""
    if np.shape(mask) != (frames.height, frames.width):
        msg = (
            f"The mask of object {object_id} on frame {index} has shape {np.shape(mask)}; the frame's is "
            f"{(frames.height, frames.width)} (rows, columns)."
        )
        raise InputError(msg)
