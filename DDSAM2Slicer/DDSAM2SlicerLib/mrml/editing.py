"""Segment Editor's manners on single frames: editable area, overwrite mode, neighbours left alone (layer: mrml)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import slicer
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.geometry import VolumeGeometry
from .labelmaps import (
    BINARY_LABELMAP,
    CLOSED_SURFACE,
    Indices,
    Layer,
    announce,
    grow_to_grid,
    layer_of,
    put_on_grid,
    read_segment,
    segment_of,
    sites_of_frame,
)


class Overwrite(StrEnum):
    """Which other segments lose the voxels that a mask takes."""

    NONE = "none"
    ALL = "all"
    VISIBLE = "visible"


class EditableArea(StrEnum):
    """Where voxels may change, as in Segment Editor's masking section."""

    EVERYWHERE = "everywhere"
    INSIDE_ALL = "inside_all"
    INSIDE_VISIBLE = "inside_visible"
    OUTSIDE_ALL = "outside_all"
    OUTSIDE_VISIBLE = "outside_visible"
    INSIDE_SEGMENT = "inside_segment"


@dataclass(frozen=True)
class EditRules:
    """What a mask may change; by default its own segment, everywhere.

    Attributes:
        overwrite: Which other segments lose the voxels that a mask takes.
        area: Where voxels may change.
        area_segment_id: The segment meant by EditableArea.INSIDE_SEGMENT.
        intensity_range: Only voxels of the volume within these values, ends included, may change.
    """

    overwrite: Overwrite = Overwrite.NONE
    area: EditableArea = EditableArea.EVERYWHERE
    area_segment_id: str | None = None
    intensity_range: tuple[float, float] | None = None

    @classmethod
    def from_editor_node(cls, editor_node) -> EditRules:
        """Take over what the user set in Segment Editor (a vtkMRMLSegmentEditorNode)."""
        overwrite = {
            editor_node.OverwriteNone: Overwrite.NONE,
            editor_node.OverwriteAllSegments: Overwrite.ALL,
            editor_node.OverwriteVisibleSegments: Overwrite.VISIBLE,
        }
        modes = slicer.vtkMRMLSegmentationNode
        area = {
            modes.EditAllowedEverywhere: EditableArea.EVERYWHERE,
            modes.EditAllowedInsideAllSegments: EditableArea.INSIDE_ALL,
            modes.EditAllowedInsideVisibleSegments: EditableArea.INSIDE_VISIBLE,
            modes.EditAllowedOutsideAllSegments: EditableArea.OUTSIDE_ALL,
            modes.EditAllowedOutsideVisibleSegments: EditableArea.OUTSIDE_VISIBLE,
            modes.EditAllowedInsideSingleSegment: EditableArea.INSIDE_SEGMENT,
        }
        has_range = editor_node.GetSourceVolumeIntensityMask()
        return cls(
            overwrite[editor_node.GetOverwriteMode()],
            area[editor_node.GetMaskMode()],
            editor_node.GetMaskSegmentID() or None,
            tuple(editor_node.GetSourceVolumeIntensityMaskRange()) if has_range else None,
        )


DEFAULT_RULES = EditRules()
"""A mask changes its own segment only, everywhere."""


