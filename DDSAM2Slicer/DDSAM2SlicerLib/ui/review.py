"""Panel "Review": how sure each frame is, which one to look at next, accept, ends of objects (layer: ui)."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from ..logic.state import Action, State
from .shared import Shared, enable, set_silently

STRIP_WIDTH, STRIP_HEIGHT, MARK_HEIGHT = 400, 48, 4
COLORS = {"bar": "#4477aa", "settled": "#222222", "current": "#ee6677"}  # told apart by place and form as well


class StripClicks(qt.QObject):
    """Watches the mouse on the strip, which is a picture and has no signal for it."""

    def __init__(self, strip, on_share) -> None:
        """Watch a label; ``on_share`` is given where it was pressed, from 0 on the left to 1 on the right."""
        super().__init__()
        self._strip, self._on_share = strip, on_share
        strip.installEventFilter(self)

    def eventFilter(self, _watched, event) -> bool:
        """Called by Qt before the label sees an event."""
        if event.type() == qt.QEvent.MouseButtonPress:
            self._on_share(event.pos().x() / max(self._strip.width, 1))
        return False


class ReviewPanel:
    """Leads the user through the frames."""

    def __init__(self, shared: Shared) -> None:
        """Connect the widgets."""
        self._shared, self._ui = shared, shared.ui
        self._drawn: object = None
        self._clicks = StripClicks(self._ui.scoreStrip, self._on_strip)
        self._ui.frameSlider.connect("valueChanged(int)", self._on_slider)
        self._ui.nextButton.connect("clicked()", self.go_to_next)
        self._ui.lockButton.connect("clicked()", self.toggle_lock)
        self._ui.firstEndButton.connect("clicked()", lambda *_args: self._mark_end(is_first=True))
        self._ui.lastEndButton.connect("clicked()", lambda *_args: self._mark_end(is_first=False))
        self._ui.clearEndsButton.connect("clicked()", self._clear_ends)

    def update(self, state: State) -> None:
        """Draw the state."""
        ui = self._ui
        no_input = state.why_not(Action.PROMPT) if self._shared.coordinator.stack is None else ""
        set_silently(ui.frameSlider, maximum=max(state.num_frames - 1, 0), value=state.frame or 0)
        enable(ui.frameSlider, no_input, _("The current frame; move it to go to another one."))
        tip = _("Go to the frame whose correction helps most: large, unsure, far from what you gave (key N).")
        enable(ui.nextButton, state.why_not(Action.CHECK_NEXT), tip)
        tip = _("The masks of this frame are right: later runs keep them (key L).")
        enable(ui.lockButton, state.why_not(Action.LOCK), tip)
        set_silently(ui.lockButton, checked=self._is_locked(state.frame))
        reason = state.why_not(Action.LOCK) or ("" if self._shared.segment_id else _("Select a segment in the table."))
        enable(ui.firstEndButton, reason, _("The selected object does not exist before this frame."))
        enable(ui.lastEndButton, reason, _("The selected object does not exist behind this frame."))
        enable(ui.clearEndsButton, reason, _("The selected object may be on all frames."))
        self._draw(state)

    def go_to_next(self, *_args: object) -> None:
        """Show the frame that needs an eye most."""
        frame = self._shared.coordinator.review.next_to_check(self._shared.coordinator.state.frame)
        if frame is None:
            self._shared.tell(_("All frames are accepted or prompted; there is nothing left to check."))
        else:
            self._shared.viewing.show(frame)

    def toggle_lock(self, *_args: object) -> None:
        """Accept the current frame, or take that back."""
        frame = self._shared.coordinator.state.frame
        if frame is not None:
            self._shared.coordinator.review.set_locked(frame, not self._is_locked(frame))
            self._drawn = None
            self.update(self._shared.coordinator.state)

    def _is_locked(self, frame: int | None) -> bool:
        notes = self._shared.coordinator.notes
        return notes is not None and any(at == frame for _, at in notes.locked)

    def _mark_end(self, is_first: bool) -> None:
        coordinator = self._shared.coordinator
        one, frame = coordinator.object_of(self._shared.segment_id), coordinator.state.frame
        if coordinator.stack.num_slices is not None:
            frame %= coordinator.stack.num_slices
        first, last = coordinator.notes.ends.get(one, (None, None))
        coordinator.review.set_ends(one, *((frame, last) if is_first else (first, frame)))
        self._drawn = None
        self.update(coordinator.state)

    def _clear_ends(self, *_args: object) -> None:
        coordinator = self._shared.coordinator
        coordinator.review.set_ends(coordinator.object_of(self._shared.segment_id), None, None)
        self._drawn = None
        self.update(coordinator.state)

    def _on_slider(self, frame: int) -> None:
        self._shared.viewing.show(int(frame))

    def _on_strip(self, share: float) -> None:
        num_frames = self._shared.coordinator.state.num_frames
        if num_frames > 0:
            self._shared.viewing.show(min(int(share * num_frames), num_frames - 1))

    def _draw(self, state: State) -> None:
        """Draw strip and text, if there is news."""
        notes = self._shared.coordinator.notes
        key = None if notes is None else (state.frame, len(notes.results.scores), id(notes.results), notes.locked)
        if key == self._drawn:
            return
        self._drawn = key
        scores = self._shared.coordinator.review.scores() if notes is not None else {}
        settled = {frame for _, frame in notes.locked} | set(notes.prompts.frames()) if notes is not None else set()
        self._ui.scoreStrip.setPixmap(draw_strip(scores, settled, state.num_frames, state.frame))
        self._ui.frameLabel.text = self._describe(state, scores)

    def _describe(self, state: State, scores: dict[int, float]) -> str:
        if state.frame is None:
            return ""
        text = _("Frame {frame}").format(frame=self._shared.frame_text(state.frame))
        if state.frame in scores:
            text += _(", {percent:.0f} % sure").format(percent=100 * scores[state.frame])
        ends = self._shared.coordinator.notes.ends
        for one, (first, last) in sorted(ends.items()):
            if first is not None or last is not None:
                name = self._shared.segment_name(one)
                text += f"; {name}: {'' if first is None else first} - {'' if last is None else last}"
        return text


def draw_strip(scores: dict[int, float], settled: set[int], num_frames: int, current: int | None):
    """A bar for each frame, a line below the settled ones, and a line through the current one."""
    pixmap = qt.QPixmap(STRIP_WIDTH, STRIP_HEIGHT)
    pixmap.fill(qt.QColor("#ffffff"))
    if num_frames == 0:
        return pixmap
    painter, height = qt.QPainter(pixmap), STRIP_HEIGHT - MARK_HEIGHT
    for frame in range(num_frames):
        left = frame * STRIP_WIDTH // num_frames
        width = max(1, (frame + 1) * STRIP_WIDTH // num_frames - left)
        bar = round(height * scores.get(frame, 0.0))
        painter.fillRect(left, height - bar, width, bar, qt.QColor(COLORS["bar"]))
        if frame in settled:
            painter.fillRect(left, height, width, MARK_HEIGHT, qt.QColor(COLORS["settled"]))
    if current is not None:
        middle = (2 * current + 1) * STRIP_WIDTH // (2 * num_frames)
        painter.fillRect(middle - 1, 0, 2, STRIP_HEIGHT, qt.QColor(COLORS["current"]))
    painter.end()
    return pixmap
