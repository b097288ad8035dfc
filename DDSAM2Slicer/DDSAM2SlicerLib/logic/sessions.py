"""Stacks that the worker holds for one input, by name (layer: logic)."""

from __future__ import annotations

from ..core.frames import FrameSource
from ..worker.client import WorkerSession
from .process_transport import ProcessTransport


class Sessions:
    """Opens a stack when it is first needed and keeps it open, so that corrections know what was found before."""

    def __init__(self, transport: ProcessTransport) -> None:
        """No stack is open yet."""
        self._transport = transport
        self._open: dict[str, WorkerSession] = {}

    def get(self, name: str, source: FrameSource) -> WorkerSession:
        """The session of a stack; its frames travel in the background.

        Raises:
            DDSAM2Error: If the worker cannot be started.
        """
        if name not in self._open:
            self._open[name] = self._transport.open(source)
        return self._open[name]

    def close(self, name: str) -> None:
        """Let the worker forget a stack."""
        session = self._open.pop(name, None)
        if session is not None:
            session.close()

    def close_all(self) -> None:
        """Let the worker forget all stacks: image, window or model are others now."""
        for name in list(self._open):
            self.close(name)
