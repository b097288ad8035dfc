"""The timer runs while there is something to wait for, slows down when idle, and stops when there is no worker."""

import shlex
import sys
from types import SimpleNamespace

import pytest

from DDSAM2SlicerLib.core.masks import label_components
from DDSAM2SlicerLib.core.prompts import Point, PromptSet
from DDSAM2SlicerLib.core.settings import EngineSettings

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.logic import process_transport  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.logic.signal import Signal  # noqa: E402


def test_no_timer_and_no_process_before_the_first_request(loop, a_volume):
    loop.coordinator.choose_volume(a_volume)
    loop.coordinator.add_object("organ")
    assert loop._ticker.interval_ms == 0
    assert not loop.coordinator._transport._client.is_running


def test_ticks_are_quick_while_busy_slow_when_idle_and_over_when_closed(loop, a_volume):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.show_frame(8)
    coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(9, 9)))
    assert loop._ticker.interval_ms == process_transport.BUSY_INTERVAL_MS
    loop.until_idle()
    loop.until(lambda: loop._ticker.interval_ms == process_transport.IDLE_INTERVAL_MS)
    coordinator.close()
    assert loop._ticker.interval_ms == 0


def test_the_model_is_loaded_once_and_again_when_another_is_chosen(loop, a_volume, monkeypatch):
    coordinator = loop.coordinator
    loaded = []
    client = coordinator._transport._client
    start = client.start_load_model
    monkeypatch.setattr(client, "start_load_model", lambda *choice: (loaded.append(choice[0]), start(*choice))[1])
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.show_frame(8)
    for x in (8, 9, 10):
        coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(x, 9)))
        loop.until_idle()
    assert loaded == ["fake"]
    coordinator.choose_model("fake?delay_s=0.001")
    coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(12, 9)))
    loop.until_idle()
    assert loaded == ["fake", "fake?delay_s=0.001"]
    assert one in coordinator.preview.masks


def test_the_worker_is_started_with_slicers_own_python(monkeypatch):
    monkeypatch.setattr(process_transport.shutil, "which", lambda name: f"/slicer/bin/{name}")
    assert process_transport.worker_command()[0] == "/slicer/bin/PythonSlicer"
    monkeypatch.setattr(process_transport.shutil, "which", lambda name: None)
    assert process_transport.worker_command()[1:] == ("-m", "DDSAM2SlicerLib.worker")


def test_a_signal_tells_everybody_until_they_leave():
    signal, heard = Signal(), []
    leave = signal.connect(lambda value: heard.append(("first", value)))
    signal.connect(lambda value: heard.append(("second", value)))
    signal.emit(1)
    leave()
    leave()
    signal.emit(2)
    assert heard == [("first", 1), ("second", 1), ("second", 2)]


def test_what_the_worker_needs_is_installed_before_it_starts_and_a_refusal_is_the_sentence(loop, a_volume):
    coordinator, transport = loop.coordinator, loop.coordinator._transport
    answers = ["Nothing was installed.", ""]
    transport._prepare = lambda: answers.pop(0)
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(9, 9)))
    coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == "Nothing was installed."
    assert not transport._client.is_running
    coordinator.propagate()
    loop.until_idle()
    assert (coordinator.state.error, answers) == ("", [])


def test_a_dialog_that_turns_the_event_loop_does_not_start_a_second_tick(loop):
    transport, depth = loop.coordinator._transport, []

    def open_dialog(deadline_s):
        depth.append(len(depth))
        transport.tick()
        return False

    transport.add_chore(open_dialog)
    transport.tick()
    assert depth == [0]
    transport.tick()
    assert depth == [0, 1]


def test_the_qt_ticker_drives_a_timer(monkeypatch):
    class FakeTimer:
        def connect(self, signature, slot):
            self.signature, self.slot = signature, slot

        def start(self, interval_ms):
            self.interval_ms = interval_ms

        def stop(self):
            self.interval_ms = 0

    timer, calls = FakeTimer(), []
    monkeypatch.setitem(sys.modules, "qt", SimpleNamespace(QTimer=lambda: timer))
    ticker = process_transport.QtTicker()
    timer.slot()
    ticker.start(20, lambda: calls.append(1))
    timer.slot()
    assert (timer.signature, timer.interval_ms, calls) == ("timeout()", 20, [1])
    ticker.stop()
    assert timer.interval_ms == 0


