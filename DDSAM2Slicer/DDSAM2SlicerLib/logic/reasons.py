"""Why an action cannot be done now, in words for a tool tip (layer: logic)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state import Action, Phase

if TYPE_CHECKING:
    from .workspace import Workspace

NO_INPUT = "Choose a volume or a sequence first."
BUSY = {
    Phase.RUNNING: "Wait for the propagation to end, or stop it.",
    Phase.STOPPING: "The propagation is being stopped.",
    Phase.MEASURING: "Wait for the measurement to end, or stop it.",
}


def find_reasons(phase: Phase, space: Workspace | None, frame: int | None) -> dict[Action, str]:
    """For each action why it cannot be done; empty text if it can."""
    if space is None:
        return dict.fromkeys(Action, NO_INPUT)
    reasons = dict.fromkeys(Action, BUSY.get(phase, ""))
    reasons[Action.STOP] = "" if phase in (Phase.RUNNING, Phase.MEASURING) else BUSY.get(phase) or "Nothing is running."
    # Prompts and locks are for the next run; they can be given while one is going on.
    reasons[Action.PROMPT] = "" if frame is not None else "The slice view shows no frame of the input."
    has_masks = bool(space.notes.results.done)
    reasons[Action.LOCK] = reasons[Action.PROMPT] or ("" if space.notes.segment_ids else "There is no object yet.")
    reasons[Action.CHECK_NEXT] = "" if has_masks else "Propagate first: there are no masks to check."
    if phase is Phase.IDLE:
        reasons.update(_idle_reasons(space, has_masks))
    return reasons


def _idle_reasons(space: Workspace, has_masks: bool) -> dict[Action, str]:
    """Reasons while nothing is going on."""
    results = space.notes.results
    has_prompts = bool(space.notes.prompts.prompts)
    no_prompts = "" if has_prompts else "Give at least one point, box or mask on one frame."
    has_news = bool(results.pending) or results.is_partial
    return {
        Action.PROPAGATE: no_prompts,
        Action.UPDATE: no_prompts or ("" if has_news else "All masks are up to date."),
        Action.UNDO: "" if space.target.can_undo else "There is no propagation to undo.",
        Action.REDO: "" if space.target.can_redo else "There is nothing to redo.",
        Action.MEASURE: "" if space.notes.segment_ids else "There is no object to measure.",
        Action.CHECK_NEXT: "" if has_masks else "Propagate first: there are no masks to check.",
    }
