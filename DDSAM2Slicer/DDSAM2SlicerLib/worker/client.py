"""The engine's methods, carried out by a worker process that may crash without harm (layer: worker.client).

For a GUI: every ``start_…`` returns at once with a request number, and a timer calls ``poll()``. For scripts:
``preview`` and ``propagate`` wait, as the engine's own session does. A worker that is gone is started again by the next
request, with the same model, stacks and prompts.
"""

from __future__ import annotations

import collections
import itertools
import queue
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.errors import DDSAM2Error, WorkerError
from ..core.settings import EngineSettings
from .contents import unpack_error, unpack_result
from .link import URGENT, Link
from .protocol import CANCEL_LIMIT_S, FINAL_KINDS, LOADING_LIMIT_S, SILENCE_LIMIT_S, Message
from .requests import Event, ModelChoice, OpenRequest, WorkerSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..core.frames import FrameSource

__all__ = ["DEFAULT_COMMAND", "Event", "WorkerClient", "WorkerSession"]

DEFAULT_COMMAND = (sys.executable, "-m", "DDSAM2SlicerLib.worker")
YIELD_S = 0.002
"""Each poll lets the pipe threads run for so long: Slicer's event loop never releases Python's lock itself."""
MESSAGES_PER_POLL = 8
"""What arrives in a burst is handled in turns: masks take eight times less memory before they are unpacked."""
WAIT_S = 0.05
UNWATCHED_S = 2.0
"""After a longer gap between two polls silence is counted anew: it was the client that did not listen."""


