"""The one place that prints: results on stdout, messages and progress on stderr (layer: cli)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

BAR_WIDTH = 24
REDRAW_INTERVAL_S = 0.1


def say(text: str = "") -> None:
    """Print a result."""
    print(text)  # noqa: T201 (the one place)


def note(text: str) -> None:
    """Print something about the run that is not a result."""
    print(text, file=sys.stderr)  # noqa: T201 (the one place)


def say_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns, the first left-aligned, the others right-aligned."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        first = row[0].ljust(widths[0])
        say("  ".join([first, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip())


class Progress:
    """A line with bar, frames per second and time left; only its end is printed where the output is not a terminal."""

    def __init__(
        self,
        total: int,
        unit: str = "frames",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start counting at once; ``stream`` is stderr if None."""
        self.total = total
        self.done = 0
        self._unit = unit
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._start = self._drawn = clock()

    def advance(self, number: int = 1) -> None:
        """Count finished frames and redraw now and then."""
        self.done += number
        if self._stream.isatty() and self._clock() - self._drawn >= REDRAW_INTERVAL_S:
            self._drawn = self._clock()
            self._stream.write(f"\r{self.line()}")
            self._stream.flush()

    def finish(self) -> None:
        """Draw the last state and end the line."""
        self._stream.write(f"\r{self.line()}\n" if self._stream.isatty() else f"{self.line()}\n")
        self._stream.flush()

    def line(self) -> str:
        """The text of the progress line."""
        elapsed_s = max(self._clock() - self._start, 1e-6)
        rate = self.done / elapsed_s
        filled = round(BAR_WIDTH * min(1.0, self.done / max(1, self.total)))
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        if self.done >= self.total:
            left = f"took {format_seconds(elapsed_s)}"
        else:
            left = f"{format_seconds((self.total - self.done) / rate)} left" if rate else "starting"
        return f"[{bar}] {self.done}/{self.total} {self._unit}, {rate:.1f}/s, {left}   "


def format_seconds(seconds: float) -> str:
    """Write a duration as people read it: 8 s, 2:05 min, 1:02:03 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"
