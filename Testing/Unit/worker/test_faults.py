"""Whatever happens to the worker: the client lives, finished frames stay, one sentence, and the next run works."""

import contextlib
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import FAKE_COMMAND, NUM_FRAMES, SEED_FRAME

from DDSAM2SlicerLib.core.errors import DDSAM2Error, DeviceError, WorkerError
from DDSAM2SlicerLib.worker.codec import encode_message, read_message
from DDSAM2SlicerLib.worker.protocol import MAX_HEADER_BYTES, Message

NUM_KILLS = 20
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def open_session(client, frames, prompts, model="fake"):
    client.start_load_model(model)
    session = client.open(frames)
    session.set_prompts(prompts)
    return session


def run(session, after_each=lambda _: None):
    """Propagate; returns what arrived and the error, if one came."""
    results = []
    try:
        for result in session.propagate():
            results.append(result)
            after_each(len(results))
    except DDSAM2Error as error:
        return results, error
    return results, None


def kill(client):
    """End the worker as the system does when memory runs out."""
    os.kill(client._link.process.pid, signal.SIGKILL)


def kill_at(kill_after, client):
    """To be called after each result."""
    return lambda count: count == kill_after and kill(client)


def worker_that_says(answer):
    """A command whose stdout is these bytes, and that then waits as a real worker would."""
    return (sys.executable, "-c", f"import os, time; os.write(1, {answer!r}); time.sleep(60)")


def talk(raw):
    """Send bytes to a fake worker; returns its messages except heartbeats, its exit code and its stderr."""
    with subprocess.Popen(FAKE_COMMAND, stdin=-1, stdout=-1, stderr=-1, bufsize=0, env=package_environment()) as child:
        child.stdin.write(raw)
        messages = []
        while (message := read_message(child.stdout)) is not None:
            if message.kind != "alive":
                messages.append(message)
        return messages, child.wait(5), child.stderr.read().decode()


def package_environment():
    from DDSAM2SlicerLib.worker.process import PACKAGE_PARENT

    return {**os.environ, "PYTHONPATH": PACKAGE_PARENT}


def to_bytes(message):
    return b"".join(bytes(part) for part in encode_message(message))


@POSIX
def test_a_worker_killed_at_any_frame_costs_only_the_rest_of_that_run(client, frames, prompts):
    generator = random.Random(4)
    session = open_session(client, frames, prompts, "fake?delay_s=0.002")
    whole = list(session.propagate())
    for _ in range(NUM_KILLS):
        kill_after = generator.randrange(1, NUM_FRAMES)
        results, error = run(session, kill_at(kill_after, client))
        assert kill_after <= len(results) <= len(whole)
        assert isinstance(error, WorkerError)
        assert re.search(r"stopped unexpectedly \(killed by signal 9.*frames are kept; run again\.$", str(error))
        for result, expected in zip(results, whole, strict=False):
            np.testing.assert_array_equal(result.masks, expected.masks)
    assert len(list(session.propagate())) == len(whole)
    assert client.generation == NUM_KILLS + 1


@POSIX
def test_a_worker_killed_while_idle_is_replaced_without_a_word(client, frames, prompts):
    session = open_session(client, frames, prompts)
    session.preview(SEED_FRAME)
    kill(client)
    time.sleep(0.3)
    assert session.preview(SEED_FRAME).frame == SEED_FRAME
    assert client.generation == 2


def test_memory_that_runs_out_is_one_sentence_and_the_worker_lives(client, frames, prompts):
    session = open_session(client, frames, prompts, "fake?memory_at=5")
    results, error = run(session)
    assert len(results) == 5
    assert isinstance(error, DeviceError)
    assert "not enough memory" in str(error)
    assert "smaller model" in str(error)
    client.load_model("fake")
    assert run(session)[1] is None
    assert client.generation == 1


def test_a_fault_of_the_engine_is_one_sentence_with_the_traceback_in_the_log_only(client, frames, prompts):
    session = open_session(client, frames, prompts, "fake?error_at=2")
    results, error = run(session)
    assert len(results) == 2
    assert str(error) == "The worker met a fault of its own (RuntimeError: the fake engine was told to fail)."
    assert "Traceback" not in str(error)
    client.close()
    assert any("Traceback" in line for line in client.log)


