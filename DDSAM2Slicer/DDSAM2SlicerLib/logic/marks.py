"""Prompts as markups in the views: what is placed, moved or deleted there changes the prompts, and back (layer: logic).

The prompts are the truth and are saved; the markups show them and are made anew for every input, so they are not saved.
Each object has a list of points on it and one of points beside it, told apart by their glyphs, and a ROI for each box.
"""

from __future__ import annotations

from collections.abc import Callable

import slicer

from ..core.errors import DDSAM2Error, PromptError
from ..core.prompts import Box, FramePrompt, Point, PromptSet
from ..mrml import markups
from ..mrml.transforms import matrix_to_vtk
from ..mrml.volumes import nearest_frame
from .i18n import _
from .mark_nodes import FRAME_ATTRIBUTE, NEW_BOX, MarkNodes, box_kind, is_box
from .mark_parts import (
    SAME_PLACE,
    MarkKind,
    are_close,
    coordinates_of,
    grid_of,
    is_inside,
    kind_of,
    place_of,
    prefer_old,
)
from .notebook import Key, Notebook
from .seeds import Seeds
from .stacks import Stack
from .targets import Target

BOX_DEPTH_FRAMES = 0.5
"""A box is drawn so thin that it shows on its own frame only."""


class PromptMarks:
    """Keeps markups and prompts equal.

    Attributes:
        seeds: Takes prompts that are no marks.
    """

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
        self._frame: int | None = None
        self._nodes = MarkNodes(stack, notes, target, self._pull, self._adopt)
        self.seeds = Seeds(stack, notes, target, self._frame_of, on_change, on_error)
        self.push()

    def place(self, object_id: int, kind: MarkKind | str, is_persistent: bool = False) -> None:
        """Let the user place a mark with the next click in a view; a new box replaces the one of its frame."""
        self.drop_unfinished()
        kind = MarkKind(kind)
        self._nodes.show_segment(object_id)  # what is placed for a hidden segment would not be seen
        node = self._nodes.get(object_id, NEW_BOX if kind is MarkKind.BOX else kind.value)
        slicer.modules.markups.logic().SetActiveList(node)
        # The logic's own StartPlaceMode would place points, whatever list is active.
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        interaction.SetPlaceModePersistence(is_persistent)
        interaction.SetCurrentInteractionMode(interaction.Place)

    def drop_unfinished(self) -> None:
        """Forget a box of which only one corner was placed."""
        for key in [key for key in self._nodes.by_key if key[1] == NEW_BOX]:
            self._nodes.remove(key)

    def show_frame(self, frame: int | None) -> None:
        """Another frame is current now: marks of other times disappear."""
        self._frame = frame
        self._nodes.dress(frame)

    def push(self) -> None:
        """Make the markups show the prompts as they are."""
        known, wanted = self._notes.segment_ids, set()
        with self._nodes.quietly():
            for (one, frame), prompt in self._notes.prompts.prompts.items():
                if one not in known:
                    continue
                if prompt.box is not None:
                    wanted.add((one, box_kind(frame)))
                    self._show_box(one, frame, prompt.box)
                wanted |= {(one, kind_of(point)) for point in prompt.points}
            for key in list(self._nodes.by_key):
                is_lost_box = is_box(key[1]) and key[1] != NEW_BOX and key not in wanted
                if key[0] not in known or is_lost_box:
                    self._nodes.remove(key)
            for key in wanted | set(self._nodes.by_key):
                if not is_box(key[1]):
                    self._show_points(*key)
        self._nodes.dress(self._frame)

    def close(self) -> None:
        """Take all marks out of the scene."""
        self._nodes.close()

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
        for (one, kind), node in sorted(self._nodes.by_key.items(), key=lambda item: item[0]):
            if is_box(kind):
                if kind != NEW_BOX and _is_complete(node):
                    prompts = prompts.with_box(one, *self._read_box(node))
                continue
            for index in range(node.GetNumberOfControlPoints()):
                if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
                    frame, point = self._read_point(node, index, kind == MarkKind.POSITIVE)
                    prompts = prompts.with_point(one, frame, point)
        old = self._notes.prompts
        return PromptSet({key: prefer_old(old.get(*key), prompt) for key, prompt in prompts.prompts.items()})

    def _pull(self) -> None:
        """The user changed a mark."""
        try:
            for key, node in list(self._nodes.by_key.items()):
                if is_box(key[1]) and key[1] != NEW_BOX and _is_complete(node):
                    self._nodes.rename(key, self._read_box(node)[0])  # it may have been moved to another frame
            prompts = self.read()
        except DDSAM2Error as error:
            self._on_error(str(error))
            return
        if prompts != self._notes.prompts:
            self._on_change(prompts)

    def _adopt(self, key: Key) -> None:
        """A corner of a new box was placed; if it was the second one, it is the box of its frame now."""
        node = self._nodes.by_key[key]
        if not _is_complete(node):
            return
        try:
            frame, box = self._read_box(node)
            prompts = self.read().with_box(key[0], frame, box)
        except DDSAM2Error as error:
            self._on_error(str(error))
            return
        self._nodes.rename(key, frame)
        self._on_change(prompts)

    def _read_point(self, node, index: int, is_positive: bool) -> tuple[int, Point]:
        position = place_of(node, index)
        frame = self._frame_of(node.GetNthControlPointDescription(index), position)
        if frame is None:
            raise PromptError(_outside_text(node, index))
        if node.GetNthControlPointDescription(index) != str(frame):
            with self._nodes.quietly():
                node.SetNthControlPointDescription(index, str(frame))
        source, row = self._stack.source_of(frame)
        x, y = grid_of(source, row).map_ras_to_ijk([position])[0].round(6).tolist()[:2]
        if not is_inside(source, x, y):
            raise PromptError(_outside_text(node, index))
        return frame, Point(x, y, is_positive)

    def _read_box(self, node) -> tuple[int, Box]:
        center = [0.0, 0.0, 0.0]
        node.GetCenterWorld(center)
        frame = self._frame_of(node.GetAttribute(FRAME_ATTRIBUTE), center)
        if frame is None:
            msg = _("Box {name!r} is outside of the image. Move or delete it.").format(name=node.GetName())
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
        node = self._nodes.get(object_id, kind)
        wanted = []
        for frame in self._notes.prompts.frames(object_id):
            source, row = self._stack.source_of(frame)
            points = self._notes.prompts.get(object_id, frame).points
            own = [[point.x, point.y, 0.0] for point in points if kind_of(point) == kind]
            places = grid_of(source, row).map_ijk_to_ras(own) if own else []
            wanted += [(str(frame), [float(value) for value in place]) for place in places]
        if _are_same_points(_defined_points(node), wanted):
            return  # a point that is being placed or dragged must not be replaced
        node.RemoveAllControlPoints()
        for frame, place in wanted:
            index = node.AddControlPointWorld(*place)
            node.SetNthControlPointDescription(index, frame)

    def _show_box(self, object_id: int, frame: int, box: Box) -> None:
        node = self._nodes.get(object_id, box_kind(frame))
        node.SetAttribute(FRAME_ATTRIBUTE, str(frame))
        source, row = self._stack.source_of(frame)
        grid = grid_of(source, row)
        is_thin = node.GetSize()[2] <= BOX_DEPTH_FRAMES * grid.spacing_mm[2] + SAME_PLACE
        if is_thin and _is_complete(node) and self._shows(node, frame, box):
            return
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


def _outside_text(node, index: int) -> str:
    """A sentence about a point that cannot be used where it is."""
    text = _("Point {name!r} is outside of the image. Move or delete it.")
    return text.format(name=node.GetNthControlPointLabel(index))


def _is_complete(roi) -> bool:
    """Whether both corners of a box are placed."""
    num_points = roi.GetNumberOfControlPoints()
    return num_points == roi.GetNumberOfDefinedControlPoints() > 0 and max(roi.GetSize()) > 0


def _defined_points(node) -> list[tuple[str, list[float]]]:
    """Frame and place of the points that are placed; one more may still hang on the mouse."""
    return [
        (node.GetNthControlPointDescription(index), place_of(node, index))
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined
    ]


def _are_same_points(one: list, other: list) -> bool:
    """Whether two lists have the same points, in whichever order they were placed."""
    rows = [
        sorted((frame, [round(value, 2) for value in place], place) for frame, place in rows) for rows in (one, other)
    ]
    return len(one) == len(other) and all(a[0] == b[0] and are_close(a[2], b[2]) for a, b in zip(*rows, strict=True))
