"""Drives the worker from Slicer's event loop: a timer polls, and whoever asked for something is told (layer: logic).

Nothing here blocks. A worker that crashed is started again by the next request.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ..core.errors import DDSAM2Error, WorkerError
from ..core.frames import FrameSource
from ..core.settings import EngineSettings
from ..worker.client import Event, WorkerClient, WorkerSession
from .i18n import _

BUSY_INTERVAL_MS = 15
IDLE_INTERVAL_MS = 500
"""Between two polls while nobody waits: often enough to notice a worker that died."""
TICK_BUDGET_S = 0.010
"""Chores of one tick stop beginning new steps after this time, so that the event loop is never held for long."""

Handler = Callable[[Event], object]
Chore = Callable[[float], bool]


class Ticker(Protocol):
    """Calls a function again and again."""

    def start(self, interval_ms: int, callback: Callable[[], object]) -> None:
        """Call it every so many milliseconds; starting again changes interval and function."""

    def stop(self) -> None:
        """Call it no more."""


class QtTicker:
    """A QTimer."""

    def __init__(self) -> None:
        """Create the timer, stopped."""
        import qt

        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._tick)
        self._callback: Callable[[], object] | None = None

    def start(self, interval_ms: int, callback: Callable[[], object]) -> None:
        """Call a function every so many milliseconds."""
        self._callback = callback
        self._timer.start(interval_ms)

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.stop()

    def _tick(self) -> None:
        if self._callback is not None:
            self._callback()


def worker_command() -> tuple[str, ...]:
    """How to start a worker: with Slicer's own Python, which knows its libraries and the packages installed in it."""
    return find_python(), "-m", "DDSAM2SlicerLib.worker"


def find_python() -> str:
    """Slicer's Python, else the one this process embeds: inside an application ``sys.executable`` may be that."""
    own = Path(sys.executable or "")
    names = (f"python{sys.version_info.major}.{sys.version_info.minor}", "python3", "python")
    folders = (Path(sys.base_exec_prefix) / "bin", Path(sys.base_exec_prefix))
    embedded = (shutil.which(name, path=str(folder)) for folder in folders for name in names)
    is_python = own.name.lower().startswith("python")
    return shutil.which("PythonSlicer") or (str(own) if is_python else next(filter(None, embedded), str(own)))