def test_prints_of_the_engine_go_to_the_log_and_harm_nothing(client, frames, prompts):
    session = open_session(client, frames, prompts, "fake?print_at=3")
    assert run(session)[1] is None
    client.close()
    assert {"printed past Python", "printed"} <= set(client.log)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"Last login: Tue\n" * 3, r"not a message: b'Last login.*its login shell must not print"),
        (b"DDS2" + struct.pack("<HHIQ", 99, 0, 10, 0), "speaks version 99 .* this side version 1"),
        (b"DDS2" + struct.pack("<HHIQ", 1, 0, MAX_HEADER_BYTES + 1, 0), "too large"),
        (to_bytes(Message("surprise")), "sent 'surprise', which this release does not know"),
        (to_bytes(Message("done", 1))[:-3], None),
    ],
)
def test_garbage_from_the_worker_ends_it_with_one_sentence_and_a_restart_works(
    make_client, frames, prompts, answer, sentence
):
    client = make_client(worker_that_says(answer))
    session = open_session(client, frames, prompts)
    child = client._link.process._child
    if sentence is None:  # half a message, then silence: the worker is killed from outside
        time.sleep(0.2)
        child.kill()
        sentence = r"did not start \(.*\)\. Check its command"
    with pytest.raises(WorkerError, match=sentence):
        session.preview(SEED_FRAME)
    assert child.poll() is not None
    assert not client.is_running
    client.command = FAKE_COMMAND
    assert session.preview(SEED_FRAME).frame == SEED_FRAME


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not a message"),
        (b"DDS2" + struct.pack("<HHIQ", 99, 0, 10, 0), "speaks version 99"),
        (b"DDS2" + struct.pack("<HHIQ", 1, 0, MAX_HEADER_BYTES + 1, 0), "too large"),
        (b"DDS2" + struct.pack("<HHIQ", 1, 0, 4, 0) + b"null", 'without "kind"'),
    ],
)
def test_garbage_from_the_client_ends_the_worker_with_one_sentence(raw, sentence):
    messages, code, _ = talk(raw)
    assert [message.kind for message in messages] == ["failed"]
    assert messages[0].fields["error"] == "WorkerError"
    assert sentence in messages[0].fields["sentence"]
    assert code == 2


def test_a_worker_without_client_ends_by_itself():
    with subprocess.Popen(FAKE_COMMAND, stdin=-1, stdout=-1, bufsize=0, env=package_environment()) as child:
        child.stdin.write(to_bytes(Message("hello", 1)))
        assert read_message(child.stdout).kind in ("hello", "alive")
        child.stdin.close()
        assert child.wait(5) == 0


def test_shutdown_while_busy_ends_the_worker_at_once(client, frames, prompts):
    session = open_session(client, frames, prompts, "fake?delay_s=30")
    session.start_preview(SEED_FRAME)
    time.sleep(0.3)
    child = client._link.process._child
    start_s = time.monotonic()
    client.close()
    assert time.monotonic() - start_s < 1.0
    assert child.poll() is not None


@POSIX
def test_a_worker_that_hangs_is_given_up_with_all_its_children(make_client, monkeypatch, tmp_path):
    """The command is a launcher whose child does not die with it: the whole group must go."""
    monkeypatch.setattr("DDSAM2SlicerLib.worker.client.LOADING_LIMIT_S", 1.0)
    note = tmp_path / "child.pid"
    client = make_client(("/bin/sh", "-c", f"sleep 60 & echo $! > {note}; wait"))
    with pytest.raises(WorkerError, match="does not answer any more and was ended"):
        client.load_model("fake")
    pid = int(note.read_text())
    for _ in range(50):
        if not _is_alive(pid):
            break
        time.sleep(0.02)
    assert not _is_alive(pid)


def _is_alive(pid):
    """Whether a process still runs; a zombie does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if os.path.exists(f"/proc/{pid}/stat"):  # noqa: PTH110
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        os.kill(pid, 0)
        return True
    return False