class WorkerClient:
    """Talks to one worker process; use it from one thread.

    Example::

        with WorkerClient() as client:
            client.load_model("nano")
            session = client.open(frames)
            session.set_prompts(prompts)
            for result in session.propagate():
                ...
    """

    def __init__(
        self,
        command: Sequence[str] = DEFAULT_COMMAND,
        popen: Callable[..., Any] = subprocess.Popen,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember how to start the worker; it starts with the first request.

        Args:
            command: Any command that speaks the protocol on its stdin and stdout, as ``ssh HOST ddsam2 worker``.
            popen: Starts a process.
            clock: Seconds, never running backwards.
        """
        self.command = tuple(command)
        """Starts the next worker."""
        self._popen = popen
        self._clock = clock
        self._numbers = itertools.count(1)
        self._link: Link | None = None
        self._events: collections.deque[Event] = collections.deque()
        self._requests: dict[int, OpenRequest] = {}
        self._model: ModelChoice | None = None
        self._is_greeted = False
        self._heard_s = self._watched_s = 0.0
        self.generation = 0
        """Counts the workers started so far."""
        self.log: Sequence[str] = ()
        """Latest lines that the worker wrote to stderr; stays when it is gone."""

    def __enter__(self) -> WorkerClient:
        """Use as a context, so that the worker ends with it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether there is a worker, as far as is known."""
        return self._link is not None

    @property
    def is_busy(self) -> bool:
        """Whether a request waits for its end."""
        return any(not request.is_quiet for request in self._requests.values())

    def start(self) -> None:
        """Start the worker if there is none; a model that was loaded before is loaded again.

        Raises:
            WorkerError: If the command cannot be started.
        """
        self._pump(0.0)  # it may have gone unnoticed
        if self._link is not None:
            return
        self._link = Link(self.command, self._popen)
        self.log = self._link.process.log
        self.generation += 1
        self._is_greeted = False
        self._heard_s = self._watched_s = self._clock()
        self.request("hello", {"release": __version__}, is_quiet=True)
        if self._model is not None:
            self._send_model(self._model, is_quiet=True)

    def close(self, grace_s: float = 0.5) -> None:
        """End the worker; open requests end as cancelled."""
        if self._link is None:
            return
        self._link.send(Message("shutdown", next(self._numbers)), URGENT)
        self._link.stop(grace_s)
        self._link = None
        self._end_all("cancelled")

    def restart(self) -> None:
        """Replace the worker by a fresh one at once, whatever it is doing."""
        self.close(grace_s=0.0)
        self.start()

    def start_load_model(
        self, name: str, device: str = "auto", settings: EngineSettings | None = None, adapters: str = ""
    ) -> int:
        """Load a model by its name in the model list or its path, with adapters if a path of theirs is given.

        Both paths are on the worker's machine. Returns the request.
        """
        model = ModelChoice(str(name), str(device), settings or EngineSettings(), str(adapters))
        self._model = None  # not to be loaded twice
        try:
            self.start()
        finally:
            self._model = model
        return self._send_model(model)

    def load_model(
        self, name: str, device: str = "auto", settings: EngineSettings | None = None, adapters: str = ""
    ) -> None:
        """Load a model and wait for it, arguments as in ``start_load_model``.

        Raises:
            DDSAM2Error: If it cannot be loaded.
        """
        for _ in self.events_of(self.start_load_model(name, device, settings, adapters)):
            pass

    def open(self, frames: FrameSource) -> WorkerSession:
        """Begin to segment a stack; its frames travel to the worker in the background."""
        return WorkerSession(self, frames)

    def cancel(self, request: int) -> None:
        """Stop a request; it ends as cancelled within a second, what has arrived until then stays."""
        state = self._requests.get(request)
        if state is None or self._link is None or state.give_up_at_s is not None:
            return
        state.give_up_at_s = self._clock() + CANCEL_LIMIT_S
        self._link.drop(request)
        self._link.send(Message("cancel", 0, {"target": request}), URGENT)

    def abandon(self, request: int) -> None:
        """Stop a request nobody waits for any more, if it has not ended, and drop its events."""
        self.cancel(request)
        if request in self._requests:
            self._requests[request].is_quiet = True
        self._events = collections.deque(event for event in self._events if event.request != request)

    def poll(self) -> list[Event]:
        """Return what has happened since the last call, without waiting; a GUI calls it every 20 to 50 ms."""
        self._pump(YIELD_S, is_staying=True)
        events = list(self._events)
        self._events.clear()
        return events

    def events_of(self, request: int, cancel: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """Wait for a request: yield its results and its end; events of other requests are kept for ``poll``.

        Raises:
            DDSAM2Error: If the request failed.
        """
        while True:
            if cancel():
                self.cancel(request)
            event = next((event for event in self._events if event.request == request), None)
            if event is not None:
                self._events.remove(event)
                if event.error is not None:
                    raise event.error
                yield event
            elif request in self._requests:
                self._pump(WAIT_S)
            else:
                return

    def request(self, kind: str, fields: dict | None = None, arrays: dict | None = None, is_quiet: bool = False) -> int:
        """Send one request of the protocol; returns its number."""
        number = next(self._numbers)
        self._requests[number] = OpenRequest(kind, is_quiet)
        self._link.send(Message(kind, number, fields or {}, arrays or {}))
        return number

    def open_stack(self, fields: dict, arrays: dict, frames: FrameSource) -> int:
        """Send a stack, whose frames follow in the background; returns its number."""
        number = self.request("open_stack", fields, arrays, is_quiet=True)
        self._link.upload(number, frames)
        return number

    def _send_model(self, model: ModelChoice, is_quiet: bool = False) -> int:
        return self.request("load_model", asdict(model), is_quiet=is_quiet)

    def _pump(self, wait_s: float, is_staying: bool = False) -> None:
        """Handle what has arrived, waiting so long for the first of it (or for all, staying), and notice silence."""
        if self._link is None:
            return
        inbox, end_s = self._link.inbox, time.monotonic() + wait_s
        try:
            for number in range(MESSAGES_PER_POLL):
                rest_s = end_s - time.monotonic() if is_staying or number == 0 else 0.0
                self._handle(inbox.get(timeout=rest_s) if rest_s > 0 else inbox.get_nowait())
                if self._link is None:
                    return
        except queue.Empty:
            pass
        self._watch(self._clock())

    def _handle(self, arrival: tuple[Any, ...]) -> None:
        if arrival[0] == "lost":
            self._lose(arrival[1] or self._explain_end())
        elif arrival[0] == "upload_failed":
            self._end(arrival[1], "failed", arrival[2])
        else:
            try:
                self._take(arrival[1])
            except WorkerError as error:
                self._lose(error)

    def _take(self, message: Message) -> None:
        """Handle one reply; replies to requests that have ended are late and ignored."""
        self._heard_s = self._clock()
        if message.kind == "hello":
            self._is_greeted = True
            self._end(message.request, "done")
        elif message.kind == "failed" and message.request == 0:
            self._lose(unpack_error(message))
        elif message.kind in FINAL_KINDS:
            self._end(message.request, message.kind, unpack_error(message) if message.kind == "failed" else None)
        elif message.kind == "result":
            if message.request in self._requests:
                self._events.append(Event(message.request, "result", unpack_result(message)))
        elif message.kind != "alive":
            msg = f"The worker sent {message.kind!r}, which this release does not know. Install the same release there."
            raise WorkerError(msg)

    def _watch(self, now_s: float) -> None:
        """End cancelled requests in time and give up a worker that is silent for too long."""
        for number, request in list(self._requests.items()):
            if request.give_up_at_s is not None and now_s >= request.give_up_at_s:
                self._end(number, "cancelled")
        if now_s - self._watched_s > UNWATCHED_S:
            self._heard_s = now_s
        self._watched_s = now_s
        is_loading = not self._is_greeted or any(one.kind == "load_model" for one in self._requests.values())
        if now_s - self._heard_s > (LOADING_LIMIT_S if is_loading else SILENCE_LIMIT_S):
            msg = "The worker does not answer any more and was ended. Finished frames are kept; run again."
            self._lose(WorkerError(msg))

    def _explain_end(self) -> WorkerError:
        how = self._link.process.describe_end()
        if not self._is_greeted:
            return WorkerError(f"The worker did not start ({how}). Check its command: {' '.join(self.command)}")
        return WorkerError(f"The worker stopped unexpectedly ({how}). Finished frames are kept; run again.")

    def _lose(self, error: DDSAM2Error) -> None:
        """Count the worker as gone; all open requests fail with one sentence."""
        self._link.stop()
        self._link = None
        self._end_all("failed", error)

    def _end_all(self, kind: str, error: DDSAM2Error | None = None) -> None:
        for number in list(self._requests):
            self._end(number, kind, error)

    def _end(self, number: int, kind: str, error: DDSAM2Error | None = None) -> None:
        request = self._requests.pop(number, None)
        if request is None or request.is_quiet:
            return
        if kind == "failed" and request.give_up_at_s is not None:
            kind, error = "cancelled", None  # the user wanted its end; how it came does not matter
        self._events.append(Event(number, kind, error=error))
