"""From the scene to the worker and back, without widgets: one object for panel, effect and console (layer: logic).

Example, in Slicer's console::

    coordinator = Coordinator()
    coordinator.choose_model("nano")
    coordinator.choose_volume(volume, "k")
    liver = coordinator.add_object("liver")
    coordinator.set_prompts(coordinator.notes.prompts.with_box(liver, 40, Box(100, 120, 180, 200)))
    coordinator.propagate()
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import DDSAM2Error
from ..core.geometry import Axis
from ..core.prompts import PromptSet
from ..core.settings import EngineSettings
from ..mrml.editing import DEFAULT_RULES, EditRules
from ..worker.client import Event
from .measuring import Measurement
from .notebook import Notebook, Results
from .preview import Preview
from .process_transport import ProcessTransport, sentence_of
from .reasons import find_reasons
from .review import Review
from .runner import Runner
from .runs import RunOptions, plan_run
from .scene_watch import SceneWatch
from .signal import Signal
from .stacks import Stack, VolumeStack, open_sequence
from .state import Phase, State
from .targets import Color
from .workspace import Workspace

CHANGED_DURING_RUN = "The image was changed while it was being segmented. Finished frames are kept; run again."


class Coordinator:
    """Everything a user can do, and a state to be drawn; errors become one sentence in the state.

    Attributes:
        state: As it is now.
        state_changed: Emits the new state.
        frames_changed: Emits (frame, objects) pairs whose masks were written.
        review: Locks, end marks, and which frame to look at next.
        rules: Editable area and overwrite mode of the next step.
    """

    def __init__(self, transport: ProcessTransport | None = None) -> None:
        """Begin without input; no process is started and nothing is loaded.

        Args:
            transport: Reaches the worker.
        """
        self.state = State()
        self.state_changed = Signal()
        self.frames_changed = Signal()
        self.rules: EditRules = DEFAULT_RULES
        self._transport = transport or ProcessTransport()
        self._transport.add_chore(self._work)
        self._space: Workspace | None = None
        self._preview: Preview | None = None
        self._runner: Runner | None = None
        self._before_run: Results | None = None
        self._measurement: Measurement | None = None
        self._frame: int | None = None
        self._error = self._notice = ""
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
    def preview(self) -> Preview | None:
        """What is shown for the current frame."""
        return self._preview

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

    def choose_model(self, name: str, device: str = "auto", settings: EngineSettings | None = None) -> None:
        """Use a model from now on; it is loaded when it is first needed."""
        self._transport.use_model(name, device, settings or EngineSettings(), self._on_model)

    def release_input(self) -> None:
        """Forget the input; what is in the scene stays there."""
        self._leave()
        self._space = self._preview = self._frame = None
        self._update()

    def close(self) -> None:
        """End everything, the worker too; the coordinator is not to be used any more."""
        self.release_input()
        self._watch.close()
        self._transport.close()

    def add_object(self, name: str, color: Color | None = None) -> int:
        """Add a segment and return the number of its object."""
        return self.object_of(self._space.target.add_segment(name, color))

    def object_of(self, segment_id: str) -> int:
        """Number of the object that a segment shows."""
        return self._space.notes.object_of(segment_id)

    def set_prompts(self, prompts: PromptSet) -> None:
        """Take all prompts as they are now, keep them in the scene, and preview the current frame anew."""
        if not self._is_usable() or not self._space.notes.set_prompts(prompts):
            return
        self._space.notes.save()
        self._say()
        self.show_frame(self._frame)

    def show_frame(self, frame: int | None) -> None:
        """Another frame is current now; None if the views show none."""
        self._frame = frame
        if self._is_usable() and self._runner is None:
            self._preview.show(frame)
        self._update()

    def propagate(self, options: RunOptions | None = None) -> None:
        """Find the prompted objects on all frames, or on those that are missing or have changed (``is_update``)."""
        if not self._is_usable() or self._runner is not None:
            return
        options = options or RunOptions()
        space = self._space
        try:
            plan = plan_run(space.stack, space.notes, space.read_mask, options)
            space.target.begin(space.notes.segment_ids, self.rules)
        except DDSAM2Error as error:
            self._say(error=str(error))
            return
        self._preview.clear()
        self._before_run = space.notes.begin_run(plan.stale, plan.settled, is_afresh=not options.is_update)
        self._runner = Runner(plan, self._transport, space.sessions, space.target, space.notes, self._on_run_end)
        self._transport.wake()
        self._say()

    def stop(self) -> None:
        """Stop the run within a second; frames found so far stay."""
        if self._runner is not None:
            self._runner.stop()
        self._measurement = None
        self._update()

    def undo(self) -> None:
        """Take the last run back as a whole."""
        self._go(Workspace.undo)

    def redo(self) -> None:
        """Take an undo back."""
        self._go(Workspace.redo)

    def measure(self, on_end: Callable[[Measurement], object]) -> None:
        """Measure all objects on all frames, a little in each tick; ``on_end`` gets the finished measurement."""
        if self._is_usable() and self._runner is None:
            self._measurement = Measurement(self._space.stack, self._space.notes, self._space.target, on_end)
            self._transport.wake()
            self._update()

    def _choose(self, open_stack: Callable[[], Stack], segmentation) -> None:
        self._leave()
        self._space = self._preview = self._frame = None
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

    def _leave(self) -> None:
        """End what is going on with the input."""
        self._measurement = None
        if self._runner is not None:
            self._runner.fail("")
        if self._preview is not None:
            self._preview.clear()
        if self._space is not None:
            self._space.close()

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
                self._enter(self._space)
        except DDSAM2Error as error:
            self._lose(str(error))
            return False
        return True

    def _lose(self, sentence: str) -> None:
        """The input or the output is gone."""
        self._leave()
        self._space = self._preview = self._frame = None
        self._say(error=sentence)

    def _go(self, way: Callable[[Workspace], bool]) -> None:
        if self._is_usable() and self._runner is None and way(self._space):
            self._space.notes.save()
            self._say()
            self.show_frame(self._frame)

    def _work(self, deadline_s: float) -> bool:
        """One tick; whether another is wanted soon."""
        if self._runner is not None:
            self._work_on_run(deadline_s)
        elif self._preview is not None and self._preview.is_pending:
            self._preview.work()
            self._update()
        if self._measurement is not None and self._runner is None:
            if self._measurement.work(deadline_s, self._transport.clock):
                self._measurement = None
            self._update()
        is_previewing = self._preview is not None and self._preview.is_pending
        return self._runner is not None or self._measurement is not None or is_previewing

    def _work_on_run(self, deadline_s: float) -> None:
        problem = self._space.problem() or (CHANGED_DURING_RUN if self._space.has_changed() else "")
        if problem:
            self._runner.fail(problem)
            return
        written = self._runner.work(deadline_s)
        if written:
            if self._before_run is not None:
                self._space.remember(self._before_run)
                self._before_run = None
            self.frames_changed.emit(written)
        self._update()

    def _on_run_end(self, outcome: str, sentence: str) -> None:
        progress, self._runner = self._runner.progress, None
        space = self._space
        if space.target.is_present():
            space.target.finish()
        if outcome == "done":
            space.notes.end_run()
        if space.stack.is_present():
            space.notes.save()
        count = f"{progress.done} of {progress.total} frames"
        if not space.problem():
            notices = {"done": "", "stopped": f"Stopped after {count}.", "failed": f"Ended after {count}."}
            self._say(error=sentence, notice=notices[outcome])
            self.show_frame(self._frame)
        else:
            self._lose(sentence)

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
        if state != self.state:
            self.state = state
            self.state_changed.emit(state)