def num_parts(mask):
    return label_components(mask)[1]


def test_other_settings_count_from_the_next_preview_and_run_on_though_the_stack_is_open(loop, a_volume):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.show_frame(8)
    two_parts = PromptSet.empty().with_point(one, 8, Point(7, 7)).with_point(one, 8, Point(28, 24))
    found = []
    for settings in (EngineSettings(), EngineSettings(keep_largest=True), EngineSettings()):
        coordinator.choose_model("fake", "auto", settings)
        coordinator.show_frame(8)
        coordinator.set_prompts(two_parts)
        loop.until_idle()
        coordinator.propagate()
        loop.until_idle()
        assert coordinator.state.error == ""
        found.append((num_parts(coordinator.preview.masks[one]), num_parts(coordinator._space.read_mask(one, 8))))
    assert found == [(2, 2), (1, 1), (2, 2)]
    assert coordinator._transport._client.generation == 1


def test_adapters_that_cannot_be_read_are_named_and_the_model_works_without_them(loop, a_volume, tmp_path):
    coordinator = loop.coordinator
    coordinator.choose_model("fake", adapters=str(tmp_path / "gone.safetensors"))
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.show_frame(8)
    coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(9, 9)))
    loop.until_idle()
    assert coordinator.state.error.endswith("gone.safetensors cannot be read. Give the path of an existing model file.")
    coordinator.choose_model("fake")
    coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(10, 9)))
    loop.until_idle()
    assert coordinator.state.error == ""
    assert one in coordinator.preview.masks


def test_another_command_ends_the_worker_and_starts_the_new_one_at_the_next_need(loop, a_volume):
    coordinator, transport = loop.coordinator, loop.coordinator._transport
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.show_frame(8)

    def preview_at(x):
        coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(x, 9)))
        loop.until_idle()
        return one in coordinator.preview.masks

    assert preview_at(8)
    transport._prepare = lambda: "Nothing may be installed for a worker elsewhere."
    coordinator.choose_worker(shlex.join([sys.executable, "-m", "DDSAM2SlicerLib.cli", "worker", "--fake"]))
    assert not transport._client.is_running
    assert preview_at(9)
    assert (coordinator.state.error, transport._client.generation) == ("", 2)
    assert "DDSAM2SlicerLib.cli" in transport._client.command
    coordinator.choose_worker("/nowhere/ssh HOST ddsam2 worker")
    preview_at(10)
    assert coordinator.state.error.startswith("The worker cannot be started: '/nowhere/ssh' (")
    transport._prepare = lambda: ""
    coordinator.choose_worker("")
    assert preview_at(11)
    assert coordinator.state.error == ""
    assert transport._client.command == transport._own_command


def test_a_run_that_loses_its_worker_to_another_command_says_that_it_was_stopped(make_loop, a_volume):
    loop = make_loop("fake?delay_s=0.05")
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.set_prompts(PromptSet.empty().with_point(one, 8, Point(9, 9)))
    coordinator.propagate()
    loop.until(lambda: coordinator.state.progress is not None and coordinator.state.progress.done >= 2)
    coordinator.choose_worker("ssh HOST ddsam2 worker")
    loop.until_idle()
    assert coordinator.state.notice.startswith("Stopped after ")


def test_a_command_with_an_open_quotation_is_refused_and_the_worker_stays(loop):
    before = loop.coordinator._transport._client.command
    loop.coordinator.choose_worker('ssh "HOST')
    assert loop.coordinator.state.error == (
        "The worker command 'ssh \"HOST' cannot be read (No closing quotation). Close its quotation marks."
    )
    assert loop.coordinator._transport._client.command == before


@pytest.mark.parametrize(
    ("platform", "command", "words"),
    [
        ("linux", "ssh -p 22 'my host' ddsam2 worker", ["ssh", "-p", "22", "my host", "ddsam2", "worker"]),
        ("win32", r'"C:\Program Files\ssh.exe" HOST worker', [r"C:\Program Files\ssh.exe", "HOST", "worker"]),
        ("linux", "  ", []),
    ],
)
def test_a_command_is_split_as_in_a_shell(monkeypatch, platform, command, words):
    monkeypatch.setattr(process_transport.sys, "platform", platform)
    assert process_transport.split_words(command) == words