class LabelmapEditor:
    """Replaces what segments show on single frames of one grid; knows voxels, not where they are in the world."""

    def __init__(
        self,
        segmentation_node,
        grid: VolumeGeometry,
        rules: EditRules = DEFAULT_RULES,
        voxels: NDArray | None = None,
        display_node=None,
    ) -> None:
        """Prepare; nothing is changed before the first mask.

        Args:
            segmentation_node: Segmentation with binary label maps, in the scene or inside a sequence.
            grid: Grid of the volume in the segmentation's own coordinates.
            rules: Editable area and overwrite mode.
            voxels: (K, J, I) voxels of the volume, needed for an intensity range only.
            display_node: Tells which segments are visible; by default the segmentation's own.
        """
        self._node = segmentation_node
        self._grid = grid
        self._rules = rules
        self._voxels = voxels
        self._display = display_node or segmentation_node.GetDisplayNode()
        self._with_surface: set[str] = set()
        self._unseen: set[str] = set()
        _check_representation(segmentation_node)
        if rules.intensity_range is not None and (voxels is None or voxels.shape != grid.shape_kji):
            msg = "An intensity range limits where voxels may change, but the image has no single grey value per voxel."
            raise InputError(msg)

    @property
    def _segmentation(self):
        """Asked for anew: undo and sequences may exchange it."""
        return self._node.GetSegmentation()

    def prepare(self, segment_ids: Iterable[str]) -> Iterator[None]:
        """Make room for masks on the whole grid, in pieces of a few milliseconds; ``replace`` does it in one go."""
        for segment_id in segment_ids:
            yield from grow_to_grid(self._node, segment_id, self._grid)

    def replace(self, segment_id: str, pixel_to_ijk: NDArray, mask: NDArray) -> None:
        """Make a segment look like the mask (H, W) on one frame; the (4, 4) matrix maps pixels to voxel indices.

        The views do not know before ``show`` or ``finish``: drawing them takes longer than writing a frame.
        """
        self._writable(segment_id)
        mask = np.asarray(mask)
        sites = sites_of_frame(pixel_to_ijk, mask.shape, self._grid.shape_kji)
        self._apply(segment_id, sites.ijk, sites.pick(mask))

    def replace_all(self, segment_id: str, mask_kji: NDArray) -> None:
        """Make a segment equal a whole (K, J, I) mask on the grid, slice by slice.

        Raises:
            InputError: If the mask has another shape (Slicer itself would accept it silently).
        """
        if mask_kji.shape != self._grid.shape_kji:
            msg = (
                f"The mask of segment {segment_id!r} has shape {mask_kji.shape}, but the volume's is "
                f"{self._grid.shape_kji}; use a mask on the volume's own grid."
            )
            raise InputError(msg)
        self._writable(segment_id)
        i, j = np.arange(mask_kji.shape[2])[None, :], np.arange(mask_kji.shape[1])[:, None]
        for k, mask in enumerate(mask_kji):
            self._apply(segment_id, (i, j, np.full((1, 1), k)), mask != 0)

    def show(self) -> None:
        """Tell the views, and whoever else observes the segmentation, what was changed since the last time."""
        for segment_id in sorted(self._unseen):
            if self._segmentation.GetSegment(segment_id) is not None:
                announce(self._node, segment_id)
        self._unseen.clear()

    def finish(self) -> None:
        """Show what was changed, and bring the closed surfaces up to date, where there were any."""
        self.show()
        for segment_id in sorted(self._with_surface):
            segment = self._segmentation.GetSegment(segment_id)
            if segment is not None:
                segment.RemoveRepresentation(CLOSED_SURFACE)
        if self._with_surface:
            self._segmentation.CreateRepresentation(CLOSED_SURFACE)  # only of the segments that lack it
        self._with_surface.clear()

    def _apply(self, segment_id: str, ijk: Indices, wanted: NDArray[np.bool_]) -> None:
        """Set and clear voxels of a segment where that is allowed, then take them from the others."""
        layer = layer_of(self._node, segment_id, self._grid)
        label = segment_of(self._node, segment_id).GetLabelValue()
        labels = layer.read(ijk)
        editable = self._editable(segment_id, ijk)
        is_new = np.where(editable, wanted, labels == label)
        victims = self._victims(segment_id)
        if self._has_conflict(segment_id, labels, is_new, label, victims):
            self._segmentation.SeparateSegmentLabelmap(segment_id)
            layer = self._writable(segment_id)
            label = segment_of(self._node, segment_id).GetLabelValue()
            labels = layer.read(ijk)
        kept = np.where(labels == label, labels.dtype.type(0), labels)
        changed = np.where(is_new, labels.dtype.type(label), kept)
        if not np.array_equal(changed, labels):
            layer.write(ijk, changed)
            self._changed(segment_id)
        taken = wanted & editable
        for victim_id in victims:
            self._take_from(victim_id, ijk, taken)

    def _take_from(self, segment_id: str, ijk: Indices, taken: NDArray[np.bool_]) -> None:
        """Clear voxels of another segment."""
        if not (read_segment(self._node, segment_id, ijk, self._grid) & taken).any():
            return
        layer = self._writable(segment_id)
        labels = layer.read(ijk)
        is_lost = taken & (labels == segment_of(self._node, segment_id).GetLabelValue())
        layer.write(ijk, np.where(is_lost, labels.dtype.type(0), labels))
        self._changed(segment_id)

    def _has_conflict(self, segment_id, labels, is_new, label, victims) -> bool:
        """Whether new voxels cover those of a segment that shares the layer and must keep them."""
        covered = set(np.unique(labels[is_new & (labels != 0) & (labels != label)]).tolist())
        if not covered:
            return False
        layer_index = self._segmentation.GetLayerIndex(segment_id)
        sharing = [name for name in self._segmentation.GetSegmentIDsForLayer(layer_index) if name not in victims]
        return bool(covered & {self._segmentation.GetSegment(name).GetLabelValue() for name in sharing})

    def _victims(self, segment_id: str) -> list[str]:
        """Other segments that lose the voxels this one takes."""
        if self._rules.overwrite is Overwrite.NONE:
            return []
        is_visible_only = self._rules.overwrite is Overwrite.VISIBLE
        return [other for other in self._segment_ids(is_visible_only) if other != segment_id]

    def _editable(self, segment_id: str, ijk: Indices) -> NDArray[np.bool_]:
        """Where the rules allow changes."""
        area = self._rules.area
        editable = np.ones(np.broadcast_shapes(*(index.shape for index in ijk)), bool)
        if area is EditableArea.INSIDE_SEGMENT:
            editable &= read_segment(self._node, self._rules.area_segment_id or "", ijk, self._grid)
        elif area is not EditableArea.EVERYWHERE:
            is_outside = area in (EditableArea.OUTSIDE_ALL, EditableArea.OUTSIDE_VISIBLE)
            inside = np.zeros_like(editable)
            for other in self._segment_ids(area in (EditableArea.INSIDE_VISIBLE, EditableArea.OUTSIDE_VISIBLE)):
                if not (is_outside and other == segment_id):  # "outside all": the edited segment itself may change
                    inside |= read_segment(self._node, other, ijk, self._grid)
            editable &= ~inside if is_outside else inside
        if self._rules.intensity_range is not None:
            low, high = self._rules.intensity_range
            values = self._voxels[ijk[2], ijk[1], ijk[0]]
            editable &= (values >= low) & (values <= high)
        return editable

    def _segment_ids(self, is_visible_only: bool) -> list[str]:
        names = list(self._segmentation.GetSegmentIDs())
        if not is_visible_only or self._display is None:
            return names
        return [name for name in names if self._display.GetSegmentVisibility(name)]

    def _writable(self, segment_id: str) -> Layer:
        segment = segment_of(self._node, segment_id)
        if segment.GetRepresentation(CLOSED_SURFACE) is not None:
            self._with_surface.add(segment_id)
        return put_on_grid(self._node, segment_id, self._grid)

    def _changed(self, segment_id: str) -> None:
        self._unseen.add(segment_id)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        segment = self._segmentation.GetSegment(segment_id)
        if logic.GetSegmentStatus(segment) == logic.NotStarted:
            logic.SetSegmentStatus(segment, logic.InProgress)


def _check_representation(segmentation_node) -> None:
    """Refuse segmentations whose source is not a label map; an empty one is switched."""
    segmentation = segmentation_node.GetSegmentation()
    source = segmentation.GetSourceRepresentationName()
    if source == BINARY_LABELMAP:
        return
    if segmentation.GetNumberOfSegments() > 0:
        msg = (
            f"Segmentation {segmentation_node.GetName()!r} stores {source!r}; masks need {BINARY_LABELMAP!r}. "
            "Convert it in the Segmentations module (Representations: Binary labelmap, Make source)."
        )
        raise InputError(msg)
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