class ProcessTransport:
    """One worker process for everybody in this Slicer; use it from the main thread."""

    def __init__(
        self,
        ticker: Ticker | None = None,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        prepare: Callable[[], str] = lambda: "",
    ) -> None:
        """Remember how to start the worker; it starts with the first request.

        Args:
            ticker: Polls; a QTimer by default.
            command: Starts a worker, for example ``("ssh", "HOST", "ddsam2", "worker")``.
            clock: Seconds, never running backwards.
            prepare: Called before a worker is started, to install what it needs; returns why it cannot be started.
        """
        self.clock = clock
        self._prepare = prepare
        self._is_ticking = False
        self._own_command = tuple(command or worker_command())
        self._client = WorkerClient(self._own_command)
        self._ticker = ticker or QtTicker()
        self._interval_ms = 0
        self._handlers: dict[int, Handler] = {}
        self._chores: list[Chore] = []
        self._brakes: list[Callable[[], bool]] = []
        self._model: tuple[str, str, EngineSettings, str] | None = None
        self._is_model_sent = False
        self._model_handler: Handler = lambda event: None

    @property
    def model(self) -> str | None:
        """Name of the chosen model."""
        return self._model[0] if self._model else None

    @property
    def is_elsewhere(self) -> bool:
        """Whether a command of the user's starts the worker, so that nothing needs to be installed here."""
        return self._client.command != self._own_command

    @property
    def log(self) -> Sequence[str]:
        """Latest lines that the worker wrote for whoever looks for the cause of a fault."""
        return self._client.log

    def use_model(self, name: str, device: str, settings: EngineSettings, handler: Handler, adapters: str = "") -> None:
        """Choose a model; it is loaded when it is first needed.

        Args:
            name: Name in the model list, or a path on the worker's machine.
            device: "auto", "cpu", "cuda[:n]" or "mps".
            settings: Of the engine.
            handler: Told whether it could be loaded.
            adapters: Path of an adapter file on the worker's machine; empty for none.
        """
        if self._model != (name, device, settings, adapters):
            self._model, self._is_model_sent = (name, device, settings, adapters), False
        self._model_handler = handler

    def use_command(self, command: str) -> None:
        """Start workers with another command from now on; the one that runs ends at once.

        Args:
            command: As typed in a shell, for example "ssh HOST ddsam2 worker"; empty for this computer's own worker.

        Raises:
            WorkerError: If it cannot be split into words; then all stays as it was.
        """
        words = tuple(split_words(command)) or self._own_command
        if words == self._client.command:
            return
        self.close()
        self._client.command = words
        self._is_model_sent = False  # so that whoever chose the model hears whether it loads there
        self.wake()  # a run that was cut short says so

    def open(self, frames: FrameSource) -> WorkerSession:
        """Begin to segment a stack; starts the worker and loads the model if needed.

        Raises:
            DDSAM2Error: If the worker cannot be started.
        """
        self._load()
        return self._client.open(frames)

    def send(self, start: Callable[[], int], handler: Handler) -> int:
        """Make a request and be told what comes of it, at last one of "done", "cancelled" and "failed".

        Raises:
            DDSAM2Error: If the worker cannot be started.
        """
        self._load()
        request = start()
        self._handlers[request] = handler
        self.wake()
        return request

    def cancel(self, request: int) -> None:
        """Stop a request; it ends as cancelled within a second."""
        self._client.cancel(request)
        self.wake()

    def abandon(self, request: int) -> None:
        """Stop a request, and hear no more of it."""
        self._client.abandon(request)
        self._handlers.pop(request, None)

    def add_chore(self, chore: Chore, is_behind: Callable[[], bool] = lambda: False) -> None:
        """Let a function work in each tick until the given time; it says whether it wants another tick soon.

        While it ``is_behind`` with what has come, nothing more is taken from the worker: there masks are packed.
        """
        self._chores.append(chore)
        self._brakes.append(is_behind)

    def wake(self) -> None:
        """Tick quickly again: there is something to do."""
        self._set_interval(BUSY_INTERVAL_MS)

    def tick(self) -> None:
        """Poll the worker, tell everybody, let the chores work; called by the ticker."""
        if self._is_ticking:
            return  # a dialog opened by one of them keeps the timer running
        self._is_ticking = True
        try:
            self._tick()
        finally:
            self._is_ticking = False

    def close(self) -> None:
        """End the worker at once; it starts again when it is needed."""
        self._client.close(grace_s=0.0)
        for event in self._client.poll():
            handler = self._handlers.pop(event.request, None)
            if handler is not None and event.kind != "result":
                handler(event)
        self._handlers.clear()
        self._set_interval(0)

    def _tick(self) -> None:
        deadline = self.clock() + TICK_BUDGET_S
        is_behind = any(brake() for brake in self._brakes)
        for event in [] if is_behind else self._client.poll():
            is_end = event.kind != "result"
            handler = self._handlers.pop(event.request, None) if is_end else self._handlers.get(event.request)
            if handler is not None:
                handler(event)
        wishes = [chore(deadline) for chore in self._chores]
        is_busy = any(wishes) or bool(self._handlers)
        if is_busy or self._client.is_running:
            self._set_interval(BUSY_INTERVAL_MS if is_busy else IDLE_INTERVAL_MS)
        else:
            self._set_interval(0)

    def _load(self) -> None:
        """Send the chosen model, once; the client sends it again to every new worker by itself.

        Raises:
            WorkerError: If what the worker needs is not installed.
        """
        reason = "" if self._client.is_running or self.is_elsewhere else self._prepare()
        if reason:
            raise WorkerError(reason)
        if self._model is None or self._is_model_sent:
            return
        request = self._client.start_load_model(*self._model)
        self._is_model_sent = True
        self._handlers[request] = self._on_model
        self.wake()

    def _on_model(self, event: Event) -> None:
        if event.kind != "done":
            self._is_model_sent = False
        self._model_handler(event)

    def _set_interval(self, interval_ms: int) -> None:
        if interval_ms == self._interval_ms:
            return
        self._interval_ms = interval_ms
        if interval_ms:
            self._ticker.start(interval_ms, self.tick)
        else:
            self._ticker.stop()


def split_words(command: str) -> list[str]:
    """The words of a command as a shell would split them; on Windows a backslash is part of a path.

    Raises:
        WorkerError: If a quotation has no end.
    """
    text = command.replace("\\", "\\\\") if sys.platform == "win32" else command
    try:
        return shlex.split(text)
    except ValueError as error:
        text = _("The worker command {command!r} cannot be read ({error}). Close its quotation marks.")
        raise WorkerError(text.format(command=command, error=error)) from error


def sentence_of(error: DDSAM2Error | None) -> str:
    """What to tell the user."""
    return str(error) if error is not None else _("The worker gave no reason.")
