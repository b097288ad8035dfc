"""Speed and memory of the engine beside sam2's own video predictor: same weights, frames and prompts, one run.

    python Benchmarks/propagation.py                      everything, on two threads
    python Benchmarks/propagation.py --parts speed --objects 8 --json speed.json
    python Benchmarks/propagation.py --parts speed default --device cuda --frames 60

Parts: ``speed`` (tiny model, 512 px), ``memory`` (peak of 100 and of 1,000 frames, each in its own process),
``default`` (frames per second and click latency of the default model at its own size and at 256 px; random weights
where its file is missing).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: as command line and worker have it

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "DDSAM2Slicer"))

from DDSAM2SlicerLib.core.prompts import Point, PromptSet  # noqa: E402
from DDSAM2SlicerLib.core.settings import EngineSettings  # noqa: E402
from DDSAM2SlicerLib.engine.predictor import Predictor  # noqa: E402
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model  # noqa: E402
from DDSAM2SlicerLib.model.checkpoint import load_model  # noqa: E402
from DDSAM2SlicerLib.model.steps import normalise  # noqa: E402

Clock = Callable[[], float]
NANO = REPOSITORY / "DDSAM2Slicer" / "Resources" / "Models" / "nano.safetensors"
BASE = {"zoom": False, "mask_prior": False, "stop_after_empty": 0}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
MODES = {
    "exact": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "fastest": {"precision": "bf16", "memory_rule": "short"},
}


class Discs:
    """Frames drawn on demand: a disc per object wanders over a textured ground (a FrameSource, nothing is stored)."""

    pixel_spacing_mm = (1.0, 1.0)

    def __init__(self, num_frames: int, size: int, num_objects: int = 1, frame_step_mm: float | None = None) -> None:
        """Choose the ground and the places of the discs; without a step the frames follow each other in time."""
        self.num_frames, self.height, self.width, self.frame_step_mm = num_frames, size, size, frame_step_mm
        rng = np.random.default_rng(0)
        self._ground = rng.normal(90, 15, (size, size))
        self._starts = [
            ((0.15 + 0.7 * rng.random()) * size, (0.15 + 0.7 * rng.random()) * size) for _ in range(num_objects)
        ]
        self._grid = np.mgrid[:size, :size]

    def mask(self, index: int, which: int) -> np.ndarray:
        """Where a disc is on a frame."""
        row, column = self._starts[which]
        shift = 0.05 * self.height * np.sin(index / 15 + which)
        return (self._grid[0] - row - shift) ** 2 + (self._grid[1] - column) ** 2 < (0.08 * self.height) ** 2

    def frame(self, index: int) -> np.ndarray:
        """One frame, 8 bits."""
        image = self._ground.copy()
        for which in range(len(self._starts)):
            image[self.mask(index, which)] += 40 + 10 * which
        return np.clip(image, 0, 255).astype(np.uint8)

    def pixel_to_ras(self, index: int) -> np.ndarray:
        """Pixels are millimetres."""
        return np.eye(4)


def measure_speed(num_objects: int, num_frames: int, clock: Clock, device: str) -> dict:
    """Seconds per frame of upstream and of every mode, and the Dice of every mode against the exact one."""
    torch.manual_seed(0)
    model = build_model(ARCHITECTURES["hiera_tiny"].with_image_size(512))
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 10.0)  # objects stay
    source = Discs(num_frames, 512, num_objects)
    seconds = {"upstream": run_upstream(model, source, num_objects, clock, device)}
    masks = {}
    for name, mode in MODES.items():
        predictor = Predictor(model, EngineSettings(**BASE, **mode), device)
        seconds[name], masks[name] = run_ours(predictor, source, num_objects, clock)
    return {
        "objects": num_objects,
        "frames": num_frames,
        "seconds_per_frame": seconds,
        "times_as_fast": {name: seconds["upstream"] / seconds[name] for name in MODES},
        "dice_against_exact": {name: dice(masks[name], masks["exact"]) for name in MODES},
    }


def run_upstream(model: torch.nn.Module, source: Discs, num_objects: int, clock: Clock, device: str) -> float:
    """Seconds per frame of sam2's predictor, built from its own configuration."""
    from sam2.build_sam import build_sam2_video_predictor

    predictor = build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml", None, device=device, hydra_overrides_extra=["++model.image_size=512"]
    )
    predictor.load_state_dict(model.state_dict())
    predictor.fill_hole_area = 0  # needs a CUDA extension
    frames = np.stack([source.frame(index) for index in range(source.num_frames)])
    images = normalise(torch.from_numpy(frames)).to(device)
    warm_up(lambda: predictor.forward_image(images[:1]))
    with (
        mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(images, 512, 512)),
        mock.patch("sam2.sam2_video_predictor.tqdm", lambda frames, **_: frames),
    ):
        start = clock()
        state = predictor.init_state("")
        for which in range(num_objects):
            predictor.add_new_mask(state, 0, which + 1, source.mask(0, which))
        for _, _, logits in predictor.propagate_in_video(state):
            (logits > 0).cpu()  # as ours: a mask is there when it has left the device
        return (clock() - start) / source.num_frames


