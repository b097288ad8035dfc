"""What a client asks for and hears: requests, events, and one stack's session (layer: worker, numpy only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import WorkerError
from ..core.plan import Direction
from ..core.prompts import PromptSet
from .contents import pack_prompts, pack_propagation, pack_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from ..core.errors import DDSAM2Error
    from ..core.frames import FrameSource
    from ..core.plan import FrameRange
    from ..core.results import FrameResult
    from ..core.settings import EngineSettings
    from .client import WorkerClient


@dataclass(frozen=True, eq=False)
class Event:
    """Something that happened to a request.

    Attributes:
        request: Number that the ``start_…`` method returned.
        kind: "result", or one of the three ends "done", "cancelled" and "failed".
        result: Masks of one frame, for "result".
        error: Error with a sentence for the user, for "failed".
    """

    request: int
    kind: str
    result: FrameResult | None = None
    error: DDSAM2Error | None = None


@dataclass
class OpenRequest:
    """A request without an end yet.

    Attributes:
        kind: What was asked for.
        is_quiet: Its end gives no event; whatever fails in it also fails the request that needs it.
        give_up_at_s: When to stop waiting for the answer to a cancel; None if it was not cancelled.
    """

    kind: str
    is_quiet: bool
    give_up_at_s: float | None = None


@dataclass(frozen=True)
class ModelChoice:
    """Arguments of ``load_model``, kept for the next worker."""

    name: str
    device: str
    settings: EngineSettings
    adapters: str = ""


class WorkerSession:
    """Segments the objects of one stack in the worker (an EngineSession); made by ``WorkerClient.open``."""

    def __init__(self, client: WorkerClient, frames: FrameSource) -> None:
        """Send the stack; this returns at once."""
        self._client = client
        self._frames = frames
        self._stack: dict[str, int] = {}
        self._prompts = PromptSet.empty()
        self._generation = 0
        self._make_ready()

    def set_prompts(self, prompts: PromptSet) -> None:
        """Take all prompts as they are now; this returns at once.

        Raises:
            PromptError: If a prompt lies outside the stack, or an object has none that shows it.
        """
        prompts.validate(self._frames.num_frames, self._frames.height, self._frames.width)
        is_known = self._is_ready()
        self._prompts = prompts
        if is_known:
            self._send_prompts()

    def start_preview(self, frame: int) -> int:
        """Ask for the objects prompted on a frame; returns the request."""
        self._make_ready()
        return self._client.request("preview", {**self._stack, "frame": int(frame)})

    def start_propagation(
        self,
        direction: Direction | str = Direction.BOTH,
        frame_range: FrameRange | None = None,
        locked: Mapping[int, Mapping[int, NDArray]] | None = None,
        ends: Mapping[int, tuple[int | None, int | None]] | None = None,
        changed: tuple[int, int] | Iterable[tuple[int, int]] | None = None,
    ) -> int:
        """Ask for a propagation, arguments as in EngineSession; returns the request."""
        fields, arrays = pack_propagation(direction, frame_range, locked, ends, changed)
        self._make_ready()
        return self._client.request("propagate", {**self._stack, **fields}, arrays)

    def preview(self, frame: int) -> FrameResult:
        """Segment the objects prompted on a frame, there only, and wait for it.

        Raises:
            DDSAM2Error: If nothing is prompted there, or the worker fails.
        """
        for result in self._results(self.start_preview(frame), lambda: False):
            return result
        msg = "The preview was stopped before it was finished."
        raise WorkerError(msg)

    def propagate(
        self,
        direction: Direction | str = Direction.BOTH,
        frame_range: FrameRange | None = None,
        locked: Mapping[int, Mapping[int, NDArray]] | None = None,
        ends: Mapping[int, tuple[int | None, int | None]] | None = None,
        changed: tuple[int, int] | Iterable[tuple[int, int]] | None = None,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Iterator[FrameResult]:
        """Yield masks as they arrive, arguments as in EngineSession; leaving the loop early stops the worker, too.

        Raises:
            DDSAM2Error: If the prompts do not fit the range, or the worker fails; what was yielded before stays good.
        """
        return self._results(self.start_propagation(direction, frame_range, locked, ends, changed), cancel)

    def close(self) -> None:
        """Let the worker forget the stack."""
        if self._is_ready():
            self._client.request("release", self._stack, is_quiet=True)
        self._generation = 0

    def _results(self, request: int, cancel: Callable[[], bool]) -> Iterator[FrameResult]:
        try:
            for event in self._client.events_of(request, cancel):
                if event.result is not None:
                    yield event.result
        finally:
            self._client.abandon(request)

    def _is_ready(self) -> bool:
        return self._client.is_running and self._generation == self._client.generation

    def _make_ready(self) -> None:
        """Make sure that there is a worker and that it knows stack and prompts."""
        self._client.start()
        if self._is_ready():
            return
        fields, arrays = pack_stack(self._frames)
        self._stack = {"stack": self._client.open_stack(fields, arrays, self._frames)}
        self._generation = self._client.generation
        if self._prompts.prompts:
            self._send_prompts()

    def _send_prompts(self) -> None:
        self._client.request("set_prompts", self._stack, pack_prompts(self._prompts), is_quiet=True)
