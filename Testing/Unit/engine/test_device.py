"""Devices and number formats."""

import pytest
import torch

from DDSAM2SlicerLib.core.errors import DeviceError
from DDSAM2SlicerLib.engine.device import computing, pick_device, wants_bf16


def test_the_cpu_is_always_there():
    assert pick_device("cpu").type == "cpu"
    assert pick_device().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["cuda:77", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_and_those_there_are_named(name):
    with pytest.raises(DeviceError, match=f"'{name}' is not there: this computer has cpu"):
        pick_device(name)


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x"])
def test_an_unknown_device_is_refused_and_accepted_ones_are_named(name):
    with pytest.raises(DeviceError, match="auto, cpu, cuda"):
        pick_device(name)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(), MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")]
)
def test_lack_of_memory_becomes_one_sentence(error):
    with pytest.raises(DeviceError, match="has not enough memory"), computing(torch.device("cpu"), is_bf16=False):
        raise error


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="size"), computing(torch.device("cpu"), is_bf16=False):
        torch.zeros(2) @ torch.zeros(3)


def test_precision_is_what_was_asked_for():
    cpu = torch.device("cpu")
    assert wants_bf16(cpu, "bf16", 128)
    assert not wants_bf16(cpu, "fp32", 1024)
    assert not wants_bf16(cpu, "auto", 128)


def test_a_graphics_card_computes_in_16_bits_only_where_that_is_faster(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cuda = torch.device("cuda")
    assert not wants_bf16(cuda, "auto", 512)
    assert wants_bf16(cuda, "auto", 1024)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert not wants_bf16(cuda, "auto", 1024)
