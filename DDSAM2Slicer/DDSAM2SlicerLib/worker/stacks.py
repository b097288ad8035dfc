"""Stacks as the worker holds them: arriving frames, prompts, and the engine's session (layer: worker, numpy only)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DDSAM2Error, InputError
from .contents import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core.prompts import PromptSet
    from ..core.results import EngineSession
    from .protocol import Message


class ReceivedFrames:
    """A stack that arrives in chunks (a FrameSource); the pixels exist once, here."""

    def __init__(self, message: Message) -> None:
        """Make room for the stack that ``pack_stack`` describes.

        Raises:
            WorkerError: If the description makes no sense.
        """
        with reading(message):
            fields = message.fields
            shape = tuple(int(size) for size in fields["shape"])
            if len(shape) not in (3, 4) or min(shape) < 1 or message.arrays["pixel_to_ras"].shape != (shape[0], 4, 4):
                msg = f"shape {shape} is not a stack of frames"
                raise ValueError(msg)
            self.num_frames, self.height, self.width = shape[:3]
            self.pixel_spacing_mm = tuple(fields["spacing_mm"])
            self.frame_step_mm = fields["step_mm"]
            self._pixel_to_ras = message.arrays["pixel_to_ras"]
            self._pixels = np.empty(shape, np.uint8)
        self._num_arrived = 0

    @property
    def is_complete(self) -> bool:
        """Whether all frames have arrived."""
        return self._num_arrived == self.num_frames

    def add(self, message: Message) -> None:
        """Take the next chunk; chunks come in order."""
        with reading(message):
            first, frames = message.fields["first"], message.arrays["frames"]
            end = self._num_arrived + len(frames)
            if first != self._num_arrived or end > self.num_frames or frames.shape[1:] != self._pixels.shape[1:]:
                msg = f"frames {first} of shape {frames.shape} do not follow {self._num_arrived} frames"
                raise ValueError(msg)
            self._pixels[first:end] = frames
        self._num_arrived = end

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame, a new array."""
        if not 0 <= index < self.num_frames:
            msg = f"There is no frame {index}: the stack has frames 0 to {self.num_frames - 1}."
            raise InputError(msg)
        return self._pixels[index].copy()

    def pixel_to_ras(self, index: int) -> NDArray[np.float64]:
        """(4, 4): steps in mm per column, row and frame, and the centre of pixel (0, 0) of this frame."""
        return self._pixel_to_ras[index].copy()


class Stack:
    """A stack of the client with its prompts, and the engine's session as long as model and prompts are good."""

    def __init__(self, frames: ReceivedFrames) -> None:
        """Begin without prompts."""
        self.frames = frames
        self.prompts: PromptSet | None = None
        self.error: DDSAM2Error | None = None
        self._session: EngineSession | None = None

    def forget_session(self) -> None:
        """Let the next request begin a new one."""
        self._session = None

    def session(self, predictor: Any) -> EngineSession:
        """The session with the prompts set; made on first use, so a new model finds stack and prompts in place."""
        if self.error is not None:
            raise self.error
        if not self.frames.is_complete:
            msg = "The stack has not arrived completely. Open it again."
            raise InputError(msg)
        if self._session is None:
            session = predictor.open(self.frames)
            if self.prompts is not None:
                session.set_prompts(self.prompts)
            self._session = session
        return self._session
