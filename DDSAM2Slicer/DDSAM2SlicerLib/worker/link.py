"""One started worker with its two pipe threads; nothing here blocks the caller (layer: worker, numpy only)."""

from __future__ import annotations

import itertools
import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..core.errors import DDSAM2Error, WorkerError
from .codec import BrokenOffError, read_message, write_message
from .contents import chunks_of, pack_error
from .process import WorkerProcess
from .protocol import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..core.frames import FrameSource

URGENT, NORMAL = 0, 1
INBOX_LIMIT = 32
"""Messages that wait to be handled; a worker that is faster than its client waits at the pipe."""
END_GRACE_S = 1.0
"""A worker that closed its pipe gets this long to leave an exit code."""

# What arrives in the inbox: ("message", Message), ("upload_failed", request, error), ("lost", error or None)
Arrival = tuple[Any, ...]


class Link:
    """Sends messages in order, except that urgent ones pass; puts everything that arrives into one queue."""

    def __init__(self, command: Sequence[str], popen: Callable[..., Any]) -> None:
        """Start the worker.

        Raises:
            WorkerError: If it cannot be started.
        """
        self.process = WorkerProcess(command, popen)
        self.inbox: queue.Queue[Arrival] = queue.Queue(INBOX_LIMIT)
        self._outbox: queue.PriorityQueue[tuple[int, int, Iterator[Message] | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._dropped: set[int] = set()
        for loop in (self._read, self._write):
            threading.Thread(target=loop, daemon=True).start()

    def send(self, message: Message, priority: int = NORMAL) -> None:
        """Queue one message."""
        self._outbox.put((priority, next(self._numbers), iter([message])))

    def upload(self, request: int, source: FrameSource) -> None:
        """Queue the frames of a stack; each chunk is read only when the pipe takes it."""
        self._outbox.put((NORMAL, next(self._numbers), self._chunk_messages(request, source)))

    def drop(self, request: int) -> None:
        """Do not send what is still queued for a request."""
        self._dropped.add(request)

    def stop(self, grace_s: float = 0.0) -> None:
        """End the worker and all its children; the threads end with the pipes."""
        self.process.stop(grace_s)
        self._outbox.put((URGENT, -1, None))
        with suppress(queue.Empty):
            while True:  # nobody handles these any more, and the reading thread must not wait for room
                self.inbox.get_nowait()

    def _chunk_messages(self, request: int, source: FrameSource) -> Iterator[Message]:
        try:
            for first, frames in chunks_of(source):
                yield Message("frames", request, {"first": first}, {"frames": frames})
        except Exception as error:  # noqa: BLE001 (a source may be anything; the error is shown, not lost)
            reason = error if isinstance(error, DDSAM2Error) else WorkerError(f"The frames cannot be read ({error}).")
            self.inbox.put(("upload_failed", request, reason))
            yield Message("cancel", 0, {"target": request, **pack_error(reason)})

    def _write(self) -> None:
        """Write what is queued; an upload goes back into the queue after each chunk, so that urgent messages pass."""
        while True:
            priority, number, messages = self._outbox.get()
            message = None if messages is None else next(messages, None)
            if messages is None:
                return
            if message is None or message.request in self._dropped:
                continue
            try:
                write_message(self.process.stdin, message)
            except (OSError, ValueError):  # closed; the reader finds out why
                return
            except WorkerError as error:
                self.inbox.put(("upload_failed", message.request, error))
                continue
            self._outbox.put((priority, number, messages))

    def _read(self) -> None:
        """Read until the pipe ends, then make sure that the process has, too."""
        error = None
        try:
            while (message := read_message(self.process.stdout)) is not None:
                self.inbox.put(("message", message))
        except (OSError, ValueError, BrokenOffError):
            pass  # how the process ended tells more
        except WorkerError as caught:
            error = caught
        self.process.stop(END_GRACE_S if error is None else 0.0)
        self.inbox.put(("lost", error))
