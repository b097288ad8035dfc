"""What belongs to one chosen input: its frames, its notes, its output and its open stacks (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core.errors import GeometryError
from .i18n import _
from .notebook import Notebook, Results
from .process_transport import ProcessTransport
from .sessions import Sessions
from .stacks import SeriesStack, Stack, VolumeStack
from .targets import Target, create_target


class Workspace:
    """Keeps the parts together, and reads the input again when it has changed."""

    def __init__(self, open_stack: Callable[[], Stack], transport: ProcessTransport, segmentation=None) -> None:
        """Read the input, find its notes in the scene, and take or create the output.

        Args:
            open_stack: Reads the input.
            transport: Reaches the worker.
            segmentation: Segmentation node for the masks; by default the one the notes name, else a new one.

        Raises:
            DDSAM2Error: If input or output cannot be used.
        """
        self._open_stack = open_stack
        self.stack = open_stack()
        self.notes = Notebook(self.stack.owner, _settings_of(self.stack))
        self.target: Target = create_target(self.stack, segmentation or self.notes.segmentation_node())
        self.notes.bind(self.target.node)
        self.forget_lost_segments()
        self.sessions = Sessions(transport)
        self._seen = self.stack.fingerprint(), self.stack.window()
        self.undo_results: list[Results] = []
        self.redo_results: list[Results] = []

    def problem(self) -> str:
        """One sentence if the input or the output is gone; empty if all is well."""
        if not self.stack.is_present():
            return _("The image was removed from the scene. Finished frames are kept; choose another input.")
        if not self.target.is_present():
            return _("The segmentation was removed from the scene. Choose another one, or let one be created.")
        return ""

    def has_changed(self) -> bool:
        """Whether voxels or placement of the input are others than they were when it was read."""
        try:
            return self.stack.fingerprint() != self._seen[0]
        except GeometryError:  # it is under a transform now that cannot be used
            return True

    def refresh(self) -> bool:
        """Read the input again if voxels, placement or window changed; whether it did.

        Raises:
            DDSAM2Error: If it cannot be used any more.
        """
        now = self.stack.fingerprint(), self.stack.window()
        if now == self._seen:
            return False
        before = self._shape()
        self.sessions.close_all()
        self.stack = self._open_stack()
        self._seen = now
        self.target.close()
        self.target = create_target(self.stack, self.target.node)
        self.undo_results, self.redo_results = [], []
        if self._shape() != before:
            self.notes.locked, self.notes.results = frozenset(), Results()
        return True

    def forget_lost_segments(self) -> bool:
        """Forget objects whose segments were deleted; whether there were any."""
        segmentation = self.target.node.GetSegmentation()
        lost = [one for one, name in self.notes.segment_ids.items() if segmentation.GetSegment(name) is None]
        for object_id in lost:
            self.notes.forget_object(object_id)
        return bool(lost)

    def remember(self, before: Results) -> None:
        """A step was begun; results as they were before it."""
        self.undo_results.append(before)
        self.redo_results.clear()

    def undo(self) -> bool:
        """Take the last step back, masks and what is known about them."""
        return self.target.can_undo and self.target.undo() and self._exchange(self.undo_results, self.redo_results)

    def redo(self) -> bool:
        """Take an undo back."""
        return self.target.can_redo and self.target.redo() and self._exchange(self.redo_results, self.undo_results)

    def read_mask(self, object_id: int, frame: int):
        """Mask (H, W) of an object on a frame, as it is in the scene."""
        return self.target.read(self.notes.segment_ids[object_id], frame)

    def close(self) -> None:
        """Let the worker forget the input."""
        self.sessions.close_all()
        self.target.close()

    def _exchange(self, source: list[Results], other: list[Results]) -> bool:
        if source:
            other.append(self.notes.results)
            self.notes.results = source.pop()
        return True

    def _shape(self) -> tuple[int, int, int]:
        frames, _ = self.stack.source_of(0)
        return self.stack.num_frames, frames.height, frames.width


def _settings_of(stack: Stack) -> Mapping[str, object]:
    """How the frames run, as it is kept in the scene."""
    if isinstance(stack, VolumeStack):
        view = stack.slice_to_ras
        return {"axis": stack.axis.value} if view is None else {"view": view}
    return {"axis": stack.axis.value, "time": True} if isinstance(stack, SeriesStack) else {"time": True}
