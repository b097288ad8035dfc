"""Panel "Propagate": where to, how far it is, stop, undo (layer: ui)."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..core.plan import Direction
from ..logic.runs import RunOptions
from ..logic.state import Action, Phase, Progress, State
from .shared import Shared, enable, set_silently

DIRECTIONS = (Direction.BOTH, Direction.FORWARD, Direction.BACKWARD)
OVERWRITE_MODES = ("none", "all", "visible")


class PropagatePanel:
    """Starts, shows and stops runs."""

    def __init__(self, shared: Shared) -> None:
        """Connect the widgets."""
        self._shared, self._ui = shared, shared.ui
        self._num_points = 0
        self._recalled: tuple[int, int] | None = None
        ui, coordinator = self._ui, shared.coordinator
        ui.propagateButton.connect("clicked()", self.propagate)
        ui.fromHereButton.connect("clicked()", self.propagate_from_here)
        ui.updateButton.connect("clicked()", self.propagate_changes)
        ui.stopButton.connect("clicked()", lambda *_args: coordinator.stop())
        ui.undoButton.connect("clicked()", lambda *_args: coordinator.undo())
        ui.redoButton.connect("clicked()", lambda *_args: coordinator.redo())
        ui.directionCombo.connect("currentIndexChanged(int)", self._remember)
        ui.overwriteCombo.connect("currentIndexChanged(int)", self._on_overwrite)
        ui.limitCheck.connect("toggled(bool)", self._on_limit)
        for spin in (ui.firstSpin, ui.lastSpin):
            spin.connect("valueChanged(int)", self._remember)
        self.recall()

    def update(self, state: State) -> None:
        """Draw the state."""
        ui = self._ui
        self._update_limits(state)
        enable(ui.propagateButton, state.why_not(Action.PROPAGATE), _("Find the objects on all frames (key P)."))
        here = state.why_not(Action.PROPAGATE) or state.why_not(Action.PROMPT)
        enable(ui.fromHereButton, here, _("Go forward from the current frame; frames before it stay as they are."))
        enable(ui.updateButton, state.why_not(Action.UPDATE), _("Compute only what is missing or has changed (key U)."))
        enable(ui.stopButton, state.why_not(Action.STOP), _("Stop within a second; finished frames stay (Escape)."))
        enable(ui.undoButton, state.why_not(Action.UNDO), _("Take the last propagation back (key Z)."))
        enable(ui.redoButton, state.why_not(Action.REDO), _("Take an undo back (key Y)."))
        progress = state.progress
        ui.progressBar.maximum = max(progress.total, 1) if progress else 1
        ui.progressBar.value = progress.done if progress else 0
        ui.progressBar.textVisible = progress is not None  # "0%" after a run would look as if it had failed
        ui.progressLabel.text = describe(state.phase, progress) if progress else ""

    def recall(self) -> None:
        """Show what the scene remembers; limits wait for an input if there is none."""
        parameters = self._shared.parameters
        if parameters is None:
            return
        if parameters.direction in DIRECTIONS:
            set_silently(self._ui.directionCombo, currentIndex=DIRECTIONS.index(parameters.direction))
        if parameters.overwrite in OVERWRITE_MODES:
            set_silently(self._ui.overwriteCombo, currentIndex=OVERWRITE_MODES.index(parameters.overwrite))
            self._use_overwrite()
        set_silently(self._ui.limitCheck, checked=parameters.limitRange)
        self._recalled = (parameters.firstFrame, parameters.lastFrame) if parameters.limitRange else None
        self._num_points = 0
        self._update_limits(self._shared.coordinator.state)

    def propagate(self, *_args: object) -> None:
        """Find the objects on all frames."""
        self._run(self._options())

    def propagate_changes(self, *_args: object) -> None:
        """Compute what is missing or has changed."""
        self._run(self._options(is_update=True))

    def propagate_from_here(self, *_args: object) -> None:
        """Go forward from the current frame or time point."""
        slices = self._shared.coordinator.stack.num_slices
        frame = self._shared.coordinator.state.frame
        self._run(RunOptions(Direction.FORWARD, frame if slices is None else frame // slices))

    def _run(self, options: RunOptions) -> None:
        if self._shared.ensure_ready():
            self._shared.placing.end()
            self._shared.coordinator.propagate(options)

    def _options(self, is_update: bool = False) -> RunOptions:
        direction = DIRECTIONS[self._ui.directionCombo.currentIndex]
        if not self._ui.limitCheck.checked:
            return RunOptions(direction, is_update=is_update)
        return RunOptions(direction, self._ui.firstSpin.value, self._ui.lastSpin.value, is_update)

    def _update_limits(self, state: State) -> None:
        ui, stack = self._ui, self._shared.coordinator.stack
        count = state.num_frames // (stack.num_slices or 1) if stack is not None else 0
        if count != self._num_points:
            self._num_points = count
            last = max(count - 1, 0)
            for spin, value in zip((ui.firstSpin, ui.lastSpin), self._recalled or (0, last), strict=True):
                set_silently(spin, maximum=last)
                set_silently(spin, value=min(value, last))
            if count:
                self._recalled = None  # for this input only; the next one has other frames
                self._remember()
        reason = "" if ui.limitCheck.checked else _("Check the box on the left to set limits.")
        enable(ui.firstSpin, reason, _("First frame to visit; in 3D+t a time point."))
        enable(ui.lastSpin, reason, _("Last frame to visit; in 3D+t a time point."))

    def _on_overwrite(self, *_args: object) -> None:
        self._use_overwrite()
        self._remember()

    def _use_overwrite(self) -> None:
        self._shared.coordinator.choose_overwrite(OVERWRITE_MODES[self._ui.overwriteCombo.currentIndex])

    def _on_limit(self, *_args: object) -> None:
        self._remember()
        self.update(self._shared.coordinator.state)

    def _remember(self, *_args: object) -> None:
        ui = self._ui
        self._shared.remember(
            direction=DIRECTIONS[ui.directionCombo.currentIndex].value,
            overwrite=OVERWRITE_MODES[ui.overwriteCombo.currentIndex],
            limitRange=ui.limitCheck.checked,
            firstFrame=ui.firstSpin.value,
            lastFrame=ui.lastSpin.value,
        )


def describe(phase: Phase, progress: Progress) -> str:
    """How far a run is, how fast, and how long it will take."""
    if phase is Phase.STOPPING:
        return _("Stopping...")
    text = f"{progress.done} / {progress.total}"
    if progress.frames_per_s > 0:
        text += _(", {speed:.1f} frames/s").format(speed=progress.frames_per_s)
    if progress.left_s is not None:
        text += _(", {seconds} s left").format(seconds=max(1, round(progress.left_s)))
    return text
