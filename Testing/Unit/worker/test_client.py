"""The client without waiting: events, stop, what passes what, and who gets the processor."""

import ctypes
import sys
import time

import numpy as np
import pytest
from conftest import NUM_FRAMES, SEED_FRAME

from DDSAM2SlicerLib.core.errors import InputError, PromptError, WeightsError, WorkerError
from DDSAM2SlicerLib.core.frames import TimeFrames
from DDSAM2SlicerLib.worker.link import Link
from DDSAM2SlicerLib.worker.protocol import Message

SLOW = "fake?delay_s=0.05"


def watch(client, request, limit_s=10.0, between=lambda: time.sleep(0.005)):
    """Poll as a GUI does until a request ends; returns its events."""
    events, end_s = [], time.monotonic() + limit_s
    while time.monotonic() < end_s:
        events += [event for event in client.poll() if event.request == request]
        if events and events[-1].kind != "result":
            return events
        between()
    pytest.fail(f"request {request} has not ended after {limit_s} s: {[event.kind for event in events]}")


def open_session(client, frames, prompts, model="fake"):
    client.start_load_model(model)
    session = client.open(frames)
    session.set_prompts(prompts)
    return session


class CountingFrames(TimeFrames):
    """Knows how many frames were read."""

    num_read = 0

    def frame(self, index):
        self.num_read += 1
        return super().frame(index)


class VanishingFrames(TimeFrames):
    """A volume that is deleted while it is being sent."""

    def frame(self, index):
        if index == 2:
            msg = "The volume was deleted. Choose another one."
            raise InputError(msg)
        return super().frame(index)


def test_results_come_one_by_one_and_end_with_done(client, frames, prompts):
    session = open_session(client, frames, prompts)
    events = watch(client, session.start_propagation("forward"))
    assert [event.kind for event in events] == ["result"] * (NUM_FRAMES - SEED_FRAME + 1) + ["done"]
    assert not client.is_busy


def test_nothing_that_a_gui_calls_waits_for_the_engine(client, frames, prompts):
    session = open_session(client, frames, prompts, "fake?delay_s=0.4")
    watch(client, session.start_preview(SEED_FRAME))
    request, longest_s, num_frames = session.start_propagation(), 0.0, 0
    while num_frames < 2:
        start_s = time.perf_counter()
        num_frames += len(client.poll())
        session.set_prompts(prompts)
        longest_s = max(longest_s, time.perf_counter() - start_s)
        time.sleep(0.01)
    client.cancel(request)
    assert longest_s < 0.2  # 5 ms on an idle machine; half a frame still tells waiting from not waiting


def test_stop_takes_less_than_a_second_even_within_a_long_frame(client, frames, prompts):
    session = open_session(client, frames, prompts, "fake?delay_s=3")
    client.start_load_model("fake?delay_s=3")
    request = session.start_propagation()
    time.sleep(0.5)
    assert client.poll() is not None
    start_s = time.monotonic()
    client.cancel(request)
    assert [event.kind for event in watch(client, request)] == ["cancelled"]
    assert time.monotonic() - start_s < 1.0


def test_what_arrived_before_stop_stays_and_the_next_run_is_whole(client, frames, prompts):
    session = open_session(client, frames, prompts, SLOW)
    request = session.start_propagation()
    events = []
    while len(events) < 4:
        events += [event for event in client.poll() if event.kind == "result"]
    client.cancel(request)
    events += watch(client, request)
    assert [event.kind for event in events] == ["result"] * (len(events) - 1) + ["cancelled"]
    assert 4 <= len(events) - 1 < NUM_FRAMES
    assert len(watch(client, session.start_propagation())) == NUM_FRAMES + 2  # both seeds come on their own, and done
    assert client.generation == 1


def test_a_stop_without_answer_ends_the_request_by_itself(client, frames, prompts, monkeypatch):
    session = open_session(client, frames, prompts, SLOW)
    watch(client, session.start_preview(SEED_FRAME))
    request = session.start_propagation()
    monkeypatch.setattr(Link, "send", lambda *_: None)
    client.cancel(request)
    start_s = time.monotonic()
    assert watch(client, request)[-1].kind == "cancelled"
    assert time.monotonic() - start_s < 1.0
    monkeypatch.undo()