def run_ours(predictor: Predictor, source: Discs, num_objects: int, clock: Clock) -> tuple[float, np.ndarray]:
    """Seconds per frame of our engine, and its masks (T, N, H, W)."""
    prompts = PromptSet.empty()
    for which in range(num_objects):
        prompts = prompts.with_mask(which + 1, 0, source.mask(0, which))
    short = predictor.open(Discs(2, source.height, num_objects, source.frame_step_mm))
    short.set_prompts(prompts)
    warm_up(lambda: list(short.propagate()))
    start = clock()
    session = predictor.open(source)
    session.set_prompts(prompts)
    masks = [result.masks for result in session.propagate()]
    return (clock() - start) / source.num_frames, np.stack(masks)


def warm_up(call: Callable[[], object]) -> None:
    """Run something once without counting it."""
    with torch.inference_mode():
        call()


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice over all objects and the frames behind the first."""
    one, other = one[1:], other[1:]
    return float(2 * (one & other).sum() / max(one.sum() + other.sum(), 1))


def load_nano(size: int | None = None) -> tuple[torch.nn.Module, str]:
    """The default model, or its architecture with random weights, at its own or another input size."""
    if NANO.is_file():
        return load_model(NANO, image_size=size), "shipped weights"
    torch.manual_seed(0)
    return build_model(ARCHITECTURES["hiera_nano"].with_image_size(size or 256)), "random weights"


def measure_peak(num_frames: int) -> float:
    """Peak memory of this process in MB after propagating one object through so many frames."""
    source = Discs(num_frames, 256)
    session = Predictor(load_nano()[0], EngineSettings(stop_after_empty=0), "cpu").open(source)
    session.set_prompts(PromptSet.empty().with_mask(1, 0, source.mask(0, 0)))
    for _ in session.propagate():
        pass
    status = Path("/proc/self/status")
    if status.is_file():  # Linux hands the parent's ru_maxrss on to a child; VmHWM is the process's own
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory(threads: int) -> dict:
    """Peak memory at 100 and at 1,000 frames, each in a fresh process."""
    peaks = {}
    for num_frames in (100, 1000):
        command = [sys.executable, __file__, "--peak-of", str(num_frames), "--threads", str(threads)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[num_frames] = float(answer.stdout)
    return {"peak_mb": peaks, "ratio": peaks[1000] / peaks[100]}


def measure_default(clock: Clock, size: int | None, device: str) -> dict:
    """Frames per second and click latency of the default model, at a size or at its own."""
    model, weights = load_nano(size)
    source, slices = (Discs(61, model.image_size, frame_step_mm=step) for step in (None, 1.0))
    predictor = Predictor(model, EngineSettings(stop_after_empty=0), device)
    in_time, between_slices = (1 / run_ours(predictor, one, 1, clock)[0] for one in (source, slices))
    latencies = []
    for index in range(12):
        row, column = np.argwhere(source.mask(index, 0)).mean(0)
        session = predictor.open(source)
        start = clock()
        session.set_prompts(PromptSet.empty().with_point(1, index, Point(column, row)))
        session.preview(index)
        latencies.append(1000 * (clock() - start))
    return {
        "weights": weights,
        "input_px": model.image_size,
        "frames_per_second": {"between_slices": between_slices, "in_time": in_time},
        "click_ms": {"median": float(np.median(latencies)), "worst": max(latencies)},
    }


def show(report: dict) -> None:
    """Print the report as a table."""
    for row in report.get("speed", []):
        place = f"{report['device']}, {report['threads']} thread(s)"
        print(f"{row['objects']} object(s), {row['frames']} frames, tiny, 512 px, {place}:")
        for name, seconds in row["seconds_per_frame"].items():
            extra = ""
            if name != "upstream":
                extra = (
                    f"  {row['times_as_fast'][name]:5.2f} x  Dice against exact {row['dice_against_exact'][name]:.4f}"
                )
            print(f"  {name:9s} {1000 * seconds:8.0f} ms per frame{extra}")
    if "memory" in report:
        peaks = report["memory"]["peak_mb"]
        print(
            f"peak memory: {peaks[100]:.0f} MB at 100 frames, {peaks[1000]:.0f} MB at 1,000: "
            f"{report['memory']['ratio']:.3f} times"
        )
    if "default" in report:
        for own in report["default"]:
            click, speed = own["click_ms"], own["frames_per_second"]
            print(
                f"default model ({own['weights']}, {own['input_px']} px): {speed['between_slices']:.1f} frames per "
                f"second between slices, {speed['in_time']:.1f} in time, a click answered in {click['median']:.0f} ms "
                f"(worst {click['worst']:.0f} ms)"
            )


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="+", choices=("speed", "memory", "default"), default=["speed", "memory", "default"]
    )
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="for speed and the default model: cpu, cuda or mps")
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default="wall", help="cpu: processor time, for a busy machine and one thread"
    )
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(measure_peak(options.peak_of))
        return
    clock = CLOCKS[options.clock]
    report: dict = {
        "threads": options.threads,
        "device": options.device,
        "clock": options.clock,
        "torch": torch.__version__,
    }
    if "speed" in options.parts:
        report["speed"] = [measure_speed(count, options.frames, clock, options.device) for count in options.objects]
    if "memory" in options.parts:
        report["memory"] = measure_memory(options.threads)
    if "default" in options.parts:
        report["default"] = [measure_default(clock, size, options.device) for size in (None, 256)]
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
