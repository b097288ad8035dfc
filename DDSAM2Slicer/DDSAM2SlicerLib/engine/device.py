"""Where and with which numbers the network computes (layer: engine)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..core.errors import DeviceError

ACCEPTED = "auto, cpu, cuda, cuda:<number> or mps"
BF16_MIN_INPUT_PX = {"cpu": 256, "cuda": 1024}
"""Below these input sides converting numbers costs more than shorter ones gain (H100, 512: up to twice the time)."""


def pick_device(name: str = "auto") -> torch.device:
    """Return the device with that name, or the best one there is.

    Raises:
        DeviceError: If the name is unknown, or the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"Device {name!r} is unknown. Choose {ACCEPTED}."
        raise DeviceError(msg) from error
    is_there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in is_there:
        msg = f"Device {name!r} is not supported. Choose {ACCEPTED}."
        raise DeviceError(msg)
    if not is_there[device.type]:
        msg = f"Device {name!r} is not there: this computer has {_describe_devices()}. Choose one of these, or auto."
        raise DeviceError(msg)
    return device


def wants_bf16(device: torch.device, precision: str, input_px: int) -> bool:
    """Whether to compute in bfloat16; ``auto`` does so where it is faster."""
    if precision != "auto":
        return precision == "bf16"
    has_unit = torch.cuda.is_bf16_supported() if device.type == "cuda" else has_bf16_unit(device)
    return has_unit and input_px >= BF16_MIN_INPUT_PX[device.type]


def has_bf16_unit(device: torch.device) -> bool:
    """Whether a CPU multiplies bfloat16 numbers faster than others."""
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()


@contextlib.contextmanager
def computing(device: torch.device, is_bf16: bool) -> Iterator[None]:
    """Compute without gradients, in bfloat16 if asked; running out of memory becomes one sentence.

    Raises:
        DeviceError: If the device has not enough memory.
    """
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=is_bf16)
    try:
        with torch.inference_mode(), autocast:
            yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DeviceError(_memory_message(device)) from error
    except RuntimeError as error:
        # PyTorch's CPU allocator and MPS raise a plain RuntimeError
        if "not enough memory" in str(error) or "out of memory" in str(error):
            raise DeviceError(_memory_message(device)) from error
        raise


def _describe_devices() -> str:
    """Name what can be computed on."""
    names = ["cpu"]
    names += [f"cuda:{number}" for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    names += ["mps"] if torch.backends.mps.is_available() else []
    return " and ".join(names)


def _memory_message(device: torch.device) -> str:
    """Say what to do when memory has run out."""
    return (
        f"Device {str(device)!r} has not enough memory for this model and number of objects. "
        "Choose a smaller model, propagate fewer objects at once, or use the device cpu."
    )