def test_a_request_stopped_in_the_queue_is_never_begun(client, frames, prompts):
    session = open_session(client, frames, prompts, SLOW)
    first, second = session.start_propagation(), session.start_propagation()
    client.cancel(second)
    kinds = {first: [], second: []}
    while client.is_busy:
        for event in client.poll():
            kinds.setdefault(event.request, []).append(event.kind)
    assert kinds[second] == ["cancelled"]
    assert kinds[first][-1] == "done"


def test_events_of_other_requests_wait_for_poll(client, frames, prompts):
    session = open_session(client, frames, prompts)
    waiting = session.start_preview(SEED_FRAME)
    assert session.preview(SEED_FRAME).frame == SEED_FRAME
    assert [event.kind for event in client.poll() if event.request == waiting] == ["result", "done"]


def test_other_requests_between_two_results_lose_none_of_them(client, frames, prompts):
    session = open_session(client, frames, prompts)
    num_results = 0
    for result in session.propagate():
        session.preview(SEED_FRAME)
        num_results += len(result.object_ids)
    assert num_results == 2 * NUM_FRAMES


def test_nobody_waits_for_a_request_that_has_ended(client, frames, prompts):
    session = open_session(client, frames, prompts)
    request = session.start_preview(SEED_FRAME)
    watch(client, request)
    assert list(client.events_of(request)) == []
    client.close()
    assert list(client.events_of(request)) == []


def test_cancel_passes_an_upload_and_the_rest_is_not_even_read(client, prompts):
    source = CountingFrames(np.zeros((200, 1024, 1024), np.uint8))  # 200 MB in 50 chunks
    client.load_model("fake")
    session = client.open(source)
    session.set_prompts(prompts_on(source))
    upload = next(iter(client._requests))
    while source.num_read < 20:
        time.sleep(0.001)
    client.cancel(upload)
    with pytest.raises(InputError, match="not arrived completely"):
        session.preview(0)
    assert source.num_read < 190


def prompts_on(source):
    """One point in the middle of the first frame."""
    from DDSAM2SlicerLib.core.prompts import Point, PromptSet

    return PromptSet.empty().with_point(1, 0, Point(source.width / 2, source.height / 2))


def test_a_volume_deleted_during_the_upload_is_named_and_the_worker_lives(client, frames, prompts):
    session = open_session(client, VanishingFrames(frames.array_thw), prompts)
    with pytest.raises(InputError, match=r"The volume was deleted\. Choose another one\."):
        session.preview(SEED_FRAME)
    assert open_session(client, frames, prompts).preview(SEED_FRAME).frame == SEED_FRAME
    assert client.generation == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in needs usleep")
def test_frames_arrive_though_the_gui_never_lets_other_threads_run(client, frames, prompts):
    """Slicer's event loop keeps Python's lock between two timer calls; so does this stand-in for it."""
    hold_lock = ctypes.PyDLL(None).usleep
    session = open_session(client, frames, prompts)
    events = watch(client, session.start_propagation(), limit_s=15.0, between=lambda: hold_lock(20_000))
    assert [event.kind for event in events[-2:]] == ["result", "done"]


def test_a_gui_that_did_not_look_for_long_does_not_lose_its_worker(make_client, frames, prompts):
    now = [0.0]
    client = make_client(clock=lambda: now[0])
    session = open_session(client, frames, prompts)
    session.preview(SEED_FRAME)
    now[0] += 3600.0
    client.poll()
    assert client.is_running
    assert session.preview(SEED_FRAME).frame == SEED_FRAME
    assert client.generation == 1


def test_the_heartbeat_keeps_a_busy_worker_alive(client, frames, prompts, monkeypatch):
    monkeypatch.setattr("DDSAM2SlicerLib.worker.client.SILENCE_LIMIT_S", 1.5)
    session = open_session(client, frames, prompts, "fake?delay_s=2")
    assert session.preview(SEED_FRAME).frame == SEED_FRAME
    assert client.generation == 1


