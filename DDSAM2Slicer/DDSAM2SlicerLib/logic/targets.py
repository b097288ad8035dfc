"""Where masks go: a segmentation, or the segmentation sequence beside a volume sequence (layer: logic)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

import slicer

from ..core.errors import InputError
from ..core.frames import FrameSource
from ..core.geometry import VolumeGeometry
from ..mrml import segmentations, sequences
from ..mrml.editing import DEFAULT_RULES, EditRules, Overwrite
from ..mrml.labelmaps import segment_of
from ..mrml.sequence_history import SequenceHistory
from ..mrml.transforms import local_to_world
from .i18n import _
from .segment_editor import save_editor_state
from .stacks import Stack, VolumeStack

if TYPE_CHECKING:
    from numpy.typing import NDArray

Color = tuple[float, float, float]


class Target(Protocol):
    """What the rest of the logic knows about the output.

    Attributes:
        node: Segmentation node in the scene; for sequences the one the browser shows.
        overwrites: Whether the masks of this step take voxels from other segments.
    """

    node: object
    overwrites: bool

    def is_present(self) -> bool:
        """Whether all nodes are still in the scene."""

    def close(self) -> None:
        """Watch the nodes no more."""

    def add_segment(self, name: str, color: Color | None = None) -> str:
        """Add an empty segment, everywhere; returns its ID."""

    def adopt(self, segment_id: str) -> None:
        """Make a segment that somebody else added exist everywhere."""

    def read(self, segment_id: str, frame: int) -> NDArray:
        """Mask (H, W) of a segment on a frame."""

    def begin(self, segment_ids: Mapping[int, str], rules: EditRules = DEFAULT_RULES) -> None:
        """Start one undo step; nothing is changed before the first mask."""

    def prepare(self, frame: int, object_ids: Iterable[int]) -> Iterator[None]:
        """Get ready to write on a frame, in pieces of a few milliseconds; ``write`` alone does it in one go."""

    def write(self, frame: int, masks: Mapping[int, NDArray]) -> None:
        """Replace what the objects' segments show on a frame."""

    def show(self) -> None:
        """Let the views follow what was written so far."""

    def finish(self) -> None:
        """End the undo step."""

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to go back."""

    @property
    def can_redo(self) -> bool:
        """Whether an undone step can come back."""

    def undo(self) -> bool:
        """Go back to before the last step; False if there is none."""

    def redo(self) -> bool:
        """Take an undo back; False if there is none."""


class _UndoableTarget:
    """What both targets share: a writer for the step that is open, and a history of steps."""

    def __init__(self, history: segmentations.UndoHistory | SequenceHistory) -> None:
        """Begin with no step open."""
        self._history = history
        self._writer = None
        self.overwrites = False

    def close(self) -> None:
        """Nothing is watched."""

    def show(self) -> None:
        """Views follow at once."""

    def finish(self) -> None:
        """Bring surfaces up to date."""
        if self._writer is not None:
            self._writer.finish()
        self._writer = None

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to go back."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether an undone step can come back."""
        return self._history.can_redo

    def undo(self) -> bool:
        """Go back to before the last step."""
        return self._history.can_undo and self._history.undo()

    def redo(self) -> bool:
        """Take an undo back."""
        return self._history.can_redo and self._history.redo()


class SegmentationTarget(_UndoableTarget):
    """A segmentation node beside a volume."""

    def __init__(self, stack: VolumeStack, node=None) -> None:
        """Take a segmentation, or create one.

        Args:
            stack: Frames of the volume.
            node: Segmentation node; a new one if None.
        """
        self._stack = stack
        self.node = node or segmentations.create_segmentation(stack.owner, _name_for(stack.owner))
        super().__init__(segmentations.UndoHistory(self.node))

    def is_present(self) -> bool:
        """Whether the segmentation is in the scene."""
        return bool(slicer.mrmlScene.IsNodePresent(self.node))

    def add_segment(self, name: str, color: Color | None = None) -> str:
        """Add an empty segment."""
        return segmentations.add_segment(self.node, name, color)

    def adopt(self, segment_id: str) -> None:
        """Only make sure that it is there."""
        segment_of(self.node, segment_id)

    def read(self, segment_id: str, frame: int) -> NDArray:
        """Mask of a segment on a slice."""
        return segmentations.read_frame_mask(self.node, segment_id, self._stack.frames, frame)

    def begin(self, segment_ids: Mapping[int, str], rules: EditRules = DEFAULT_RULES) -> None:
        """Start one undo step."""
        self.overwrites = rules.overwrite is not Overwrite.NONE
        self._writer = segmentations.SegmentWriter(self.node, self._stack.owner, segment_ids, rules, self._save_state)

    def show(self) -> None:
        """Let the views follow what was written so far."""
        self._writer.show()

    def prepare(self, frame: int, object_ids: Iterable[int]) -> Iterator[None]:
        """Save the state and make room in the segments, in pieces."""
        return self._writer.prepare(object_ids)

    def write(self, frame: int, masks: Mapping[int, NDArray]) -> None:
        """Replace what the segments show on a slice."""
        self._writer.write_frame(self._stack.frames, frame, masks)

    def _save_state(self) -> None:
        self._history.save()
        save_editor_state(self.node)


