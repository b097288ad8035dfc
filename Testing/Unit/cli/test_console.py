"""The progress line and the tables people see."""

import io

import pytest

from DDSAM2SlicerLib.cli.console import Progress, format_seconds, say_table


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (125, "2:05 min"), (3723, "1:02:03 h")])
def test_duration_reads_like_a_clock(seconds, text):
    assert format_seconds(seconds) == text


def test_progress_tells_rate_and_time_left():
    now = iter([0.0, 2.0, 2.0])
    progress = Progress(40, stream=io.StringIO(), clock=lambda: next(now))
    progress.done = 10
    assert "10/40 frames, 5.0/s, 6 s left" in progress.line()


def test_only_the_last_line_goes_to_a_file():
    stream = io.StringIO()
    progress = Progress(3, stream=stream)
    for _ in range(3):
        progress.advance()
    progress.finish()
    assert stream.getvalue().count("\n") == 1
    assert "3/3 frames" in stream.getvalue()


def test_terminal_line_is_redrawn_in_place():
    stream, now = Terminal(), iter(range(100))
    progress = Progress(2, stream=stream, clock=lambda: float(next(now)))
    progress.advance()
    assert stream.getvalue().startswith("\r[")
    assert "\n" not in stream.getvalue()


def test_table_aligns_names_left_and_numbers_right(capsys):
    say_table(["name", "n"], [["a", 1], ["long name", 100]])
    assert capsys.readouterr().out.splitlines() == ["name         n", "a            1", "long name  100"]
