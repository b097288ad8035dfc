"""How long Slicer's event loop is held while the module works, on real MRML and with a real worker; no window needed.

    python Benchmarks/gui.py                  everything
    python Benchmarks/gui.py --parts pause    longest pause while 300 slices of 512 x 512 are propagated

Parts: ``pause`` (a first run into an empty segment, then a second one over the finished masks), ``memory`` (growth of
this process while a 512 x 512 x 500 CT is segmented, against the size of one uint8 copy), ``start`` (from the first
prompt to its preview with the default model, worker start included, and from later prompts to theirs). A pause is one
call of the timer that drives the module: polling, writing masks, telling the panel.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "DDSAM2Slicer"), str(REPOSITORY / "Testing" / "Unit")]

import slicer_boot  # noqa: E402 (needs the path)

from DDSAM2SlicerLib.core.prompts import Box, Point  # noqa: E402

SEED = 150
RADIUS = 60
FAKE_COMMAND = (sys.executable, "-m", "DDSAM2SlicerLib.worker", "--fake")
LIMIT_S = 600.0


class Loop:
    """Turns the module's timer and writes down how long each turn took."""

    def __init__(self) -> None:
        """Stand still."""
        self.interval_ms, self._callback = 0, None
        self.turns_s: list[float] = []

    def start(self, interval_ms: int, callback: Callable[[], object]) -> None:
        """Call a function in every turn."""
        self.interval_ms, self._callback = interval_ms, callback

    def stop(self) -> None:
        """Call nothing any more."""
        self.interval_ms = 0

    def until(self, condition: Callable[[], bool]) -> float:
        """Turn until a condition holds; returns the seconds that took."""
        began = time.perf_counter()
        while not condition():
            if time.perf_counter() - began > LIMIT_S:
                msg = f"nothing came of it in {LIMIT_S:.0f} s"
                raise TimeoutError(msg)
            before = time.perf_counter()
            if self.interval_ms:
                self._callback()
            self.turns_s.append(time.perf_counter() - before)
            time.sleep(0.001)
        return time.perf_counter() - began


def open_coordinator(model: str) -> tuple:
    """A coordinator with its loop, in an empty scene."""
    from DDSAM2SlicerLib.logic.coordinator import Coordinator
    from DDSAM2SlicerLib.logic.process_transport import ProcessTransport

    loop = Loop()
    command = FAKE_COMMAND if model == "fake" else (sys.executable, "-m", "DDSAM2SlicerLib.worker")
    coordinator = Coordinator(ProcessTransport(loop, command))
    coordinator.choose_model(model)
    return coordinator, loop


def create_ct(num_slices: int, side: int = 512) -> np.ndarray:
    """A bright cylinder that bends through a noisy block, (K, J, I) int16."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    ground = rng.normal(0, 20, (side, side))
    array = np.empty((num_slices, side, side), np.int16)
    for index in range(num_slices):
        centre = side / 2 + side / 8 * np.sin(index / 40)
        inside = (rows - side / 2) ** 2 + (columns - centre) ** 2 < RADIUS**2
        array[index] = ground + 300 * inside
    return array


def measure_pause() -> dict[str, object]:
    """Longest turn of the loop, from pressing Propagate to the end, for a first and a second run."""
    array = create_ct(300)
    volume = slicer_boot.make_volume(array)
    coordinator, loop = open_coordinator("fake")
    figures: dict[str, object] = {}
    try:
        coordinator.choose_volume(volume, "k")
        one = coordinator.add_object("organ")
        coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, SEED, array[SEED] > 150))
        for name in ("first run", "second run"):
            loop.turns_s.clear()
            before = time.perf_counter()
            coordinator.propagate()
            pressed_s = time.perf_counter() - before
            seconds = loop.until(lambda: coordinator.state.phase == "idle")
            if coordinator.state.error or len(coordinator.notes.results.done) != len(array):
                msg = f"the run did not end well: {coordinator.state}"
                raise RuntimeError(msg)
            figures[name] = {
                "longest pause ms": round(1e3 * max(loop.turns_s), 1),
                "pressing Propagate ms": round(1e3 * pressed_s, 1),
                "99th percentile ms": round(1e3 * float(np.percentile(loop.turns_s, 99)), 1),
                "frames per s": round(len(array) / seconds, 1),
            }
    finally:
        coordinator.close()
    return figures


def measure_memory() -> dict[str, float]:
    """Growth of this process by a run over 512 x 512 x 500 voxels, beyond the segment itself."""
    array = create_ct(500)
    volume = slicer_boot.make_volume(array)
    prompt = array[SEED] > 150
    copy_mib = array.size / 2**20
    del array
    coordinator, loop = open_coordinator("fake")
    try:
        coordinator.choose_volume(volume, "k")
        one = coordinator.add_object("organ")
        before, peak = resident_mib(), 0.0
        coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, SEED, prompt))
        coordinator.propagate()

        def is_idle() -> bool:
            nonlocal peak
            peak = max(peak, resident_mib())
            return coordinator.state.phase == "idle"

        loop.until(is_idle)
    finally:
        coordinator.close()
    growth = peak - before
    return {
        "growth MiB": round(growth),
        "one uint8 copy MiB": round(copy_mib),
        "in copies": round(growth / copy_mib, 2),
    }


def measure_start() -> dict[str, float]:
    """Seconds from a prompt to its preview with the default model."""
    array = create_ct(60, 256)
    coordinator, loop = open_coordinator("nano")
    try:
        coordinator.choose_volume(slicer_boot.make_volume(array), "k")
        one = coordinator.add_object("organ")
        coordinator.show_frame(30)
        waits = []
        for turn in range(11):
            prompts = coordinator.notes.prompts
            if turn == 0:
                prompts = prompts.with_box(one, 30, Box(70, 70, 190, 190))
            else:
                prompts = prompts.with_point(one, 30, Point(100.0 + 5 * turn, 128.0))
            coordinator.set_prompts(prompts)
            waits.append(loop.until(lambda: not coordinator.state.is_previewing))
    finally:
        coordinator.close()
    return {
        "first preview s": round(waits[0], 2),
        "later previews ms (median)": round(1e3 * float(np.median(waits[1:]))),
    }


def resident_mib() -> float:
    """Memory of this process that is in use now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


PARTS = {"pause": measure_pause, "memory": measure_memory, "start": measure_start}


def main(argv: list[str]) -> int:
    """Run the chosen parts and print their figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args(argv)
    figures = {}
    with tempfile.TemporaryDirectory() as home:
        scene = slicer_boot.boot(Path(home)).scene
        for part in options.parts:
            figures[part] = PARTS[part]()
            scene.Clear(0)
            print(json.dumps({part: figures[part]}, indent=2), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
