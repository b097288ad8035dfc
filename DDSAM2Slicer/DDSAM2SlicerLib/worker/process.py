"""A child process that can really be stopped, with everything it started in turn (layer: worker)."""

from __future__ import annotations

import collections
import io
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOG_LINES = 200
"""Latest lines of the worker's stderr that are kept."""
PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
KILL_LIMIT_S = 3.0
IS_WINDOWS = sys.platform == "win32"

SIGNAL_HINTS = {9: "often a sign that memory ran out", 11: "a crash", 6: "a crash"}


class WorkerProcess:
    """A started command with pipes for messages; its stderr is read into ``log`` by a thread."""

    def __init__(self, command: Sequence[str], popen: Callable[..., subprocess.Popen] = subprocess.Popen) -> None:
        """Start the command in a process group of its own.

        Raises:
            WorkerError: If it cannot be started.
        """
        # On Windows taskkill finds the tree by itself, and the flag keeps a console window from flashing up.
        grouping: dict[str, Any] = {"creationflags": 0x08000000} if IS_WINDOWS else {"start_new_session": True}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "bufsize": 0}
        try:
            self._child = popen(list(command), env=_environment(), **pipes, **grouping)
        except OSError as error:
            msg = f"The worker cannot be started: {command[0]!r} ({error.strerror or error}). Check its command."
            raise WorkerError(msg) from error
        self.stdin, self.stdout, self.pid = self._child.stdin, self._child.stdout, self._child.pid
        self.log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    def stop(self, grace_s: float = 0.0) -> None:
        """End the process and all its children, waiting so long for it to go by itself; fine to call twice."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(grace_s)
        # The direct child may be a launcher (ssh, PythonSlicer), so the whole group goes, even if the child has gone.
        if IS_WINDOWS:
            command = ["taskkill", "/T", "/F", "/PID", str(self.pid)]
            subprocess.run(command, capture_output=True, check=False, creationflags=0x08000000)
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(KILL_LIMIT_S)
        self._log_reader.join(KILL_LIMIT_S)
        for pipe in (self.stdin, self.stdout):
            with suppress(OSError):
                pipe.close()

    def describe_end(self) -> str:
        """How it ended, with the last words of its log, for a sentence to the user."""
        code = self._child.returncode
        if code is None:
            how = "it was given up"
        elif code < 0:
            hint = SIGNAL_HINTS.get(-code)
            how = f"killed by signal {-code}{f', {hint}' if hint else ''}"
        else:
            last = next((line.strip() for line in reversed(self.log) if line.strip()), "")
            how = f"exit code {code}{f': {last}' if last else ''}"
        return how

    def _read_log(self) -> None:
        for line in io.BufferedReader(self._child.stderr):
            self.log.append(line.decode(errors="replace").rstrip())


def _environment() -> dict[str, str]:
    """This process's environment, with this package importable whatever the folder."""
    paths = [PACKAGE_PARENT, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
