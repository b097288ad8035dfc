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
from dataclasses import replace

from ..core.errors import DDSAM2Error
from ..mrml.editing import DEFAULT_RULES, EditRules, Overwrite
from .desk import Desk
from .i18n import _
from .measuring import Measurement
from .notebook import Results
from .process_transport import ProcessTransport
from .runner import Runner
from .runs import RunOptions, plan_run
from .segment_editor import with_editor_area
from .signal import Signal
from .targets import Color
from .workspace import Workspace


class Coordinator(Desk):
    """Everything a user can do, and a state to be drawn; errors become one sentence in the state.

    Attributes:
        frames_changed: Emits (frame, objects) pairs whose masks were written.
        rules: Editable area and overwrite mode of the next step; Segment Editor's area counts where this has none.
    """

    def __init__(self, transport: ProcessTransport | None = None) -> None:
        """Begin without input; no process is started and nothing is loaded.

        Args:
            transport: Reaches the worker.
        """
        self.frames_changed = Signal()
        self.rules: EditRules = DEFAULT_RULES
        self._before_run: Results | None = None
        super().__init__(transport)
        self._transport.add_chore(self._work, lambda: self._runner is not None and self._runner.is_behind)

    def add_object(self, name: str, color: Color | None = None) -> int:
        """Add a segment and return the number of its object."""
        return self.object_of(self._space.target.add_segment(name, color))

    def object_of(self, segment_id: str) -> int:
        """Number of the object that a segment shows; the segment may have been added elsewhere."""
        self._space.target.adopt(segment_id)
        return self._space.notes.object_of(segment_id)

    def choose_overwrite(self, mode: Overwrite | str) -> None:
        """Say which other segments lose the voxels that masks take: "none", "all" or "visible"."""
        self.rules = replace(self.rules, overwrite=Overwrite(mode))

    def propagate(self, options: RunOptions | None = None) -> None:
        """Find the prompted objects on all frames, or on those that are missing or have changed (``is_update``)."""
        if not self._is_usable() or self._runner is not None:
            return
        options = options or RunOptions()
        space = self._space
        try:
            plan = plan_run(space.stack, space.notes, space.read_mask, options)
            space.target.begin(space.notes.segment_ids, self._rules())
        except DDSAM2Error as error:
            self._say(error=str(error))
            return
        self._preview.clear()
        self._before_run = space.notes.begin_run(plan.stale, plan.settled, is_afresh=not options.is_update)
        self._runner = Runner(plan, self._transport, space.sessions, space.target, space.notes, self._on_run_end)
        self._transport.wake()
        self._say()

    def apply_preview(self) -> None:
        """Write what the preview shows into the segments, on this frame only, as one step."""
        if not self._is_usable() or self._runner is not None or self._preview.result is None:
            return
        space, result = self._space, self._preview.result
        masks = dict(zip(result.object_ids, result.masks, strict=True))
        try:
            space.target.begin(space.notes.segment_ids, self._rules())
            space.target.write(self._frame, masks)
            space.target.finish()
        except DDSAM2Error as error:
            self._say(error=str(error))
            return
        space.remember(space.notes.begin_step())
        space.notes.record(self._frame, masks, dict(zip(result.object_ids, result.scores, strict=True)))
        space.notes.save()
        self.frames_changed.emit([(self._frame, tuple(masks))])
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

    def _rules(self) -> EditRules:
        return with_editor_area(self.rules, self._space.target.node, self._space.stack.owner)

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
        elif self._measurement is not None:
            self._work_on_measurement(deadline_s)
        is_previewing = self._preview is not None and self._preview.is_pending
        return self._runner is not None or self._measurement is not None or is_previewing

    def _work_on_measurement(self, deadline_s: float) -> None:
        measurement = self._measurement
        try:
            is_finished = measurement.work(deadline_s, self._transport.clock)
        except DDSAM2Error as error:
            self._measurement = None
            self._say(error=str(error))
            return
        if is_finished:
            self._measurement = None
        self._update()

    def _work_on_run(self, deadline_s: float) -> None:
        problem = self._space.problem()
        if not problem and self._space.has_changed():
            problem = _("The image was changed while it was being segmented. Finished frames are kept; run again.")
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
        if not space.problem():
            notices = {
                "done": "",
                "stopped": _("Stopped after {done} of {total} frames."),
                "failed": _("Ended after {done} of {total} frames."),
            }
            notice = notices[outcome].format(done=progress.done, total=progress.total)
            self._say(error=sentence, notice=notice)
            self.show_frame(self._frame)
        else:
            self._lose(sentence)
