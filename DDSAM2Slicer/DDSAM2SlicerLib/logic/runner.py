"""Works through a plan: asks the worker, writes what arrives frame by frame, in small time slices (layer: logic)."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..core.errors import DDSAM2Error
from ..core.results import FrameResult
from ..worker.client import Event
from .notebook import Key, Notebook
from .process_transport import ProcessTransport, sentence_of
from .runs import Job, Plan
from .sessions import Sessions
from .state import Progress
from .targets import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEED_MEMORY_S = 5.0
"""Speed is measured over about this time."""

SHOW_INTERVAL_S = 0.2
"""The views follow this often: drawing them takes longer than writing a frame."""
MAX_WAITING = 16
"""Masks that may wait to be written."""


class Runner:
    """One run; at its end it says how it went: "done", "stopped" or "failed" with a sentence."""

    def __init__(
        self,
        plan: Plan,
        transport: ProcessTransport,
        sessions: Sessions,
        target: Target,
        notes: Notebook,
        on_end: Callable[[str, str], object],
    ) -> None:
        """Begin; the target has begun its undo step.

        Args:
            plan: What to do.
            transport: Reaches the worker.
            sessions: Open stacks.
            target: Takes the masks.
            notes: Learns what is done.
            on_end: Told the outcome and the sentence.
        """
        self._plan, self._transport, self._sessions = plan, transport, sessions
        self._target, self._notes, self._on_end = target, notes, on_end
        self._job: Job | None = None
        self._request: int | None = None
        self._queue: collections.deque[Event] = collections.deque()
        self._outcome: tuple[str, str] | None = None
        self._num_done, self._latest_frame = 0, -1
        self._held: dict[Key, FrameResult] = {}
        self._one_sided: set[Key] = set()
        self._started_s = transport.clock()
        self._times_s: collections.deque[tuple[float, int]] = collections.deque()
        self._to_clear = sorted(plan.beyond)
        self._preparing: Iterator[None] | None = None
        self._shown_s = self._started_s
        self.is_stopping = False

    @property
    def progress(self) -> Progress:
        """How far the run is."""
        done = self._num_done
        total = max(self._plan.total, done)
        speed = 0.0
        if self._times_s:
            first_s, first_done = self._times_s[0]
            elapsed_s = self._transport.clock() - first_s
            speed = (done - first_done) / elapsed_s if elapsed_s > 0 else 0.0
        return Progress(done, total, speed, (total - done) / speed if speed > 0 else None)

    @property
    def is_behind(self) -> bool:
        """Whether more masks have come than it could write."""
        return len(self._queue) >= MAX_WAITING

    def stop(self) -> None:
        """Stop soon; what has arrived is written."""
        self.is_stopping = True
        if self._request is not None:
            self._transport.cancel(self._request)
        else:
            self._outcome = "stopped", ""

    def fail(self, sentence: str) -> None:
        """End at once and write no more: the nodes are gone or have changed."""
        if self._request is not None:
            self._transport.abandon(self._request)
        self._request = None
        self._queue.clear()
        self._held.clear()
        self._end("failed", sentence)

    def work(self, deadline_s: float) -> list[tuple[int, tuple[int, ...]]]:
        """Do as much as fits until a time, at least one step; returns the frames written, with their objects."""
        written = []
        try:
            while True:
                began_s = self._transport.clock()
                written += self._step()
                now_s = self._transport.clock()
                is_waiting = self._request is not None and not self._queue
                if self._outcome is not None and not self._queue:
                    self._end(*self._outcome)
                    break
                if is_waiting or now_s + (now_s - began_s) > deadline_s:  # another step like this one is too much
                    break
        except DDSAM2Error as error:
            self.fail(str(error))
        return written

    def _end(self, outcome: str, sentence: str) -> None:
        """Say how it went; what was to be reached from another side as well is left for the next update."""
        self._notes.reopen(self._one_sided)
        self._on_end(outcome, sentence)

    def _step(self) -> list[tuple[int, tuple[int, ...]]]:
        """Clear, write or ask for one thing."""
        if self._to_clear:
            one, frame = self._to_clear.pop()
            mask = self._target.read(self._notes.segment_ids[one], frame)
            self._target.write(frame, {one: mask & ~mask})
            self._show()
            return [(frame, (one,))]
        if self._queue:
            return self._take(self._queue.popleft()) if self._is_prepared(self._queue[0]) else []
        if self._request is None and self._outcome is None:
            self._next_job()
        return []

    def _next_job(self) -> None:
        """Ask for the next job; the masks it starts from are written by now."""
        try:
            self._job = next(self._plan.jobs)
        except StopIteration:
            self._to_clear = sorted(key for key in self._plan.leftover if key not in self._notes.results.done)
            self._plan.leftover.clear()
            if not self._to_clear:
                self._outcome = "done", ""
            return
        if self._job is None:
            return
        self._plan.total += self._job.num_repeats
        session = self._sessions.get(self._job.name, self._job.source)
        session.set_prompts(self._job.prompts)
        arguments = dict(self._job.arguments)
        self._request = self._transport.send(lambda: session.start_propagation(**arguments), self._queue.append)

    def _is_prepared(self, event: Event) -> bool:
        """Whether the target is ready for a result; gets it ready piece by piece."""
        if event.result is None:
            return True
        if self._preparing is None:
            frame = self._job.to_input(event.result.frame)
            self._preparing = self._target.prepare(frame, event.result.object_ids)
        if next(self._preparing, self) is not self:
            return False
        self._preparing = None
        return True

    def _take(self, event: Event) -> list[tuple[int, tuple[int, ...]]]:
        """Write a result, or what was held back, or note the end of a job."""
        if event.result is not None:
            self._note_sides(event.result)
            return self._write(self._hold_back(event.result))
        if self._held:
            self._queue.appendleft(event)
            return self._write(self._held.pop(min(self._held)))
        self._request = None
        if event.kind == "done":
            self._one_sided.clear()
        if self._job is not None and not self._job.is_kept:
            self._sessions.close(self._job.name)
        if event.kind == "failed":
            self._outcome = "failed", sentence_of(event.error)
        elif event.kind == "cancelled" or self.is_stopping:
            self._outcome = "stopped", ""
        return []

    def _note_sides(self, result: FrameResult) -> None:
        """Note which masks have been reached from one of two sides only."""
        frame = self._job.to_input(result.frame)
        self._one_sided ^= {(one, frame) for one in result.object_ids if (one, result.frame) in self._job.twice}

    def _hold_back(self, result: FrameResult) -> FrameResult:
        """Keep masks for which better ones may follow, where they would take voxels from others; return the rest."""
        if not self._target.overwrites:
            return result
        keys = [(one, result.frame) for one in result.object_ids]
        held = [key in self._job.twice and self._held.pop(key, None) is None for key in keys]
        self._held.update({key: result.take([row]) for row, key in enumerate(keys) if held[row]})
        return result.take([row for row, is_held in enumerate(held) if not is_held])

    def _write(self, result: FrameResult) -> list[tuple[int, tuple[int, ...]]]:
        frame = self._job.to_input(result.frame)
        rows = {
            one: row for row, one in enumerate(result.object_ids) if (one, frame) not in self._job.given
        }  # a mask that was given comes back as it is
        masks = {one: self._keep_locked(one, frame, result.masks[row]) for one, row in rows.items()}
        self._target.write(frame, masks)
        self._notes.record(frame, masks, {one: result.scores[row] for one, row in rows.items()})
        self._show()
        self._count(frame)
        return [(frame, tuple(masks))]

    def _show(self) -> None:
        """Let the views follow, now and then."""
        now_s = self._transport.clock()
        if now_s - self._shown_s >= SHOW_INTERVAL_S:
            self._shown_s = now_s
            self._target.show()

    def _keep_locked(self, object_id: int, frame: int, mask: NDArray) -> NDArray:
        """Where masks overwrite each other, take from one what accepted masks of other objects hold there."""
        if self._target.overwrites:
            for one, at in self._notes.locked:
                if at == frame and one != object_id:
                    mask = mask & ~self._target.read(self._notes.segment_ids[one], frame)
        return mask

    def _count(self, frame: int) -> None:
        now_s = self._transport.clock()
        if not self._times_s:
            self._times_s.append((self._started_s, 0))
        self._num_done += frame != self._latest_frame  # objects that do not share a batch come one after the other
        self._latest_frame = frame
        if now_s - self._times_s[-1][0] >= SPEED_MEMORY_S / 5:
            self._times_s.append((now_s, self._num_done))
        while len(self._times_s) > 1 and now_s - self._times_s[0][0] > SPEED_MEMORY_S:
            self._times_s.popleft()
