"""Why an action cannot be done now, in words for a tool tip (layer: logic)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .i18n import _
from .state import Action, Phase

if TYPE_CHECKING:
    from .workspace import Workspace


def find_reasons(phase: Phase, space: Workspace | None, frame: int | None) -> dict[Action, str]:
    """For each action why it cannot be done; empty text if it can."""
    if space is None:
        return dict.fromkeys(Action, _("Choose a volume or a sequence first."))
    busy = _busy_reason(phase)
    reasons = dict.fromkeys(Action, busy)
    reasons[Action.STOP] = "" if phase in (Phase.RUNNING, Phase.MEASURING) else busy or _("Nothing is running.")
    # Prompts and locks are for the next run; they can be given while one is going on.
    reasons[Action.PROMPT] = "" if frame is not None else _("The slice view shows no frame of the input.")
    has_masks = bool(space.notes.results.done)
    reasons[Action.LOCK] = reasons[Action.PROMPT] or ("" if space.notes.segment_ids else _("There is no object yet."))
    reasons[Action.CHECK_NEXT] = "" if has_masks else _("Propagate first: there are no masks to check.")
    if phase is Phase.IDLE:
        reasons.update(_idle_reasons(space))
    return reasons


def _busy_reason(phase: Phase) -> str:
    """Why nearly everything has to wait; empty while nothing is going on."""
    if phase is Phase.RUNNING:
        return _("Wait for the propagation to end, or stop it.")
    if phase is Phase.STOPPING:
        return _("The propagation is being stopped.")
    return _("Wait for the measurement to end, or stop it.") if phase is Phase.MEASURING else ""


def _idle_reasons(space: Workspace) -> dict[Action, str]:
    """Reasons while nothing is going on."""
    results = space.notes.results
    has_prompts = bool(space.notes.prompts.prompts)
    no_prompts = "" if has_prompts else _("Give at least one point, box or mask on one frame.")
    has_news = bool(results.pending) or results.is_partial
    return {
        Action.PROPAGATE: no_prompts,
        Action.UPDATE: no_prompts or ("" if has_news else _("All masks are up to date.")),
        Action.UNDO: "" if space.target.can_undo else _("There is no propagation to undo."),
        Action.REDO: "" if space.target.can_redo else _("There is nothing to redo."),
        Action.MEASURE: "" if space.notes.segment_ids else _("There is no object to measure."),
    }