class SequenceTarget(_UndoableTarget):
    """A segmentation sequence that the browser of a clip or series keeps in step with the volumes."""

    def __init__(self, stack: Stack, node=None) -> None:
        """Take the sequence that a segmentation node shows, or create one.

        Raises:
            InputError: If the node is not shown by the browser of the volumes, so that it has no items.
        """
        self._stack = stack
        browser, volume_sequence = stack.browser, stack.sequence
        if node is None:
            name = _name_for(stack.owner)
            self._sequence = sequences.create_segmentation_sequence(browser, volume_sequence, name, [])
        else:
            self._sequence = browser.GetSequenceNode(node)
        if self._sequence is None:
            text = _(
                "Segmentation {name!r} is not part of the sequence browser {browser!r}. "
                "Choose one that is, or let a new one be created."
            )
            raise InputError(text.format(name=node.GetName(), browser=browser.GetName()))
        self.node = browser.GetProxyNode(self._sequence)
        event = slicer.vtkSegmentation.SegmentModified
        self._tag = self.node.AddObserver(event, lambda *_: self._spread_looks())
        super().__init__(SequenceHistory(browser, self._sequence))

    def close(self) -> None:
        """Watch the segmentation on display no more."""
        self.node.RemoveObserver(self._tag)

    def is_present(self) -> bool:
        """Whether the sequence and the segmentation on display are in the scene."""
        return all(bool(slicer.mrmlScene.IsNodePresent(node)) for node in (self._sequence, self.node))

    def add_segment(self, name: str, color: Color | None = None) -> str:
        """Add an empty segment to every item."""
        segment_id = segmentations.add_segment(self._sequence.GetNthDataNode(0), name, color)
        self._spread(segment_id, self._sequence.GetNthDataNode(0))
        return segment_id

    def adopt(self, segment_id: str) -> None:
        """Add a segment that was added to the item on display, in Segment Editor for example, to all other items."""
        self._spread(segment_id, self.node)

    def read(self, segment_id: str, frame: int) -> NDArray:
        """Mask of a segment on a frame of an item."""
        item, frames, index = self._locate(frame)
        node = self._sequence.GetNthDataNode(item)
        return segmentations.read_frame_mask(node, segment_id, _LocalFrames(frames, self._stack.owner), index)

    def begin(self, segment_ids: Mapping[int, str], rules: EditRules = DEFAULT_RULES) -> None:
        """Start one undo step."""
        self.overwrites = rules.overwrite is not Overwrite.NONE
        self._writer = sequences.SequenceWriter(
            self._stack.browser, self._stack.sequence, self._sequence, segment_ids, rules, self._history
        )

    def prepare(self, frame: int, object_ids: Iterable[int]) -> Iterator[None]:
        """Remember the item and make room in its segments, in pieces."""
        return self._writer.prepare(self._locate(frame)[0], object_ids)

    def write(self, frame: int, masks: Mapping[int, NDArray]) -> None:
        """Replace what the segments of an item show on a frame."""
        self._writer.write_frame(*self._locate(frame), masks)

    def _spread(self, segment_id: str, source) -> None:
        """Add an empty segment to every item that lacks it."""
        segment, is_changed = segment_of(source, segment_id), False
        name, color = segment.GetName(), segment.GetColor()
        for item in range(self._sequence.GetNumberOfDataNodes()):
            segmentation = self._sequence.GetNthDataNode(item).GetSegmentation()
            if segmentation.GetSegment(segment_id) is None:
                segmentation.AddEmptySegment(segment_id, name, color)
                is_changed = True
        if is_changed:
            self._sequence.Modified()
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(self._stack.browser)

    def _spread_looks(self) -> None:
        """Give every item the names, colours and tags (terminology) of the one on display."""
        shown = self.node.GetSegmentation()
        for segment_id in shown.GetSegmentIDs():
            segment = shown.GetSegment(segment_id)
            for item in range(self._sequence.GetNumberOfDataNodes()):
                other = self._sequence.GetNthDataNode(item).GetSegmentation().GetSegment(segment_id)
                if other is not None:
                    segmentations.copy_look(segment, other)

    def _locate(self, frame: int) -> tuple[int, object, int]:
        """Item, frames and index of a frame."""
        frames, index = self._stack.source_of(frame)
        num_slices = self._stack.num_slices
        return (frame if num_slices is None else frame // num_slices), frames, index


class _LocalFrames:
    """Frames seen from below the volume's transform, where the items of a sequence are."""

    def __init__(self, frames: FrameSource, volume) -> None:
        self.height, self.width = frames.height, frames.width
        self._frames = frames
        self._world_to_local = VolumeGeometry((1, 1, 1), local_to_world(volume)).ras_to_ijk

    def pixel_to_ras(self, index: int) -> NDArray:
        return self._world_to_local @ self._frames.pixel_to_ras(index)


def _name_for(volume) -> str:
    """What the segmentation of a volume is called."""
    return _("{volume} segmentation").format(volume=volume.GetName())


def create_target(stack: Stack, node=None) -> Target:
    """The output that fits an input."""
    return SegmentationTarget(stack, node) if isinstance(stack, VolumeStack) else SequenceTarget(stack, node)
