"""The input that lies open: chosen, watched, read again when it changes, put away; and the state (layer: logic).

``Coordinator`` builds on it; panels use that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..core.errors import DDSAM2Error
from ..core.geometry import Axis
from ..core.prompts import PromptSet
from ..core.settings import EngineSettings
from ..worker.client import Event
from .i18n import _
from .marks import PromptMarks
from .measuring import Measurement
from .notebook import Notebook
from .preview import Preview
from .process_transport import ProcessTransport, sentence_of
from .reasons import find_reasons
from .review import Review
from .runner import Runner
from .scene_watch import SceneWatch
from .signal import Signal
from .stacks import Stack, VolumeStack, open_sequence
from .state import Phase, State
from .workspace import Workspace

PROGRESS_INTERVAL_S = 0.1
"""Mere progress is told this often: Qt paints a progress bar at once, which takes longer than writing a frame."""


class Desk:
    """One input at a time; errors become one sentence in the state.

    Attributes:
        state: As it is now.
        state_changed: Emits the new state.
        review: Locks, end marks, and which frame to look at next.
    """

    def __init__(self, transport: ProcessTransport | None = None) -> None:
        """Begin without input; no process is started and nothing is loaded.

        Args:
            transport: Reaches the worker.
        """
        self.state = State()
        self.state_changed = Signal()
        self._transport = transport or ProcessTransport()
        self._space: Workspace | None = None
        self._preview: Preview | None = None
        self._marks: PromptMarks | None = None
        self._runner: Runner | None = None
        self._measurement: Measurement | None = None
        self._frame: int | None = None
        self._error = self._notice = ""
        self._emitted_s = 0.0
        self._watch = SceneWatch(self._on_nodes_removed, self._on_save)
        self.review = Review(self._usable_space, self._update)
        self._update()

    @property
    def stack(self) -> Stack | None:
        """Frames of the input."""
        return self._space.stack if self._space else None

    @property
    def notes(self) -> Notebook | None:
        """Prompts, locks, scores and what is done; to be read only."""
        return self._space.notes if self._space else None

    @property
    def segmentation(self):
        """The segmentation node that takes the masks."""
        return self._space.target.node if self._space else None

    @property
    def marks(self) -> PromptMarks | None:
        """Prompts as markups in the views."""
        return self._marks

    @property
    def preview(self) -> Preview | None:
        """What is shown for the current frame."""
        return self._preview

    @property
    def is_elsewhere(self) -> bool:
        """Whether a command of the user's starts the worker, so that nothing needs to be installed here."""
        return self._transport.is_elsewhere

    def choose_volume(self, volume, axis: Axis | str = Axis.K, slice_node=None, segmentation=None) -> None:
        """Segment a volume along an axis, or in the orientation that a slice view shows."""
        if slice_node is None:
            self._choose(lambda: VolumeStack(volume, axis), segmentation)
            return
        try:
            found = VolumeStack.from_slice_view(volume, slice_node)
        except DDSAM2Error as error:
            self._say(error=str(error))
            return
        self._choose(lambda: VolumeStack(volume, found.axis, found.slice_to_ras), segmentation)

    def choose_sequence(self, browser, axis: Axis | str = Axis.K, segmentation=None) -> None:
        """Segment the images of a sequence browser: a clip through time, or slices along an axis and time."""
        self._choose(lambda: open_sequence(browser, axis), segmentation)

    def choose_model(
        self, name: str, device: str = "auto", settings: EngineSettings | None = None, adapters: str = ""
    ) -> None:
        """Use a model from now on, if given with the adapters of a file; it is loaded when it is first needed."""
        self._transport.use_model(name, device, settings or EngineSettings(), self._on_model, adapters)

    def choose_worker(self, command: str = "") -> None:
        """Compute elsewhere from now on, as with "ssh HOST ddsam2 worker"; an empty command is this computer."""
        try:
            self._transport.use_command(command)
        except DDSAM2Error as error:
            self._say(error=str(error))

    def release_input(self) -> None:
        """Forget the input; what is in the scene stays there."""
        self._leave()
        self._update()

    def close(self) -> None:
        """End everything, the worker too; the coordinator is not to be used any more."""
        self.release_input()
        self._watch.close()
        self._transport.close()

    def show_frame(self, frame: int | None) -> None:
        """Another frame is current now; None if the views show none."""
        self._frame = frame
        if self._is_usable():
            self._marks.show_frame(frame)
            if self._runner is None:
                self._preview.show(frame)
        self._update()

    def set_prompts(self, prompts: PromptSet) -> None:
        """Take all prompts as they are now, keep them in the scene, and preview the current frame anew."""
        if not self._is_usable():
            return
        unknown = sorted(set(prompts.object_ids) - set(self._space.notes.segment_ids))
        if unknown:
            text = _("Object {number} has no segment. Add it first; nothing was changed.")
            self._say(error=text.format(number=unknown[0]))
            return
        if not self._space.notes.set_prompts(prompts):
            return
        before = self.state
        self._space.notes.save()
        self._marks.push()
        self._say()
        self.show_frame(self._frame)
        if self.state is before:  # prompts are drawn as well, even if nothing else is new
            self.state_changed.emit(self.state)

    def _choose(self, open_stack: Callable[[], Stack], segmentation) -> None:
        self._leave()
        try:
            self._enter(Workspace(open_stack, self._transport, segmentation))
        except DDSAM2Error as error:
            self._say(error=str(error))
            return
        self._say()

    def _enter(self, space: Workspace) -> None:
        self._space = space
        self._preview = Preview(
            space.stack, space.notes, space.target, space.sessions, self._transport, self._on_preview_end
        )
        self._marks = PromptMarks(space.stack, space.notes, space.target, self.set_prompts, self._on_preview_end)

    def _leave(self) -> None:
        """End what is going on with the input, and forget it."""
        self._measurement = None
        if self._runner is not None:
            self._runner.fail("")
        space, preview, marks = self._space, self._preview, self._marks
        # First: the nodes that go now report that they were removed, and find nothing to leave any more.
        self._space = self._preview = self._marks = self._frame = None
        if preview is not None:
            preview.clear()
            marks.close()
        if space is not None:
            space.close()

    def _usable_space(self) -> Workspace | None:
        return self._space if self._is_usable() else None

    def _is_usable(self) -> bool:
        """Whether there is an input as it was read; reads it again if it has changed meanwhile."""
        if self._space is None:
            return False
        problem = self._space.problem()
        if problem:
            self._lose(problem)
            return False
        if self._runner is not None:
            return True
        try:
            if self._space.refresh():
                self._preview.clear()
                self._marks.close()
                self._enter(self._space)
            elif self._space.forget_lost_segments():
                self._space.notes.save()
                self._marks.push()
        except DDSAM2Error as error:
            self._lose(str(error))
            return False
        return True

    def _lose(self, sentence: str) -> None:
        """The input or the output is gone."""
        self._leave()
        self._say(error=sentence)

    def _on_preview_end(self, sentence: str) -> None:
        self._say(error=sentence)

    def _on_model(self, event: Event) -> None:
        if event.kind == "failed":
            self._say(error=sentence_of(event.error))

    def _on_nodes_removed(self) -> None:
        if self._space is not None and self._space.problem():
            if self._runner is not None:
                self._runner.fail(self._space.problem())
            else:
                self._lose(self._space.problem())

    def _on_save(self) -> None:
        if self._space is not None and not self._space.problem():
            self._space.notes.save()

    def _say(self, error: str = "", notice: str = "") -> None:
        self._error, self._notice = error, notice
        self._update()

    def _update(self) -> None:
        """Draw the state anew if it is another one."""
        phase, progress = Phase.IDLE if self._space else Phase.EMPTY, None
        if self._runner is not None:
            phase = Phase.STOPPING if self._runner.is_stopping else Phase.RUNNING
            progress = self._runner.progress
        elif self._measurement is not None:
            phase, progress = Phase.MEASURING, self._measurement.progress
        is_previewing = self._preview is not None and self._preview.is_pending
        num_frames = self._space.stack.num_frames if self._space else 0
        reasons = find_reasons(phase, self._space, self._frame)
        texts = self._error, self._notice
        state = State(phase, reasons, progress, is_previewing, self._frame, num_frames, *texts)
        if state == self.state:
            return
        is_only_progress = progress is not None and replace(self.state, progress=progress) == state
        self.state = state
        now_s = self._transport.clock()
        if not is_only_progress or now_s - self._emitted_s >= PROGRESS_INTERVAL_S:
            self._emitted_s = now_s
            self.state_changed.emit(state)
