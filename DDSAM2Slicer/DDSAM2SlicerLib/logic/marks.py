"""Prompts as markups in the views: what is placed, moved or deleted there changes the prompts, and back (layer: logic).

The prompts are the truth and are saved; the markups show them and are made anew for every input, so they are not saved.
Each object has a list of points on it and one of points beside it, told apart by their glyphs, and a ROI for each box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import slicer

from ..core.errors import DDSAM2Error, PromptError
from ..core.prompts import Box, FramePrompt, Point, PromptSet
from ..mrml import markups
from ..mrml.transforms import matrix_to_vtk
from ..mrml.volumes import nearest_frame
from .mark_parts import MarkKind, are_close, coordinates_of, grid_of, kind_of, place_of, prefer_old, style_display
from .notebook import Key, Notebook
from .stacks import Stack
from .targets import Target

FRAME_ATTRIBUTE = "DDSAM2.Frame"
BOX_DEPTH_FRAMES = 0.5
"""A box is drawn so thin that it shows on its own frame only."""


class PromptMarks:
    """Keeps markups and prompts equal."""

    def __init__(
        self,
        stack: Stack,
        notes: Notebook,
        target: Target,
        on_change: Callable[[PromptSet], object],
        on_error: Callable[[str], object],
    ) -> None:
        """Show the prompts there are.

        Args:
            stack: The input.
            notes: Prompts and objects.
            target: Segments with names, colours and masks.
            on_change: Given the new prompts after the user changed a mark.
            on_error: Given a sentence if a mark cannot be used where it is.
        """
        self._stack, self._notes, self._target = stack, notes, target
        self._on_change, self._on_error = on_change, on_error
        self._nodes: dict[tuple[int, str], object] = {}
        self._observed: list[tuple[object, int]] = []
        self._frame: int | None = None
        self._is_pushing = False
        self.push()

    def place(self, object_id: int, kind: MarkKind | str, is_persistent: bool = False) -> None:
        """Let the user place a mark with the next click in a view."""
        kind = MarkKind(kind)
        name = kind.value if kind is not MarkKind.BOX else f"box {self._frame}"
        node = self._node(object_id, name)
        if kind is MarkKind.BOX:
            with self._pushing():
                node.RemoveAllControlPoints()
            node.SetAttribute(FRAME_ATTRIBUTE, str(self._frame))
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(node)
        logic.StartPlaceMode(is_persistent)

    def seed_from_segment(self, object_id: int, frame: int) -> None:
        """Make what an object's segment shows on a frame, painted by hand for example, the prompt of that frame."""
        name = self._notes.segment_ids[object_id]
        try:
            mask = self._target.read(name, frame)
            if not mask.any():
                shown = self._target.node.GetSegmentation().GetSegment(name).GetName()
                msg = f"Segment {shown!r} is empty on frame {frame}. Paint it there, or choose a frame where it is."
                raise PromptError(msg)
        except DDSAM2Error as error:
            self._on_error(str(error))
            return
        self._on_change(self._notes.prompts.with_mask(object_id, frame, mask))

    def seed_from_curve(self, object_id: int, curve) -> None:
        """Make what a closed curve encloses the prompt of the frame on which it is drawn (time: the current one)."""
        points = [place_of(curve, index) for index in range(curve.GetNumberOfControlPoints())]
        try:
            center = [sum(values) / len(points) for values in zip(*points, strict=True)]
            frame = self._frame_of(None, center) if points else self._frame or 0
            if frame is None:
                msg = f"Curve {curve.GetName()!r} is outside of the image. Draw it on a frame."
                raise PromptError(msg)
            source, index = self._stack.source_of(frame)
            _, mask = markups.mask_of_curve(curve, source, index)
        except DDSAM2Error as error:
            self._on_error(str(error))
            return
        self._on_change(self._notes.prompts.with_mask(object_id, frame, mask))

    def show_frame(self, frame: int | None) -> None:
        """Another frame is current now: marks of other times disappear."""
        self._frame = frame
        if self._stack.num_slices is None and self._stack.source_of(0)[0].frame_step_mm is not None:
            return  # slice views show marks of their own slice only
        with self._pushing():
            for (_, kind), node in self._nodes.items():
                if kind.startswith("box"):
                    node.SetDisplayVisibility(self._is_now(int(node.GetAttribute(FRAME_ATTRIBUTE))))
                    continue
                for index in range(node.GetNumberOfControlPoints()):
                    text = node.GetNthControlPointDescription(index)
                    node.SetNthControlPointVisibility(index, not text or self._is_now(int(text)))

    def push(self) -> None:
        """Make the markups show the prompts as they are."""
        with self._pushing():
            wanted = set()
            for (one, frame), prompt in self._notes.prompts.prompts.items():
                if one not in self._notes.segment_ids:
                    continue
                if prompt.box is not None:
                    wanted.add((one, f"box {frame}"))
                    self._show_box(one, frame, prompt.box)
                wanted |= {(one, kind_of(point)) for point in prompt.points}
            for key in [key for key in self._nodes if key not in wanted and key[1].startswith("box")]:
                self._remove(key)
            for key in wanted | {key for key in self._nodes if not key[1].startswith("box")}:
                if not key[1].startswith("box"):
                    self._show_points(*key)
        self.show_frame(self._frame)

    def close(self) -> None:
        """Take all marks out of the scene."""
        for key in list(self._nodes):
            self._remove(key)

    def read(self) -> PromptSet:
        """The prompts that the markups show; masks are no markups and stay.

        Raises:
            PromptError: If a mark is outside of the image.
        """
        kept = {}
        for key, prompt in self._notes.prompts.prompts.items():
            if prompt.mask is not None:
                kept[key] = FramePrompt(mask=prompt.mask)
        prompts = PromptSet(kept)
        for (one, kind), node in sorted(self._nodes.items(), key=lambda item: item[0]):
            if kind.startswith("box"):
                if node.GetNumberOfDefinedControlPoints() > 0:
                    frame, box = self._read_box(node)
                    prompts = prompts.with_box(one, frame, box)
                continue
            for index in range(node.GetNumberOfControlPoints()):
                if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
                    frame, point = self._read_point(node, index, kind == MarkKind.POSITIVE)
                    prompts = prompts.with_point(one, frame, point)
        old = self._notes.prompts
        return PromptSet({key: prefer_old(old.get(*key), prompt) for key, prompt in prompts.prompts.items()})

    def _pull(self, *_: object) -> None:
        """The user changed a mark."""
        if self._is_pushing:
            return
        try:
            prompts = self.read()
        except DDSAM2Error as error:
            self._on_error(str(error))
            return
        if prompts != self._notes.prompts:
            self._on_change(prompts)

    def _read_point(self, node, index: int, is_positive: bool) -> tuple[int, Point]:
        position = place_of(node, index)
        frame = self._frame_of(node.GetNthControlPointDescription(index), position)
        if frame is None:
            msg = f"Point {node.GetNthControlPointLabel(index)!r} is outside of the image. Move or delete it."
            raise PromptError(msg)
        if node.GetNthControlPointDescription(index) != str(frame):
            with self._pushing():
                node.SetNthControlPointDescription(index, str(frame))
        source, row = self._stack.source_of(frame)
        x, y, _ = grid_of(source, row).map_ras_to_ijk([position])[0].round(6).tolist()
        if not (-0.5 <= x <= source.width - 0.5 and -0.5 <= y <= source.height - 0.5):
            msg = f"Point {node.GetNthControlPointLabel(index)!r} is outside of the image. Move or delete it."
            raise PromptError(msg)
        return frame, Point(x, y, is_positive)

    def _read_box(self, node) -> tuple[int, Box]:
        center = [0.0, 0.0, 0.0]
        node.GetCenterWorld(center)
        frame = self._frame_of(node.GetAttribute(FRAME_ATTRIBUTE), center)
        if frame is None:
            msg = f"Box {node.GetName()!r} is outside of the image. Move or delete it."
            raise PromptError(msg)
        source, row = self._stack.source_of(frame)
        return frame, markups.box_of_roi(node, source, row)[1]

    def _frame_of(self, noted: str | None, position) -> int | None:
        """Frame of a mark: its time is noted (the current one for a new mark), its slice is where it lies."""
        at = int(noted) if noted else self._frame
        if at is None:
            at = 0
        source, _ = self._stack.source_of(at)
        if source.frame_step_mm is None:
            return at
        index = nearest_frame(source, position)
        if index is None or self._stack.num_slices is None:
            return index
        return at // self._stack.num_slices * self._stack.num_slices + index

    def _show_points(self, object_id: int, kind: str) -> None:
        node = self._node(object_id, kind)
        wanted = []
        for frame in self._notes.prompts.frames(object_id):
            source, row = self._stack.source_of(frame)
            points = self._notes.prompts.get(object_id, frame).points
            own = [[point.x, point.y, 0.0] for point in points if kind_of(point) == kind]
            places = grid_of(source, row).map_ijk_to_ras(own) if own else []
            wanted += [(str(frame), [float(value) for value in place]) for place in places]
        is_same = node.GetNumberOfControlPoints() == len(wanted) and all(
            node.GetNthControlPointDescription(index) == frame and are_close(place_of(node, index), place)
            for index, (frame, place) in enumerate(wanted)
        )
        if is_same:
            return  # a point that is being dragged must not be replaced
        node.RemoveAllControlPoints()
        for frame, place in wanted:
            index = node.AddControlPointWorld(*place)
            node.SetNthControlPointDescription(index, frame)

    def _show_box(self, object_id: int, frame: int, box: Box) -> None:
        node = self._node(object_id, f"box {frame}")
        node.SetAttribute(FRAME_ATTRIBUTE, str(frame))
        if node.GetNumberOfDefinedControlPoints() > 0 and self._shows(node, frame, box):
            return
        source, row = self._stack.source_of(frame)
        grid = grid_of(source, row)
        center = grid.map_ijk_to_ras([[(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, 0.0]])[0]
        matrix = grid.ijk_to_ras.copy()
        matrix[:3, :3] /= grid.spacing_mm
        matrix[:3, 3] = center
        column_mm, row_mm, step_mm = grid.spacing_mm
        node.SetAndObserveObjectToNodeMatrix(matrix_to_vtk(matrix))
        node.SetSize((box.x1 - box.x0) * column_mm, (box.y1 - box.y0) * row_mm, BOX_DEPTH_FRAMES * step_mm)

    def _shows(self, node, frame: int, box: Box) -> bool:
        try:
            shown_frame, shown = self._read_box(node)
        except DDSAM2Error:
            return False
        return shown_frame == frame and are_close(
            coordinates_of(FramePrompt(box=shown)), coordinates_of(FramePrompt(box=box))
        )

    def _node(self, object_id: int, kind: str):
        """The markups node of an object and kind, created and observed if need be."""
        key = object_id, kind
        if key in self._nodes and slicer.mrmlScene.IsNodePresent(self._nodes[key]):
            return self._nodes[key]
        segment = self._target.node.GetSegmentation().GetSegment(self._notes.segment_ids[object_id])
        is_box = kind.startswith("box")
        node_class = "vtkMRMLMarkupsROINode" if is_box else "vtkMRMLMarkupsFiducialNode"
        node = slicer.mrmlScene.AddNewNodeByClass(node_class, f"{segment.GetName()} {kind}")
        node.SetSaveWithScene(False)
        node.CreateDefaultDisplayNodes()
        markups.label_point_node(node, object_id, kind != MarkKind.NEGATIVE)
        style_display(node.GetDisplayNode(), segment.GetColor(), kind)
        self._nodes[key] = node
        events = (node.PointModifiedEvent, node.PointPositionDefinedEvent, node.PointRemovedEvent)
        self._observed += [(node, node.AddObserver(event, self._pull)) for event in events]
        return node

    def _remove(self, key: Key) -> None:
        node = self._nodes.pop(key)
        for observed, tag in [pair for pair in self._observed if pair[0] is node]:
            observed.RemoveObserver(tag)
        self._observed = [pair for pair in self._observed if pair[0] is not node]
        if slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def _is_now(self, frame: int) -> bool:
        """Whether a frame belongs to the time on display."""
        num_slices = self._stack.num_slices or 1
        return self._frame is None or frame // num_slices == self._frame // num_slices

    @contextmanager
    def _pushing(self) -> Iterator[None]:
        """Changes made here are not the user's."""
        before, self._is_pushing = self._is_pushing, True
        try:
            yield
        finally:
            self._is_pushing = before