def test_another_model_finds_stack_and_prompts_in_place(client, frames, prompts):
    session = open_session(client, frames, prompts)
    session.preview(SEED_FRAME)
    client.load_model("fake?delay_s=0.001")
    assert session.preview(SEED_FRAME).object_ids == (1, 2)


def test_a_model_that_cannot_be_loaded_fails_what_needs_it_with_the_same_words(client, frames, prompts):
    with pytest.raises(WeightsError, match="no model file nano"):
        client.load_model("nano")
    session = client.open(frames)
    session.set_prompts(prompts)
    with pytest.raises(WeightsError, match="no model file nano"):
        session.preview(SEED_FRAME)


def test_adapters_that_cannot_be_read_are_named_and_the_model_works_without_them(client, frames, prompts):
    with pytest.raises(WeightsError, match=r"/gone\.safetensors cannot be read"):
        client.load_model("fake", adapters="/gone.safetensors")
    session = open_session(client, frames, prompts)
    assert session.preview(SEED_FRAME).object_ids == (1, 2)
    assert client.generation == 1


def test_without_a_model_nothing_is_segmented(client, frames, prompts):
    session = client.open(frames)
    session.set_prompts(prompts)
    with pytest.raises(WorkerError, match=r"No model is loaded\. Load one first\."):
        list(session.propagate())


def test_bad_prompts_are_refused_here_before_anything_is_sent(client, frames, prompts):
    session = client.open(frames)
    with pytest.raises(PromptError, match="frames 0 to 9 only"):
        session.set_prompts(prompts.with_mask(3, 77, np.ones((48, 48))))


def test_a_closed_session_opens_again_when_it_is_used(client, frames, prompts):
    session = open_session(client, frames, prompts)
    session.close()
    assert session.preview(SEED_FRAME).frame == SEED_FRAME


def test_a_request_the_worker_does_not_know_fails_alone(client, frames, prompts):
    client.load_model("fake")
    with pytest.raises(WorkerError, match="does not know the request 'dance'"):
        list(client.events_of(client.request("dance")))
    with pytest.raises(WorkerError, match=r"'preview' cannot be read \(KeyError: 'frame'\)"):
        list(client.events_of(client.request("preview", {"stack": 1})))
    assert open_session(client, frames, prompts).preview(SEED_FRAME).frame == SEED_FRAME


def test_a_ping_is_answered_while_the_engine_computes(client, frames, prompts):
    session = open_session(client, frames, prompts, "fake?delay_s=2")
    session.start_preview(SEED_FRAME)
    client._link.send(Message("ping", 77))
    seen = []
    while not any(message.request == 77 for message in seen):
        kind, message = client._link.inbox.get(timeout=10)
        assert kind == "message"
        seen.append(message)
    assert "result" not in {message.kind for message in seen}


def test_closing_ends_open_requests_as_cancelled(client, frames, prompts):
    session = open_session(client, frames, prompts, SLOW)
    request = session.start_propagation()
    client.close()
    assert [event.kind for event in client.poll() if event.request == request][-1] == "cancelled"
    assert not client.is_running


def test_a_command_that_does_not_exist_is_named(make_client):
    with pytest.raises(WorkerError, match=r"cannot be started: '/no/such/ssh' \(No such file.*Check its command"):
        make_client(("/no/such/ssh", "host")).load_model("fake")


def test_a_command_that_fails_is_shown_with_its_last_words(make_client):
    command = (sys.executable, "-c", "import sys; sys.exit('ssh: Could not resolve hostname gpu')")
    with pytest.raises(WorkerError, match=r"did not start \(exit code 1: ssh: Could not resolve hostname gpu\)"):
        make_client(command).load_model("fake")


def test_the_command_line_program_serves_as_a_worker_too(make_client, frames, prompts):
    client = make_client((sys.executable, "-m", "DDSAM2SlicerLib.cli", "worker", "--fake"))
    client.load_model("fake")
    session = client.open(frames)
    session.set_prompts(prompts)
    assert session.preview(SEED_FRAME).object_ids == (1, 2)
