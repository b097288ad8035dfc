"""What the panel draws: what is running, how far it is, what can be done now and why the rest cannot (layer: logic)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """What is going on."""

    EMPTY = "empty"  # no input chosen
    IDLE = "idle"
    RUNNING = "running"
    STOPPING = "stopping"
    MEASURING = "measuring"


class Action(StrEnum):
    """What a user can ask for."""

    PROMPT = "prompt"
    PROPAGATE = "propagate"
    UPDATE = "update"
    STOP = "stop"
    UNDO = "undo"
    REDO = "redo"
    LOCK = "lock"
    CHECK_NEXT = "check_next"
    MEASURE = "measure"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: Frames finished.
        total: Frames to do, as far as is known.
        frames_per_s: Speed so far; 0 before the first frame.
        left_s: Estimated seconds left; None while nothing is known.
    """

    done: int
    total: int
    frames_per_s: float
    left_s: float | None


@dataclass(frozen=True)
class State:
    """One moment, to be drawn as it is.

    Attributes:
        phase: What is going on.
        reasons: For each action why it cannot be done now; empty text if it can.
        progress: Of the run or the measurement; None if there is none.
        is_previewing: Whether the preview of the current frame is being computed.
        frame: Current frame, or None if the views show none.
        num_frames: Frames of the input; in 3D+t slices times time points.
        error: One sentence about what went wrong last; empty if nothing did.
        notice: One sentence worth knowing, such as "Stopped after 12 of 40 frames."
    """

    phase: Phase = Phase.EMPTY
    reasons: Mapping[Action, str] = field(default_factory=dict)
    progress: Progress | None = None
    is_previewing: bool = False
    frame: int | None = None
    num_frames: int = 0
    error: str = ""
    notice: str = ""

    def can(self, action: Action) -> bool:
        """Whether an action is possible now."""
        return not self.why_not(action)

    def why_not(self, action: Action) -> str:
        """Why an action is not possible now; empty if it is."""
        return self.reasons.get(action, "")
