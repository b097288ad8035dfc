"""The worker's side of the pipe: one engine, loaded once, works through requests (layer: worker.server).

Three threads. The main thread computes, one request after the other. The reader thread takes messages in and answers
hello, ping, cancel and shutdown itself, so that they never wait for the engine; it also stores arriving frames. The
heartbeat thread says every second that the process lives. Replies of all threads go through one lock.

The engine is imported by name with the first model, so that the worker answers at once and the fake needs no torch.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from .. import __version__
from ..core.errors import DDSAM2Error, DeviceError, PromptError, WorkerError
from ..core.results import EngineSession
from ..core.settings import EngineSettings
from .codec import ByteStream, read_message, write_message
from .contents import pack_error, pack_result, reading, unpack_error, unpack_prompts, unpack_propagation
from .protocol import FINAL_KINDS, HEARTBEAT_S, Message
from .stacks import ReceivedFrames, Stack

LOG = logging.getLogger("ddsam2.worker")
ENGINE = "DDSAM2SlicerLib.engine.predictor"
FAKE_ENGINE = "DDSAM2SlicerLib.testing.fakes"
OUT_OF_MEMORY = (
    "The worker has not enough memory for this. Choose a smaller model, propagate fewer objects or a shorter range at "
    "once, or close other programs."
)

# name, device, settings, adapters -> engine.predictor.Predictor
LoadPredictor = Callable[[str, str, EngineSettings, str], Any]


class Replies:
    """Sends replies from any thread; after the last reply to a request nothing more is sent for it."""

    def __init__(self, stream: ByteStream) -> None:
        """Write to this stream."""
        self._stream = stream
        self._lock = threading.Lock()
        self._ended: set[int] = set()

    def send(self, kind: str, request: int = 0, fields: Mapping | None = None, arrays: Mapping | None = None) -> bool:
        """Send one reply; False if the request has ended, then nothing is sent."""
        with self._lock:
            if request in self._ended:
                return False
            if kind in FINAL_KINDS and request:
                self._ended.add(request)
            write_message(self._stream, Message(kind, request, fields or {}, arrays or {}))
            return True

    def has_ended(self, request: int) -> bool:
        """Whether the last reply to a request was sent, by the engine or by a cancel."""
        return request in self._ended


class Server:
    """Serves one client until it goes away."""

    def __init__(
        self,
        incoming: ByteStream,
        outgoing: ByteStream,
        load_predictor: LoadPredictor,
        leave: Callable[[int], None] = os._exit,
    ) -> None:
        """Nothing is read yet.

        Args:
            incoming: Messages of the client.
            outgoing: Replies.
            load_predictor: Loads a model.
            leave: Ends the process at once, from any thread, even while the engine computes.
        """
        self._incoming = incoming
        self._replies = Replies(outgoing)
        self._load_predictor = load_predictor
        self._leave = leave
        self._jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stacks: dict[int, Stack] = {}
        self._uploads: dict[int, Stack] = {}  # by request
        self._predictor: Any = None
        self._load_error: DDSAM2Error | None = None

    def run(self) -> None:
        """Work through requests; does not return, the process ends with the client."""
        for loop in (self._read, self._beat):
            threading.Thread(target=self._guard, args=(loop,), daemon=True).start()
        while True:
            self._guard(self._work, self._jobs.get())

    def _guard(self, step: Callable[..., None], *arguments: Any) -> None:
        """Run a part of the server; when the pipe is gone or a thread fails, so is the worker's purpose."""
        try:
            step(*arguments)
        except OSError:
            self._leave(0)
        except BaseException:
            LOG.exception("leaving, since a thread of the worker failed")
            self._leave(1)
            raise

    @contextmanager
    def _answering(self, message: Message) -> Iterator[None]:
        """Turn every error inside into the last reply to the request; the traceback goes to the log."""
        try:
            yield
            return
        except DDSAM2Error as error:
            answer = error
        except MemoryError:
            answer = DeviceError(OUT_OF_MEMORY)
        except ImportError as error:
            answer = WorkerError(f"The worker's Python lacks what the engine needs ({error}). Install it there.")
        except Exception as error:  # noqa: BLE001 (becomes the answer, and the log has the traceback)
            answer = WorkerError(f"The worker met a fault of its own ({type(error).__name__}: {error}).")
        LOG.info("request %d (%s) failed: %s", message.request, message.kind, answer, exc_info=sys.exc_info())
        if not isinstance(answer, PromptError):
            self._forget_sessions()  # gives memory back, and trusts nothing half done
        self._replies.send("failed", message.request, pack_error(answer))

    def _beat(self) -> None:
        while True:
            self._replies.send("alive")
            time.sleep(HEARTBEAT_S)

    def _read(self) -> None:
        """Take messages in until the pipe ends."""
        try:
            while (message := read_message(self._incoming)) is not None:
                self._receive(message)
        except WorkerError as error:
            LOG.exception("leaving, since the client cannot be understood")
            self._replies.send("failed", 0, pack_error(error))
            self._leave(2)
        self._leave(0)

    def _receive(self, message: Message) -> None:
        """Answer what must not wait for the engine, queue the rest."""
        if message.kind == "hello":
            self._replies.send("hello", message.request, {"release": __version__, "pid": os.getpid()})
        elif message.kind == "ping":
            self._replies.send("alive", message.request)
        elif message.kind == "cancel":
            self._cancel(message)
        elif message.kind in ("open_stack", "frames"):
            with self._answering(message):
                self._take_frames(message)
        elif message.kind == "shutdown":
            self._replies.send("done", message.request)
            self._leave(0)
        else:
            self._jobs.put(message)

    def _cancel(self, message: Message) -> None:
        """End a request whatever state it is in; an upload that is cut short leaves the reason behind."""
        target = int(message.fields["target"])
        self._replies.send("cancelled", target)
        stack = self._uploads.pop(target, None)
        if stack is not None and "error" in message.fields:
            stack.error = unpack_error(message)

    def _take_frames(self, message: Message) -> None:
        """Begin a stack or fill it."""
        if message.kind == "open_stack":
            self._uploads[message.request] = self._stacks[message.request] = Stack(ReceivedFrames(message))
        elif message.request in self._uploads:
            stack = self._uploads[message.request]
            stack.frames.add(message)
            if stack.frames.is_complete:
                del self._uploads[message.request]
                self._replies.send("done", message.request)

    def _work(self, message: Message) -> None:
        """Do one request of the queue unless it was cancelled meanwhile."""
        steps = {
            "load_model": self._load_model,
            "set_prompts": self._set_prompts,
            "preview": self._preview,
            "propagate": self._propagate,
            "release": self._release,
        }
        if self._replies.has_ended(message.request):
            return
        with self._answering(message):
            if message.kind not in steps:
                msg = f"The worker does not know the request {message.kind!r}."
                raise WorkerError(msg)
            steps[message.kind](message)
            self._replies.send("done", message.request)

    def _load_model(self, message: Message) -> None:
        with reading(message):
            name, device = str(message.fields["name"]), str(message.fields["device"])
            settings, adapters = dict(message.fields["settings"]), str(message.fields.get("adapters", ""))
        self._forget_sessions()
        self._predictor = self._load_error = None  # the old model's memory is free before the new one needs it
        try:
            self._predictor = self._load_predictor(name, device, EngineSettings.from_dict(settings), adapters)
        except DDSAM2Error as error:
            self._load_error = error
            raise

    def _set_prompts(self, message: Message) -> None:
        stack = self._stack(message)
        stack.prompts = unpack_prompts(message)
        if self._predictor is None:
            return
        try:
            stack.session(self._predictor).set_prompts(stack.prompts)
        except DDSAM2Error:
            stack.forget_session()
            raise

    def _preview(self, message: Message) -> None:
        with reading(message):
            frame = int(message.fields["frame"])
        self._replies.send("result", message.request, *pack_result(self._session(message).preview(frame)))

    def _propagate(self, message: Message) -> None:
        results = self._session(message).propagate(
            **unpack_propagation(message), cancel=lambda: self._replies.has_ended(message.request)
        )
        for result in results:
            if not self._replies.send("result", message.request, *pack_result(result)):
                return

    def _release(self, message: Message) -> None:
        with reading(message):
            self._stacks.pop(int(message.fields["stack"]), None)

    def _forget_sessions(self) -> None:
        for stack in list(self._stacks.values()):
            stack.forget_session()

    def _stack(self, message: Message) -> Stack:
        with reading(message):
            stack_id = int(message.fields["stack"])
        if stack_id not in self._stacks:
            msg = f"The worker has no stack {stack_id}. Open it again."
            raise WorkerError(msg)
        return self._stacks[stack_id]

    def _session(self, message: Message) -> EngineSession:
        stack = self._stack(message)
        if self._predictor is None:
            if self._load_error is not None:
                raise self._load_error
            msg = "No model is loaded. Load one first."
            raise WorkerError(msg)
        return stack.session(self._predictor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the client on stdin and stdout; ``python -m DDSAM2SlicerLib.worker`` and ``ddsam2 worker``.

    Returns:
        Never: the process ends with the client. The annotation is that of an entry point.
    """
    parser = argparse.ArgumentParser(prog="ddsam2 worker", description="Serve 3D Slicer over stdin and stdout.")
    parser.add_argument("--fake", action="store_true", help="for tests: an engine without a network")
    chosen = FAKE_ENGINE if parser.parse_args(arguments).fake else ENGINE
    incoming, outgoing = take_pipes()
    # PyTorch's idle threads would spin; beside a busy 3D Slicer that makes propagation ten times slower (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")

    def load_predictor(name: str, device: str, settings: EngineSettings, adapters: str) -> Any:
        return importlib.import_module(chosen).load_predictor(name, device, settings, adapters=adapters)

    Server(incoming, outgoing, load_predictor).run()
    return 0


def take_pipes() -> tuple[ByteStream, ByteStream]:
    """Take stdin and stdout for messages; from here on whatever anybody prints goes to stderr, even from C code."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return io.FileIO(incoming, "r"), io.FileIO(outgoing, "w")
