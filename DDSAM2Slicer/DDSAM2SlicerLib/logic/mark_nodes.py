"""The markups nodes of prompts: made, watched, dressed like their segments, and taken away (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import slicer

from ..mrml import markups
from .i18n import _
from .mark_parts import MarkKind, color_display, style_display
from .notebook import Notebook
from .stacks import Stack

if TYPE_CHECKING:
    from .targets import Target

MarkKey = tuple[int, str]  # object, kind

FRAME_ATTRIBUTE = "DDSAM2.Frame"
NEW_BOX = MarkKind.BOX.value
"""Kind of a box that is being placed; afterwards it is called after its frame as well."""


def box_kind(frame: int) -> str:
    """Kind of the box of a frame."""
    return f"{NEW_BOX} {frame}"


def is_box(kind: str) -> bool:
    """Whether a kind is shown by a ROI."""
    return kind.startswith(NEW_BOX)


def kind_text(kind: str) -> str:
    """What users read for a kind; the kind itself is a key and stays as it is."""
    words = {MarkKind.POSITIVE: _("positive"), MarkKind.NEGATIVE: _("negative"), MarkKind.BOX: _("box")}
    word, *frame = kind.split(" ")
    return " ".join([words[MarkKind(word)], *frame])


class MarkNodes:
    """One node for each object and kind.

    Attributes:
        by_key: The nodes by object and kind.
    """

    def __init__(
        self,
        stack: Stack,
        notes: Notebook,
        target: Target,
        on_moved: Callable[[], object],
        on_corner: Callable[[MarkKey], object],
    ) -> None:
        """Begin without nodes.

        Args:
            stack: The input.
            notes: Prompts and objects.
            target: Segments with names, colours and visibility.
            on_moved: Told that the user placed, moved or deleted something.
            on_corner: Told that the user placed a corner of a new box.
        """
        self.by_key: dict[MarkKey, object] = {}
        self._stack, self._notes, self._target = stack, notes, target
        self._on_moved, self._on_corner = on_moved, on_corner
        self._observed: list[tuple[object, int]] = []
        self._frame: int | None = None
        self._is_quiet = False
        segmentation = slicer.vtkSegmentation
        for event in (segmentation.SegmentModified, segmentation.SegmentRemoved):
            self._observe(target.node, event, self._dress_again)
        if target.node.GetDisplayNode() is not None:
            self._observe(target.node.GetDisplayNode(), "ModifiedEvent", self._dress_again)

    def get(self, object_id: int, kind: str):
        """The node of an object and kind, created if need be."""
        key = object_id, kind
        if key in self.by_key and slicer.mrmlScene.IsNodePresent(self.by_key[key]):
            return self.by_key[key]
        segment = self._segment_of(object_id)
        node_class = "vtkMRMLMarkupsROINode" if is_box(kind) else "vtkMRMLMarkupsFiducialNode"
        node = slicer.mrmlScene.AddNewNodeByClass(node_class, f"{segment.GetName()} {kind_text(kind)}")
        node.SetSaveWithScene(False)
        node.CreateDefaultDisplayNodes()
        markups.label_point_node(node, object_id, kind != MarkKind.NEGATIVE)
        style_display(node.GetDisplayNode(), kind)
        color_display(node.GetDisplayNode(), segment.GetColor())
        self.by_key[key] = node
        if kind == NEW_BOX:
            self._observe(node, node.PointPositionDefinedEvent, lambda: self._call_corner(node))
        else:
            self._watch(node)
        return node

    def rename(self, key: MarkKey, frame: int) -> None:
        """Make a box the one of a frame, whichever was that before; a node must not be removed in its own events."""
        new = key[0], box_kind(frame)
        if new == key:
            return
        if new in self.by_key:
            self.remove(new)
        node = self.by_key[new] = self.by_key.pop(key)
        if key[1] == NEW_BOX:
            self._watch(node)

    def remove(self, key: MarkKey) -> None:
        """Take a node out of the scene."""
        node = self.by_key.pop(key)
        self._forget(node)
        if slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def show_segment(self, object_id: int) -> None:
        """Make the segment of an object visible."""
        if self._target.node.GetDisplayNode() is not None:
            self._target.node.GetDisplayNode().SetSegmentVisibility(self._notes.segment_ids[object_id], True)

    def dress(self, frame: int | None) -> None:
        """Colours as the segments have them; marks of hidden or deleted segments and of other times are hidden."""
        self._frame = frame
        with self.quietly():
            for (one, kind), node in self.by_key.items():
                segment = self._segment_of(one)
                is_shown = segment is not None and self._is_visible(one)
                if segment is not None:
                    color_display(node.GetDisplayNode(), segment.GetColor())
                if not is_box(kind):
                    self._hide_other_times(node)
                elif kind != NEW_BOX:
                    is_shown = is_shown and self._is_now(int(node.GetAttribute(FRAME_ATTRIBUTE)))
                node.SetDisplayVisibility(is_shown)

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Changes made here are not the user's."""
        before, self._is_quiet = self._is_quiet, True
        try:
            yield
        finally:
            self._is_quiet = before

    def close(self) -> None:
        """Take all nodes out of the scene and watch nothing."""
        for key in list(self.by_key):
            self.remove(key)
        for node in {id(pair[0]): pair[0] for pair in self._observed}.values():
            self._forget(node)

    def _segment_of(self, object_id: int):
        return self._target.node.GetSegmentation().GetSegment(self._notes.segment_ids.get(object_id, ""))

    def _observe(self, node, event, call: Callable[[], object]) -> None:
        self._observed.append((node, node.AddObserver(event, lambda *_: call())))

    def _watch(self, node) -> None:
        self._forget(node)
        for event in (node.PointModifiedEvent, node.PointPositionDefinedEvent, node.PointRemovedEvent):
            self._observe(node, event, lambda: self._is_quiet or self._on_moved())

    def _forget(self, node) -> None:
        for observed, tag in [pair for pair in self._observed if pair[0] is node]:
            observed.RemoveObserver(tag)
        self._observed = [pair for pair in self._observed if pair[0] is not node]

    def _call_corner(self, node) -> None:
        key = next((key for key, known in self.by_key.items() if known is node), None)
        if key is not None and not self._is_quiet:
            self._on_corner(key)

    def _dress_again(self) -> None:
        self.dress(self._frame)

    def _is_visible(self, object_id: int) -> bool:
        display = self._target.node.GetDisplayNode()
        return display is None or bool(
            display.GetVisibility() and display.GetSegmentVisibility(self._notes.segment_ids[object_id])
        )

    def _hide_other_times(self, node) -> None:
        for index in range(node.GetNumberOfControlPoints()):
            text = node.GetNthControlPointDescription(index)
            is_shown = not text or self._is_now(int(text))
            if bool(node.GetNthControlPointVisibility(index)) != is_shown:
                node.SetNthControlPointVisibility(index, is_shown)

    def _is_now(self, frame: int) -> bool:
        """Whether a frame belongs to the time on display; slice views show marks of their own slice only."""
        num_slices = self._stack.num_slices
        if num_slices is None and self._stack.source_of(0)[0].frame_step_mm is not None:
            return True
        return self._frame is None or frame // (num_slices or 1) == self._frame // (num_slices or 1)
