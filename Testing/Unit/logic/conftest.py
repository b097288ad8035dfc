"""Real MRML, a real worker process that runs the fake engine, and a hand-driven event loop."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

import slicer_boot

from DDSAM2SlicerLib.testing.phantoms import create_beating_heart, create_beating_heart_series, create_ellipsoids

FAKE_COMMAND = (sys.executable, "-m", "DDSAM2SlicerLib.worker", "--fake")
LIMIT_S = 20.0

booted, make, scene = slicer_boot.booted, slicer_boot.make, slicer_boot.scene  # fixtures, found by their names


class ManualTicker:
    """Remembers what a timer would call; the test calls it."""

    def __init__(self):
        """Stand still."""
        self.interval_ms, self.callback = 0, None

    def start(self, interval_ms, callback):
        self.interval_ms, self.callback = interval_ms, callback

    def stop(self):
        self.interval_ms = 0


class Loop:
    """Turns the event loop by hand and measures its longest pause."""

    def __init__(self, ticker, coordinator):
        """Know whom to turn."""
        self._ticker, self.coordinator = ticker, coordinator
        self.longest_s = 0.0

    def turn(self):
        """Let the timer fire once, if it runs."""
        before = time.perf_counter()
        if self._ticker.interval_ms:
            self._ticker.callback()
        self.longest_s = max(self.longest_s, time.perf_counter() - before)
        time.sleep(0.001)

    def until(self, condition):
        """Turn until a condition holds; fail loudly if it never does."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"nothing came of it: {self.coordinator.state}"
            self.turn()

    def until_idle(self):
        """Turn until nothing is going on."""

        def is_idle():
            state = self.coordinator.state
            return state.phase in ("idle", "empty") and not state.is_previewing

        self.until(is_idle)


@pytest.fixture
def make_loop(scene):
    """Builders of coordinators with their event loop; they are closed with the test."""
    pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
    from DDSAM2SlicerLib.logic.coordinator import Coordinator
    from DDSAM2SlicerLib.logic.process_transport import ProcessTransport

    loops = []

    def create(model="fake", command=FAKE_COMMAND):
        ticker = ManualTicker()
        coordinator = Coordinator(ProcessTransport(ticker, command))
        coordinator.choose_model(model)
        loops.append(Loop(ticker, coordinator))
        return loops[-1]

    yield create
    for loop in loops:
        loop.coordinator.close()


@pytest.fixture
def loop(make_loop):
    """A coordinator of the fake engine with its event loop."""
    return make_loop()


@pytest.fixture
def a_phantom():
    """Volume with two ellipsoids."""
    return create_ellipsoids((16, 32, 36))


@pytest.fixture
def a_volume(make, a_phantom):
    """The phantom as a volume node, oblique under a transform."""
    return make.volume(a_phantom.array, transform=make.transform(make.random_matrix(3)))


@pytest.fixture
def a_clip(make):
    """2D+t: phantom and its browser."""
    phantom = create_beating_heart(10, 40)
    browser, _ = make.sequence([frame[None] for frame in phantom.array])
    return phantom, browser


@pytest.fixture
def a_series(make):
    """3D+t: phantom and its browser."""
    phantom = create_beating_heart_series(5, (6, 32, 32))
    browser, _ = make.sequence(list(phantom.array), phantom.geometry)
    return phantom, browser


@pytest.fixture
def masks_of():
    """All masks of an object as one array (frames, H, W)."""

    def read(coordinator, object_id):
        space = coordinator._space
        return np.stack([space.read_mask(object_id, frame) for frame in range(space.stack.num_frames)])

    return read
